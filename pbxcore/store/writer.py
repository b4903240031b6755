"""The writer: the one thread that changes the database. Rows are queued from the event loop without a lock,
grouped on a tick, the latest of a key wins, and a group is one transaction.

While the database is gone rows go to the spill file and are replayed in order when it is back; calls never wait for
a database. It knows statements and rows, not calls.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from pbxcore.store.statements import Row, Statement

TICK = 0.015       # seconds that rows gather when nobody waits for them
HURRY = 0.003      # seconds between two commits when somebody waits
T = TypeVar("T")

log = structlog.get_logger("hookline.store")


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How values of one kind become rows. `encode` runs on the writer's thread, once a commit and key; it gives one
    row a statement, None where that statement has nothing to do."""

    statements: tuple[Statement, ...]
    encode: Callable[[Any], Sequence[Row | None]]


Rows = dict[Statement, list[Row]]


class Sink(Protocol):
    """Where groups of rows go (`outlet.Outlet`). Used on the writer's thread alone."""

    def write(self, rows: Rows) -> None:
        """Make rows durable. Raises OSError when that cannot be done anywhere now."""
        ...

    def job(self, job: Callable[[Any], T]) -> T:
        """Run a transaction."""
        ...

    def retry_in(self) -> float | None:
        """Seconds until the database should be tried again; None when all is well."""
        ...

    def recover(self) -> None:
        """Try the database again, if it is time; quiet when it is still gone."""
        ...

    def close(self) -> None: ...


class Writer:
    """Made on the event loop's thread; `put`, `settled` and `when_settled` belong to that thread."""

    def __init__(self, sink: Sink, *, tick: float = TICK, hurry: float = HURRY) -> None:
        self._sink = sink
        self._tick = tick
        self._hurry = hurry
        self._queue: deque[tuple[Plan | None, Any, Any]] = deque()
        self._put = 0                      # rows queued so far, written by the loop
        self._done = 0                     # rows durable so far, written by the thread
        self._waiters: deque[tuple[int, Callable[[], None]]] = deque()
        self._bell = threading.Lock()      # held while the thread may sleep; released to wake it
        self._bell.acquire()
        self._idle = False                 # the thread sleeps until the bell rings
        self._busy_until = 0.0             # when the last commit ended
        self._rushed = False               # a hurried commit is on its way
        self._stopping = False
        self._failed: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="hookline-writer", daemon=True)
        self._thread.start()

    # -- the event loop's side

    def put(self, plan: Plan, key: object, value: object) -> int:
        """Queue a value; a later one of the same plan and key replaces it. Returns its number for `settled`."""
        self._queue.append((plan, key, value))
        self._put += 1
        if self._idle:
            self._ring()
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
        """Run a transaction on the writer's thread, after all that was queued before it. `job` gets a
        `sqlmodel.Session`, and is committed when it returns. Raises what it raised, or StoreUnavailable.

        `then` is called on the loop with the result once that is committed, even when the caller has been cancelled
        meanwhile: memory stays in step with the database.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[T] = loop.create_future()

        def finish(result: Any, error: BaseException | None) -> None:
            if error is None and then is not None:
                then(result)
            if waiter.done():
                return
            if error is None:
                waiter.set_result(result)
            else:
                waiter.set_exception(error)

        self._queue.append((None, finish, job))
        self._put += 1
        self._ring()
        return await waiter

    async def close(self, within: float = 5.0) -> bool:
        """Write what is queued and end the thread. False when `within` seconds were not enough."""
        thread = self._thread
        if thread is None:
            return True
        self._stopping = True
        self._ring()
        await asyncio.to_thread(thread.join, within)
        if thread.is_alive() or self._failed is not None:
            log.error("rows lost", rows=self._put - self._done, cause=str(self._failed or "out of time"))
            return False
        self._thread = None
        return True

    def _ring(self) -> None:
        if self._bell.locked():  # only this thread releases it, so it stays locked until we do
            self._bell.release()

    def _rush(self) -> None:
        """Ask for a commit soon, but no sooner than `hurry` after the last one, so that waiters share commits."""
        if self._rushed or self._loop is None:
            return
        self._rushed = True
        wait = self._busy_until + self._hurry - time.monotonic()
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
        try:
            while not (self._stopping and not self._queue):
                self._sleep()
                self._sink.recover()
                self._turn()
        except OSError as error:
            self._failed = error
        finally:
            self._sink.close()

    def _sleep(self) -> None:
        """Gather rows for one tick; with none, sleep until one comes (or the database should be tried again)."""
        if self._stopping:
            return
        self._bell.acquire(timeout=self._tick)
        if self._queue or self._stopping:
            return
        self._idle = True
        if not self._queue and not self._stopping:  # looked at again, now that `put` sees the flag
            wait = self._sink.retry_in()
            self._bell.acquire(timeout=-1 if wait is None else max(wait, self._tick))
        self._idle = False
        if self._queue and not self._waiters and not self._stopping and self._queue[-1][0] is not None:
            self._bell.acquire(timeout=self._tick)

    def _turn(self) -> None:
        """Everything queued now: rows in one transaction, jobs in theirs, in the order they came."""
        left = len(self._queue)
        while left:
            groups: dict[Plan, dict[Any, Any]] = {}
            count, job = 0, None
            while left and job is None:
                plan, key, value = self._queue.popleft()
                left -= 1
                count += 1
                if plan is None:
                    job = (key, value)
                else:
                    groups.setdefault(plan, {})[key] = value
            if groups:
                self._store(encode(groups))
            self._done += count if job is None else count - 1
            if job is not None:
                self._do(*job)
                self._done += 1
            self._busy_until = time.monotonic()
            if self._waiters:
                self._tell(self._notify)

    def _store(self, rows: Rows) -> None:
        """Until it is done: neither database nor spill file may be writable, and rows are never thrown away."""
        pause = 0.1
        while True:
            try:
                return self._sink.write(rows)
            except OSError as error:
                log.error("rows wait in memory", error=str(error), queued=len(self._queue))
                if self._stopping:
                    raise
                time.sleep(pause)
                pause = min(pause * 2, 5.0)

    def _do(self, finish: Callable[[Any, BaseException | None], None], job: Callable[[Any], Any]) -> None:
        result, error = None, None
        try:
            result = self._sink.job(job)
        except BaseException as raised:  # whatever it is belongs to the caller that waits
            error = raised
        self._tell(finish, result, error)

    def _tell(self, callback: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(callback, *arguments)


def encode(groups: dict[Plan, dict[Any, Any]]) -> Rows:
    """Values to rows. A value that cannot be encoded is said in the log and left out: it must not stop the others."""
    rows: Rows = {}
    for plan, values in groups.items():
        for key, value in values.items():
            try:
                encoded = plan.encode(value)
            except Exception as error:  # a defect of one value; see above
                log.error("row not encoded", key=str(key), value=repr(value), error=repr(error))
                continue
            for statement, row in zip(plan.statements, encoded, strict=True):
                if row is not None:
                    rows.setdefault(statement, []).append(row)
    return rows
