"""Calls that are planned: offered to the agent's phone when they are due, moved and reported when nobody takes them.

A due call is ordered as by a program: the agent's phone rings, and when he has answered, the client's. While he talks
or has no phone it waits. What was not taken within ten minutes, or was not answered, was missed: it moves on by an
hour, and after the third time it stays as missed until somebody moves or closes it. Rows are read every few seconds;
nothing of it is on the way of a call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import sqlalchemy as sa
import structlog
from sqlmodel import Session, col, select

from crmhooks.embedded.index import ContactIndex
from crmhooks.numbers import normalise
from crmhooks.text import one_line, paragraphs
from pbxcore.control import Invalid, NotFound, ScheduledCall, ScheduleState
from pbxcore.faults import ENGLISH
from pbxcore.hooks import CallSnapshot
from pbxcore.store import Store, StoreUnavailable
from pbxcore.store.models import CalendarRow, ContactRow, ScheduledCallRow

LOOK_SECONDS = 5.0
GRACE_SECONDS = 600.0      # a due call waits so long for an agent who talks, or has no phone
MOVED_SECONDS = 3600.0
MOST_MISSED = 3
AT_ONCE = 20               # given up at one look
MAX_NOTE = 2000
LATEST = 32_503_680_000.0  # the year 3000
OPEN: tuple[ScheduleState, ...] = ("planned", "offered", "missed")
EXCHANGE = "exchange"      # its leg is in the record once the agent has answered

log = structlog.get_logger("hookline.crm")


class Schedule:
    """`order(agent, number)` orders a call and returns its identifier, or raises Invalid; `busy` says who talks. Both
    are the exchange's: without them calls are planned and none is offered."""

    def __init__(
        self, store: Store, index: ContactIndex, country: str, clock: Callable[[], float], token: Callable[[], str]
    ) -> None:
        self._store, self._index, self._country, self._clock, self._token = store, index, country, clock, token
        self._order: Callable[[str, str], str] | None = None
        self._busy: Callable[[str], bool] = lambda agent: False
        self._offered: dict[str, str] = {}                # call id -> id of the planned one
        self._ended: deque[tuple[str, CallSnapshot]] = deque()
        self._at_once: dict[str, CallSnapshot] | None = None   # what ends while a call is being ordered
        self._task: asyncio.Task[None] | None = None

    # -- what people and programs do

    async def list(
        self,
        *,
        agent: str | None = None,
        state: ScheduleState | None = None,
        open_only: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ScheduledCall]:
        """The next first."""
        query = _rows().order_by(col(ScheduledCallRow.due_at), col(ScheduledCallRow.id)).limit(limit).offset(offset)
        if agent is not None:
            query = query.where(col(ScheduledCallRow.agent) == agent)
        if state is not None:
            query = query.where(col(ScheduledCallRow.state) == state)
        if open_only:
            query = query.where(col(ScheduledCallRow.state).in_(OPEN))
        return await self._store.ask(lambda session: [_entry(row, name) for row, name in session.exec(query)])

    async def find(self, schedule_id: str) -> ScheduledCall:
        """Raises NotFound."""
        query = _rows().where(col(ScheduledCallRow.id) == schedule_id)
        found = await self._store.ask(lambda session: [_entry(row, name) for row, name in session.exec(query)])
        if not found:
            raise NotFound(f"no scheduled call {schedule_id}")
        return found[0]

    async def save(self, entry: ScheduledCall) -> ScheduledCall:
        """Plan (no id) or change; one that is changed is planned anew. Raises Invalid, NotFound."""
        checked = self._checked(entry)
        now, fresh = self._clock(), self._token()

        def job(session: Session) -> str:
            row = session.get(ScheduledCallRow, checked.id) if checked.id else None
            if row is None and checked.id:
                raise NotFound(f"no scheduled call {checked.id}")
            if checked.contact_id is not None and session.get(ContactRow, checked.contact_id) is None:
                raise Invalid("contact_id", "call.contact", contact_id=checked.contact_id)
            row = row or ScheduledCallRow(
                id=fresh, agent="", number="", due_at=0, first_due_at=checked.due_at, timezone="",
                author=checked.author, created_at=now, changed_at=now,
            )  # fmt: skip
            for name in ("agent", "number", "contact_id", "due_at", "timezone", "note"):
                setattr(row, name, getattr(checked, name))
            row.state, row.missed, row.reason, row.call_id, row.changed_at = "planned", 0, "", None, now
            session.add(row)
            return row.id

        return await self.find(await self._store.change(job))

    async def close_as(self, schedule_id: str, state: ScheduleState) -> ScheduledCall:
        """Done, or cancelled. Raises NotFound."""
        await self._change(schedule_id, lambda row: _set(row, state=state))
        return await self.find(schedule_id)

    async def calendar_token(self, agent: str, *, renew: bool = False) -> str:
        """The secret of this agent's feed, made when there is none; `renew` makes the old one worthless."""
        fresh = secrets.token_urlsafe(24)

        def job(session: Session) -> str:
            row = session.get(CalendarRow, agent) or CalendarRow(agent=agent, token="")
            if renew or not row.token:
                row.token = fresh
                session.add(row)
            return row.token

        return await self._store.change(job)

    async def calendar(self, token: str) -> bytes:
        """The feed (RFC 5545) of whoever has this secret. Raises NotFound."""
        query = select(CalendarRow.agent).where(col(CalendarRow.token) == token)
        agents = await self._store.ask(lambda session: list(session.exec(query)))
        if not agents:
            raise NotFound("there is no such calendar")
        calls = await self.list(agent=agents[0], open_only=True, limit=1000)
        return await asyncio.to_thread(_feed, calls, self._clock())     # zones are read from files, and slowly

    def _checked(self, entry: ScheduledCall) -> ScheduledCall:
        number = normalise(one_line(entry.number), self._country)
        if number is None:
            raise Invalid("number", "number.unread", said=entry.number)
        agent = one_line(entry.agent)
        if not agent or len(agent) > 32:
            raise Invalid("agent", "schedule.agent")
        if not 0 < entry.due_at <= LATEST:
            raise Invalid("due_at", "moment.missing")
        note = paragraphs(entry.note)
        if len(note) > MAX_NOTE:
            raise Invalid("note", "text.long", most=MAX_NOTE)
        try:
            ZoneInfo(entry.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Invalid("timezone", "schedule.timezone", said=entry.timezone) from None
        contact_id = entry.contact_id
        if contact_id is None:
            found = self._index.find(number.e164)
            contact_id = found[0].id if len(found) == 1 else None
        return replace(entry, agent=agent, number=number.e164, note=note, contact_id=contact_id)

    # -- when they are due

    def attach(self, order: Callable[[str, str], str], busy: Callable[[str], bool]) -> None:
        """The exchange is there: from now on due calls are offered."""
        self._order, self._busy = order, busy
        self._task = asyncio.get_running_loop().create_task(self._watch(), name="schedule")

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except StoreUnavailable:
                pass
            except Exception as error:  # the next look tries again
                log.error("planned calls were not offered", exc_info=error)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Note what became of those that were offered, and offer what is due."""
        while self._ended:
            schedule_id, call = self._ended[0]
            await self._change(schedule_id, partial(self._ended_as, call), missing=True)
            self._ended.popleft()
        if self._order is None:
            return
        await self._take_back()
        now = self._clock()
        for row in await self._store.ask(lambda session: list(session.exec(_overdue(now).limit(AT_ONCE)))):
            why = "schedule.busy" if self._busy(row.agent) else "schedule.nobody"
            await self._change(row.id, partial(self._missed, row.due_at, row.reason or why), missing=True)
        for row in await self._store.ask(lambda session: list(session.exec(_next_of_each(now)))):
            if not self._busy(row.agent):
                await self._offer(row.id, now)

    async def _offer(self, schedule_id: str, now: float) -> None:
        assert self._order is not None
        # Marked first: a crash between the two offers it again, and not never.
        marked = await self._change(schedule_id, partial(_mark, now), missing=True)
        if marked is None:      # changed or cancelled just now
            return
        self._at_once = {}
        try:
            call_id = self._order(*marked)
        except Invalid as error:
            why = error.code
            await self._change(schedule_id, lambda row: _if_offered(row, state="planned", reason=why), missing=True)
            return
        finally:
            over, self._at_once = self._at_once, None
        self._offered[call_id] = schedule_id
        if call_id in over:
            self.ended(over[call_id])
        await self._change(schedule_id, lambda row: _if_offered(row, call_id=call_id, reason=""), missing=True)

    def ended(self, call: CallSnapshot) -> None:
        """A call has ended; it may be one that was offered. On the event loop."""
        if self._at_once is not None:
            self._at_once[call.call_id] = call
        schedule_id = self._offered.pop(call.call_id, None) if self._offered else None
        if schedule_id is not None:
            self._ended.append((schedule_id, call))

    def _ended_as(self, call: CallSnapshot, row: ScheduledCallRow) -> None:
        if row.state != "offered":
            return
        if call.answered_at is not None or any(leg.party == EXCHANGE for leg in call.legs):
            _set(row, state="done", reason="" if call.answered_at is not None else call.disposition.value)
        else:
            self._missed(row.due_at, "schedule.not_taken", row)

    def _missed(self, due_at: float, why: str, row: ScheduledCallRow) -> None:
        """Reported with the code of its reason (`pbxcore.faults`), and moved; not for ever. One that is planned anew
        or closed meanwhile is not."""
        if row.due_at != due_at or row.state not in ("planned", "offered"):
            return
        row.missed += 1
        moves = row.missed < MOST_MISSED
        due = max(self._clock(), row.due_at) + MOVED_SECONDS if moves else row.due_at
        _set(row, state="planned" if moves else "missed", reason=why, due_at=due, call_id=None)
        log.warning("a planned call was missed", agent=row.agent, reason=why, moved=moves)

    async def _take_back(self) -> None:
        """What is said to be offered, and is by no call that we know of, is planned again: the process had ended, or
        the database, between the two."""
        known = {*self._offered.values(), *(schedule_id for schedule_id, _ in self._ended)}
        query = select(ScheduledCallRow.id).where(col(ScheduledCallRow.state) == "offered")
        for schedule_id in await self._store.ask(lambda session: list(session.exec(query))):
            if schedule_id not in known:
                await self._change(
                    schedule_id, lambda row: _if_offered(row, state="planned", call_id=None), missing=True
                )

    async def _change(
        self, schedule_id: str, work: Callable[[ScheduledCallRow], Any], *, missing: bool = False
    ) -> Any:
        """Change one row; what `work` returns. `missing`: it may be gone. Raises NotFound."""
        now = self._clock()

        def job(session: Session) -> Any:
            row = session.get(ScheduledCallRow, schedule_id)
            if row is None:
                raise NotFound(f"no scheduled call {schedule_id}")
            outcome = work(row)
            row.changed_at = now
            session.add(row)
            return outcome

        with suppress(*(NotFound,) if missing else ()):
            return await self._store.change(job)
        return None

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def _feed(calls: list[ScheduledCall], now: float) -> bytes:
    from crmhooks.embedded.calendars import feed  # icalendar is imported by who needs it

    return feed(calls, now)


def _set(row: ScheduledCallRow, **values: Any) -> ScheduledCallRow:
    for name, value in values.items():
        setattr(row, name, value)
    return row


def _mark(now: float, row: ScheduledCallRow) -> tuple[str, str] | None:
    """Offered from now on: whose phone, and which number. None when it is not to be any more."""
    if row.state != "planned" or row.due_at > now:
        return None
    row.state = "offered"
    return row.agent, row.number


def _if_offered(row: ScheduledCallRow, **values: Any) -> None:
    """Not when somebody has planned it anew or closed it meanwhile."""
    if row.state == "offered":
        _set(row, **values)


def _overdue(now: float) -> Any:
    """Those that have waited too long, the oldest first."""
    late = (col(ScheduledCallRow.state) == "planned", col(ScheduledCallRow.due_at) < now - GRACE_SECONDS)
    return select(ScheduledCallRow).where(*late).order_by(col(ScheduledCallRow.due_at))


def _next_of_each(now: float) -> Any:
    """The oldest due one of each agent: whoever has many, and no phone, keeps nobody else waiting."""
    due_at, agent = col(ScheduledCallRow.due_at), col(ScheduledCallRow.agent)
    turn = sa.func.row_number().over(partition_by=agent, order_by=(due_at, col(ScheduledCallRow.id))).label("turn")
    due = select(ScheduledCallRow.id, turn).where(
        col(ScheduledCallRow.state) == "planned", due_at <= now, due_at >= now - GRACE_SECONDS
    ).subquery()
    first = select(ScheduledCallRow).join(due, due.c.id == col(ScheduledCallRow.id)).where(due.c.turn == 1)
    return first.order_by(due_at)


def _rows() -> Any:
    return select(ScheduledCallRow, ContactRow.name).join(
        ContactRow, col(ContactRow.id) == col(ScheduledCallRow.contact_id), isouter=True
    )


def _entry(row: ScheduledCallRow, name: str | None) -> ScheduledCall:
    code = row.reason if row.reason in ENGLISH else ""
    reason = ENGLISH[code].format(extension=row.agent) if code else row.reason
    return ScheduledCall(
        row.id, row.agent, row.number, row.due_at, row.timezone, row.note, row.contact_id, name or "",
        cast(ScheduleState, row.state), row.missed, reason, row.call_id, row.first_due_at, row.author, code,
    )  # fmt: skip
