"""Zammad by its generic CTI interface (`/api/v1/cti/TOKEN`, JSON): its agents see calls in the caller log while they
ring, and whom they have blocked is refused.

Zammad looks up by itself who calls, and stamps what it is told with the time at which it hears of it. Users are
those that it finds by phone, login or id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from crmhooks.connector import HookError, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Tools, text
from crmhooks.connectors.push import BUSY, Push, Said, dialled
from crmhooks.connectors.site import Denied, Site
from crmhooks.text import one_line
from pbxcore.hooks import Decision, Reject
from pbxcore.settings import CrmConnector as Settings

KNOWN_ALREADY = "already exists"     # what it says, with 500, to a second newCall of the same call
UNPROCESSABLE = 422


class Zammad(Push):
    """One Zammad. Implements `connector.CrmConnector`."""

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        token = quote(settings.api_key.get_secret_value(), safe="")
        self._path = f"api/v1/cti/{token}"
        self._site = Site(
            settings.url, tools.wall, describe=_message, timeout=tools.timeout, transport=tools.transport
        )

    async def close(self) -> None:
        await self._site.close()

    async def _new_call(self, base: Mapping[str, str], agent: str | None) -> tuple[Said, Decision | None]:
        user = self._users.id_of(agent) or agent
        fields = {"event": "newCall", **base, **({"user": user} if user else {})}
        try:
            return {}, self._decision(await self._post(fields), base)
        except TryAgain as error:
            if KNOWN_ALREADY not in str(error):
                raise
            return {}, None

    async def _tell(self, event: str, fields: Mapping[str, str], said: Said) -> None:
        await self._post({"event": event, **fields})

    async def _post(self, fields: Mapping[str, str]) -> Mapping[str, Any]:
        try:
            answer = await self._site.ask("POST", self._path, json=dict(fields))
        except Denied as error:
            if error.status == UNPROCESSABLE and text(error.body, "error").startswith("Feature"):
                raise Unreachable(str(error)) from None      # CTI is switched off there: nothing of this call
            raise
        if not isinstance(answer.body, dict):
            raise Unreachable("its answer is no object: is the url right?")
        return answer.body

    def _decision(self, said: Mapping[str, Any], base: Mapping[str, str]) -> Decision | None:
        """It refuses callers, and gives calls to outside another caller id, which is the trunk's affair here."""
        action, number = text(said, "action"), text(said, "number")
        if action == "reject":
            return BUSY if text(said, "reason") == "busy" else Reject()
        if action == "dial" and number not in ("", base["to"]):
            return dialled(number)
        if action not in ("", "dial"):
            raise HookError(f'asked for "{one_line(action[:40])}", and there is but reject and dial')
        return None


def _message(body: Any) -> str:
    return text(body, "error") if isinstance(body, dict) else ""


def make(settings: Settings, tools: Tools) -> Zammad:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.api_key.get_secret_value():
        raise Refused("api_key is missing")
    return Zammad(settings, tools)
