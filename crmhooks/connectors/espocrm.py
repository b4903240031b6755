"""EspoCRM by its REST API (`/api/v1/`, an API user's key in X-Api-Key).

Numbers are looked up in contacts, leads and accounts by their last digits, whatever their spelling, and compared by
E.164. A call is a `Call`: Planned until its summary is written, then Held; Not Held when nobody answered. Its id is
kept in `external_id_field`, or without one in the last line of the description.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, has, having, needed, rows, seconds, text, utc
from crmhooks.connectors.site import Denied, Site
from crmhooks.numbers import Number, normalise
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

ENTITIES = ("Contact", "Lead", "Account")
LISTED = {"Contact": "contactsIds", "Lead": "leadsIds"}
FIELDS = "id,name,phoneNumber,phoneNumberData,accountName,emailAddress,assignedUserId,description"
MARK = "hookline:"
PAGE = 200           # recordListMaxSizeLimit
LONGEST_DESCRIPTION = 10_000
HITS = 20
CONFLICT = 409


class EspoCrm(Account):
    """One EspoCRM. Implements `connector.CrmConnector`."""

    instructs = "description"

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field
        self._own_user = ""
        self._site = Site(
            settings.url.rstrip("/") + "/api/v1",
            tools.wall,
            headers={"x-api-key": settings.api_key.get_secret_value()},
            describe=_message,
            timeout=tools.timeout,
            transport=tools.transport,
        )

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        found = await asyncio.gather(*(self._ending(entity, wanted.national) for entity in ENTITIES))
        return having(self.name, wanted, self._country, [one for of_entity in found for one in of_entity])

    async def create_contact(self, contact: NewContact) -> str:
        owner = await self._user(contact.agent)
        fields = {"lastName": contact.name, "phoneNumber": contact.number, "assignedUserId": owner}
        try:
            answer = await self._site.ask("POST", "Contact", json=fields)
        except Denied as error:
            return self._known(error, contact)
        return f"Contact/{needed(answer.body, 'id')}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        if self._field:
            where = {"type": "equals", "attribute": self._field, "value": external_id}
        else:
            where = {"type": "contains", "attribute": "description", "value": MARK + external_id}
        return [record for record in await self._calls([where]) if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        fields = await self._fields(activity, completed=False)
        try:
            answer = await self._site.ask("POST", "Call", json=fields)
        except Denied as error:
            found = await self.find_activity(activity.external_id) if error.status == CONFLICT else ()
            if not found:
                raise
            return found[0].record_id
        return needed(answer.body, "id")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        fields = await self._fields(activity, completed=False)
        if not activity.summary:
            del fields["description"]   # somebody may be writing there
        if fields["status"] == "Planned":
            del fields["status"]        # somebody may have completed it there
        await self._change(record_id, fields)

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, await self._fields(activity, completed=True))

    async def remove_activity(self, record_id: str) -> None:
        try:
            if (await self._site.ask("DELETE", f"Call/{record_id}")).body is not True:
                raise Unreachable("it did not say that it took the record back")
        except Denied as error:
            if error.status != 404:
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        where = [
            {"type": "greaterThanOrEquals", "attribute": "dateStart", "value": utc(since)},
            {"type": "lessThan", "attribute": "dateStart", "value": utc(until)},
        ]
        return [record for record in await self._calls(where) if record.external_id]

    async def close(self) -> None:
        await self._site.close()

    async def _change(self, record_id: str, fields: Mapping[str, Any]) -> None:
        """It answers with the record. Another answer is none of its own, such as the second half of an earlier one."""
        answer = await self._site.ask("PUT", f"Call/{record_id}", json=fields)
        if needed(answer.body, "id") != record_id:
            raise Unreachable("answered about another record")

    async def _ending(self, entity: str, digits: str) -> list[Found]:
        """Those with a number that ends so; a list shows the first number of each only."""
        where = [{"type": "endsWith", "attribute": "phoneNumberNumeric", "value": digits}]
        answer = await self._site.ask("GET", entity, params=_search(where, FIELDS, HITS, 0))
        found = []
        for row in rows(answer.body, "list"):
            if "phoneNumberData" not in row:
                whole = await self._site.ask("GET", f"{entity}/{needed(row, 'id')}")
                row = whole.body if isinstance(whole.body, dict) else row
            found.append(self._found(entity, row))
        return found

    def _found(self, entity: str, row: Mapping[str, Any]) -> Found:
        more = row.get("phoneNumberData")
        numbers = [text(one, "phoneNumber") for one in more if isinstance(one, dict)] if isinstance(more, list) else []
        return Found(
            f"{entity}/{text(row, 'id')}",
            text(row, "name"),
            (text(row, "phoneNumber"), *numbers),
            company=text(row, "accountName"),
            email=text(row, "emailAddress"),
            owner=self._users.extension_of(row.get("assignedUserId")),
            instructions=text(row, "description"),
        )

    def _known(self, error: Denied, contact: NewContact) -> str:
        """Its own check found somebody of this number while we were about to make him."""
        wanted = normalise(contact.number, self._country)
        if error.status == CONFLICT and wanted is not None and isinstance(error.body, list):
            found = [one for one in error.body if isinstance(one, dict)]
            same = [one for one in found if has(wanted, self._country, [one.get("phoneNumber")])]
            if len(same) == 1:
                return f"Contact/{needed(same[0], 'id')}"
        raise error

    async def _calls(self, where: list[dict[str, str]]) -> list[CrmRecord]:
        """All pages, the oldest first."""
        select = f"id,dateStart,status,description{',' + self._field if self._field else ''}"
        found: list[CrmRecord] = []
        while True:
            answer = await self._site.ask("GET", "Call", params=_search(where, select, PAGE, len(found)))
            page = rows(answer.body, "list")
            found += [self._record(row) for row in page]
            if len(page) < PAGE:
                return found

    def _record(self, row: Mapping[str, Any]) -> CrmRecord:
        if self._field:
            external_id = text(row, self._field)
        else:
            _, mark, rest = text(row, "description").rpartition(MARK)
            external_id = rest.split()[0] if mark and rest.strip() else ""
        completed = text(row, "status") == "Held"
        return CrmRecord(needed(row, "id"), external_id, seconds(row.get("dateStart")), completed)

    async def _fields(self, activity: CrmActivity, *, completed: bool) -> dict[str, Any]:
        description = activity.summary[:LONGEST_DESCRIPTION]
        fields: dict[str, Any] = {
            "name": activity.subject,
            "direction": "Outbound" if activity.direction == "outbound" else "Inbound",
            "status": _status(activity, completed=completed),
            "dateStart": utc(activity.started_at),
            "dateEnd": utc(activity.ended_at or activity.started_at),
            "assignedUserId": await self._user(activity.agent),
        }
        if self._field:
            fields[self._field] = activity.external_id
        else:
            description = f"{description}\n\n{MARK}{activity.external_id}".strip()
        fields["description"] = description
        if activity.contact_id is not None:
            entity, _, own = activity.contact_id.partition("/")
            fields["parentType"], fields["parentId"] = entity, own
            if entity in LISTED:
                fields[LISTED[entity]] = [own]
        return fields

    async def _user(self, extension: str | None) -> str:
        """Whose it is: a call needs somebody. The API user himself, when nobody else is named."""
        known = self._users.id_of(extension)
        if known is not None:
            return known
        if not self._own_user:
            answer = await self._site.ask("GET", "App/user")
            user = answer.body.get("user") if isinstance(answer.body, dict) else None
            self._own_user = needed(user, "id")
        return self._own_user


def _status(activity: CrmActivity, *, completed: bool) -> str:
    if activity.ended_at is not None and activity.answered_at is None:
        return "Not Held"
    return "Held" if completed else "Planned"


def _search(where: list[dict[str, str]], select: str, size: int, offset: int) -> dict[str, str]:
    order = "dateStart" if "dateStart" in select else "createdAt"
    asked = {"where": where, "select": select, "maxSize": size, "offset": offset, "orderBy": order, "order": "asc"}
    return {"searchParams": json.dumps(asked, separators=(",", ":"))}


def _message(body: Any) -> str:
    if isinstance(body, dict):
        translation = body.get("messageTranslation")
        if isinstance(translation, dict) and translation.get("label"):
            return str(translation["label"])
        return text(body, "message") or text(body, "reason")
    return ""


def make(settings: Settings, tools: Tools) -> EspoCrm:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.api_key.get_secret_value():
        raise Refused("api_key is missing")
    return EspoCrm(settings, tools)
