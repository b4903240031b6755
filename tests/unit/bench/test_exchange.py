"""The exchange under test: settings that it reads, and a database that is held against the phones."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from bench.exchange import CARRIER, Book, book_faults, settings_text, written
from pbxcore.settings_file import load


@pytest.mark.parametrize("hook", ["none", "embedded", "http"])
def test_the_exchange_reads_its_settings(tmp_path: Path, hook: str) -> None:
    text = settings_text(
        tmp_path, hook, sip_port=15060, carrier_port=15062, password="pass word", hook_url="http://127.0.0.1:9/hook"
    )
    file = tmp_path / "hookline.toml"
    file.write_text(text, "utf-8")
    settings = load(str(file))
    assert settings.trunk[0].server == f"{CARRIER}:15062"
    assert settings.extension[0].crm_control == ("first-party" if hook == "none" else "third-party")
    assert [one.kind for one in settings.crm.hook] == (["http"] if hook == "http" else [])


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "bench.db"
    with sqlite3.connect(path) as opened:
        opened.execute("create table calls (call_id, state, answered_at, contact_id)")
        opened.execute("create table activities (call_id)")
        twice = ("a", "ended", 1.0, "x")
        calls = [twice, ("b", "ended", None, None), ("c", "answered", 1.0, "x"), twice]
        opened.executemany("insert into calls values (?, ?, ?, ?)", calls)
        opened.executemany("insert into activities values (?)", [("a",), ("b",), ("a",)])
    return path


def test_a_call_written_twice_counts_once_and_an_open_one_not_at_all(database: Path) -> None:
    assert written(database, 2) == Book(records=2, answered=1, known=1, activities=2)


def test_records_that_do_not_come_are_not_waited_for_for_ever(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.exchange.WRITTEN_SECONDS", 0.0)
    assert written(database, 3).records == 2


def test_the_database_says_what_the_phones_say() -> None:
    assert book_faults(10, 10, 0, Book(10, 10, 9, 10), look_up=True) == []
    assert book_faults(10, 10, 0, Book(10, 10, 0, 10), look_up=False) == []
    assert book_faults(10, 8, 2, Book(10, 9, 9, 10), look_up=True) == []         # one failed after it was answered


def test_a_call_that_was_turned_away_may_have_left_nothing() -> None:
    for kept in (7, 8, 10):
        assert book_faults(10, 7, 3, Book(kept, 7, 7, kept), look_up=True, refused=3) == []
    told = " ".join(book_faults(10, 7, 3, Book(6, 7, 7, 11), look_up=True, refused=3))
    assert "6 call records" in told
    assert "11 activities" in told


@pytest.mark.parametrize(
    ("book", "word"),
    [
        (Book(9, 9, 9, 10), "9 call records"),
        (Book(10, 10, 9, 11), "11 activities"),
        (Book(10, 9, 9, 10), "9 records of answered calls"),
        (Book(10, 10, 0, 10), "the CRM knew nobody"),
    ],
)
def test_what_is_missing_or_too_much_is_told(book: Book, word: str) -> None:
    assert word in " ".join(book_faults(10, 10, 0, book, look_up=True))
