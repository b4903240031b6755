"""SuiteCRM by its V8 API (JSON:API), with a client of the type "client credentials". `url` is where `/Api` begins: in
SuiteCRM 8 that is `https://crm.example.net/legacy`.

Numbers are stored there as they were typed, so contacts, leads and accounts are asked for the usual spellings of one. A
call is a `Calls`, Planned until its summary is written, then Held; Not Held when nobody answered. Its key is made from
the call's id, so that a second one is refused; the id itself is in `external_id_field`, or in the last line of the
description.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, needed, rows, seconds, text, utc
from crmhooks.connectors.oauth import Authorised, Tokens, client_credentials
from crmhooks.connectors.site import Answer, Denied, Site
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

OURS = uuid.UUID("6f3d3a0e-0c7e-4b52-8a7e-9d4f2b1c5e60")     # namespace of the keys of our calls
KEYS = 3                     # a key is not free again when its call was deleted
MARK = "hookline:"
NUMBERS = {
    "Contacts": ("phone_work", "phone_mobile", "phone_home", "phone_other"),
    "Leads": ("phone_work", "phone_mobile", "phone_home", "phone_other"),
    "Accounts": ("phone_office", "phone_alternate"),
}
MORE = {
    "Contacts": ("first_name", "last_name", "account_name", "assigned_user_id", "description"),
    "Leads": ("first_name", "last_name", "account_name", "assigned_user_id", "description"),
    "Accounts": ("name", "assigned_user_id", "description"),
}
LINKS = {"Contacts": "contacts", "Leads": "leads"}
# A field can be compared once by an operator; its name is taken in either case, so these are four of them.
EQUALS = ("eq", "EQ", "Eq", "eQ")
HITS = 50
PAGE = 100
LONGEST_NAME = 50
LONGEST_DESCRIPTION = 10_000
JSON_API = {"content-type": "application/vnd.api+json"}


class SuiteCrm(Account):
    """One SuiteCRM. Implements `connector.CrmConnector`."""

    instructs = "description"

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field
        site = Site(
            settings.url.rstrip("/") + "/Api",
            tools.wall,
            headers={"accept": "application/vnd.api+json"},
            describe=_message,
            timeout=tools.timeout,
            transport=tools.transport,
        )
        form = client_credentials(settings)
        self._site = Authorised(site, Tokens(site, "access_token", form, tools.clock))

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        typed = spellings(wanted)
        some = [typed[start : start + len(EQUALS)] for start in range(0, len(typed), len(EQUALS))]
        asked = [self._having(module, numbers) for numbers in some for module in NUMBERS]
        found = await asyncio.gather(*asked)
        return having(self.name, wanted, self._country, [one for part in found for one in part])

    async def create_contact(self, contact: NewContact) -> str:
        fields = {"last_name": contact.name, "phone_work": contact.number, **self._owner(contact.agent)}
        return f"Contacts/{await self._write('POST', {'type': 'Contacts', 'attributes': fields})}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        if self._field:
            found = await self._calls({f"filter[{self._field}][eq]": external_id})
        else:
            found = await self._calls(_is_one_of(["id"], _keys(external_id)))
        return [record for record in found if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        fields = self._fields(activity, completed=False)
        for key in _keys(activity.external_id):
            try:
                await self._write("POST", {"type": "Calls", "id": key, "attributes": fields})
            except Denied as error:
                if "already exist" not in str(error):
                    raise
                if await self._calls({"filter[id][eq]": key}):
                    return key
            else:
                await self._relate(key, activity)
                return key
        raise Refused("the call was deleted there too often to be made again")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        fields = self._fields(activity, completed=False)
        if not activity.summary:
            del fields["description"]   # somebody may be writing there
        if fields["status"] == "Planned":
            del fields["status"]        # somebody may have completed it there
        await self._write("PATCH", {"type": "Calls", "id": record_id, "attributes": fields})
        await self._relate(record_id, activity)

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        fields = self._fields(activity, completed=True)
        await self._write("PATCH", {"type": "Calls", "id": record_id, "attributes": fields})
        await self._relate(record_id, activity)

    async def remove_activity(self, record_id: str) -> None:
        try:
            _done(await self._site.ask("DELETE", f"V8/module/Calls/{record_id}"))
        except Denied as error:
            if "is not found" not in str(error):
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        span = {"filter[date_start][gte]": utc(since), "filter[date_start][lt]": utc(until)}
        return [record for record in await self._calls(span) if record.external_id]

    async def close(self) -> None:
        await self._site.close()

    async def _having(self, module: str, numbers: Sequence[str]) -> list[Found]:
        fields = NUMBERS[module]
        params = _is_one_of(fields, numbers) | {
            f"fields[{module}]": ",".join((*fields, *MORE[module])),
            "page[size]": str(HITS),
        }
        answer = await self._site.ask("GET", f"V8/module/{module}", params=params)
        return [self._found(module, row) for row in rows(answer.body, "data")]

    def _found(self, module: str, row: Mapping[str, Any]) -> Found:
        has = _attributes(row)
        return Found(
            f"{module}/{text(row, 'id')}",
            text(has, "name") or f"{text(has, 'first_name')} {text(has, 'last_name')}".strip(),
            tuple(text(has, name) for name in NUMBERS[module]),
            company=text(has, "account_name"),
            owner=self._users.extension_of(has.get("assigned_user_id")),
            instructions=text(has, "description"),
        )

    async def _calls(self, where: Mapping[str, str]) -> list[CrmRecord]:
        """All pages, the oldest first."""
        select = ("date_start", "status", "description", *((self._field,) if self._field else ()))
        found: list[CrmRecord] = []
        page, pages = 1, 1
        while page <= pages:
            params = {
                **where,
                "fields[Calls]": ",".join(select),
                "sort": "date_entered",
                "page[size]": str(PAGE),
                "page[number]": str(page),
            }
            answer = await self._site.ask("GET", "V8/module/Calls", params=params)
            found += [self._record(row) for row in rows(answer.body, "data")]
            meta = answer.body.get("meta")
            total = meta.get("total-pages") if isinstance(meta, dict) else None
            pages = int(total) if isinstance(total, int | float) else 1
            page += 1
        return found

    def _record(self, row: Mapping[str, Any]) -> CrmRecord:
        has = _attributes(row)
        if self._field:
            external_id = text(has, self._field)
        else:
            _, mark, rest = text(has, "description").rpartition(MARK)
            external_id = rest.split()[0] if mark and rest.strip() else ""
        completed = text(has, "status") == "Held"
        return CrmRecord(needed(row, "id"), external_id, seconds(has.get("date_start")), completed)

    async def _write(self, method: str, record: Mapping[str, Any]) -> str:
        """It answers with the record, whose id this is. Another answer is none of its own, such as the second half of
        an earlier one."""
        answer = await self._site.ask(method, "V8/module", json={"data": record}, headers=JSON_API)
        key = needed(answer.body.get("data") if isinstance(answer.body, dict) else None, "id")
        if key != record.get("id", key):
            raise Unreachable("answered about another record")
        return key

    async def _relate(self, record_id: str, activity: CrmActivity) -> None:
        """What stands in the lists of a contact are relations; the parent alone is not among them."""
        module, _, key = (activity.contact_id or "").partition("/")
        if module in LINKS:
            path = f"V8/module/Calls/{record_id}/relationships/{LINKS[module]}"
            record = {"type": module, "id": key}
            _done(await self._site.ask("POST", path, json={"data": record}, headers=JSON_API))

    def _fields(self, activity: CrmActivity, *, completed: bool) -> dict[str, Any]:
        description = activity.summary[:LONGEST_DESCRIPTION]
        hours, minutes = divmod(-(-activity.seconds // 60), 60)
        fields: dict[str, Any] = {
            "name": activity.subject[:LONGEST_NAME],
            "direction": "Outbound" if activity.direction == "outbound" else "Inbound",
            "status": _status(activity, completed=completed),
            "date_start": utc(activity.started_at),
            "duration_hours": min(hours, 99),
            "duration_minutes": minutes,
            **self._owner(activity.agent),
        }
        if self._field:
            fields[self._field] = activity.external_id
        else:
            description = f"{description}\n\n{MARK}{activity.external_id}".strip()
        fields["description"] = description
        if activity.contact_id is not None:
            fields["parent_type"], _, fields["parent_id"] = activity.contact_id.partition("/")
        return fields

    def _owner(self, extension: str | None) -> dict[str, str]:
        user = self._users.id_of(extension)
        return {} if user is None else {"assigned_user_id": user}


def _keys(external_id: str) -> list[str]:
    return [str(uuid.uuid5(OURS, f"{external_id}#{place}" if place else external_id)) for place in range(KEYS)]


def _is_one_of(fields: Iterable[str], values: Sequence[str]) -> dict[str, str]:
    """A filter; no more than four values."""
    wanted = {
        f"filter[{field}][{equals}]": value
        for field in fields
        for equals, value in zip(EQUALS, values, strict=False)
    }  # fmt: skip
    return {"filter[operator]": "or", **wanted}


def _done(answer: Answer) -> None:
    """What has no record to answer with says so in a message."""
    meta = answer.body.get("meta") if isinstance(answer.body, dict) else None
    if not isinstance(meta, dict) or not meta.get("message"):
        raise Unreachable("it did not say that it was done")


def _attributes(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = row.get("attributes")
    return found if isinstance(found, dict) else {}


def _status(activity: CrmActivity, *, completed: bool) -> str:
    if activity.ended_at is not None and activity.answered_at is None:
        return "Not Held"
    return "Held" if completed else "Planned"


def _message(body: Any) -> str:
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    return text(errors, "detail") if isinstance(errors, dict) else text(body, "message")


def make(settings: Settings, tools: Tools) -> SuiteCrm:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.client_secret.get_secret_value():
        raise Refused("client_secret is missing")
    return SuiteCrm(settings, tools)
