"""Comparing the journal with each CRM, the embedded one included: which calls have no record, which have several.

What is missing is told again through the outbox; of several records all but one are taken back. Records that carry the
mark of a call which this journal does not know are shown and left alone: another exchange may use the same CRM.

Of a CRM that shows no records (`connector.Ability`) all that can be known is what the outbox has told it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa
from sqlmodel import Session, col, select

from crmhooks import outbox_rows
from crmhooks.connector import CrmConnector, CrmError, CrmRecord
from crmhooks.records import agent_of, number_of
from pbxcore.store import Store
from pbxcore.store.models import ActivityRow, CallRow, OutboxRow
from pbxcore.store.rows import call_snapshot

EMBEDDED = "embedded"
AT_ONCE = 500          # calls a statement
MARGIN = 86_400.0      # seconds by which people may have moved a record


@dataclass(frozen=True, slots=True)
class Compared:
    """One CRM. `records` are those of `calls` calls; `missing` and `doubled` are ids of calls; `strays` are records of
    calls that are not in the journal. `waiting` and `parked` are rows of the outbox. `fault` says why the CRM could not
    be asked: then nothing is known of its records. Of one that shows no records (`comparable`) `told` are the calls
    that it took, `unwanted` those of which it wants to be told nothing, `missing` all others."""

    crm: str
    calls: int = 0
    records: int = 0
    missing: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    strays: int = 0
    waiting: int = 0
    parked: int = 0
    fault: str = ""
    comparable: bool = True
    told: int = 0
    unwanted: int = 0

    @property
    def good(self) -> bool:
        return not (self.fault or self.missing or self.doubled)


async def compare(
    store: Store,
    connectors: Sequence[CrmConnector],
    since: float | None,
    until: float,
    first_party: frozenset[str] = frozenset(),
) -> list[Compared]:
    """Calls that are over and began in this span of Unix time; without `since` all since each CRM was connected. Those
    of `first_party` extensions count for a connected CRM where it was told of them: the others are their workstation's.
    Raises StoreUnavailable."""
    return [await _embedded(store, since or 0.0, until)] + [
        await _connected(store, connector, since, until, first_party) for connector in connectors
    ]


async def mend(store: Store, connectors: Sequence[CrmConnector], found: Sequence[Compared]) -> None:
    """Mark what is missing to be told again, and take back what there is twice. Raises StoreUnavailable; what a CRM
    does not let go of stays."""
    by_name = {connector.name: connector for connector in connectors}
    for one in found:
        connector = by_name.get(one.crm)
        job = _write_activities if connector is None else partial(_tell_again, one.crm, one.comparable)
        for start in range(0, len(one.missing), AT_ONCE):
            await store.change(partial(job, one.missing[start : start + AT_ONCE]))
        if connector is not None and one.comparable:
            for call_id in one.doubled:
                await _keep_one(store, connector, call_id)


async def _embedded(store: Store, since: float, until: float) -> Compared:
    def query(session: Session) -> Compared:
        calls = _calls(session, since, until, internal=True)
        ids = select(ActivityRow.call_id).where(ActivityRow.started_at >= since, ActivityRow.started_at < until)
        return _compared(Compared(EMBEDDED), calls, [call_id for call_id in session.exec(ids) if call_id in calls])

    await store.settle()
    return await store.ask(query)


async def _connected(
    store: Store, connector: CrmConnector, since: float | None, until: float, first_party: frozenset[str]
) -> Compared:
    name = connector.name

    def query(session: Session) -> tuple[dict[str, float], Compared]:
        begin = since if since is not None else outbox_rows.since(session, name)
        calls = {} if begin is None else _calls(session, begin, until, internal=False)
        for call_id in _of_workstations(session, name, first_party) if calls and first_party else ():
            calls.pop(call_id, None)
        counts = outbox_rows.counts(session)
        waiting, parked = counts.get((name, "waiting"), 0), counts.get((name, "parked"), 0)
        return calls, Compared(name, len(calls), waiting=waiting, parked=parked)

    calls, known = await store.ask(query)
    if "list" not in connector.can:
        return await store.ask(lambda session: _only_told(session, known, calls))
    try:
        records = await _records(connector, calls)
    except CrmError as error:
        return replace(known, fault=str(error))
    marks = [record.external_id for record in records]
    others = {mark for mark in marks if mark not in calls}
    strays = await store.ask(lambda session: len(others - _in_journal(session, others)))
    return replace(_compared(known, calls, marks), strays=strays)


def _only_told(session: Session, known: Compared, calls: Mapping[str, float]) -> Compared:
    """By what became of the rows of the outbox."""
    rows = select(OutboxRow.call_id, OutboxRow.record_id)
    rows = rows.where(col(OutboxRow.connector) == known.crm, col(OutboxRow.state) == "sent")
    sent = {call_id: record for call_id, record in session.exec(rows) if call_id in calls}
    told = sum(bool(record) for record in sent.values())
    missing = tuple(call_id for call_id in calls if call_id not in sent)
    return replace(known, comparable=False, told=told, unwanted=len(sent) - told, missing=missing)


async def _records(connector: CrmConnector, calls: Mapping[str, float]) -> list[CrmRecord]:
    """Those of the span, and those of calls that seemed to have none: people may have moved them."""
    if not calls:
        return []
    listed = await connector.activities(min(calls.values()) - MARGIN, max(calls.values()) + MARGIN)
    records = {record.record_id: record for record in listed}
    for call_id in calls.keys() - {record.external_id for record in listed}:
        records.update((record.record_id, record) for record in await connector.find_activity(call_id))
    return list(records.values())


def _compared(known: Compared, calls: Mapping[str, float], marks: Iterable[str]) -> Compared:
    """`marks` are the ids of calls that records carry, one a record."""
    records = Counter(mark for mark in marks if mark in calls)
    return replace(
        known,
        calls=len(calls),
        records=records.total(),
        missing=tuple(call_id for call_id in calls if call_id not in records),
        doubled=tuple(call_id for call_id, count in records.items() if count > 1),
    )


def _in_journal(session: Session, call_ids: Iterable[str]) -> set[str]:
    """Those of them that are calls of ours."""
    ids, found = sorted(call_ids), set[str]()
    for start in range(0, len(ids), AT_ONCE):
        query = select(CallRow.call_id).where(col(CallRow.call_id).in_(ids[start : start + AT_ONCE]))
        found.update(session.exec(query))
    return found


def _calls(session: Session, since: float, until: float, *, internal: bool) -> dict[str, float]:
    """Ids of calls that are over, with their arrival."""
    query = (
        select(CallRow.call_id, CallRow.arrived_at)
        .where(col(CallRow.state) == "ended")
        .where(col(CallRow.arrived_at) >= since)
        .where(col(CallRow.arrived_at) < until)
        .order_by(col(CallRow.id))
    )
    if not internal:
        query = query.where(col(CallRow.direction) != "internal")
    return dict(session.exec(query).all())


def _of_workstations(session: Session, connector: str, first_party: frozenset[str]) -> Iterable[str]:
    """Ids of calls of these extensions that this CRM was never to be told of."""
    told = select(OutboxRow.id).where(
        col(OutboxRow.connector) == connector, col(OutboxRow.call_id) == col(ActivityRow.call_id)
    )
    query = select(ActivityRow.call_id).where(col(ActivityRow.agent).in_(first_party))
    return session.exec(query.where(~told.exists())).all()


def _tell_again(crm: str, comparable: bool, calls: Sequence[str], session: Session) -> None:
    query = select(CallRow.call_id, CallRow.arrived_at).where(col(CallRow.call_id).in_(calls))
    outbox_rows.put(session, (crm,), session.exec(query).all())
    if comparable:      # else nobody has seen that the record is not there
        outbox_rows.forget_record(session, crm, calls)


async def _keep_one(store: Store, connector: CrmConnector, call_id: str) -> None:
    """The completed record stays, or the one that the outbox knows, or the oldest."""
    row = sa.and_(col(OutboxRow.connector) == connector.name, col(OutboxRow.call_id) == call_id)
    known = await store.ask(lambda session: session.exec(select(OutboxRow.record_id).where(row)).one_or_none())
    try:
        found = await connector.find_activity(call_id)
        if len(found) < 2:
            return
        kept = max(found, key=lambda record: (record.completed, record.record_id == known, -found.index(record)))
        for record in found:
            if record.record_id != kept.record_id:
                await connector.remove_activity(record.record_id)
    except CrmError:
        return     # the next comparison shows it again

    def keep(session: Session) -> None:
        session.connection().execute(sa.update(OutboxRow).where(row).values(record_id=kept.record_id, sent=""))
        outbox_rows.touch(session, call_id)

    await store.change(keep)


def _write_activities(calls: Sequence[str], session: Session) -> None:
    for row in session.exec(select(CallRow).where(col(CallRow.call_id).in_(calls))).all():
        call = call_snapshot(row)
        session.add(
            ActivityRow(
                call_id=row.call_id,
                direction=row.direction,
                number=number_of(call, ""),
                contact_id=row.contact_id,
                agent=agent_of(call),
                started_at=row.arrived_at,
                answered_at=row.answered_at,
                ended_at=row.ended_at,
                disposition=row.disposition,
            )
        )
