"""The call journal: every call leaves exactly one record and exactly one activity, in the same transaction.

Implements `hooks.CallJournal`. Writing is a few dictionary operations on the event loop; the rest happens on the
store's writer thread. It reads back what it wrote: history, and what a crash left open.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sqlmodel import Session, col, select

from crmhooks import outbox_rows
from crmhooks.embedded.index import ContactIndex
from crmhooks.records import agent_of, number_of
from pbxcore.hooks import CallSnapshot, CallState, Disposition
from pbxcore.store import Store
from pbxcore.store.models import ActivityRow, CallRow
from pbxcore.store.rows import Packed, call_snapshot, pack_call
from pbxcore.store.statements import clean

MAX_NOTES = 10_000
PURGE = 1024      # entries of `_latest` before the committed ones are looked for
ANSWERED, ENDED = CallState.ANSWERED, CallState.ENDED


class Journal:
    """The journal of one exchange. `write`, `when_durable` and `annotate` belong to the event loop's thread.

    `on_ended` is told of every call that ended, once it was queued, and `on_answered` of every one that is up.
    """

    def __init__(self, store: Store, index: ContactIndex, country: str) -> None:
        self._store = store
        self._writer = store.writer
        self._index = index
        self._country = country
        self._calls = store.plans["calls"]
        self._contacts = store.plans["contacts"]
        self._merged = store.plans["merged"]
        self._latest: dict[str, int] = {}    # call id -> number of its last write; those not known to be durable
        self._notes: dict[str, str] = {}     # call id -> contact found late, of the latest calls
        self._purge_at = PURGE
        self.first_party: frozenset[str] = frozenset()    # extensions whose workstation carries their calls to the CRM
        self.on_ended: Callable[[CallSnapshot], None] | None = None
        self.on_answered: Callable[[CallSnapshot], None] | None = None

    def write(self, call: CallSnapshot) -> None:
        """Take the newest state of a call. Never blocks, never raises."""
        call_id = call.call_id
        self._latest[call_id] = self._writer.put(self._calls, call_id, call, self._pack)
        if call.state is ENDED:
            if self.on_ended is not None:
                self.on_ended(call)
            if len(self._latest) > self._purge_at:
                self._purge()
        elif self.on_answered is not None and call.state is ANSWERED:
            self.on_answered(call)

    def merge(self, call: CallSnapshot) -> None:
        """A call that has become a part of another leaves no record and no activity of its own."""
        call_id = call.call_id
        self._notes.pop(call_id, None)
        self._latest[call_id] = self._writer.put(self._merged, call_id, (call_id,))
        if self.on_ended is not None:
            self.on_ended(call)

    def when_durable(self, call_id: str, then: Callable[[], None]) -> bool:
        """True when all that was written of this call survives kill -9; otherwise `then` is called once it does.

        While the database is gone that means the spill file: a call never waits for a database.
        """
        number = self._latest.get(call_id)
        return number is None or self._writer.when_settled(number, then)

    def annotate(self, call_id: str, contact_id: str) -> None:
        """Say whose call it is, when that is found out late. What an agent settled in his summary stays."""
        notes = self._notes
        notes[call_id] = contact_id
        if len(notes) > MAX_NOTES:
            del notes[next(iter(notes))]
        self._latest[call_id] = self._writer.put(self._contacts, call_id, (call_id, contact_id))

    async def flush(self, within: float | None = None) -> bool:
        """Wait until all that was written so far is durable. False when that took more than `within` seconds."""
        return await self._writer.flush(within)

    async def history(self, *, party: str | None = None, limit: int = 50, offset: int = 0) -> list[CallSnapshot]:
        """Call records, newest first; `party` keeps those with a leg of this extension (or `trunk:NAME`)."""
        await self._store.settle()
        query = select(CallRow).order_by(col(CallRow.id).desc())
        query = query.limit(limit).offset(offset)
        if party is not None:
            query = query.where(col(CallRow.parties).contains(f" {clean(party)} ", autoescape=True))
        return await self._store.ask(lambda session: [call_snapshot(row) for row in session.exec(query)])

    async def find(self, call_id: str) -> CallSnapshot | None:
        """The record of one call."""
        await self._store.settle()

        def query(session: Session) -> CallSnapshot | None:
            row = session.exec(select(CallRow).where(col(CallRow.call_id) == clean(call_id))).one_or_none()
            return None if row is None else call_snapshot(row)

        return await self._store.ask(query)

    async def close_interrupted(self) -> int:
        """At start: end the calls that a crash left open, as `interrupted`. Returns how many.

        They keep their answer time. When they ended nobody knows: the last moment that the journal knows of is taken,
        so that nobody pays for the time the exchange was down.
        """
        crms, first_party = self._store.crms, self.first_party
        return await self._store.change(lambda session: _close_interrupted(session, crms, first_party))

    def _pack(self, call: CallSnapshot) -> Packed:
        """On the writer's thread, which looks up notes and contacts without a lock: each is one look into a table."""
        number = number_of(call, self._country)
        contact_id = self._notes.get(call.call_id) or call.contact_id
        if contact_id is None and number[:1] == "+":
            found = self._index.find(number)
            contact_id = found[0].id if len(found) == 1 else None
        agent = agent_of(call)
        return pack_call(call, number, contact_id, agent, first_party=agent in self.first_party)

    def _purge(self) -> None:
        settled = self._writer.settled
        self._latest = {call_id: number for call_id, number in self._latest.items() if not settled(number)}
        self._purge_at = max(PURGE, 2 * len(self._latest))


def _close_interrupted(session: Session, crms: tuple[str, ...], first_party: frozenset[str]) -> int:
    left_open = session.exec(select(CallRow).where(sa.text("state <> 'ended'"))).all()
    if not left_open:
        return 0
    times = [sa.func.max(getattr(CallRow, name)) for name in ("arrived_at", "ringing_at", "answered_at", "ended_at")]
    known = [time for time in session.connection().execute(sa.select(*times)).one() if time is not None]
    for row in left_open:
        row.state = CallState.ENDED.value
        row.disposition = Disposition.INTERRUPTED.value
        row.hung_up_by = "exchange"
        row.ended_at = max(known)
        row.legs = [_ended(leg, row.ended_at) for leg in row.legs]
        session.add(row)
        change = sa.update(ActivityRow).where(col(ActivityRow.call_id) == row.call_id)
        session.connection().execute(change.values(disposition=row.disposition, ended_at=row.ended_at))
    outside = [row for row in left_open if row.direction != "internal"]
    own = {row.call_id for row in outside if agent_of(call_snapshot(row)) in first_party}
    outbox_rows.put(session, crms, [(row.call_id, row.arrived_at) for row in outside if row.call_id not in own])
    for call_id in own:
        outbox_rows.touch(session, call_id)
    return len(left_open)


def _ended(leg: dict[str, object], at: float) -> dict[str, object]:
    return leg if leg["ended_at"] is not None else {**leg, "state": "ended", "ended_at": at}
