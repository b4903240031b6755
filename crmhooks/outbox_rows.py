"""The outbox's transactions, each given a session: what is due, what is taken, what became of it, what people see."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from pbxcore.control import CrmBacklog, NotFound, OutboxEntry
from pbxcore.store.models import ActivityRow, CallRow, ContactRow, MetaRow, OutboxRow
from pbxcore.store.statements import CHANGED

SINCE = "crm.since."      # and the connector's name: key in `meta`


@dataclass(frozen=True, slots=True)
class Told:
    """A call as its activity has it now. `contact_id` is the journal's, `name` whatever the other party is called;
    `own_number` is that of our side, as `connector.CrmActivity` has it."""

    call_id: str
    direction: str
    number: str
    name: str
    contact_id: str | None
    agent: str | None
    started_at: float
    answered_at: float | None
    ended_at: float | None
    disposition: str
    summary: str
    own_number: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """A row that was taken. `told` is None for a call that has no activity any more: it became a part of another.
    `attempts` is how often it was taken before without an end that is known."""

    id: int
    call_id: str
    version: int
    attempts: int
    failed_at: float | None
    record_id: str | None
    contact_id: str | None
    sent: str
    told: Told | None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a job. With `gone` the row goes too."""

    state: str
    record_id: str | None
    contact_id: str | None
    sent: str
    reason: str = ""
    due_at: float = 0.0
    attempts: int = 0
    failed_at: float | None = None
    gone: bool = False


def connect(session: Session, connectors: Iterable[str], now: float) -> None:
    """Keep since when each CRM is told of calls: earlier ones are not missing there."""
    for name in connectors:
        if session.get(MetaRow, SINCE + name) is None:
            session.add(MetaRow(key=SINCE + name, value=repr(now)))


def since(session: Session, connector: str) -> float | None:
    """Since when this CRM is told of calls; None when it never was."""
    row = session.get(MetaRow, SINCE + connector)
    return None if row is None else float(row.value)


def due(session: Session, connector: str, now: float, limit: int, busy: Collection[int]) -> list[int]:
    """Ids of rows to be taken now: whoever has waited longest first."""
    query = (
        select(OutboxRow.id)
        .where(col(OutboxRow.connector) == connector)
        .where(col(OutboxRow.state) == "waiting")
        .where(col(OutboxRow.due_at) <= now)
        .order_by(col(OutboxRow.due_at), col(OutboxRow.id))
        .limit(limit + len(busy))
    )
    return [found for found in session.exec(query) if found is not None and found not in busy][:limit]


def take(session: Session, ids: Sequence[int], now: float, lag: float) -> list[Job]:
    """Say that these are being told, so that after a crash they are looked for before they are made again; and that
    not before the CRM shows what it has."""
    query = (
        select(OutboxRow, ActivityRow, ContactRow.name, CallRow)
        .join(ActivityRow, col(ActivityRow.call_id) == col(OutboxRow.call_id), isouter=True)
        .join(ContactRow, col(ContactRow.id) == col(ActivityRow.contact_id), isouter=True)
        .join(CallRow, col(CallRow.call_id) == col(OutboxRow.call_id), isouter=True)
        .where(col(OutboxRow.id).in_(ids))
        .where(col(OutboxRow.state) == "waiting")
        .order_by(col(OutboxRow.id))
    )
    jobs = []
    for row, activity, contact_name, call in session.exec(query).all():
        jobs.append(_job(row, activity, contact_name, call))
        row.attempts += 1
        row.due_at = now + lag
        session.add(row)
    return jobs


def finish(session: Session, job: Job, result: Result) -> None:
    """Keep what became of a job. What changed meanwhile is told next."""
    row = session.get(OutboxRow, job.id)
    if row is None:
        return
    changed = row.version != job.version
    if result.gone and not changed:
        session.delete(row)
        return
    row.record_id, row.contact_id, row.sent = result.record_id, result.contact_id, result.sent
    row.attempts, row.failed_at = result.attempts, result.failed_at
    row.state, row.reason, row.due_at = result.state, result.reason, result.due_at
    if changed and result.state != "waiting":
        row.state, row.due_at = "waiting", 0.0
    session.add(row)


def put(session: Session, crms: Iterable[str], calls: Iterable[tuple[str, float]]) -> None:
    """Tell these CRMs of these calls (id, arrival), whatever they have been told already."""
    for crm in crms:
        for call_id, called_at in calls:
            touched = _touch(session, col(OutboxRow.call_id) == call_id, col(OutboxRow.connector) == crm)
            if not touched:
                session.add(OutboxRow(connector=crm, call_id=call_id, called_at=called_at))
    session.flush()


def touch(session: Session, call_id: str) -> None:
    """Something about this call changed: those who were told of it are told again."""
    _touch(session, col(OutboxRow.call_id) == call_id)


def _touch(session: Session, *where: Any) -> int:
    changes = {name: sa.text(value) for name, value in CHANGED.items()}
    return session.connection().execute(sa.update(OutboxRow).where(*where).values(changes)).rowcount


def forget_record(session: Session, connector: str, call_ids: Iterable[str]) -> None:
    """The CRM has no record of these calls, whatever was thought: make them."""
    for call_id in call_ids:
        change = sa.update(OutboxRow).where(col(OutboxRow.connector) == connector, col(OutboxRow.call_id) == call_id)
        session.connection().execute(change.values(record_id=None, sent="", attempts=1, reason="", failed_at=None))


def entries(
    session: Session, state: str | None, connector: str | None, limit: int, offset: int
) -> list[OutboxEntry]:
    """Newest first; without a state those that wait or are parked."""
    query = select(OutboxRow).order_by(col(OutboxRow.id).desc()).limit(limit).offset(offset)
    query = query.where(col(OutboxRow.state) == state if state is not None else col(OutboxRow.state) != "sent")
    if connector is not None:
        query = query.where(col(OutboxRow.connector) == connector)
    return [_entry(row) for row in session.exec(query)]


def retry(session: Session, entry_id: int) -> OutboxEntry:
    """Let it be told now. Raises NotFound."""
    row = session.get(OutboxRow, entry_id)
    if row is None:
        raise NotFound(f"no entry {entry_id} in the outbox")
    row.state, row.due_at, row.sent, row.failed_at = "waiting", 0.0, "", None
    row.version += 1
    session.add(row)
    session.flush()
    return _entry(row)


def retry_parked(session: Session, connector: str | None) -> int:
    """Let what is parked be told now; how many rows."""
    where = [col(OutboxRow.state) == "parked", *([col(OutboxRow.connector) == connector] if connector else [])]
    changes = {"state": "waiting", "due_at": 0.0, "sent": "", "failed_at": None, "version": col(OutboxRow.version) + 1}
    return session.connection().execute(sa.update(OutboxRow).where(*where).values(changes)).rowcount


def backlogs(session: Session) -> dict[str, CrmBacklog]:
    """What waits and is parked, by connector; those with nothing of either are left out."""
    waiting = sa.func.sum(sa.case((col(OutboxRow.state) == "waiting", 1), else_=0))
    query = (
        select(OutboxRow.connector, sa.func.count(), waiting, sa.func.min(OutboxRow.called_at))
        .where(col(OutboxRow.state) != "sent")
        .group_by(col(OutboxRow.connector))
    )
    return {
        connector: CrmBacklog(connector, int(waits), int(count - waits), oldest)
        for connector, count, waits, oldest in session.exec(query)
    }


def counts(session: Session) -> dict[tuple[str, str], int]:
    """How many rows there are by connector and state."""
    query = select(OutboxRow.connector, OutboxRow.state, sa.func.count()).group_by(
        col(OutboxRow.connector), col(OutboxRow.state)
    )
    return {(connector, state): count for connector, state, count in session.exec(query)}


def _job(row: OutboxRow, activity: ActivityRow | None, name: str | None, call: CallRow | None) -> Job:
    told = None
    if activity is not None:
        own = "" if call is None else call.caller if call.direction == "outbound" else call.called
        told = Told(
            activity.call_id, activity.direction, activity.number, name or (call and call.caller_name) or "",
            activity.contact_id, activity.agent, activity.started_at, activity.answered_at, activity.ended_at,
            activity.disposition, activity.summary if activity.state == "completed" else "", own,
        )  # fmt: skip
    assert row.id is not None
    return Job(
        row.id, row.call_id, row.version, row.attempts, row.failed_at, row.record_id, row.contact_id, row.sent, told
    )


def _entry(row: OutboxRow) -> OutboxEntry:
    assert row.id is not None
    return OutboxEntry(
        row.id, row.connector, row.call_id, row.called_at, row.state, row.attempts, row.due_at or None, row.reason,
        row.record_id,
    )  # fmt: skip
