"""Peers: what is not installed is said, what is gets a configuration of its own."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from bench import subject, table
from bench.caller import GIVEN_UP
from bench.options import Figures, Options
from bench.peers import asterisk_pbx, kamailio, kamailio_pbx, registry, rtpengine_daemon, sippy
from bench.peers.kamailio_pbx import Job
from bench.setup import Contestant, in_turn
from bench.subject import CannotStart, Subject
from tests.unit.bench.runs import run


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(subject, "PLACES", str(tmp_path))
    monkeypatch.delenv(sippy.VARIABLE, raising=False)
    monkeypatch.setattr(sippy.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sippy, "ROOT", tmp_path)
    return tmp_path


def program(path: Path, says: str = "") -> Path:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_peers_that_are_not_installed_are_said_and_not_failed(nothing_installed: Path) -> None:
    found, missing = registry.look()
    assert [peer.name for peer in found] == [registry.NOTHING]
    assert set(missing) == {"Kamailio", "Kamailio, same job", "Sippy B2BUA", "Asterisk"}


def test_peers_on_the_path_are_found(nothing_installed: Path) -> None:
    for name in ("kamailio", "b2bua_simple", "asterisk"):
        program(nothing_installed / name)
    found, missing = registry.look()
    assert [peer.name for peer in found] == [registry.NOTHING, "Kamailio", "Sippy B2BUA", "Asterisk"]
    assert all(peer.does for peer in found)
    assert set(missing) == {"Kamailio, same job"}


def test_the_same_job_needs_modules_that_come_in_packages_of_their_own(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = nothing_installed / "modules"
    modules.mkdir()
    path = str(program(nothing_installed / "kamailio", f"  Default paths to modules: /nowhere:{modules}"))
    bare, asked, whole = Job("none", relay=False), Job("http", relay=False), Job()
    assert kamailio_pbx.missing(path, whole) == (
        "not installed (Debian: apt-get install kamailio-sqlite-modules rtpengine-daemon)"
    )
    assert "install kamailio kamailio-sqlite-modules)" in kamailio_pbx.missing("", bare)
    (modules / "db_sqlite.so").touch()
    assert kamailio_pbx.missing(path, bare) == ""
    assert "install kamailio-utils-modules)" in kamailio_pbx.missing(path, asked)
    monkeypatch.setattr(rtpengine_daemon, "find", lambda: "/usr/bin/rtpengine")
    assert kamailio_pbx.missing(path, whole) == ""
    found, _ = registry.look(job=whole)
    assert [peer.name for peer in found][2:] == ["Kamailio, same job"]
    assert "SQL look-up inline, media ports of rtpengine" in found[2].does
    assert "no look-up, no media" in bare.does()


@pytest.mark.parametrize(
    ("calls", "hook", "known"),
    [(60, "embedded", 60), (950, "embedded", 900), (1050, "embedded", 950), (950, "http", 950), (60, "none", 0)],
)
def test_nine_callers_in_ten_are_known_to_the_embedded_crm(calls: int, hook: str, known: int) -> None:
    assert kamailio_pbx.known(calls, Job(hook)) == known


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 950 calls from as many numbers, and of three before."""
    monkeypatch.setattr(kamailio_pbx, "WRITTEN_SECONDS", 0.0)
    kamailio_pbx.prepare(tmp_path / "book.db")
    with closing(sqlite3.connect(tmp_path / "book.db")) as opened:
        opened.execute(
            "insert into cdrs (start_time, end_time, call_id, contact) select 1.0, 1.0, 'a' || number, id from contacts"
        )
        opened.executemany("insert into cdrs (start_time, end_time, call_id) values (1, 1, ?)", ALSO_UNKNOWN)
        opened.executemany("insert into cdrs (start_time, end_time, call_id, contact) values (1, 2, ?, 'c')", BEFORE)
        opened.commit()
    return tmp_path / "book.db"


ALSO_UNKNOWN = [(f"u{number}",) for number in range(50)]
BEFORE = [(f"b{number}",) for number in range(3)]


def test_what_a_peer_has_written_is_counted(book: Path) -> None:
    assert kamailio_pbx.audit(book, Job(), lambda: 953, [3, 950]) == (953, [])
    assert kamailio_pbx.audit(book, Job(relay=False), lambda: 0, [3, 950]) == (953, [])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("delete from cdrs where call_id = 'b1'", [
            "952 call records for 953 calls", "952 records with a start and an end for 953 calls",
            "902 records with a contact for 903 callers whom the CRM knows",
        ]),
        ("update cdrs set call_id = 'b1' where call_id = 'b2'", ["952 call records for 953 calls"]),
        ("update cdrs set end_time = null where call_id = 'b2'", [
            "952 records with a start and an end for 953 calls",
        ]),
        ("update cdrs set contact = '' where call_id = 'b2'", [
            "902 records with a contact for 903 callers whom the CRM knows",
        ]),
    ],
)  # fmt: skip
def test_what_a_peer_has_not_written_is_said(book: Path, change: str, told: list[str]) -> None:
    with closing(sqlite3.connect(book)) as opened:
        opened.execute(change)
        opened.commit()
    assert kamailio_pbx.audit(book, Job(), lambda: 953, [3, 950])[1] == told


def test_media_that_went_past_rtpengine_is_said(book: Path) -> None:
    told = kamailio_pbx.audit(book, Job(), lambda: 950, [3, 950])[1]
    assert told == ["950 calls in rtpengine for 953 calls"]


def test_the_calls_that_went_before_are_not_in_the_runs_records(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def audit(loads: Sequence[int]) -> tuple[int, list[str]]:
        asked.append(loads)
        return 52, ["one is missing"]

    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        yield Subject("x", ("", port), callee_port, audit=audit)

    monkeypatch.setattr(registry, "warm", lambda *_: Figures(offered=3))
    monkeypatch.setattr(registry, "trial", lambda *_: run(offered=50))
    found = registry.run(registry.Peer("x", "", start), Options(("", 0)), (0, 1), warm_up=3)
    assert (found.warmed, found.records, found.activities, found.faults) == (3, 49, None, ["one is missing"])
    assert asked == [[3, 50]]
    assert "49 records for 550 good calls of 50" in table.remarks(found)


def test_records_of_calls_that_were_given_up_on_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def start(directory: Path, cpu: int, port: int, callee_port: int) -> Iterator[Subject]:
        yield Subject("x", ("", port), callee_port, audit=lambda loads: pytest.fail("not asked"))

    monkeypatch.setattr(registry, "trial", lambda *_: run(failed=1, reasons={GIVEN_UP: 1}))
    found = registry.run(registry.Peer("x", "", start), Options(("", 0)), (0, 1))
    assert (found.records, found.faults) == (None, [])


def test_sippy_is_found_where_it_is_said_to_be(nothing_installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = program(nothing_installed / "elsewhere")
    assert sippy.find(str(there)) == [str(there)]
    monkeypatch.setenv(sippy.VARIABLE, str(there))
    assert sippy.find() == [str(there)]
    assert sippy.find(str(nothing_installed / "wrong")) == []
    monkeypatch.delenv(sippy.VARIABLE)
    (nothing_installed / sippy.PLACE / "bin").mkdir(parents=True)
    own = program(nothing_installed / sippy.PLACE / "bin" / "b2bua_simple")
    assert sippy.find() == [str(own)]


def test_daemons_are_found_where_they_are_when_the_path_has_them_not(
    nothing_installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(nothing_installed / "asterisk")
    monkeypatch.setenv("PATH", "/nowhere")
    assert asterisk_pbx.find() == str(nothing_installed / "asterisk")


def test_every_place_in_asterisks_configuration_is_filled_in(tmp_path: Path) -> None:
    main = asterisk_pbx.write_config(tmp_path, 15060, 15064)
    written = {file.name: file.read_text("utf-8") for file in tmp_path.glob("*.conf")}
    assert main.name in written
    assert not re.search("@[A-Z_]+@", "".join(written.values()))
    assert "bind = 127.0.0.1:15060" in written["pjsip.conf"]
    assert "contact = sip:101@127.0.0.1:15064" in written["pjsip.conf"]
    assert str(tmp_path) in written["asterisk.conf"]


def test_everybody_takes_turns_and_one_that_does_not_start_is_said() -> None:
    order = []

    def contestant(name: str, *, starts: bool = True) -> Contestant:
        def once():  # type: ignore[no-untyped-def]  # a run, or no return
            order.append(name)
            if not starts:
                raise CannotStart("its last words")
            return run()

        return Contestant(name, "", once)

    missing: dict[str, str] = {}
    made = in_turn([contestant("ours"), contestant("b"), contestant("c", starts=False)], 2, missing, lambda _: None)
    assert order == ["ours", "b", "c"] * 2
    assert {name: len(runs) for name, runs in made.items()} == {"ours": 2, "b": 2}
    assert made["b"][0].name == "b"
    assert missing == {"c": "did not start, or did not stay: its last words"}
    with pytest.raises(CannotStart):
        in_turn([contestant("ours", starts=False)], 1, {}, lambda _: None)


def test_configurations_are_where_their_peers_look() -> None:
    assert kamailio.CONFIG.is_file()
    assert kamailio_pbx.CONFIG.is_file()
    assert os.listdir(asterisk_pbx.CONFIG)
