"""Where the writer's rows go: the database, or the spill file while the database is gone.

One driver connection is kept for rows, below SQLAlchemy: its own layers would cost more than the commit. Used by the
writer's thread alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Engine
from sqlmodel import Session

from pbxcore.store.spill import Spill
from pbxcore.store.sql import StoreUnavailable, show
from pbxcore.store.statements import Row, Statement, run
from pbxcore.store.writer import Rows

WRITER_BUSY_MS = 250      # another program holds SQLite's lock: spill soon, because a call may be waiting
FIRST_RETRY = 0.25        # seconds
LAST_RETRY = 5.0
REPLAY = 500              # rows a transaction
T = TypeVar("T")
Runs = Collection[tuple[Statement, list[Row]]]

log = structlog.get_logger("hookline.store")


class Gone(Exception):
    """The database did not take a group for a reason that passes: lost, locked, full, shutting down."""


class Outlet:
    """The writer's sink. `statements` are all that may come back from a spill file."""

    def __init__(
        self,
        engine: Engine,
        statements: dict[str, Statement],
        directory: Path,
        *,
        sync: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._spill = Spill(directory / "journal-spill.jsonl", sync=sync)
        self._refused = Spill(directory / "journal-refused.jsonl", sync=sync)
        self._statements = statements
        self._connection: Any = None
        self._begin = "BEGIN IMMEDIATE" if engine.dialect.name == "sqlite" else ""
        self._pause = 0.0
        self._retry_at = 0.0
        self.down = False

    @property
    def spilled(self) -> int:
        """Rows that wait for the database in the spill file."""
        return self._spill.waiting

    def write(self, rows: Rows) -> None:
        if not self.down:
            try:
                return self._write(rows.items())
            except Exception as error:  # Gone, or a defect of ours: either way the rows must be kept and calls go on
                self._went(error)
        self._spill.append([(statement.name, row) for statement, group in rows.items() for row in group])

    def job(self, job: Callable[[Any], T]) -> T:
        """Run a transaction. Raises StoreUnavailable when the database is gone."""
        if self.down:
            self.recover(now=True)
        if self.down:
            raise StoreUnavailable(f"{show(self._engine.url)} cannot be reached now: try again in a moment")
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                return job(session)
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated or isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
                raise StoreUnavailable(f"{show(self._engine.url)}: {error.orig}") from error
            raise

    def retry_in(self) -> float | None:
        return max(0.0, self._retry_at - self._clock()) if self.down else None

    def recover(self, *, now: bool = False) -> None:
        if not self.down or (not now and self._clock() < self._retry_at):
            return
        try:
            self.replay()
        except Exception as error:  # as in `write`
            self._went(error)
        else:
            self.down = False
            self._pause = 0.0

    def replay(self) -> None:
        """Bring what was spilled into the database, in order. Raises Gone."""
        replayed = 0
        source = self._spill.read()
        while chunk := list(islice(source, REPLAY)):
            self._write(self._runs(chunk))
            replayed += len(chunk)
        if replayed or self.down:
            self._attempt([])
            log.info("database is back", replayed=replayed)
        self._spill.clear()

    def close(self) -> None:
        self._spill.close()
        self._refused.close()
        self._drop()

    def _runs(self, chunk: list[tuple[str, Row]]) -> Runs:
        """Neighbours of one statement together, unless a key comes twice: one statement cannot change a row twice."""
        runs: list[tuple[Statement, list[Row]]] = []
        seen: set[Row] = set()
        for name, row in chunk:
            statement = self._statements.get(name)
            if statement is None:
                self._refused.append([(name, row)])
                continue
            key = row[: statement.key]
            if not runs or runs[-1][0] is not statement or key in seen:
                runs.append((statement, []))
                seen = set()
            if key:
                seen.add(key)
            runs[-1][1].append(row)
        return runs

    def _write(self, rows: Runs) -> None:
        """One transaction, on a fresh connection when the old one is dead. Raises Gone."""
        fresh = self._connection is None
        try:
            self._attempt(rows)
        except Gone:
            if fresh:
                raise
            self._attempt(rows)

    def _attempt(self, rows: Runs) -> None:
        driver: Any = self._engine.dialect.loaded_dbapi
        try:
            cursor = self._open().cursor()
            if self._begin:
                cursor.execute(self._begin)
            for statement, group in rows:
                run(cursor, statement, group)
            if not rows:
                cursor.execute("SELECT 1")
            self._connection.commit()
            cursor.close()
        except (driver.OperationalError, driver.InterfaceError, driver.InternalError, sa.exc.DBAPIError) as error:
            self._drop()
            raise Gone(str(error).strip() or type(error).__name__) from error
        except (driver.Error, ValueError, OverflowError):  # one row is at fault: find it
            self._drop()
            self._one_by_one(rows)

    def _one_by_one(self, rows: Runs) -> None:
        """Every row in a transaction of its own. One that is refused is kept aside and said in the log."""
        driver: Any = self._engine.dialect.loaded_dbapi
        passing = (driver.OperationalError, driver.InterfaceError, driver.InternalError, sa.exc.DBAPIError)
        for statement, group in rows:
            for row in group:
                try:
                    cursor = self._open().cursor()
                    if self._begin:
                        cursor.execute(self._begin)
                    cursor.execute(statement.sql, row)
                    self._connection.commit()
                except passing as error:
                    self._drop()
                    raise Gone(str(error)) from error
                except (driver.Error, ValueError, OverflowError) as error:
                    self._drop()
                    log.error("row refused", statement=statement.name, row=repr(row), error=str(error))
                    self._refused.append([(statement.name, row)])

    def _open(self) -> Any:
        if self._connection is None:
            pooled = self._engine.raw_connection()
            self._connection = pooled.driver_connection
            pooled.detach()
            if self._begin:
                self._connection.execute(f"PRAGMA busy_timeout={WRITER_BUSY_MS}")
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            driver: Any = self._engine.dialect.loaded_dbapi
            try:
                connection.close()
            except driver.Error as error:
                log.debug("connection not closed", error=str(error))

    def _went(self, error: Exception) -> None:
        if not self.down:
            log.error(
                "database is gone",
                database=show(self._engine.url),
                error=str(error) or repr(error),
                hint="calls go on; their records wait in journal-spill.jsonl and are written when it is back",
            )
        self.down = True
        self._pause = min(max(self._pause * 2, FIRST_RETRY), LAST_RETRY)
        self._retry_at = self._clock() + self._pause
