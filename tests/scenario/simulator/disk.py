"""The real store in virtual time: its writer, its backlog files and its database, without their threads.

Where a thread would wake, an event of the world calls the same method: a moment later, or as late as a disk that
stalls. A killed process leaves its files as they are, with half a record at the end if it was writing; the next one
reads them back with the store's own code. Files lie in memory where there is such a file system.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

from crmhooks.embedded import rows
from pbxcore.control import ContactEntry
from pbxcore.store import sql
from pbxcore.store.applier import PERIOD, Applier, Item
from pbxcore.store.database import Store
from pbxcore.store.writer import Writer
from tests.scenario.simulator.clock import Universe

TABLES = ("calls", "activities", "bindings", "texts")


class Disk:
    """What the disk does just now. `stalled_until` holds the writer up, `gone_until` the database."""

    def __init__(self, world: Universe) -> None:
        self.world = world
        self.stalled_until = 0.0
        self.gone_until = 0.0

    def delay(self) -> float:
        return max(0.001, self.stalled_until - self.world.now)


class SteppedWriter(Writer):
    """The writer; its thread is an event."""

    disk: Disk
    dead = False
    _rung = False

    def start(self, loop: Any) -> None:
        self._loop = loop
        self._thread = True  # type: ignore[assignment]  # `submit` asks whether it was started
        if self._queue:
            self._ring()

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self.disk.world.at(self.disk.delay(), self._work)

    def _work(self) -> None:
        self._rung = False
        if self.dead:
            return
        if self.disk.stalled_until > self.disk.world.now:
            self._ring()
            return
        self._turn()
        self._last = self.disk.world.now

    def _rush(self) -> None:
        if not self._rushed:
            self._rushed = True
            self.disk.world.at(max(0.0, self._last + self._hurry - self.disk.world.now), self._rush_now)


class SteppedApplier(Applier):
    """The applier; its thread is an event."""

    disk: Disk
    dead = False
    _called = False

    def start(self) -> None:
        return

    def give(self, item: Item) -> None:
        self._mailbox.append(item)
        if item.group is None or not item.logged:
            self._urgent = True
        self._call(0.001 if self._urgent else PERIOD)

    def _call(self, delay: float) -> None:
        if not self._called:
            self._called = True
            self.disk.world.at(delay, self._work)

    def _work(self) -> None:
        self._called = False
        if self.dead:
            return
        self._turn()
        if self._held or self._gap or self._mailbox:
            self._call(PERIOD)

    def _open(self) -> Any:
        if self.disk.gone_until > self.disk.world.now:
            raise sqlite3.OperationalError("disk I/O error")
        return super()._open()


class SteppedStore(Store):
    """One process's view of the database."""

    def __init__(self, engine: sa.engine.Engine, base: Path, disk: Disk) -> None:
        super().__init__(engine, base, "process", serving=True, crms=())
        applier = SteppedApplier(engine, self.plans, self._backlog, self.aside, clock=disk.world.clock)
        writer = SteppedWriter(applier, self._backlog)
        applier.disk = writer.disk = disk
        self._applier, self.writer = applier, writer

    def start_on(self, loop: Any) -> None:
        """As `start`, with a loop that is not running yet."""
        if self._backlog is not None and self._behind:
            self.writer.number_from(self._applier.replay() + 1)
            self._backlog.clear()
            self._behind = False
        self.writer.start(loop)

    def kill(self, torn: bytes) -> None:
        """kill -9: what was queued is gone, what was appended stays, and `torn` is what was being written."""
        self.writer.dead = self._applier.dead = True  # type: ignore[attr-defined]
        self._applier._drop()
        if self._backlog is not None:
            current = self._backlog._current
            if torn:
                os.pwrite(current.fd, torn, current.size)
            self._backlog.close()

    def settle_now(self) -> None:
        """Everything into the database, at the end of a run."""
        self.writer._turn()
        self._applier.stop(0.0)
        self._applier._turn()

    def release(self) -> None:
        self._applier._drop()
        if self._backlog is not None:
            self._backlog.close(remove=True)


class Cabinet:
    """The directory, the engine and the contacts, made once a process and used by one run after the other."""

    def __init__(self) -> None:
        where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108  # memory, where there is such
        self.directory = Path(tempfile.mkdtemp(prefix="hookline-simulation-", dir=where))
        self.base = self.directory / "hookline.db"
        self.engine = sql.open_engine(f"sqlite:///{self.base}", "process")
        sql.migrate(self.engine)
        with self.engine.execution_options(**{sql.WRITES: True}).begin() as connection:
            with Session(connection) as session:
                for entry, name in CONTACTS:
                    rows.save_contact(session, entry, name, 1.0)
                session.commit()

    def emptied(self) -> None:
        with self.engine.execution_options(**{sql.WRITES: True}).begin() as connection:
            for table in TABLES:
                connection.exec_driver_sql(f"DELETE FROM {table}")  # noqa: S608  # our own names
        for file in self.directory.glob("*-backlog-*"):
            file.unlink()

    def store(self, disk: Disk) -> SteppedStore:
        return SteppedStore(self.engine, self.base, disk)

    def select(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def close(self) -> None:
        self.engine.dispose()
        shutil.rmtree(self.directory, ignore_errors=True)


CONTACTS = [
    (ContactEntry("", "Ada Lovelace", ("+15550001000",), instructions="Speak slowly"), "ada"),
    (ContactEntry("", "Grace Hopper", ("+15550001001",), vip=True), "grace"),
    (ContactEntry("", "The Whole Family", ("+15550001000", "+15550001002")), "family"),
]
