"""What a call is in an Odoo database: a `crm.phonecall`, or an activity at the contact."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from typing import Any, Protocol

from crmhooks.connector import CrmActivity, CrmRecord
from crmhooks.connectors.common import Users, iso, seconds, text, utc
from crmhooks.connectors.odoo_rpc import Missing, Rpc, created, found, granted, number

MARK = "hookline:"
UNKNOWN = "hookline-unknown"     # reference of the contact that has the calls of nobody known
PAGE = 200
MARGIN = 86_400.0                # seconds by which the CRM's clock may be behind
LONGEST_SUMMARY = 10_000
Row = Mapping[str, Any]


class Book(Protocol):
    async def find(self, external_id: str) -> Sequence[CrmRecord]: ...
    async def open(self, activity: CrmActivity) -> str: ...
    async def update(self, record_id: str, activity: CrmActivity) -> None: ...
    async def complete(self, record_id: str, activity: CrmActivity) -> None: ...
    async def remove(self, record_id: str) -> None: ...
    async def within(self, since: float, until: float) -> Sequence[CrmRecord]: ...


class Phonecalls:
    """`crm.phonecall`: open until its summary is written, then done; cancelled when nobody answered."""

    model = "crm.phonecall"

    def __init__(self, rpc: Rpc, users: Users, has: frozenset[str], field: str) -> None:
        """`field` keeps the id of the call; empty: the last line of the description."""
        self._rpc = rpc
        self._users = users
        self._has = has
        self._field = field

    async def find(self, external_id: str) -> Sequence[CrmRecord]:
        term = [self._field, "=", external_id] if self._field else ["description", "like", MARK + external_id]
        return [one for one in await self._search([term]) if one.external_id == external_id]

    async def open(self, activity: CrmActivity) -> str:
        fields = self._fields(activity) | {"state": "open"}
        return str(created(await self._rpc.call(self.model, "create", {"vals_list": [fields]})))

    async def update(self, record_id: str, activity: CrmActivity) -> None:
        fields = self._fields(activity)
        if not activity.summary:
            del fields["description"]   # somebody may be writing there
        if activity.ended_at is not None and activity.answered_at is None:
            fields["state"] = "cancel"
        await self._write(record_id, fields)

    async def complete(self, record_id: str, activity: CrmActivity) -> None:
        missed = activity.ended_at is not None and activity.answered_at is None
        await self._write(record_id, self._fields(activity) | {"state": "cancel" if missed else "done"})

    async def remove(self, record_id: str) -> None:
        await gone(self._rpc, self.model, int(record_id))

    async def within(self, since: float, until: float) -> Sequence[CrmRecord]:
        records = await self._search([["date", ">=", utc(since)], ["date", "<", utc(until)]])
        return [one for one in records if one.external_id]

    async def _write(self, record_id: str, fields: Row) -> None:
        granted(await self._rpc.call(self.model, "write", {"vals": fields}, [int(record_id)]))

    async def _search(self, domain: list[list[str]]) -> list[CrmRecord]:
        fields = ["date", "state", self._field or "description"]
        return [self._record(row) for row in await pages(self._rpc, self.model, domain, fields)]

    def _record(self, row: Row) -> CrmRecord:
        external_id = text(row, self._field) if self._field else marked(text(row, "description"))[0]
        started_at = seconds(row.get("date"))
        return CrmRecord(str(number(row.get("id"))), external_id, started_at, text(row, "state") == "done")

    def _fields(self, activity: CrmActivity) -> dict[str, Any]:
        summary = activity.summary[:LONGEST_SUMMARY]
        fields: dict[str, Any] = {
            "name": activity.subject,
            "date": utc(activity.started_at),
            "duration": round(activity.seconds / 60, 2),
            "partner_phone": activity.number,
            "direction": "out" if activity.direction == "outbound" else "in",
            "description": summary if self._field else f"{summary}\n\n{MARK}{activity.external_id}".strip(),
        }
        if self._field:
            fields[self._field] = activity.external_id
        if activity.contact_id is not None:
            fields["partner_id"] = int(activity.contact_id)
        if (user := self._users.id_of(activity.agent)) is not None:
            fields["user_id"] = int(user)
        return {key: value for key, value in fields.items() if key in self._has or key == self._field}


class Activities:
    """`mail.activity` at a contact. Ids of records are those of the activity or, with an `m`, of the message that it
    has become, and after a slash that of the call."""

    def __init__(self, rpc: Rpc, users: Users, has: frozenset[str]) -> None:
        self._rpc = rpc
        self._users = users
        self._fields = ["note", "create_date", *(["active"] if "active" in has else [])]
        self._archive = "active" in has
        self._constant: dict[str, int] = {}     # model, type of the activity
        self._unknown = 0
        self._lock = asyncio.Lock()

    async def find(self, external_id: str) -> Sequence[CrmRecord]:
        return [one for one in await self._search(MARK + external_id, None) if one.external_id == external_id]

    async def within(self, since: float, until: float) -> Sequence[CrmRecord]:
        """A record is as old as its call, or younger; people move the day of an activity."""
        return [one for one in await self._search(MARK, since - MARGIN) if since <= one.started_at < until]

    async def open(self, activity: CrmActivity) -> str:
        fields = self._values(activity) | await self._constants()
        if "res_id" not in fields:
            fields["res_id"] = await self._nobody()
        made = created(await self._rpc.call("mail.activity", "create", {"vals_list": [fields]}))
        return f"{made}/{activity.external_id}"

    async def update(self, record_id: str, activity: CrmActivity) -> None:
        own, _ = split(record_id)
        try:
            if own:
                await self._write(own, activity)
        except Missing:
            if not await self._done(record_id):
                raise

    async def complete(self, record_id: str, activity: CrmActivity) -> None:
        own, _ = split(record_id)
        if not await self._is_open(own):
            if await self._done(record_id):
                return
            raise Missing("the activity is not there any more")
        await self._write(own, activity)
        feedback = {"feedback": activity.summary[:LONGEST_SUMMARY]}
        number(await self._rpc.call("mail.activity", "action_feedback", feedback, [own]))

    async def remove(self, record_id: str) -> None:
        """With the message that a done one left behind."""
        own, external_id = split(record_id)
        if not own:
            await gone(self._rpc, "mail.message", int(record_id.partition("/")[0].removeprefix("m")))
            return
        still_open = await self._is_open(own)
        await gone(self._rpc, "mail.activity", own)
        if still_open:
            return
        messages = await self._rows("mail.message", "body", MARK + external_id, None)
        left = [row for row in messages if marked(text(row, "body"))[0] == external_id]
        if left:
            await gone(self._rpc, "mail.message", number(left[-1].get("id")))

    async def _is_open(self, own: int) -> bool:
        """Done ones are archived or gone, and not found."""
        still = {"domain": [["id", "=", own]], "fields": ["id"]}
        return bool(found(await self._rpc.call("mail.activity", "search_read", still)))

    async def _done(self, record_id: str) -> bool:
        return any(one.completed for one in await self.find(split(record_id)[1]))

    async def _write(self, own: int, activity: CrmActivity) -> None:
        granted(await self._rpc.call("mail.activity", "write", {"vals": self._values(activity)}, [own]))

    async def _search(self, words: str, since: float | None) -> list[CrmRecord]:
        activities = await self._rows("mail.activity", "note", words, since)
        messages = await self._rows("mail.message", "body", words, since)
        records = [_record(row, "note", completed=row.get("active") is False) for row in activities]
        # An archived activity has its message besides; a message without one is what is left of the record.
        kept = Counter(one.external_id for one in records if one.completed)
        for message in messages:
            record = _record(message, "body", completed=True)
            if kept[record.external_id] > 0:
                kept[record.external_id] -= 1
            else:
                records.append(record)
        return [one for one in records if one.external_id]

    async def _rows(self, model: str, field: str, words: str, since: float | None) -> list[Row]:
        domain = [[field, "like", words]]
        if since is not None:
            domain.append(["create_date", ">=", utc(since)])
        if model == "mail.activity":
            return await pages(self._rpc, model, domain, self._fields, archived=self._archive)
        return await pages(self._rpc, model, [*domain, ["model", "=", "res.partner"]], ["body", "create_date"])

    def _values(self, activity: CrmActivity) -> dict[str, Any]:
        day = datetime.fromtimestamp(activity.started_at, UTC).date().isoformat()
        way = "To" if activity.direction == "outbound" else "From"
        told = f"{way} {activity.number}, {activity.disposition}, {activity.seconds} s"
        values: dict[str, Any] = {
            "summary": activity.subject,
            "note": f"<p>{escape(told)}</p><p>{MARK}{escape(activity.external_id)} {iso(activity.started_at)}</p>",
            "date_deadline": day,
        }
        if activity.contact_id is not None:
            values["res_id"] = int(activity.contact_id)
        if (user := self._users.id_of(activity.agent)) is not None:
            values["user_id"] = int(user)
        return values

    async def _constants(self) -> dict[str, int]:
        async with self._lock:
            if not self._constant:
                [model] = await self._ids("ir.model", [["model", "=", "res.partner"]]) or [0]
                kinds = await self._ids("mail.activity.type", [["category", "=", "phonecall"]])
                constant = {"res_model_id": number(model)}
                if kinds:
                    constant["activity_type_id"] = kinds[0]
                self._constant = constant
            return self._constant

    async def _nobody(self) -> int:
        """An activity is always of something: calls of nobody known are kept with one contact, made for them."""
        async with self._lock:
            if not self._unknown:
                known = await self._ids("res.partner", [["ref", "=", UNKNOWN]])
                if not known:
                    fields = {"name": "Unknown callers", "ref": UNKNOWN}
                    known = [created(await self._rpc.call("res.partner", "create", {"vals_list": [fields]}))]
                self._unknown = known[0]
            return self._unknown

    async def _ids(self, model: str, domain: list[list[str]]) -> list[int]:
        named = {"domain": domain, "fields": ["id"], "limit": 1, "order": "id"}
        return [number(row.get("id")) for row in found(await self._rpc.call(model, "search_read", named))]


async def pages(
    rpc: Rpc, model: str, domain: list[list[str]], fields: Iterable[str], *, archived: bool = False
) -> list[Row]:
    """All of them, the oldest first."""
    rows: list[Row] = []
    while True:
        named: dict[str, Any] = {
            "domain": domain, "fields": list(fields), "offset": len(rows), "limit": PAGE, "order": "id",
        }  # fmt: skip
        if archived:
            named["context"] = {"active_test": False}
        page = found(await rpc.call(model, "search_read", named))
        rows += page
        if len(page) < PAGE:
            return rows


async def gone(rpc: Rpc, model: str, own: int) -> None:
    """Delete it; none is fine too."""
    with suppress(Missing):
        granted(await rpc.call(model, "unlink", {}, [own]))


def marked(words: str) -> tuple[str, str]:
    """The id of the call in the last line that has one, and when it began."""
    _, mark, rest = words.rpartition(MARK)
    said = rest.partition("<")[0].split() if mark else []
    return said[0] if said else "", said[1] if len(said) > 1 else ""


def split(record_id: str) -> tuple[int, str]:
    """The id of the activity, 0 when it is a message by now, and that of the call."""
    own, _, external_id = record_id.partition("/")
    return (int(own) if own.isdigit() else 0), external_id


def _record(row: Row, field: str, *, completed: bool) -> CrmRecord:
    external_id, began = marked(text(row, field))
    kind = "m" if field == "body" else ""
    return CrmRecord(f"{kind}{number(row.get('id'))}/{external_id}", external_id, seconds(began), completed)
