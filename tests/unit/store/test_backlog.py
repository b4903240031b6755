"""The backlog files: what was appended is read back, whatever happened to the end of the file."""

from __future__ import annotations

import errno
import os
import tracemalloc
from pathlib import Path

import pytest

from pbxcore.store import backlog as module
from pbxcore.store.backlog import Backlog, InUse
from pbxcore.store.rows import Group


def group(name: str) -> Group:
    return {"calls": [(name, 1.5, None, ("a", 2))]}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "data" / "office.db"


def paths(base: Path) -> tuple[Path, Path]:
    return base.with_name("office.db-backlog-a"), base.with_name("office.db-backlog-b")


def test_groups_come_back_in_order_after_a_restart(base: Path) -> None:
    first = Backlog(base)
    for number in range(1, 6):
        first.append(number, group(f"c{number}"), 0)
    first.close()
    again = Backlog(base)
    assert list(again.read()) == [(number, group(f"c{number}")) for number in range(1, 6)]
    assert [number for number, _ in again.read(after=3)] == [4, 5]
    again.close()


def test_files_are_for_their_owner_alone(base: Path) -> None:
    backlog = Backlog(base)
    assert {path.stat().st_mode & 0o777 for path in paths(base)} == {0o600}
    assert base.parent.stat().st_mode & 0o777 == 0o700
    backlog.close()


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 20])
def test_a_record_torn_by_a_crash_ends_the_file_and_hides_nothing_before_it(base: Path, cut: int) -> None:
    first = Backlog(base)
    first.append(1, group("whole"), 0)
    whole = first.size
    first.append(2, group("torn"), 0)
    first.close()
    os.truncate(paths(base)[0], whole + cut)
    again = Backlog(base)
    assert [number for number, _ in again.read()] == [1]
    again.close()


def test_a_torn_length_is_not_believed(base: Path) -> None:
    """It may say four gigabytes: nothing of the kind is asked for."""
    first = Backlog(base)
    first.append(1, group("whole"), 0)
    first.close()
    with paths(base)[0].open("ab") as file:
        file.write(b"\xff" * 20)
    again = Backlog(base)
    tracemalloc.start()
    try:
        assert [number for number, _ in again.read()] == [1]
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    again.close()


def test_a_flipped_bit_is_noticed(base: Path) -> None:
    first = Backlog(base)
    first.append(1, group("good"), 0)
    at = first.size
    first.append(2, group("bad"), 0)
    first.close()
    with paths(base)[0].open("r+b") as file:
        file.seek(at + 12)
        byte = file.read(1)
        file.seek(at + 12)
        file.write(bytes([byte[0] ^ 1]))
    again = Backlog(base)
    assert [number for number, _ in again.read()] == [1]
    again.close()


def test_the_other_file_is_taken_only_when_all_in_it_is_in_the_database(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL", 200)
    backlog = Backlog(base)
    applied = 0
    for number in range(1, 200):
        backlog.append(number, group("x" * 50), applied)
        applied = max(0, number - 5)
    assert backlog.size < 2000
    assert [number for number, _ in backlog.read()][-6:] == list(range(194, 200))
    numbers = [number for number, _ in backlog.read()]
    assert numbers == list(range(numbers[0], 200))
    backlog.close()


def test_nothing_is_lost_while_the_database_takes_nothing(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL", 200)
    backlog = Backlog(base)
    for number in range(1, 101):
        backlog.append(number, group("x" * 50), 0)
    assert [number for number, _ in backlog.read()] == list(range(1, 101))
    backlog.close()


def test_half_a_record_on_a_full_disk_is_written_over(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backlog = Backlog(base)
    backlog.append(1, group("one"), 0)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[:10], at))
    with pytest.raises(OSError, match="No space") as full:
        backlog.append(2, group("two"), 0)
    assert full.value.errno == errno.ENOSPC
    assert [number for number, _ in backlog.read()] == [1]
    monkeypatch.setattr(os, "pwrite", real)
    backlog.append(3, group("three"), 0)
    assert [number for number, _ in backlog.read()] == [1, 3]
    backlog.close()


def test_power_durability_syncs_every_group(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    for sync in (False, True):
        backlog = Backlog(base, sync=sync)
        backlog.append(1, group("one"), 0)
        assert len(synced) == sync
        backlog.close(remove=True)


def test_one_exchange_at_a_time(base: Path) -> None:
    first = Backlog(base)
    with pytest.raises(InUse):
        Backlog(base)
    first.close(remove=True)
    assert not any(path.exists() for path in paths(base))
    Backlog(base).close()


def test_closing_twice_is_harmless(base: Path) -> None:
    backlog = Backlog(base)
    backlog.close()
    backlog.close(remove=True)
