"""What a run is reproached with, and what it is not to be trusted for."""

from __future__ import annotations

import pytest

from bench.options import Figures, Options
from bench.subject import Subject
from bench.trial import aimed, faults, noise
from tests.unit.bench.runs import run

CLEAN = {"offered": 10, "ok": 10, "callee_calls": 10}


def test_nothing_to_reproach_a_clean_run_with() -> None:
    assert faults(Figures(**CLEAN)) == []
    assert noise(run(), Figures(**CLEAN)) == []


@pytest.mark.parametrize(
    ("seen", "word"),
    [
        ({"callee_calls": 12}, "2 INVITEs reached the callee"),
        ({"callee_open": 1}, "1 calls were never ended"),
        ({"callee_unacknowledged": 3}, "3 answers were never acknowledged"),
        ({"without_ringing": 4}, "4 calls were answered without ringing"),
        ({"stray": 5}, "5 responses belong to no call"),
        ({"unexpected": {"UPDATE": 6}}, "6 requests that nobody asked for: UPDATE"),
        ({"audio": {"deaf": 1, "silent": 1, "doubled": 0}}, "2 streams of audio were not heard"),
    ],
)
def test_what_goes_wrong_in_calls_that_went_well_is_told(seen: dict[str, object], word: str) -> None:
    told = faults(Figures(**{**CLEAN, **seen}))  # type: ignore[arg-type]  # fields of several kinds
    assert [fault for fault in told if fault.startswith(word)] == told
    assert told


def test_fewer_calls_at_the_callee_are_told_by_those_that_failed() -> None:
    assert faults(Figures(offered=10, ok=7, failed=3, callee_calls=7)) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"load_busy": 0.8},
        {"late": {"p95": 3.0}},
        {"steal": 0.05},
        {"others": 0.5},
        {"waited": 0.2, "others": 0.05},
    ],
)
def test_a_disturbed_run_says_by_what(changes: dict[str, object]) -> None:
    assert len(noise(run(**changes), Figures())) == 1


def test_packets_that_the_load_dropped_are_not_the_servers_fault() -> None:
    figures = Figures(**CLEAN, dropped=7)
    assert faults(figures) == []
    assert "7 packets" in noise(run(), figures)[0]


def test_a_server_that_waits_for_itself_is_not_disturbed() -> None:
    assert noise(run(waited=0.3, others=0.0), Figures()) == []


def test_a_load_is_aimed_at_the_servers_ports_and_processes() -> None:
    subject = Subject("x", ("127.0.0.1", 5), 7, 6, "secret", signalling=[1], media=[2, 3])
    options = aimed(Options(("", 0)), subject)
    assert (options.server, options.caller_port, options.callee_port) == (("127.0.0.1", 5), 6, 7)
    assert (options.password, options.watch) == ("secret", [1, 2, 3])
