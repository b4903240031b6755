"""The raw data: one line for every call, good or not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from bench import raw, setup
from bench.caller import Call
from bench.load import Load
from bench.options import Options
from bench.wire import free_port

HOST = "127.0.0.1"


def test_a_call_that_was_never_answered_says_so_and_why() -> None:
    call = Call(7, 100.25, False)
    call.sent, call.ringing, call.ended, call.reason = 100.26, 100.5, 101.0, "486"
    [line] = raw.lines([call], server="X", began=5.0, start=100.0)
    assert json.loads(line) == {
        "server": "X", "began": 5.0, "call": 7, "counted": False, "meant": 0.25, "sent": 0.26, "ringing": 0.5,
        "answered": None, "ended": 1.0, "reason": "486",
    }  # fmt: skip


def test_the_load_adds_a_line_for_every_call(tmp_path: Path) -> None:
    port, file = free_port(HOST), tmp_path / "raw"
    file.write_text("before\n", "utf-8")
    options = Options(
        (HOST, port), caller=HOST, callee_port=port, rate=100.0, seconds=0.1, warm_up=0.1, settle=0.1, name="nobody",
        raw=str(file),
    )  # fmt: skip
    load = Load(options)
    figures = load.run()
    load.keep_raw()
    for sock in (load.caller.socket, load.callee.socket):
        sock.close()
    first, *lines = file.read_text("utf-8").splitlines()
    told = [json.loads(line) for line in lines]
    assert first == "before"
    assert [one["call"] for one in told] == list(range(20))
    assert [one["counted"] for one in told] == [False] * 10 + [True] * 10
    assert {one["server"] for one in told} == {"nobody"}
    for one in told:
        assert one["meant"] <= one["sent"] < one["ringing"] <= one["answered"] < one["ended"]
    counted = [(one["ringing"] - one["meant"]) * 1000 for one in told if one["counted"]]
    assert sorted(counted) == pytest.approx(sorted(figures.ringing_ms), abs=0.01)


def test_a_file_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    old = tmp_path / "raw"
    old.write_text("old\n", "utf-8")
    assert setup.emptied(str(old)) == str(old)
    assert old.read_text("utf-8") == ""
    with pytest.raises(argparse.ArgumentTypeError):
        setup.emptied(str(tmp_path))
