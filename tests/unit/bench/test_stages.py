"""Where the time of a call goes: every moment of it is in one stage, and all stages together are the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import setup, stages
from bench.document import html, markdown
from bench.results import noise_of, sections
from bench.stages import ANSWERED, COMMIT, HOOK, ORDER, PARSE, PHONE, REST, RINGING, WAITS, Trace


def trace(at: float = 10.0) -> Trace:
    """A call that rings after 6 ms and is answered after 9; what it is in, in whole milliseconds."""
    made = Trace(at, WAITS)
    for after, stage in ((1, PARSE), (2, REST), (3, HOOK), (4, REST), (5, PHONE), (7, COMMIT)):
        made.enter(stage, at + after / 1000)
    assert made.handed(RINGING, at + 0.0055)
    made.left(RINGING, at + 0.006)
    assert made.handed(ANSWERED, at + 0.008)
    made.left(ANSWERED, at + 0.009)
    return made


def test_the_stages_of_a_call_are_the_whole_of_it() -> None:
    ringing, answered = trace().times(RINGING), trace().times(ANSWERED)
    assert ringing == pytest.approx({WAITS: 1, PARSE: 1, REST: 2, HOOK: 1, PHONE: 0.5, "180 sent": 0.5})
    assert answered == pytest.approx({WAITS: 1, PARSE: 1, REST: 2, HOOK: 1, PHONE: 2, COMMIT: 1, "200 sent": 1})


def test_what_came_while_we_were_busy_counts_from_when_we_were_free() -> None:
    made = Trace(10.0, PARSE)
    made.enter(REST, 10.004)
    assert made.enter(WAITS, 10.001) == REST
    made.enter(HOOK, 10.006)
    assert made.handed(RINGING, 10.007)
    made.left(RINGING, 10.007)
    assert made.times(RINGING) == pytest.approx({PARSE: 4, WAITS: 2, HOOK: 1, "180 sent": 0}, abs=1e-6)


def test_only_the_first_180_counts_and_without_one_there_is_no_way_to_it() -> None:
    made = trace()
    assert not made.handed(RINGING, 20.0)
    assert sum(made.times(RINGING).values()) == pytest.approx(6)
    assert Trace(10.0, WAITS).times(RINGING) == {}


def test_calls_are_read_in_order_and_the_warm_up_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "stages"
    file.write_text("".join(trace(at).line() + "\n" for at in (12.0, 10.0, 11.0)), "utf-8")
    assert [one["at"] for one in stages.read(file, 1)] == [11.0, 12.0]


def test_a_waterfall_adds_up_and_follows_the_call() -> None:
    calls = [{PARSE: 1.0, COMMIT: 3.0}, {WAITS: 1.0, PARSE: 1.0, COMMIT: 6.0}]
    found = stages.waterfall(calls)
    assert (found["calls"], found["mean"], found["p50"], found["p99"]) == (2, 6.0, 4.0, 8.0)
    assert [row["stage"] for row in found["stages"]] == [WAITS, PARSE, COMMIT]
    assert sum(row["share"] for row in found["stages"]) == pytest.approx(1)
    assert [row["mean"] for row in found["stages"]] == [0.5, 1.0, 4.5]
    assert stages.waterfall([]) == {"calls": 0, "stages": []}


def test_in_text_each_bar_begins_where_the_one_above_ends() -> None:
    _, _, *rows = stages.text(RINGING, stages.waterfall([{WAITS: 1.0, PARSE: 1.0, COMMIT: 2.0}]))
    bars = [row.partition("|")[2] for row in rows]
    assert bars == ["#" * 10, " " * 10 + "#" * 10, " " * 20 + "#" * 20]
    assert list(stages.text(RINGING, stages.waterfall([]))) == ["INVITE -> 180: no call got there"]


def test_every_stage_of_real_calls_is_marked(capfd: pytest.CaptureFixture[str]) -> None:
    status = setup.main(["--rate", "20", "--seconds", "1", "--media", "--stages", "--json"])
    told = json.loads(capfd.readouterr().out)
    assert (status, told["offered"], told["failed"], told["faults"]) == (0, 40, 0, [])
    assert "cpu_ms" not in json.dumps(told)
    answered = told["waterfalls"][ANSWERED]
    assert answered["calls"] == told["waterfalls"][RINGING]["calls"] == 20
    # When the 180 has left is of no matter on the way to the 200.
    assert {*ORDER} - {row["stage"] for row in answered["stages"]} == {"180 sent"}
    assert sum(row["mean"] for row in answered["stages"]) == pytest.approx(answered["mean"])
    assert answered["mean"] <= told["seen"][ANSWERED]["max"]


@pytest.mark.parametrize("more", [["--peers"], ["--leaks"], ["--runs", "2"]])
def test_a_marked_run_is_compared_with_nobody(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        setup.main(["--stages", *more])
    assert "--stages is one run of its own" in capsys.readouterr().err


def test_the_report_draws_both_ways_and_says_that_these_runs_are_not_those() -> None:
    fall = stages.summary([{name: trace().times(name) for name in (RINGING, ANSWERED)}])
    found = {
        "plan": {"rate": 50.0}, "words": "50 calls/s", "offered": 550, "failed": 0, "faults": [], "noise": ["steal"],
        "waterfalls": fall,
    }  # fmt: skip
    data = {"taken": {}, "machine": {}, "setups": [], "crm": None, "relay": [], "parse": {}, "stages": [found]}
    assert noise_of(data) == ["stages at 50/s: steal"]
    text = markdown("Results", sections(data))
    assert "never of this one" in text
    assert "| INVITE -> 200 | 9.000 | 9.000 | 9.000 | 100 % |" in text
    assert "| commit | 1.000 | 1.000 | 1.000 | 11.1 % |" in text
    assert html("Results", sections(data)).count("<svg") == 2
