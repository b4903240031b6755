"""A receiver of sipgate.io's push API: newCall is posted as a form before the call rings; the answer, XML, may decide
about the call and says where the answer and the end of it are to be posted (`onAnswer`, `onHangup`).

Of its actions Reject, Hangup and Dial with numbers are followed; Play, Gather and voicemail name sounds and boxes that
are not ours. An address of another host than `url` is not posted to.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import urlsplit

from crmhooks.connector import HookError, Refused
from crmhooks.connectors.common import Tools
from crmhooks.connectors.push import BUSY, Push, Said, dialled
from crmhooks.connectors.site import Form, Site
from crmhooks.text import one_line
from pbxcore.hooks import Decision, Proceed, Reject
from pbxcore.settings import CrmConnector as Settings
from pbxcore.settings_file.markup import Element, parse

XML = Form("XML", parse)
ANYTHING = Form("anything", bytes)     # "the response to that request is discarded"
LATER = {"answer": "onAnswer", "hangup": "onHangup"}
MOST_TARGETS = 5


class Sipgate(Push):
    """One receiver. Implements `connector.CrmConnector`."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._url = settings.url
        headers = {"accept": "application/xml"}
        if settings.username:
            pair = f"{settings.username}:{settings.password.get_secret_value()}".encode()
            headers["authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        self._site = Site(
            settings.url, tools.wall, headers=headers, timeout=tools.timeout, transport=tools.transport
        )

    async def close(self) -> None:
        await self._site.close()

    async def _new_call(self, base: Mapping[str, str], agent: str | None) -> tuple[Said, Decision | None]:
        user = self._users.id_of(agent) or agent
        form = {"event": "newCall", **base, **({"user[]": user} if user else {})}
        answer = await self._site.ask("POST", self._url, form=form, answer=XML)
        root: Element | None = answer.body
        if root is None:
            return {}, None
        if root.tag != "Response":
            raise HookError(f"answered <{one_line(root.tag[:40])}>, and not <Response>")
        said = {name: root.get(name) for name in LATER.values() if root.get(name)}
        return said, _decision(root)

    async def _tell(self, event: str, fields: Mapping[str, str], said: Said) -> None:
        url = said.get(LATER[event], "")
        if not url:
            return
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            raise Refused(f"wants to be told at another address than its url: {one_line(url[:100])}")
        await self._site.ask("POST", url, form={"event": event, **fields}, answer=ANYTHING)


def _decision(root: Element) -> Decision | None:
    """What its first element asks for. Raises HookError for what we cannot do."""
    if not root.children:
        return None
    action = root.children[0]
    if action.tag == "Reject":
        return BUSY if action.get("reason") == "busy" else Reject()
    if action.tag == "Hangup":
        return Reject()
    targets = [one.text.strip() for one in action.all("Number")] if action.tag == "Dial" else []
    if not targets:
        raise HookError(f"asked for <{one_line(action.tag[:40])}>; Reject, Hangup and Dial with a Number are followed")
    found: Decision = Proceed()
    for number in reversed(targets[:MOST_TARGETS]):
        found = dialled(number, found)
    return found


def make(settings: Settings, tools: Tools) -> Sipgate:
    """The connector of a settings section."""
    return Sipgate(settings, tools)
