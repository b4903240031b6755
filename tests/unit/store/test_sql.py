"""Opening databases, and what is said when that fails."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pbxcore import store as stores
from pbxcore.store import StoreUnavailable, migrations, sql


async def test_directory_and_files_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "office.db"
    store = stores.open(f"sqlite:///{path}", serving=True)
    store.start()
    await store.settle()
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(path.parent)}
    assert set(modes) >= {"office.db", "office.db-wal", "office.db-backlog-a"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
    assert await store.close()
    assert os.listdir(path.parent) == ["office.db"]


def test_a_file_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "office.db"
    path.touch(mode=0o644)
    stores.open(f"sqlite:///{path}").engine.dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("durability", "level"), [("process", 1), ("power", 2)])
def test_sqlite_is_told_how_durable(tmp_path: Path, durability: sql.Durability, level: int) -> None:
    engine = sql.open_engine(f"sqlite:///{tmp_path}/x.db", durability)
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert found == ["wal", level]
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://user:hidden@host/x", "postgresql://"),
        ("not a url", "is no URL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_a_url_that_will_not_do_says_what_will(url: str, said: str) -> None:
    with pytest.raises(StoreUnavailable, match=re.escape(said)) as refused:
        stores.open(url)
    assert "hidden" not in str(refused.value)


def test_an_unreachable_server_is_named_without_its_password() -> None:
    with pytest.raises(StoreUnavailable) as refused:
        stores.open("postgresql://office:hidden@127.0.0.1:1/office?connect_timeout=2")
    text = str(refused.value)
    assert "127.0.0.1:1" in text
    assert "check that the server runs" in text
    assert "hidden" not in text
    assert "\n" not in text


def test_the_driver_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreUnavailable, match=re.escape("pip install 'hookline[postgresql]'")):
        sql.open_engine("postgresql://127.0.0.1/office", "process")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "office.db"
    path.write_text("these are my holiday notes, not a database\n" * 100)
    with pytest.raises(StoreUnavailable, match="not a database"):
        stores.open(f"sqlite:///{path}")
    assert path.read_text().startswith("these are")


def test_a_path_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        stores.open(f"sqlite:///{tmp_path}/file/office.db")
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        stores.open(f"sqlite:///{tmp_path}")


def test_the_program_knows_its_newest_revision() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.HEAD]


def test_a_migration_that_was_cut_short_left_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pbxcore.store.migrations.versions import r0001_first

    url = f"sqlite:///{tmp_path}/office.db"

    def dies(engine: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    # Alembic loads its own copy of the revision: what fails is the statement in the middle of it.
    from alembic import op

    monkeypatch.setattr(op, "create_index", lambda *_a, **_k: dies(None))
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        stores.open(url)
    monkeypatch.undo()
    assert r0001_first.revision == "0001"
    store = stores.open(url)
    with store.engine.connect() as connection:
        assert migrations.current(connection) == migrations.HEAD
    store.engine.dispose()


def test_alembic_is_not_imported_when_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    """It costs a tenth of a second at every start."""
    url = f"sqlite:///{tmp_path}/office.db"
    stores.open(url).engine.dispose()
    code = f"import sys; from pbxcore import store; store.open({url!r}); sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
