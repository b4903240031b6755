"""The applier: brings groups of rows from the backlog into the database, many at a time, and runs transactions.

The one thread that changes the database. When the database is gone it says so once, tries again by itself, and reads
from the backlog what it could not keep in memory. Rows go through one driver connection, below SQLAlchemy, whose
layers would cost more than the commit.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Engine
from sqlmodel import Session

from pbxcore.store.backlog import Backlog
from pbxcore.store.rows import Group, Packed, Plan, merge
from pbxcore.store.sql import WRITES, StoreUnavailable, show
from pbxcore.store.statements import Row, Statement, run

PERIOD = 1.0           # seconds that groups gather: a transaction costs as much as a call or two
ENOUGH = 768           # values that gather no longer: calls wait while many are written at once; fewer cost more CPU
BUSY_MS = 1_000        # another program holds SQLite's lock
FIRST_RETRY = 0.25     # seconds
LAST_RETRY = 5.0
HELD = 10_000          # groups kept in memory while the database is gone; the rest is read from the backlog
REPLAY = 200           # groups a transaction
BREATH = 64            # values between two pauses
PATIENCE = 19          # niceness of the thread: calls go first, and yet it is never without its share of a core
T = TypeVar("T")
Run = tuple[Statement, list[Row]]

log = structlog.get_logger("hookline.store")


class Gone(Exception):
    """The database did not take rows for a reason that passes: lost, locked, full, shutting down."""


@dataclass(slots=True)
class Item:
    """A group of rows with its number, or a transaction: then `tell` calls `finish(result, error)` on the loop.

    `logged` groups are in the backlog.
    """

    number: int = 0
    group: Group | None = None
    logged: bool = True
    finish: Callable[[Any, BaseException | None], None] | None = None
    job: Callable[[Any], Any] | None = None
    tell: Callable[..., None] | None = None


class Applier:
    """`give` may be called from any thread; `applied` is the number of the last group in the database."""

    def __init__(
        self,
        engine: Engine,
        plans: Mapping[str, Plan],
        backlog: Backlog | None,
        refused: Path,
        *,
        period: float = PERIOD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{WRITES: True})
        self._driver: Any = engine.dialect.loaded_dbapi
        self._plans = plans
        self._backlog = backlog
        self._refused = refused
        self._period = period
        self._clock = clock
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else ""
        self._connection: Any = None
        self._mailbox: deque[Item] = deque()
        self._held: list[Item] = []        # groups that are not in the database yet, in order
        self._gap = False                  # some of them were let go of and must be read from the backlog
        self._bell = threading.Event()
        self._idle = False
        self._urgent = False               # somebody waits for what was given
        self._gathered = 0                 # values given since the last turn; the thread may miss a few
        self._stopping = False
        self._failed_at = 0.0
        self._pause = 0.0
        self._retry_at = 0.0
        self._thread: threading.Thread | None = None
        self.applied = 0
        self.down = False

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="hookline-applier", daemon=True)
        self._thread.start()

    def give(self, item: Item) -> None:
        self._mailbox.append(item)
        if item.group is None or not item.logged:
            self._urgent = True
        else:
            self._gathered += sum(map(len, item.group.values()))
        if self._idle or self._urgent or self._gathered >= ENOUGH:
            self._bell.set()

    def stop(self, within: float) -> bool:
        """Apply what is there and end the thread; blocks. False when something is left to the backlog."""
        self._stopping = True
        self._bell.set()
        if self._thread is not None:
            self._thread.join(within)
            if self._thread.is_alive():
                return False
        return not (self._held or self._mailbox or self._gap)

    def replay(self) -> int:
        """Bring what an earlier run left in the backlog into the database; returns the number of the last group.
        For the start. Raises StoreUnavailable."""
        try:
            self._catch_up()
        except Gone as error:
            raise StoreUnavailable(f"{show(self._engine.url)}: {error}") from error
        return self.applied

    # -- the thread

    def _run(self) -> None:
        _be_patient()
        while not self._stopping:
            self._sleep()
            self._turn()
        self._failed_at = 0.0
        self._turn()
        self._drop()

    def _sleep(self) -> None:
        """Let groups gather for a period, or until they are many; with none, sleep until one comes. A job ends it at
        once."""
        bell = self._bell
        if not self._held and not self._gap:
            self._idle = True
            if not self._mailbox and not self._stopping:
                bell.wait()
            self._idle = False
        bell.clear()
        if self._urgent or self._stopping or self._gathered >= ENOUGH:  # it may have been rung for before the clearing
            return
        bell.wait(max(self._retry_at - self._clock(), 0.0) if self.down else self._period)
        bell.clear()

    def _turn(self) -> None:
        self._urgent = False
        self._gathered = 0
        for _ in range(len(self._mailbox)):
            item = self._mailbox.popleft()
            if item.group is not None:
                self._held.append(item)
            else:
                self._apply(now=True)
                self._do(item)
        self._apply(now=self._stopping)

    def _apply(self, *, now: bool = False) -> None:
        """Everything that waits, unless the database is gone and it is not yet time to try again."""
        if self.down and self._clock() < (self._failed_at + FIRST_RETRY if now else self._retry_at):
            self._let_go()
            return
        if not (self._held or self._gap or self.down):
            return
        try:
            if self.down:
                self._attempt([])
            if self._gap:
                self._catch_up()
            held = [item for item in self._held if item.number > self.applied]
            self._write(item.group for item in held if item.group is not None)
        except Exception as error:  # Gone, or a defect of ours: rows are kept and calls go on either way
            self._went(error)
            self._let_go()
            return
        if held:
            self.applied = held[-1].number
        self._held.clear()
        self._gap = False
        if self.down:
            self.down = False
            log.info("database is back", database=show(self._engine.url))

    def _catch_up(self) -> None:
        """From the backlog, in order, in transactions of a bearable size."""
        if self._backlog is None:
            return
        source = self._backlog.read(self.applied)
        while chunk := list(islice(source, REPLAY)):
            self._write(group for _, group in chunk)
            self.applied = chunk[-1][0]

    def _let_go(self) -> None:
        """Too much waits for a database that is gone: keep what is nowhere else, the backlog has the rest."""
        if len(self._held) > HELD:
            self._held = [item for item in self._held if not item.logged]
            self._gap = True

    def _went(self, error: Exception) -> None:
        if not self.down:
            log.error(
                "database is gone",
                database=show(self._engine.url),
                error=str(error) or repr(error),
                hint="calls go on; their records wait in the backlog file and are written when it is back",
            )
            self._pause = 0.0
        self.down = True
        self._pause = min(max(self._pause * 2, FIRST_RETRY), LAST_RETRY)
        self._failed_at = self._clock()
        self._retry_at = self._failed_at + self._pause

    def _do(self, item: Item) -> None:
        if item.job is None or item.tell is None:
            return
        result, failed = None, None
        try:
            result = self._transaction(item.job)
        except BaseException as error:  # whatever it is belongs to the caller that waits
            failed = error
        item.tell(item.finish, result, failed)

    def _transaction(self, job: Callable[[Any], T]) -> T:
        where = show(self._engine.url)
        if self.down:
            raise StoreUnavailable(f"{where} cannot be reached now: try again in a moment")
        try:
            with Session(self._writing, expire_on_commit=False) as session, session.begin():
                return job(session)
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise StoreUnavailable(f"{where}: {error.orig}") from error

    # -- rows

    def _write(self, groups: Iterable[Group]) -> None:
        """One transaction, on a fresh connection when the old one is dead. Raises Gone."""
        runs = self._encode(merge(self._known(groups), self._plans))
        fresh = self._connection is None
        try:
            self._attempt(runs)
        except Gone:
            if fresh:
                raise
            self._attempt(runs)

    def _known(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Without values of plans that nobody has, which an older program may have left in the backlog."""
        known = self._plans.keys()
        for group in groups:
            if group.keys() <= known:
                yield group
                continue
            for name in group.keys() - known:
                self._put_aside(name, group[name])
            yield {name: values for name, values in group.items() if name in known}

    def _encode(self, values: list[tuple[Plan, list[Packed]]]) -> list[Run]:
        runs: dict[Statement, list[Row]] = {}
        count = 0
        for plan, packed in values:
            into = [runs.setdefault(statement, []) for statement in plan.statements]
            for value in packed:
                count += 1
                if count % BREATH == 0:
                    time.sleep(0.00005)  # let the event loop have the interpreter: this may be a long list
                try:
                    encoded = plan.encode(value)
                except Exception as error:  # a defect of one value must not stop the others
                    log.error("value not encoded", plan=plan.name, error=repr(error), kept=str(self._refused))
                    self._put_aside(plan.name, [value])
                    continue
                for rows, row in zip(into, encoded, strict=True):
                    if row is not None:
                        rows.append(row)
        return [(statement, rows) for statement, rows in runs.items() if rows]

    def _attempt(self, runs: list[Run]) -> None:
        driver = self._driver
        try:
            cursor = self._open()
            for statement, rows in runs:
                run(cursor, statement, rows)
            if not runs:
                cursor.execute("SELECT 1")
            self._connection.commit()
        except (driver.OperationalError, driver.InterfaceError, driver.InternalError, sa.exc.DBAPIError) as error:
            self._drop()
            raise Gone(str(error).strip() or type(error).__name__) from error
        except (driver.Error, ValueError, OverflowError):  # one row is at fault: find it
            self._drop()
            for statement, rows in runs:
                for row in rows:
                    self._alone(statement, row)

    def _alone(self, statement: Statement, row: Row) -> None:
        """A row in a transaction of its own. One that is refused is kept aside, and said in the log. Raises Gone."""
        driver = self._driver
        try:
            cursor = self._open()
            cursor.execute(statement.sql, row)
            self._connection.commit()
        except (driver.OperationalError, driver.InterfaceError, driver.InternalError, sa.exc.DBAPIError) as error:
            self._drop()
            raise Gone(str(error).strip() or type(error).__name__) from error
        except (driver.Error, ValueError, OverflowError) as error:
            self._drop()
            log.error("row refused", statement=statement.name, error=str(error), kept=str(self._refused))
            self._put_aside(statement.name, [row])

    def _put_aside(self, name: str, values: list[Any]) -> None:
        """Keep what the database cannot take for somebody to look at."""
        with open(self._refused, "a", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
            file.writelines(json.dumps([name, value], default=repr) + "\n" for value in values)

    def _open(self) -> Any:
        """A cursor in a transaction."""
        if self._connection is None:
            pooled = self._engine.raw_connection()
            self._connection = pooled.driver_connection
            pooled.detach()
            if self._begin:
                self._connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        cursor = self._connection.cursor()
        if self._begin:
            cursor.execute(self._begin)
        return cursor

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.rollback()  # SQLite keeps the lock of a closed connection that a cursor still looks at
            except self._driver.Error as error:
                log.debug("connection not rolled back", error=str(error))
            try:
                connection.close()
            except self._driver.Error as error:
                log.debug("connection not closed", error=str(error))


def _be_patient() -> None:
    """Give way to calls. Linux alone has niceness by thread (setpriority(2), "C library/kernel differences"); elsewhere
    it would be that of the process."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), PATIENCE)
