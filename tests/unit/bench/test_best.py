"""The search for the best rate: it finds the edge of a server, with few probes, and says whose limit it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import best, setup
from bench.best import LADDER, Found, Try, kept_up, why_lost
from bench.document import html, markdown
from bench.figures import Run
from bench.interpreter import Interpreter
from bench.peers import command, registry
from bench.peers.registry import Peer
from bench.results import best_section
from bench.setup import Plan
from bench.subject import ROOT, CannotStart
from tests.unit.bench.runs import run


def searched(probe: Callable[[float], bool], **changes: Any) -> tuple[float | None, list[float]]:
    """The best rate, and the rates of all probes."""
    search, rates = best.search(**changes), []
    rate = next(search)
    while True:
        rates.append(rate)
        try:
            rate = search.send(probe(rate))
        except StopIteration as over:
            return over.value, rates


def test_the_ladder_climbs_by_about_a_tenth() -> None:
    assert (LADDER[0], LADDER[-1], len(LADDER)) == (10.0, 4000.0, 66)
    assert all(1.07 <= higher / lower <= 1.12 for lower, higher in pairwise(LADDER))
    assert all(1.9 <= higher / lower <= 2.2 for lower, higher in zip(LADDER, LADDER[best.STRIDE:], strict=False))


@given(limit=st.floats(min_value=1.0, max_value=8000.0), start=st.sampled_from(LADDER), tries=st.integers(1, 3))
def test_the_edge_of_a_server_is_found_within_a_step_and_with_few_probes(
    limit: float, start: float, tries: int
) -> None:
    found, rates = searched(lambda rate: rate <= limit, start=start, tries=tries)
    assert found == max((rate for rate in LADDER if rate <= limit), default=None)
    strides = math.ceil(len(LADDER) / best.STRIDE) + math.ceil(math.log2(best.STRIDE))
    good = [rate for rate in rates if rate <= limit]
    lost = [rate for rate in rates if rate > limit]
    assert len(set(rates)) <= strides + 1
    assert (len(good), len(lost)) == (len(set(good)), tries * len(set(lost)))


@given(limit=st.sampled_from(LADDER[:-1]), spoilt=st.sets(st.integers(0, 40)))
def test_a_disturbance_that_does_not_last_decides_nothing(limit: float, spoilt: set[int]) -> None:
    made: list[float] = []

    def probe(rate: float) -> bool:
        made.append(rate)
        first = rate not in made[:-1]
        return rate <= limit and not (first and len(made) in spoilt)

    assert searched(probe)[0] == limit


@pytest.mark.parametrize(
    ("limit", "probes"), [(150.0, 8), (220.0, 9), (450.0, 10), (900.0, 7), (930.0, 11), (1300.0, 10)]
)
def test_what_is_expected_of_each_takes_about_ten_probes(limit: float, probes: int) -> None:
    assert len(searched(lambda rate: rate <= limit)[1]) <= probes


GOOD = {"rate": 500, "achieved": 498, "offered": 2500, "ok": 2500}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"failed": 3, "reasons": {"503": 2, "given up on": 1}}, "failed 2 with 503, 1 with given up on"),
        ({"resent": 1}, "1 requests sent again"),
        ({"achieved": 494.0}, "494 calls/s"),
        ({"ringing": {"p50": 1.0, "p99": 100.5}}, "180 p99 100 ms"),
        ({"records": 2499}, "2499 records of 2500 calls"),
    ],
)
def test_a_server_keeps_up_when_nothing_fails_is_sent_again_or_waits(changes: dict[str, Any], why: str) -> None:
    for whole in ({}, {"records": 2500}, {"faults": ["7 calls were answered without ringing"]}):
        assert kept_up(run(**GOOD, **whole))
        assert why_lost(run(**GOOD, **whole)) == ""
    assert not kept_up(run(**GOOD | changes))
    assert why_lost(run(**GOOD | changes)) == why


def test_who_never_rang_or_had_no_call_did_not_keep_up() -> None:
    assert not kept_up(run(**GOOD | {"ringing": {}}))
    assert why_lost(run(**GOOD | {"ringing": {}})) == "no 180"
    assert not kept_up(run(**GOOD | {"ok": 0}))


def server(limit: float, **changes: Any) -> Callable[[float], Run]:
    """One that keeps up with so many calls a second."""

    def probed(rate: float) -> Run:
        failed = {"503": 1} if rate > limit else {}
        return run(rate=rate, achieved=rate, failed=len(failed), reasons=failed, **changes)

    return probed


def searches(*names: str) -> dict[str, best.Search]:
    return {name: best.search() for name in names}


def test_everybody_has_one_probe_in_turn() -> None:
    servers = {"Hookline": server(900), "Kamailio": server(1300), "Sippy B2BUA": server(150)}
    order: list[str] = []

    def probe(name: str, rate: float) -> Run:
        order.append(name)
        return servers[name](rate)

    found = best.in_turn(searches(*servers), probe, {}, lambda _: None)
    assert {name: one.rate for name, one in found.items()} == {"Hookline": 850, "Kamailio": 1300, "Sippy B2BUA": 145}
    assert order[:6] == [*servers] * 2
    assert [one.good for one in found["Sippy B2BUA"].lost] == [False, False]
    assert {one.rate for one in found["Sippy B2BUA"].lost} == {160.0}
    assert best.remarks(found)[0] == "Hookline at 930/s: failed 1 with 503"


def test_one_that_does_not_start_is_missing_and_one_that_dies_under_the_load_did_not_keep_up() -> None:
    def probe(name: str, rate: float) -> Run:
        if name == "absent" or rate > 220:
            raise CannotStart("its last words")
        return server(1e9)(rate)

    missing: dict[str, str] = {}
    found = best.in_turn(searches("absent", "mortal"), probe, missing, lambda _: None)
    assert missing == {"absent": "did not start, or did not stay: its last words"}
    assert {name: one.words() for name, one in found.items()} == {"mortal": "210"}
    assert best.remarks(found) == ["mortal at 230/s: it did not live to the end"]
    assert not found["mortal"].disturbed


def one(limit: float, **changes: Any) -> Found:
    found = best.in_turn(searches("x"), lambda _, rate: server(limit, **changes)(rate), {}, lambda _: None)
    return found["x"]


def test_a_rate_is_at_least_that_when_the_load_was_the_limit() -> None:
    assert one(500).words() == "480"
    assert one(2000, load_busy=0.8).words() == "at least 1,900"
    busy = run(rate=10, load_busy=0.8)
    assert Found(10.0, [Try(10.0, True, busy), Try(11.0, False, run())]).words() == "at least 10"
    assert one(1e9).words() == "at least 4,000"
    assert one(1).words() == "below 10"
    assert one(1, load_busy=0.8).words() == "below 10"


def test_what_disturbed_every_lost_probe_may_have_decided() -> None:
    assert one(500, noise=["others"]).disturbed
    assert not one(500).disturbed
    noisy = run(noise=["x"])
    quiet = Found(10.0, [Try(10.0, True, noisy), Try(11.0, False, run()), Try(11.0, False, noisy)])
    assert not quiet.disturbed
    assert quiet.noise() == "2 of 3 probes for its best rate; the first at 10/s: x"
    assert one(500).noise() == ""


def test_ours_by_theirs_says_where_one_of_them_may_be_more() -> None:
    assert best.times(one(900), one(440)) == "1.93"
    assert best.times(one(900), one(440, load_busy=0.9)) == "at most 1.93"
    assert best.times(one(900, load_busy=0.9), one(440)) == "at least 1.93"
    assert best.times(one(900, load_busy=0.9), one(440, load_busy=0.9)) == ""
    assert best.times(one(900), one(1)) == ""


def test_what_was_found_is_kept_as_json() -> None:
    found = one(500)
    found.tries.append(Try(10_000.0, False, None))
    again = Found.from_json(json.loads(json.dumps(asdict(found))))
    assert again == found
    assert again.run == run(rate=480.0, achieved=480.0)


PYPY = Interpreter("/opt/pypy3", "Hookline on PyPy 8.0", "PyPy 8.0.1", jit=True)
LIMITS = {"Hookline": 900.0, "Kamailio": 1300.0, PYPY.name: 2000.0}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, float | None]]:
    """Servers that keep up with LIMITS; what was probed: who, at which rate, and for how long."""
    made: list[tuple[str, float, float | None]] = []

    def probed(name: str, plan: Plan) -> Run:
        made.append((name, plan.rate, plan.patience))
        assert plan.seconds == best.SECONDS
        return server(LIMITS[name], memory=[[0.0, 1.0]])(plan.rate)

    def once(peer: Peer, options: Any, cpus: tuple[int, int], *, warm_up: int) -> Run:
        return probed(peer.name, Plan(options.rate, options.seconds, patience=options.patience))

    monkeypatch.setattr(setup, "ours", lambda plan, on: probed(on.name, plan))
    monkeypatch.setattr(setup.registry, "run", once)
    return made


KAMAILIO = Peer("Kamailio", "C <proxy>", lambda *_: pytest.fail("not started here"))


def test_one_with_a_jit_comes_last_from_our_best_rate_on_with_one_try_at_each(
    machine: list[tuple[str, float, float | None]],
) -> None:
    told = best.gathered(Plan(interpreters=(PYPY,)), [KAMAILIO], {"Asterisk": "gone"}, lambda _: None)
    warmed = [rate for name, rate, _ in machine if name == PYPY.name]
    assert [name for name, *_ in machine[-len(warmed):]] == [PYPY.name] * len(warmed)
    assert (warmed[0], len(warmed)) == (850.0, len(set(warmed)))
    assert len(warmed) <= 6
    assert {patience for *_, patience in machine} == {best.PATIENCE}
    found = best.found_of(json.loads(json.dumps(told)))
    assert {name: one.rate for name, one in found.items()} == {"Hookline": 850, PYPY.name: 1900, "Kamailio": 1300}
    assert all(one.run is not None and not one.run.memory for one in found.values())
    assert (told["missing"], told["does"]["Kamailio"]) == ({"Asterisk": "gone"}, "C <proxy>")


def test_ours_that_does_not_start_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def ours(plan: Plan, on: Interpreter) -> Run:
        raise CannotStart("no port")

    monkeypatch.setattr(setup, "ours", ours)
    with pytest.raises(CannotStart, match="no port"):
        best.gathered(Plan(), [KAMAILIO], {}, told.append)
    assert [words for words in told if "Kamailio" in words] == []


@pytest.mark.usefixtures("machine")
def test_a_section_shows_them_side_by_side() -> None:
    told = best.gathered(Plan(interpreters=(PYPY,)), [KAMAILIO], {"Asterisk": "gone"}, lambda _: None)
    section = best_section(told)
    text = markdown("Results", [section])
    assert "| Hookline | 850 | 1.000 | 0.200 | 1.00 | 4.00 | 1.50 | 5.00 | 2 | 7 | 1 | 2.24 |" in text
    assert "| Kamailio | 1,300 | 1.000 | 0.200 | 1.00 | 4.00 | 1.50 | 5.00 | 2 | 10 | 0.65 | 1.46 |" in text
    assert "| Hookline | 210 440 640 770 850 | 930 930 |" in text
    assert "- Asterisk is not measured: gone" in text
    page = html("Results", [section])
    assert page.count("<circle") == 7 + 10 + 6
    assert page.count('fill="none" stroke="#0072b2" stroke-width="2"/>') == 2


@pytest.mark.usefixtures("machine")
def test_the_command_prints_a_table_or_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(registry, "look", lambda sippy, job: ([KAMAILIO], {"Asterisk": "gone"}))
    assert command.main(["--best", "--media"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line.split() for line in lines if line.startswith("Kamailio ")) == [
        "Kamailio", "1,300", "1.000", "0.200", "1.00", "4.00", "1.50", "5.00", "2", "10", "0.65",
    ]  # fmt: skip
    assert "Asterisk is not measured: gone" in lines
    assert command.main(["--best", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bench"] == "best"
    assert best.found_of(told)["Hookline"].rate == 850
    with pytest.raises(SystemExit):
        command.main(["--best", "--rate", "100"])
    assert "--best chooses rates" in capsys.readouterr().err


def test_the_command_fails_when_ours_does_not_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ours(plan: Plan, on: Interpreter) -> Run:
        raise CannotStart("no port")

    monkeypatch.setattr(setup, "ours", ours)
    monkeypatch.setattr(registry, "look", lambda sippy, job: ([], {}))
    assert command.main(["--best"]) == 1
    assert "no port" in capsys.readouterr().err


def test_the_readme_has_the_ladder() -> None:
    rungs = ", ".join(f"{rate:g}" for rate in best.DECADE)
    assert rungs in " ".join((ROOT / "bench" / "README.md").read_text("utf-8").split())
