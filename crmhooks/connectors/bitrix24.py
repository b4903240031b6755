"""Bitrix24 by its REST API, through an incoming webhook (permission `crm`).

`telephony.externalCall.register` and `.finish` work for installed applications only. So a call is an activity of type
call (`crm.activity.*`), found by ORIGINATOR_ID and ORIGIN_ID. Every activity there belongs to somebody: calls of nobody
known are kept with one contact, made for them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, iso, needed, rows, seconds, text
from crmhooks.connectors.site import Denied, Pace, Site, Unauthorised
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

ORIGINATOR = "HOOKLINE"
UNKNOWN = "unknown callers"      # ORIGIN_ID and name of the contact that has the calls of nobody known
OWNERS = {"lead": 1, "contact": 3, "company": 4}       # crm.enum.ownertype
FIELDS = {
    "lead": ("ID", "TITLE", "NAME", "LAST_NAME", "COMPANY_TITLE", "PHONE", "EMAIL", "ASSIGNED_BY_ID", "COMMENTS"),
    "contact": ("ID", "NAME", "LAST_NAME", "PHONE", "EMAIL", "ASSIGNED_BY_ID", "COMMENTS"),
    "company": ("ID", "TITLE", "PHONE", "EMAIL", "ASSIGNED_BY_ID", "COMMENTS"),
}
CALL = 2                         # crm.enum.activitytype
INCOMING, OUTGOING = 1, 2        # crm.enum.activitydirection
PLAIN = 1                        # crm.enum.contenttype
RATE, BURST = 2.0, 40            # requests a second; the bucket is 50 deep
LONGEST_SUBJECT = 200
LONGEST_DESCRIPTION = 10_000
SPEAKS_OF_US = {"QUERY_LIMIT_EXCEEDED": 5.0, "OPERATION_TIME_LIMIT": 60.0, "OVERLOAD_LIMIT": 600.0}   # seconds of rest
NOT_ALLOWED = frozenset((
    "insufficient_scope", "invalid_credentials", "access_denied", "invalid_request", "user_access_error",
    "error_method_not_found",
))  # fmt: skip
_MARKUP = re.compile(r"\[/?[a-z][^\[\]]*\]|<[^<>]*>", re.IGNORECASE)


class Bitrix24(Account):
    """One portal. Implements `connector.CrmConnector`."""

    instructs = "COMMENTS"
    parallel = 2

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        key = settings.api_key.get_secret_value().strip("/")
        self._own_user = key.partition("/")[0]
        self._unknown = ""                  # id of the contact for calls of nobody known
        self._lock = asyncio.Lock()
        self._site = Site(
            f"{settings.url.rstrip('/')}/rest/{key}",
            tools.wall,
            describe=_message,
            pace=Pace(RATE, BURST, tools.clock),
            timeout=tools.timeout,
            transport=tools.transport,
        )

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        asked = {"type": "PHONE", "values": list(spellings(wanted))}
        ids = (await self._ask("crm.duplicate.findbycomm", asked, question=True)).get("result")
        if ids is None:
            raise Unreachable('its answer has no "result": is the url right?')
        found: list[Found] = []
        for kind in ("contact", "company", "lead"):
            hits = ids.get(kind.upper()) if isinstance(ids, dict) else None   # nobody: an empty list, no object
            if isinstance(hits, list) and hits:
                found += await self._people(kind, hits)
        return having(self.name, wanted, self._country, found)

    async def create_contact(self, contact: NewContact) -> str:
        fields = {
            "NAME": contact.name,
            "PHONE": [{"VALUE": contact.number, "VALUE_TYPE": "WORK"}],
            "ASSIGNED_BY_ID": self._user(contact.agent),
            "ORIGINATOR_ID": ORIGINATOR,
        }
        return f"contact/{needed(await self._ask('crm.contact.add', {'fields': fields}), 'result')}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        return await self._calls({"ORIGIN_ID": external_id})

    async def open_activity(self, activity: CrmActivity) -> str:
        fields = await self._fields(activity) | {
            "ORIGINATOR_ID": ORIGINATOR,
            "ORIGIN_ID": activity.external_id,
            "COMPLETED": "N",
        }
        return needed(await self._ask("crm.activity.add", {"fields": fields}), "result")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, await self._fields(activity))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, await self._fields(activity) | {"COMPLETED": "Y"})

    async def remove_activity(self, record_id: str) -> None:
        try:
            await self._do("crm.activity.delete", {"id": record_id})
        except Denied as error:
            if "not found" not in _message(error.body).lower():
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        return await self._calls({">=START_TIME": iso(since), "<START_TIME": iso(until)})

    async def close(self) -> None:
        await self._site.close()

    async def _do(self, method: str, asked: Mapping[str, Any]) -> None:
        """An answer that is none of its own, such as the second half of an earlier one, is not taken for a yes."""
        if (await self._ask(method, asked)).get("result") is not True:
            raise Unreachable("it did not say that it was done")

    async def _ask(self, method: str, asked: Mapping[str, Any], *, question: bool = False) -> dict[str, Any]:
        """What it answers. Some refusals speak of our rights or of how much we ask, not of this one thing."""
        try:
            answer = await self._site.ask("POST", method, json=asked, question=question)
        except TryAgain as error:
            after = next((wait for code, wait in SPEAKS_OF_US.items() if code in str(error)), error.after)
            raise TryAgain(str(error), error.after or after) from None
        except Denied as error:
            if isinstance(error.body, dict) and text(error.body, "error").lower() in NOT_ALLOWED:
                raise Unauthorised(str(error)) from None
            raise
        return answer.body if isinstance(answer.body, dict) else {}

    async def _people(self, kind: str, ids: list[Any]) -> list[Found]:
        asked = {"filter": {"@ID": ids}, "select": FIELDS[kind]}
        answer = await self._ask(f"crm.{kind}.list", asked, question=True)
        return [
            Found(
                f"{kind}/{text(row, 'ID')}",
                " ".join(filter(None, (text(row, "NAME"), text(row, "LAST_NAME")))) or text(row, "TITLE"),
                tuple(_values(row, "PHONE")),
                company=text(row, "COMPANY_TITLE"),
                email=next(iter(_values(row, "EMAIL")), ""),
                owner=self._users.extension_of(text(row, "ASSIGNED_BY_ID")),
                instructions=_MARKUP.sub("", text(row, "COMMENTS")),
            )
            for row in rows(answer, "result")
        ]

    async def _calls(self, where: Mapping[str, str]) -> list[CrmRecord]:
        """All pages of ours, the oldest first."""
        asked: dict[str, Any] = {
            "filter": {"ORIGINATOR_ID": ORIGINATOR, **where},
            "select": ["ID", "ORIGIN_ID", "START_TIME", "COMPLETED"],
            "order": {"ID": "ASC"},
        }
        found: list[CrmRecord] = []
        start: object = 0
        while isinstance(start, int):
            answer = await self._ask("crm.activity.list", asked | {"start": start}, question=True)
            found += [_record(row) for row in rows(answer, "result")]
            start = answer.get("next")
        return found

    async def _change(self, record_id: str, fields: Mapping[str, Any]) -> None:
        await self._do("crm.activity.update", {"id": record_id, "fields": fields})

    async def _fields(self, activity: CrmActivity) -> dict[str, Any]:
        entity, _, own = (activity.contact_id or f"contact/{await self._nobody()}").partition("/")
        owner = OWNERS.get(entity)
        if owner is None:
            raise Refused(f"there is no {entity} that a call can belong to")
        fields: dict[str, Any] = {
            "TYPE_ID": CALL,
            "OWNER_TYPE_ID": owner,
            "OWNER_ID": own,
            "COMMUNICATIONS": [
                {"TYPE": "PHONE", "VALUE": activity.number, "ENTITY_TYPE_ID": owner, "ENTITY_ID": own}
            ],
            "SUBJECT": activity.subject[:LONGEST_SUBJECT],
            "DIRECTION": OUTGOING if activity.direction == "outbound" else INCOMING,
            "START_TIME": iso(activity.started_at),
            "END_TIME": iso(activity.ended_at or activity.started_at),
            "RESPONSIBLE_ID": self._user(activity.agent),
        }
        if activity.summary:      # else somebody may be writing there
            fields |= {"DESCRIPTION": activity.summary[:LONGEST_DESCRIPTION], "DESCRIPTION_TYPE": PLAIN}
        return fields

    async def _nobody(self) -> str:
        """The contact for calls of nobody known; made once."""
        async with self._lock:
            if not self._unknown:
                mark = {"ORIGINATOR_ID": ORIGINATOR, "ORIGIN_ID": UNKNOWN}
                asked = {"filter": mark, "select": ["ID"], "order": {"ID": "ASC"}}
                answer = await self._ask("crm.contact.list", asked, question=True)
                found = rows(answer, "result")
                if found:
                    self._unknown = needed(found[0], "ID")
                else:
                    fields = {"NAME": UNKNOWN.capitalize(), "ASSIGNED_BY_ID": self._own_user, **mark}
                    self._unknown = needed(await self._ask("crm.contact.add", {"fields": fields}), "result")
            return self._unknown

    def _user(self, extension: str | None) -> str:
        """Whose it is; the webhook's own user when nobody else is named."""
        return self._users.id_of(extension) or self._own_user


def _record(row: Mapping[str, Any]) -> CrmRecord:
    completed = text(row, "COMPLETED") == "Y"
    return CrmRecord(needed(row, "ID"), text(row, "ORIGIN_ID"), seconds(row.get("START_TIME")), completed)


def _values(row: Mapping[str, Any], key: str) -> list[str]:
    """Of a field with several values (crm_multifield)."""
    several = row.get(key)
    return [text(one, "VALUE") for one in several if isinstance(one, dict)] if isinstance(several, list) else []


def _message(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    code, words = text(body, "error"), text(body, "error_description")
    return f"{words} ({code})" if code and words else words or code


def make(settings: Settings, tools: Tools) -> Bitrix24:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    user, _, secret = settings.api_key.get_secret_value().strip("/").partition("/")
    if "/rest/" in settings.url + "/":
        raise Refused('of the webhook\'s address the part before /rest/ is url; what follows, "1/abc...", is api_key')
    if not (user.isdigit() and secret and "/" not in secret):
        raise Refused('api_key is what follows /rest/ in the address of the incoming webhook: "1/abc..."')
    return Bitrix24(settings, tools)
