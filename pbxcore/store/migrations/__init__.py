"""The schema's history, run by the program itself at start. Alembic is imported only when there is work for it.

A new revision: add a module to `versions` and name it in HEAD; a test compares the result with `models`.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

HEAD = "0005"
LOCK = 0x486F6F6B  # PostgreSQL advisory lock: two programs never migrate at once


class TooNew(Exception):
    """The database's schema is one that this program does not know."""


def current(connection: Connection) -> str | None:
    """The revision of this database; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def upgrade(engine: Engine) -> None:
    """Run what is missing, in one transaction. Raises TooNew and the database's own errors."""
    with engine.connect() as connection:
        if current(connection) == HEAD:
            return
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        else:
            connection.exec_driver_sql("ROLLBACK")
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        found = current(connection)
        if found != HEAD:
            _run(connection, found)
        connection.commit()


def _run(connection: Connection, found: str | None) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    script = ScriptDirectory.from_config(config)
    if found is not None and found not in {revision.revision for revision in script.walk_revisions()}:
        raise TooNew(found)
    config.attributes["connection"] = connection
    with EnvironmentContext(config, script, fn=lambda rev, _context: script._upgrade_revs(HEAD, rev)):
        script.run_env()
