"""HubSpot by its CRM API (v3), with the access token of a private app (scopes: contacts and companies to be read,
contacts to be written, calls among them).

Numbers are looked up in contacts by HubSpot's own index of them and by the usual spellings, and in companies where no
contact has one. Five searches a second are allowed, and a search shows what is new only some seconds later. A call is
a `calls` object with its times and parties; HubSpot knows no open calls, so ours counts as completed when it is over
and has notes. Its id is in `external_id_field`, a property with unique values, which is made when there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, needed, rows, seconds, text
from crmhooks.connectors.site import Answer, Denied, Pace, Site
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

BASE = "https://api.hubapi.com"
FIELD = "hookline_call_id"
CONTACT = ("firstname", "lastname", "phone", "mobilephone", "company", "email", "hubspot_owner_id")
COMPANY = ("name", "phone", "hubspot_owner_id", "description")
ASSOCIATIONS = {"contacts": 194, "companies": 182}     # types of those from a call
PAGE = 200                                             # results of a search at most
HITS = 50
LONGEST_NOTES = 30_000
NO_CONTENT, NOT_FOUND, CONFLICT, MIGRATING = 204, 404, 409, 477
RATE, BURST = 6.0, 40             # requests a second: 100 in ten seconds are allowed
SEARCHES, SEARCH_BURST = 3.0, 2   # of searches, of which an account has five a second
UP = ("RINGING", "IN_PROGRESS")
UNANSWERED = {"busy": "BUSY", "failed": "FAILED", "cancelled": "CANCELED"}


class HubSpot(Account):
    """One account. Implements `connector.CrmConnector`."""

    instructs = "description"
    lag = 15.0

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field or FIELD
        self._field_is_there = False
        self._searches = Pace(SEARCHES, SEARCH_BURST, tools.clock)
        self._site = Site(
            (settings.url or BASE).rstrip("/") + "/crm/v3",
            tools.wall,
            headers={"authorization": f"Bearer {settings.api_key.get_secret_value()}"},
            describe=_message,
            pace=Pace(RATE, BURST, tools.clock),
            timeout=tools.timeout,
            transport=tools.transport,
        )

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        typed = list(spellings(wanted))
        groups = [
            [_is("hs_searchable_calculated_phone_number", wanted.national)],
            [_is("hs_searchable_calculated_mobile_number", wanted.national)],
            [_is_one_of("phone", typed)],
            [_is_one_of("mobilephone", typed)],
        ]
        people = await self._search("contacts", groups, CONTACT, HITS)
        known = having(self.name, wanted, self._country, map(self._person, rows(people.body, "results")))
        if known:
            return known
        companies = await self._search("companies", [[_is_one_of("phone", typed)]], COMPANY, HITS)
        return having(self.name, wanted, self._country, map(self._company, rows(companies.body, "results")))

    async def create_contact(self, contact: NewContact) -> str:
        fields = {"lastname": contact.name, "phone": contact.number, **self._owner(contact.agent)}
        answer = await self._ask("POST", "objects/contacts", json={"properties": fields})
        return f"contacts/{needed(answer.body, 'id')}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        await self._ensure_field()
        params = {"idProperty": self._field, "properties": self._shown()}
        try:
            answer = await self._ask("GET", f"objects/calls/{quote(external_id, safe='')}", params=params)
        except Denied as error:
            if error.status != NOT_FOUND:
                raise
            return ()
        record = self._record(answer.body)
        return [record] if record.external_id == external_id else ()

    async def open_activity(self, activity: CrmActivity) -> str:
        await self._ensure_field()
        fields = self._fields(activity) | {self._field: activity.external_id}
        fields.pop("hs_call_body", None)
        record: dict[str, Any] = {"properties": fields}
        if activity.contact_id is not None:
            kind, _, key = activity.contact_id.partition("/")
            types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": ASSOCIATIONS.get(kind, 0)}]
            record["associations"] = [{"to": {"id": key}, "types": types}]
        try:
            answer = await self._ask("POST", "objects/calls", json=record)
        except Denied as error:      # it says 409 or 400 for a value that is not unique
            found = await self.find_activity(activity.external_id) if error.status in (400, CONFLICT) else ()
            if not found:
                raise
            return found[0].record_id
        return needed(answer.body, "id")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        answer = await self._ask("PATCH", f"objects/calls/{record_id}", json={"properties": self._fields(activity)})
        _is_about(record_id, answer)
        kind, _, key = (activity.contact_id or "").partition("/")
        if kind in ASSOCIATIONS:
            path = f"objects/calls/{record_id}/associations/{kind}/{key}/{ASSOCIATIONS[kind]}"
            _is_about(record_id, await self._ask("PUT", path))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self.update_activity(record_id, activity)

    async def remove_activity(self, record_id: str) -> None:
        try:
            answer = await self._ask("DELETE", f"objects/calls/{record_id}")
        except Denied as error:
            if error.status != NOT_FOUND:
                raise
        else:
            if answer.status != NO_CONTENT:
                raise Unreachable("it did not say that it took the record back")

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        await self._ensure_field()
        found: list[CrmRecord] = []
        while True:    # pages by `after` end at 10,000
            after = found[-1].record_id if found else "0"
            where = [
                {"propertyName": "hs_timestamp", "operator": "GTE", "value": _milliseconds(since)},
                {"propertyName": "hs_timestamp", "operator": "LT", "value": _milliseconds(until)},
                {"propertyName": self._field, "operator": "HAS_PROPERTY"},
                {"propertyName": "hs_object_id", "operator": "GT", "value": after},
            ]
            answer = await self._search("calls", [where], self._shown().split(","), PAGE)
            page = [self._record(row) for row in rows(answer.body, "results")]
            found += page
            if not page or not isinstance(answer.body.get("paging"), dict):
                return found

    async def close(self) -> None:
        await self._site.close()

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        try:
            return await self._site.ask(method, path, **more)
        except Denied as error:
            if error.status == MIGRATING:      # between data centres, for a day at most
                raise TryAgain(str(error)) from None
            raise

    async def _search(
        self, kind: str, groups: Sequence[Sequence[Mapping[str, Any]]], properties: Sequence[str], limit: int
    ) -> Answer:
        await self._searches.turn()
        asked = {
            "filterGroups": [{"filters": list(filters)} for filters in groups],
            "properties": list(properties),
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "limit": limit,
        }
        return await self._ask("POST", f"objects/{kind}/search", json=asked, question=True)

    async def _ensure_field(self) -> None:
        """The property for our ids is there, and tells a second record by it."""
        if self._field_is_there:
            return
        try:
            has = (await self._ask("GET", f"properties/calls/{self._field}", question=False)).body
        except Denied as error:
            if error.status != NOT_FOUND:
                raise
            has = await self._make_field()
        if needed(has, "name") != self._field or has.get("hasUniqueValue") is not True:
            raise Refused(f'its property "{self._field}" of calls takes one value twice: name another one')
        self._field_is_there = True

    async def _make_field(self) -> Any:
        title = await self._ask("GET", "properties/calls/hs_call_title", question=False)
        field = {
            "name": self._field,
            "label": "Hookline call",
            "groupName": needed(title.body, "groupName"),
            "type": "string",
            "fieldType": "text",
            "hasUniqueValue": True,
        }
        try:
            return (await self._ask("POST", "properties/calls", json=field)).body
        except Denied as error:
            if error.status == CONFLICT:       # somebody else has just made it
                return field
            raise Refused(f'make a property "{self._field}" with unique values for calls: {error}') from None

    def _shown(self) -> str:
        return f"hs_timestamp,hs_call_status,hs_call_body,{self._field}"

    def _record(self, row: Any) -> CrmRecord:
        key, has = needed(row, "id"), _properties(row)
        completed = bool(text(has, "hs_call_body")) and text(has, "hs_call_status") not in UP
        return CrmRecord(key, text(has, self._field), _at(text(has, "hs_timestamp")), completed)

    def _person(self, row: Mapping[str, Any]) -> Found:
        has = _properties(row)
        return Found(
            f"contacts/{text(row, 'id')}",
            f"{text(has, 'firstname')} {text(has, 'lastname')}".strip(),
            (text(has, "phone"), text(has, "mobilephone")),
            company=text(has, "company"),
            email=text(has, "email"),
            owner=self._users.extension_of(has.get("hubspot_owner_id")),
        )

    def _company(self, row: Mapping[str, Any]) -> Found:
        has = _properties(row)
        return Found(
            f"companies/{text(row, 'id')}",
            text(has, "name"),
            (text(has, "phone"),),
            owner=self._users.extension_of(has.get("hubspot_owner_id")),
            instructions=text(has, "description"),
        )

    def _fields(self, activity: CrmActivity) -> dict[str, str]:
        outbound = activity.direction == "outbound"
        fields = {
            "hs_timestamp": _milliseconds(activity.started_at),
            "hs_call_title": activity.subject,
            "hs_call_direction": "OUTBOUND" if outbound else "INBOUND",
            "hs_call_status": _status(activity),
            "hs_call_to_number" if outbound else "hs_call_from_number": activity.number,
            **self._owner(activity.agent),
        }
        if activity.ended_at is not None:
            fields["hs_call_duration"] = str(activity.seconds * 1000)
        if activity.summary:
            fields["hs_call_body"] = escape(activity.summary[:LONGEST_NOTES], quote=False).replace("\n", "<br>")
        return fields

    def _owner(self, extension: str | None) -> dict[str, str]:
        owner = self._users.id_of(extension)
        return {} if owner is None else {"hubspot_owner_id": owner}


def _status(activity: CrmActivity) -> str:
    if activity.answered_at is not None:
        return "IN_PROGRESS" if activity.ended_at is None else "COMPLETED"
    if activity.ended_at is None:
        return "RINGING"
    return UNANSWERED.get(activity.disposition, "NO_ANSWER") if activity.direction == "outbound" else "MISSED"


def _is(name: str, value: str) -> dict[str, Any]:
    return {"propertyName": name, "operator": "EQ", "value": value}


def _is_one_of(name: str, values: list[str]) -> dict[str, Any]:
    return {"propertyName": name, "operator": "IN", "values": values}


def _is_about(record_id: str, answer: Answer) -> None:
    """A change is answered with the record. Another answer is none of its own."""
    if needed(answer.body, "id") != record_id:
        raise Unreachable("answered about another record")


def _milliseconds(at: float) -> str:
    return str(round(at * 1000))


def _at(moment: str) -> float:
    """Unix time of either of its forms."""
    return int(moment) / 1000 if moment.isdecimal() else seconds(moment)


def _properties(row: Any) -> Mapping[str, Any]:
    found = row.get("properties") if isinstance(row, dict) else None
    return found if isinstance(found, dict) else {}


def _message(body: Any) -> str:
    return text(body, "message") if isinstance(body, dict) else ""


def make(settings: Settings, tools: Tools) -> HubSpot:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.api_key.get_secret_value():
        raise Refused("api_key is missing")
    return HubSpot(settings, tools)
