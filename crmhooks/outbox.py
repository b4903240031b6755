"""The outbox: carries what changed about calls to the CRMs, until each of them has it.

Rows are written with the calls themselves (`store.rows`), one for each call and CRM, so nothing is told twice at a
time and in any other order than it happened. Each CRM has a courier of its own: one that is down delays no other.

What fails is tried again by what kind of failure it is. A CRM that is not reachable rests as a whole, and is then
asked one thing at a time until it answers; one that throttles rests for as long as it says; a record that it cannot
take just now waits by itself, up to an hour at a time, and is parked after a week; one that it refuses is parked at
once, with the reason, for somebody to look at.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from crmhooks import outbox_rows as rows
from crmhooks.connector import CrmConnector, Refused, TryAgain, Unreachable, raised
from crmhooks.delivery import Delivery, Later, OnUnknown, Progress
from crmhooks.outbox_rows import Job, Result
from pbxcore.control import CrmBacklog, OutboxEntry
from pbxcore.store import Store, StoreUnavailable

PERIOD = 1.0              # seconds between two looks for something to do
FIRST_REST = 1.0          # seconds, doubled each time
LONGEST_REST = 300.0      # of a CRM
FIRST_WAIT = 2.0
LONGEST_WAIT = 3600.0     # of a row
PATIENCE = 7 * 86_400.0   # seconds after which a row that never went is parked
STORE_SECONDS = 1.0       # between two tries to reach the database

log = structlog.get_logger("hookline.outbox")


@dataclass(frozen=True, slots=True)
class Clocks:
    """`wall` is Unix time, `monotonic` seconds; `chance` gives numbers from 0 to 1."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class Counters:
    """What a courier has done since the start."""

    delivered: int = 0
    again: int = 0
    parked: int = 0
    unreachable: int = 0
    faults: int = field(default=0)     # of the connector's own making: any is a bug


class Courier:
    """Carries to one CRM. `reason` says why it rests, empty while all is well."""

    def __init__(
        self,
        store: Store,
        connector: CrmConnector,
        country: str,
        on_unknown: OnUnknown,
        clocks: Clocks,
        wrap_up: float = 0.0,
    ) -> None:
        self.name = connector.name
        self.counters = Counters()
        self.reason = ""
        self._store = store
        self._crm = connector
        self._clocks = clocks
        self._delivery = Delivery(connector, country, on_unknown, clocks.monotonic, clocks.wall, wrap_up)
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._resting_until = 0.0
        self._rest = 0.0

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                await self._turn()
        finally:
            for task in self._busy.values():
                task.cancel()
            await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def empty(self) -> bool:
        """Carry what is due now, for a command that ends afterwards; False when something is left that may go later."""
        while await self._look():
            await asyncio.wait(self._busy.values())
        waiting = await self._store.ask(lambda session: rows.entries(session, "waiting", self.name, 1, 0))
        return not waiting

    async def _turn(self) -> None:
        wait = self._resting_until - self._clocks.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        elif not await self._look():
            await asyncio.sleep(PERIOD)
        elif len(self._busy) >= self._room():
            await asyncio.wait(self._busy.values(), return_when=asyncio.FIRST_COMPLETED)

    def _room(self) -> int:
        return 1 if self.reason else self._crm.parallel

    async def _look(self) -> bool:
        """Start on what is due. False when nothing is."""
        wall, room = self._clocks.wall(), self._room() - len(self._busy)
        if room <= 0:
            return True
        if self._resting_until > self._clocks.monotonic():
            return False
        try:
            busy = frozenset(self._busy)
            ids = await self._store.ask(lambda session: rows.due(session, self.name, wall, room, busy))
            if not ids:
                return False
            jobs = await self._store.change(lambda session: rows.take(session, ids, wall, self._crm.lag))
        except StoreUnavailable:
            return False
        for job in jobs:
            self._busy[job.id] = asyncio.create_task(self._carry(job))
        return bool(jobs)

    async def _carry(self, job: Job) -> None:
        progress = Progress(job.record_id, job.contact_id)
        try:
            result = await self._outcome(job, progress)
            while True:
                try:
                    return await self._store.change(lambda session: rows.finish(session, job, result))
                except StoreUnavailable:
                    await asyncio.sleep(STORE_SECONDS)
        finally:
            self._busy.pop(job.id, None)

    async def _outcome(self, job: Job, progress: Progress) -> Result:
        try:
            sent = await self._delivery.deliver(job, progress)
        except Later as later:
            contact, tried = progress.contact_id, job.attempts
            return Result("waiting", progress.record_id, contact, job.sent, "", later.at, tried, job.failed_at)
        except Unreachable as error:
            self.counters.unreachable += 1
            self._rests(str(error))
            return self._waiting(job, progress, str(error), self._clocks.wall())
        except TryAgain as error:
            self.counters.again += 1
            return self._again(job, progress, str(error), error.after)
        except Refused as error:
            self._well()
            self.counters.parked += 1
            log.warning("refused by the CRM", connector=self.name, call=job.call_id, reason=str(error))
            return self._parked(job, progress, str(error))
        except Exception as error:   # a defect of one connector must not stop the others
            self.counters.faults += 1
            log.exception("connector failed", connector=self.name, call=job.call_id)
            return self._again(job, progress, f"the connector {raised(error)}", None)
        self._well()
        self.counters.delivered += 1
        return Result("sent", progress.record_id, progress.contact_id, sent, gone=job.told is None)

    def _again(self, job: Job, progress: Progress, reason: str, after: float | None) -> Result:
        now = self._clocks.wall()
        if after is not None:   # it speaks of us, not of this record
            self.reason = reason
            self._resting_until = max(self._resting_until, self._clocks.monotonic() + after)
            return self._waiting(job, progress, reason, now + after)
        if job.failed_at is not None and now - job.failed_at > PATIENCE:
            self.counters.parked += 1
            return self._parked(job, progress, f"given up after {(now - job.failed_at) / 86_400:.0f} days: {reason}")
        wait = min(FIRST_WAIT * 2.0 ** min(job.attempts, 20), LONGEST_WAIT) * (0.5 + self._clocks.chance() / 2)
        return self._waiting(job, progress, reason, now + wait)

    def _parked(self, job: Job, progress: Progress, reason: str) -> Result:
        attempts = job.attempts + 1
        return Result("parked", progress.record_id, progress.contact_id, job.sent, reason, attempts=attempts)

    def _waiting(self, job: Job, progress: Progress, reason: str, due_at: float) -> Result:
        due_at = max(due_at, self._clocks.wall() + self._crm.lag)
        began = job.failed_at if job.failed_at is not None else self._clocks.wall()
        return Result(
            "waiting", progress.record_id, progress.contact_id, job.sent, reason, due_at, job.attempts + 1, began
        )

    def _rests(self, reason: str) -> None:
        now = self._clocks.monotonic()
        if now < self._resting_until:
            return   # several were on their way: it is one failure
        if not self.reason:
            log.warning("CRM not reachable", connector=self.name, reason=reason, hint="what it is to know is kept")
        self.reason = reason
        self._rest = min(max(self._rest * 2, FIRST_REST), LONGEST_REST)
        self._resting_until = now + self._rest * (0.5 + self._clocks.chance() / 2)

    def _well(self) -> None:
        if self.reason:
            log.info("CRM answers again", connector=self.name)
        self.reason, self._rest = "", 0.0


class Outbox:
    """All CRMs of the settings. Implements `control.CrmOutbox`; `start` and `stop` on the event loop."""

    def __init__(
        self,
        store: Store,
        connectors: Sequence[CrmConnector],
        *,
        country: str = "",
        on_unknown: OnUnknown = "create",
        clocks: Clocks | None = None,
        wrap_up: float = 0.0,
    ) -> None:
        """`wrap_up` is for how many seconds after a call CRMs that are told but once wait for its summary."""
        self._store = store
        self._connectors = connectors
        clocks = clocks or Clocks()
        self._wall = clocks.wall
        self.couriers = [Courier(store, one, country, on_unknown, clocks, wrap_up) for one in connectors]
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Raises StoreUnavailable."""
        names, now = [courier.name for courier in self.couriers], self._wall()
        if names:
            await self._store.change(lambda session: rows.connect(session, names, now))
        self._tasks = [asyncio.create_task(courier.run()) for courier in self.couriers]

    async def stop(self) -> None:
        """What is on its way is given up; the next start asks what became of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connector in self._connectors:
            await connector.close()

    async def entries(
        self, *, state: str | None = None, connector: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[OutboxEntry]:
        """Newest first; without a state those that wait or are parked."""
        await self._store.settle()
        return await self._store.ask(lambda session: rows.entries(session, state, connector, limit, offset))

    async def retry(self, entry_id: int) -> OutboxEntry:
        """Let an entry be told now. Raises NotFound, StoreUnavailable."""
        return await self._store.change(lambda session: rows.retry(session, entry_id))

    async def retry_parked(self, connector: str | None = None) -> int:
        """Let all that is parked be told now, or what is parked for one CRM; how many. Raises StoreUnavailable."""
        return await self._store.change(lambda session: rows.retry_parked(session, connector))

    async def backlogs(self) -> list[CrmBacklog]:
        """How each CRM of the settings stands, in file order. Raises StoreUnavailable."""
        await self._store.settle()
        found = await self._store.ask(rows.backlogs)
        return [
            replace(found.get(courier.name, CrmBacklog(courier.name)), resting=courier.reason)
            for courier in self.couriers
        ]
