"""The store: one database, one writer, a few threads that read.

`ask` runs a query beside the event loop, `change` a transaction on the writer's thread; what the call path writes
goes through `writer.put` and waits for neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlmodel import Session

from pbxcore.store import sql
from pbxcore.store.outlet import Outlet
from pbxcore.store.statements import known
from pbxcore.store.writer import Writer

READERS = 2
T = TypeVar("T")


class Store:
    """An open database. `start` before the first write, `close` at the end; both on the event loop."""

    def __init__(self, engine: Engine, directory: Path, durability: sql.Durability, *, serving: bool) -> None:
        self.engine = engine
        self.statements = known(engine.dialect)
        self.outlet = Outlet(engine, self.statements, directory, sync=durability == "power")
        self.writer = Writer(self.outlet)
        self._serving = serving
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hookline-reader")

    @property
    def down(self) -> bool:
        """The database is gone just now: records wait in the spill file."""
        return self.outlet.down

    @property
    def spilled(self) -> int:
        """Rows that wait in the spill file."""
        return self.outlet.spilled

    def start(self) -> None:
        """Start writing; the exchange itself first brings in what an earlier run had to spill."""
        if self._serving and self.outlet.spilled:
            self.outlet.replay()
        self.writer.start(asyncio.get_running_loop())

    async def ask(self, query: Callable[[Session], T]) -> T:
        """Run a query on a reader thread. Raises StoreUnavailable when the database is gone."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.ask_now, query)

    def ask_now(self, query: Callable[[Session], T]) -> T:
        """The same, blocking: for the start of a program, never beside calls."""
        try:
            with Session(self.engine, expire_on_commit=False) as session:
                return query(session)
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise sql.StoreUnavailable(f"{sql.show(self.engine.url)}: {error.orig}") from error

    async def change(self, job: Callable[[Session], T], then: Callable[[T], None] | None = None) -> T:
        """Run a transaction after all that was queued before; committed when this returns.

        `then` is called with the result on the event loop, also when the caller was cancelled meanwhile. Raises what
        `job` raises (nothing is changed then), or StoreUnavailable.
        """
        return await self.writer.submit(job, then)

    async def close(self, within: float = 5.0) -> bool:
        """Write what is queued and let go of the database. False when that took more than `within` seconds."""
        written = await self.writer.close(within)
        self._readers.shutdown(wait=False)
        self.engine.dispose()
        return written


def open(url: str, durability: sql.Durability = "process", *, serving: bool = False) -> Store:
    """Open `database.url` and bring its schema up to date; blocks. Raises StoreUnavailable.

    `serving` is the exchange itself: it alone replays what was spilled. Commands that work beside it leave it out.
    """
    engine = sql.open_engine(url, durability)
    try:
        sql.migrate(engine)
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, sql.data_directory(url), durability, serving=serving)
