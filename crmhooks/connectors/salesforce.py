"""Salesforce by its REST API, as the run-as user of an app that may use client credentials. `url` is the organisation's
own (My Domain).

Numbers are looked up by a text search (SOSL) in contacts, leads and accounts, which shows a new record only after a
while; so whoever is not found is asked for once more among the contacts, as we store them. A call is a `Task` of the
subtype Call, open until its summary is written. Its id and start are in `CallObject`; an `external_id_field` of
activities (text, External ID, unique) makes its making an upsert.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import floor
from typing import Any
from urllib.parse import quote

from crmhooks.connector import CrmActivity, CrmRecord, NewContact, Refused, TryAgain, Unreachable
from crmhooks.connectors.common import Account, Found, Tools, having, iso, needed, rows, seconds, text
from crmhooks.connectors.oauth import Authorised, Tokens, client_credentials
from crmhooks.connectors.site import Answer, Denied, Site
from crmhooks.numbers import Number, spellings
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector as Settings

VERSION = "v62.0"
DATA = "/services/data/"
MARK = "hookline:"
START = "____-__-__T__:__:__Z"       # any start, for LIKE
PERSON = ("Phone", "MobilePhone", "HomePhone", "OtherPhone")
NUMBERS = {"Contact": PERSON, "Lead": ("Phone", "MobilePhone"), "Account": ("Phone",)}
MORE = {
    "Contact": ("Id", "Name", "Email", "OwnerId", "Description", "Account.Name"),
    "Lead": ("Id", "Name", "Email", "OwnerId", "Description", "Company"),
    "Account": ("Id", "Name", "OwnerId", "Description"),
}
WHERE = {"Contact": "", "Lead": " WHERE IsConverted = false", "Account": ""}
LONGEST_TEXT = 255
LONGEST_DESCRIPTION = 32_000
NO_CONTENT, NOT_FOUND = 204, 404
LATER = frozenset({"REQUEST_LIMIT_EXCEEDED", "UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "API_CURRENTLY_DISABLED"})


class Salesforce(Account):
    """One organisation. Implements `connector.CrmConnector`."""

    instructs = "Description"

    def __init__(self, settings: Settings, tools: Tools) -> None:
        super().__init__(settings, tools)
        self._field = settings.external_id_field
        self._root = settings.url.rstrip("/")
        site = Site(
            f"{self._root}{DATA}{VERSION}",
            tools.wall,
            describe=_message,
            timeout=tools.timeout,
            transport=tools.transport,
        )
        form = client_credentials(settings)
        self._site = Authorised(site, Tokens(site, f"{self._root}/services/oauth2/token", form, tools.clock))

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        answer = await self._ask("GET", "search", params={"q": _sosl(wanted)})
        known = having(self.name, wanted, self._country, map(self._found, rows(answer.body, "searchRecords")))
        if known:
            return known
        fields = (*MORE["Contact"], *PERSON)
        new = await self._query("Contact", fields, f"Phone = {_quoted(wanted.e164)}", "LIMIT 50")
        return having(self.name, wanted, self._country, map(self._found, new))

    async def create_contact(self, contact: NewContact) -> str:
        fields = {"LastName": contact.name[:80], "Phone": contact.number, **self._owner(contact.agent)}
        answer = await self._ask("POST", "sobjects/Contact", json=fields)
        return f"Contact/{needed(answer.body, 'id')}"

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        if self._field:
            where = f"{self._field} = {_quoted(external_id)}"
        else:
            like = re.sub(r"([\\%_])", r"\\\1", external_id).replace("'", "\\'")
            where = f"CallObject LIKE '{MARK}{like}@{START}'"
        return [record for record in await self._calls(where) if record.external_id == external_id]

    async def open_activity(self, activity: CrmActivity) -> str:
        mark = f"{MARK}{activity.external_id}@{iso(activity.started_at)}"
        missed = activity.ended_at is not None and activity.answered_at is None
        fields = self._fields(activity) | {
            "CallObject": mark,
            "TaskSubtype": "Call",
            "Status": "Not Started" if missed else "In Progress",
        }
        if self._field:
            path = f"sobjects/Task/{self._field}/{quote(activity.external_id, safe='')}"
            answer = await self._ask("PATCH", path, json=fields)
        else:
            answer = await self._ask("POST", "sobjects/Task", json=fields)
        return needed(answer.body, "id")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, self._fields(activity))

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        await self._change(record_id, self._fields(activity) | {"Status": "Completed"})

    async def remove_activity(self, record_id: str) -> None:
        try:
            _done(await self._ask("DELETE", f"sobjects/Task/{record_id}"))
        except Denied as error:
            if error.status != NOT_FOUND:
                raise

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        days = f"ActivityDate >= {iso(since)[:10]} AND ActivityDate <= {iso(until)[:10]}"
        found = await self._calls(f"CallObject LIKE '{MARK}%' AND {days}")
        return [record for record in found if record.external_id and floor(since) <= record.started_at < until]

    async def close(self) -> None:
        await self._site.close()

    async def _ask(self, method: str, path: str, **more: Any) -> Answer:
        """What is refused for now only is refused in the same way as what is refused for good."""
        try:
            return await self._site.ask(method, path, **more)
        except Denied as error:
            if _codes(error.body) & LATER:
                raise TryAgain(str(error)) from None
            raise

    async def _change(self, record_id: str, fields: Mapping[str, Any]) -> None:
        _done(await self._ask("PATCH", f"sobjects/Task/{record_id}", json=fields))

    async def _calls(self, where: str) -> list[CrmRecord]:
        """All of them, the oldest first."""
        fields = ("Id", "CallObject", "Status")
        found = await self._query("Task", fields, where, "ORDER BY CreatedDate ASC, Id ASC")
        return [_record(row) for row in found]

    async def _query(self, kind: str, fields: Sequence[str], where: str, end: str) -> list[Mapping[str, Any]]:
        """All pages."""
        soql = " ".join(("SELECT", ", ".join(fields), "FROM", kind, "WHERE", where, end))
        answer = await self._ask("GET", "query", params={"q": soql})
        found = rows(answer.body, "records")
        while following := text(answer.body, "nextRecordsUrl"):
            if not following.startswith(DATA):     # our token is for nobody else
                raise Unreachable("its next page is at another address: is the url right?")
            answer = await self._ask("GET", self._root + following)
            found += rows(answer.body, "records")
        return found

    def _found(self, row: Mapping[str, Any]) -> Found:
        attributes, account = row.get("attributes"), row.get("Account")
        kind = text(attributes, "type") if isinstance(attributes, dict) else ""
        return Found(
            f"{kind}/{text(row, 'Id')}" if kind in NUMBERS else "",
            text(row, "Name"),
            tuple(text(row, name) for name in NUMBERS.get(kind, ())),
            company=text(account, "Name") if isinstance(account, dict) else text(row, "Company"),
            email=text(row, "Email"),
            owner=self._users.extension_of(row.get("OwnerId")),
            instructions=text(row, "Description"),
        )

    def _fields(self, activity: CrmActivity) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "Subject": activity.subject[:LONGEST_TEXT],
            "CallType": "Outbound" if activity.direction == "outbound" else "Inbound",
            "ActivityDate": iso(activity.started_at)[:10],
            "CallDisposition": activity.disposition[:LONGEST_TEXT],
            **self._owner(activity.agent),
        }
        if activity.ended_at is not None:
            fields["CallDurationInSeconds"] = activity.seconds
        if activity.summary:
            fields["Description"] = activity.summary[:LONGEST_DESCRIPTION]
        if activity.contact_id is not None:
            kind, _, key = activity.contact_id.partition("/")
            fields["WhatId" if kind == "Account" else "WhoId"] = key
        return fields

    def _owner(self, extension: str | None) -> dict[str, str]:
        user = self._users.id_of(extension)
        return {} if user is None else {"OwnerId": user}


def _sosl(number: Number) -> str:
    """Its spellings, without what means something in a search: the search takes words apart by such characters."""
    words = (" ".join(re.findall(r"\d+", spelling)) for spelling in spellings(number))
    terms = " OR ".join(f'"{term}"' for term in dict.fromkeys(words))
    returned = (f"{kind}({', '.join((*MORE[kind], *NUMBERS[kind]))}{WHERE[kind]})" for kind in NUMBERS)
    return f"FIND {{{terms}}} IN PHONE FIELDS RETURNING {', '.join(returned)} LIMIT 50"


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _record(row: Mapping[str, Any]) -> CrmRecord:
    external_id, _, start = text(row, "CallObject").removeprefix(MARK).rpartition("@")
    return CrmRecord(needed(row, "Id"), external_id, seconds(start), text(row, "Status") == "Completed")


def _done(answer: Answer) -> None:
    """An answer that is none of its own, such as the second half of an earlier one, is not taken for a yes."""
    if answer.status != NO_CONTENT:
        raise Unreachable(f"answered {answer.status} where 204 says that it was done")


def _codes(body: Any) -> set[str]:
    return {text(one, "errorCode") for one in body if isinstance(one, dict)} if isinstance(body, list) else set()


def _message(body: Any) -> str:
    if isinstance(body, list):
        return "; ".join(f"{text(one, 'message')} ({text(one, 'errorCode')})" for one in body if isinstance(one, dict))
    return text(body, "error_description") if isinstance(body, dict) else ""


def make(settings: Settings, tools: Tools) -> Salesforce:
    """The connector of a settings section. Raises Refused for one that cannot work."""
    if not settings.client_secret.get_secret_value():
        raise Refused("client_secret is missing")
    return Salesforce(settings, tools)
