"""The writer: rows are queued from the event loop without a lock, grouped on a tick, the latest of a key wins; a group
is durable once it is in the backlog file, and goes on to the database from there (`applier`).

So neither the event loop nor a call ever waits for a database. It knows plans and rows, not calls.
"""

from __future__ import annotations

import asyncio
import marshal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from pbxcore.store.applier import Applier, Item
from pbxcore.store.backlog import Backlog
from pbxcore.store.rows import Group, Packed, Plan
from pbxcore.store.sql import StoreUnavailable

TICK = 0.02        # seconds that rows gather when nobody waits for them
HURRY = 0.006      # seconds between two groups when somebody waits
T = TypeVar("T")
Pack = Callable[[Any], Packed]

log = structlog.get_logger("hookline.store")


class Writer:
    """`put`, `settled` and `when_settled` belong to the event loop's thread. Without a backlog rows go to the database
    directly, and are durable when they are there."""

    def __init__(
        self, applier: Applier, backlog: Backlog | None, *, tick: float = TICK, hurry: float = HURRY
    ) -> None:
        self._applier = applier
        self._backlog = backlog
        self._tick = tick
        self._hurry = hurry
        self._queue: deque[tuple[Plan | None, Any, Any, Any]] = deque()
        self._put = 0                      # values queued so far, written by the loop
        self._done = 0                     # values durable so far, written by the thread
        self._number = 1                   # of the next group
        self._waiters: deque[tuple[int, Callable[[], None]]] = deque()
        self._bell = threading.Lock()      # held while the thread may sleep; released to wake it
        self._bell.acquire()
        self._ticking = False              # the loop rings at the end of the tick
        self._last = 0.0                   # when the last group was done
        self._rushed = False               # a hurried group is on its way
        self._refusing = False             # the backlog does not take anything just now
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def number_from(self, number: int) -> None:
        """Before the start: the number of the first group, higher than those in the backlog."""
        self._number = number

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="hookline-writer", daemon=True)
        self._thread.start()
        if self._queue:
            self._ring()

    # -- the event loop's side

    def put(self, plan: Plan, key: object, value: object, pack: Pack = tuple) -> int:
        """Queue a value; a later one of the same plan and key replaces it. Returns its number for `settled`.

        `pack` makes plain values of it, on the writer's thread: it may not touch what the loop changes in place.
        """
        self._queue.append((plan, key, value, pack))
        self._put += 1
        if not self._ticking and self._loop is not None:
            self._ticking = True
            self._loop.call_later(self._tick, self._end_of_tick)
        return self._put

    def settled(self, number: int) -> bool:
        """Whether what was given that number is durable."""
        return number <= self._done

    def when_settled(self, number: int, then: Callable[[], None]) -> bool:
        """True when it is durable already; otherwise `then` is called on the loop once it is."""
        if number <= self._done:
            return True
        waiter = (number, then)
        self._waiters.append(waiter)
        if number <= self._done:  # it became so between the two lines, and the thread may not have seen the waiter
            self._waiters.remove(waiter)
            return True
        self._rush()
        return False

    async def flush(self, within: float | None = None) -> bool:
        """Wait until all that was queued so far is durable. False when that took longer than `within` seconds."""
        done = asyncio.Event()
        if self.when_settled(self._put, done.set):
            return True
        try:
            await asyncio.wait_for(done.wait(), within)
        except TimeoutError:
            return False
        return True

    async def submit(self, job: Callable[[Any], T], then: Callable[[T], None] | None = None) -> T:
        """Run a transaction after all that was queued before has reached the database. See `Store.change`."""
        if self._thread is None or self._stopping:
            raise StoreUnavailable("the store is not open: it is being shut down, or was not started")
        waiter: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def finish(result: Any, error: BaseException | None) -> None:
            if error is None and then is not None:
                then(result)
            if waiter.done():
                return
            if error is None:
                waiter.set_result(result)
            else:
                waiter.set_exception(error)

        self._queue.append((None, finish, job, None))
        self._put += 1
        self._ring()
        return await waiter

    async def close(self, within: float = 5.0) -> bool:
        """Make durable what is queued and end the thread. False when `within` seconds were not enough."""
        thread = self._thread
        if thread is None:
            return True
        self._stopping = True
        self._ring()
        await asyncio.to_thread(thread.join, within)
        if thread.is_alive():
            log.error("rows lost", rows=self._put - self._done, hint="neither database nor backlog file took them")
            return False
        self._thread = None
        return True

    def _ring(self) -> None:
        if self._bell.locked():  # only the loop's thread releases it, so it stays locked until we do
            self._bell.release()

    def _end_of_tick(self) -> None:
        self._ticking = False
        if self._queue and not self._rushed:    # else that group takes them along
            self._ring()

    def _rush(self) -> None:
        """Ask for a group soon, but no sooner than `hurry` after the last one, so that waiters share it."""
        if self._rushed or self._loop is None:
            return
        self._rushed = True
        wait = self._last + self._hurry - time.monotonic()
        if wait <= 0:
            self._rush_now()
        else:
            self._loop.call_later(wait, self._rush_now)

    def _rush_now(self) -> None:
        self._rushed = False
        self._ring()

    def _notify(self) -> None:
        waiters = self._waiters
        for _ in range(len(waiters)):
            number, then = waiters.popleft()
            if number <= self._done:
                then()
            else:
                waiters.append((number, then))
        if waiters:
            self._rush()

    # -- the thread's side

    def _run(self) -> None:
        while not (self._stopping and not self._queue):
            if not self._stopping:
                self._bell.acquire()
            try:
                self._turn()
            except Exception:  # a defect of ours must not end the thread: then nothing would ever be durable again
                log.exception("writer failed")
                self._done = self._put - len(self._queue)

    def _turn(self) -> None:
        """All that is queued now, in order: values become one group, jobs are passed on."""
        left = len(self._queue)
        while left:
            values: dict[Plan, dict[Any, tuple[Any, Pack]]] = {}
            count = 0
            job: Item | None = None
            while left and job is None:
                plan, key, value, pack = self._queue.popleft()
                left -= 1
                count += 1
                if plan is None:
                    job = Item(finish=key, job=value, tell=self._tell)
                else:
                    values.setdefault(plan, {})[key] = (value, pack)
            if values:
                self._keep(packed(values))
            if job is not None:
                self._applier.give(job)
            self._done += count
            self._last = time.monotonic()
            if self._waiters:
                self._tell(self._notify)

    def _keep(self, group: Group) -> None:
        """Make a group durable. Where the backlog cannot take it, it is when the database has it."""
        number = self._number
        self._number += 1
        applier = self._applier
        try:
            logged = self._append(number, group)
        except ValueError:
            group = without_strangers(group)
            logged = self._append(number, group)
        if logged:
            applier.give(Item(number, group))
            return
        applier.give(Item(number, group, logged=False))
        tries = 0
        while applier.applied < number:
            time.sleep(0.01)
            tries += 1
            if tries % 100 == 0 and self._append(number, group):
                return

    def _append(self, number: int, group: Group) -> bool:
        """False when the backlog does not take it. Raises ValueError for values that `marshal` does not know."""
        if self._backlog is None:
            return False
        try:
            self._backlog.append(number, group, self._applier.applied)
        except OSError as error:
            if not self._refusing:
                log.error("backlog not written", error=str(error), hint="make room on the disk of the data directory")
            self._refusing = True
            return False
        self._refusing = False
        return True

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(callback, *arguments)


def packed(values: dict[Plan, dict[Any, tuple[Any, Pack]]]) -> Group:
    """What the backlog takes. A value that cannot be packed is said in the log and left out: it must not stop the
    others."""
    group: Group = {}
    for plan, of_plan in values.items():
        into = group[plan.name] = []
        for key, (value, pack) in of_plan.items():
            try:
                into.append(pack(value))
            except Exception as error:  # a defect of one value; see above
                log.error("value not packed", plan=plan.name, key=str(key), value=repr(value), error=repr(error))
    return group


def without_strangers(group: Group) -> Group:
    """The group without values that `marshal` does not take; they are said in the log."""
    kept: Group = {}
    for name, values in group.items():
        into = kept[name] = []
        for value in values:
            try:
                marshal.dumps(value)
            except ValueError:
                log.error("value not packed", plan=name, value=repr(value))
            else:
                into.append(value)
    return kept
