"""The whole way once: a real exchange, the real load, every call in the database. Nothing is timed here."""

from __future__ import annotations

import json
import sys

import pytest

from bench import best, machine, memory, setup
from bench.setup import Plan


def test_twenty_calls_a_second_for_a_second_and_every_one_is_in_the_database(
    capfd: pytest.CaptureFixture[str],
) -> None:
    status = setup.main(["--rate", "20", "--seconds", "1", "--media", "--json"])
    told = json.loads(capfd.readouterr().out)
    run = told["median"]
    assert (run["offered"], run["ok"], run["failed"], run["faults"]) == (40, 40, 0, [])
    assert (run["records"], run["activities"]) == (40, 40)
    assert run["cpu_ms"] > 0
    assert status == 0


def test_a_second_interpreter_takes_its_turn_and_the_calls_before_are_in_the_database(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LINGER_SECONDS", 0.0)
    more = ["--only", "--interpreter", sys.executable, "--warm-up", "30"]
    status = setup.main(["--rate", "20", "--seconds", "1", "--media", "--json", *more])
    told = json.loads(capfd.readouterr().out)
    run = told["median"]
    assert run["name"] == f"Hookline on {machine.implementation()}"
    assert run["name"] in told["machine"]
    assert (run["offered"], run["ok"], run["warmed"], run["faults"]) == (40, 40, 30, [])
    assert (run["records"], run["activities"]) == (40, 40)
    assert status == 0


def test_a_probe_of_the_search_for_the_best_rate_is_a_whole_run_of_a_fresh_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(best, "SECONDS", 1.0)
    monkeypatch.setattr(best, "P99_MS", float("inf"))
    monkeypatch.setattr(best, "KEPT", 0.0)
    probe = best.probing(Plan(relay=True), [])
    found = best.in_turn({"Hookline": best.search((10.0, 20.0), 20.0)}, probe, {}, lambda _: None)["Hookline"]
    assert [one.rate for one in found.tries if one.good] == [20.0]
    assert found.words() == "at least 20"
    assert found.run is not None
    assert (found.run.ok, found.run.records) == (40, 40)
