"""Opening a database: SQLite in a file, or PostgreSQL through psycopg 3; the schema brought up to date.

What differs between the two is said here and in `statements`; nothing else in the program knows which it is.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import URL, Engine, make_url

from pbxcore.store import migrations

Durability = Literal["process", "power"]

BUSY_MS = 5_000
WRITES = "hookline_writes"      # execution option of transactions that change something
POSTGRES_OPTIONS = {
    "connect_timeout": 3,          # seconds; a host that does not answer
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5_000,     # ms; a host that fell silent in the middle
    "application_name": "hookline",
}


class StoreUnavailable(Exception):
    """The database cannot be used now. The message names it (no password) and what mends it."""


class StoreInUse(StoreUnavailable):
    """Another exchange runs on it."""


def show(url: str | URL) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except sa.exc.ArgumentError:
        return "database.url"


def open_engine(url: str, durability: Durability) -> Engine:
    """An engine for `database.url`; nothing is connected yet but SQLite's file is made. Raises StoreUnavailable."""
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        raise StoreUnavailable(
            "database.url is no URL: write sqlite:///hookline-data/hookline.db or postgresql://user:password@host/name"
        ) from None
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        return _open_sqlite(parsed, durability)
    if kind in ("postgresql", "postgres"):
        return _open_postgresql(parsed, durability)
    raise StoreUnavailable(f"{show(parsed)}: write sqlite:///path/file.db or postgresql://user:password@host/name")


def beside(url: str) -> Path:
    """What the names of files beside the database begin with: SQLite's own path, else one in `hookline-data`."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Path(parsed.database).absolute()
    return Path("hookline-data").absolute() / (parsed.database or "hookline")


def migrate(engine: Engine) -> None:
    """Bring the schema to this program's version. Raises StoreUnavailable (also when it is newer than the program)."""
    where = show(engine.url)
    try:
        migrations.upgrade(engine)
    except migrations.TooNew as error:
        raise StoreUnavailable(
            f"{where} was written by a newer Hookline (schema {error}, this one knows {migrations.HEAD}): "
            "install that version or newer, or use another database"
        ) from error
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        mend = (
            "check that the server runs, and user, password and database name in database.url"
            if engine.dialect.name == "postgresql"
            else "check that the path in database.url is a Hookline database on a writable disk"
        )
        raise StoreUnavailable(f"{where} cannot be opened ({reason}): {mend}") from error


# Without an adapter the driver looks for one at each None, by way of an exception that costs more than all the binding.
# This one is None for None, and no function of Python's.
sqlite3.register_adapter(type(None), {None: None}.__getitem__)


def _open_sqlite(url: URL, durability: Durability) -> Engine:
    if not url.database or url.database == ":memory:":
        raise StoreUnavailable("sqlite:// needs a file, because calls must outlive the process: sqlite:///path/file.db")
    path = Path(url.database)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives -wal and -shm the mode of the file
        path.chmod(0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{show(url)} cannot be opened ({error.strerror}): make the directory writable or change database.url"
        ) from error
    engine = sa.create_engine(url, pool_pre_ping=False)
    synchronous = "FULL" if durability == "power" else "NORMAL"

    def on_connect(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, DDL too; see on_begin
        for pragma in (f"busy_timeout={BUSY_MS}", "journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()  # its row is not read, and would stand in a commit's way

    def on_begin(connection: sa.Connection) -> None:
        # A transaction that reads first and then writes would be refused when another program wrote meanwhile.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(WRITES) else "BEGIN")

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)
    return engine


def _open_postgresql(url: URL, durability: Durability) -> Engine:
    options: dict[str, Any] = {k: v for k, v in POSTGRES_OPTIONS.items() if k not in url.query}
    try:
        engine = sa.create_engine(
            url.set(drivername="postgresql+psycopg"), connect_args=options, pool_pre_ping=True, paramstyle="format"
        )
    except ImportError:
        raise StoreUnavailable(
            f"{show(url)} needs the PostgreSQL driver: pip install 'hookline[postgresql]'"
        ) from None
    if durability == "power":

        def on_connect(connection: Any, _record: object) -> None:
            connection.execute("SET synchronous_commit = on")
            connection.commit()

        sa.event.listen(engine, "connect", on_connect)
    return engine
