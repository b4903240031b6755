"""The store: one database, one thread that writes it, a few that read.

`ask` runs a query beside the event loop, `change` a transaction on the writing thread; what the call path writes
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
from pbxcore.store.applier import Applier
from pbxcore.store.backlog import Backlog, InUse
from pbxcore.store.rows import known_plans
from pbxcore.store.statements import known
from pbxcore.store.writer import Writer

READERS = 2
T = TypeVar("T")


class Store:
    """An open database. `start` before the first write, `close` at the end; both on the event loop."""

    def __init__(
        self, engine: Engine, base: Path, durability: sql.Durability, *, serving: bool, crms: tuple[str, ...]
    ) -> None:
        self.engine = engine
        self.crms = crms
        self._backlog = Backlog(base, sync=durability == "power") if serving else None
        self.aside = base.with_name(base.name + "-refused.jsonl")     # rows that the database will not take
        self.plans = known_plans(known(engine.dialect), crms)
        self._applier = Applier(engine, self.plans, self._backlog, self.aside)
        self.writer = Writer(self._applier, self._backlog)
        self._behind = self._backlog is not None and self._backlog.size > 0
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="hookline-reader")

    @property
    def down(self) -> bool:
        """The database is gone just now: records wait in the backlog."""
        return self._applier.down

    @property
    def backlog_bytes(self) -> int:
        """Size of the backlog files; no more than a few MB while the database is well."""
        return 0 if self._backlog is None else self._backlog.size

    def start(self) -> None:
        """Bring in what an earlier run left in the backlog, then start the threads. Raises StoreUnavailable."""
        if self._backlog is not None and self._behind:
            self.writer.number_from(self._applier.replay() + 1)
            self._backlog.clear()
            self._behind = False
        self._applier.start()
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

        `then` is called with the result on the event loop, also when the caller was cancelled meanwhile, so that
        memory stays in step. Raises what `job` raises (nothing is changed then), or StoreUnavailable.
        """
        return await self.writer.submit(job, then)

    async def settle(self) -> None:
        """Wait until all that was queued so far is in the database, for a reader who wants to see it. Raises
        StoreUnavailable."""
        await self.writer.submit(_nothing)

    async def close(self, within: float = 5.0) -> bool:
        """Write what is queued and let go of the database. False when that took more than `within` seconds; what the
        database did not take is then in the backlog."""
        written = await self.writer.close(within)
        applied = await asyncio.to_thread(self._applier.stop, within)
        self._readers.shutdown(wait=False)
        self.engine.dispose()
        if self._backlog is not None:
            self._backlog.close(remove=applied and not self._behind)
        return written and applied


def open(
    url: str, durability: sql.Durability = "process", *, serving: bool = False, crms: tuple[str, ...] = ()
) -> Store:
    """Open `database.url` and bring its schema up to date; blocks. Raises StoreUnavailable.

    `serving` is for the exchange itself, of which there is one a data directory: it alone keeps a backlog. Commands
    that work beside it leave it out. `crms` are the connectors that are told of every call.
    """
    engine = sql.open_engine(url, durability)
    try:
        sql.migrate(engine)
        return Store(engine, sql.beside(url), durability, serving=serving, crms=crms)
    except InUse:
        engine.dispose()
        raise sql.StoreInUse(
            f"{sql.show(url)} is in use by another running exchange: stop that one, or set another database.url"
        ) from None
    except BaseException:
        engine.dispose()
        raise


def _nothing(_session: Session) -> None: ...
