"""The load with nothing between: its caller calls its own callee."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest

from bench import wire
from bench.caller import GIVEN_UP
from bench.load import Load
from bench.options import Options
from bench.wire import free_port

HOST = "127.0.0.1"


def test_warm_up_calls_are_calls_but_in_no_latency() -> None:
    port = free_port(HOST)
    options = Options(
        (HOST, port), caller=HOST, callee_port=port, rate=100.0, seconds=0.1, warm_up=0.1, settle=0.1, watch=[1]
    )
    load = Load(options)
    began = time.perf_counter()
    figures = load.run()
    assert time.perf_counter() - began >= 0.28         # it listens on after the last call
    for sock in (load.caller.socket, load.callee.socket):
        sock.close()
    assert (figures.offered, figures.ok, figures.failed) == (20, 20, 0)
    assert (figures.callee_calls, figures.callee_open, figures.callee_unacknowledged) == (20, 0, 0)
    assert figures.counted == figures.counted_ok == len(figures.late_ms) == 10
    assert len(figures.ringing_ms) == len(figures.answered_ms) == 10
    assert all(late >= 0 for late in figures.late_ms)
    assert min(figures.ringing_ms) > min(figures.late_ms)
    assert figures.counted_seconds >= options.seconds
    assert figures.cpu_seconds > 0
    assert figures.watched_cpu.keys() == {"1"}
    assert (figures.stray, figures.unexpected) == (0, {})


def test_calls_that_are_not_over_in_time_are_given_up_on() -> None:
    load = Load(
        Options((HOST, free_port(HOST)), caller=HOST, rate=100.0, seconds=0.1, warm_up=0.0, settle=0.0, patience=0.1)
    )
    began = time.perf_counter()
    figures = load.run()
    assert 0.2 <= time.perf_counter() - began < wire.GIVE_UP
    for sock in (load.caller.socket, load.callee.socket):
        sock.close()
    assert (figures.offered, figures.ok, figures.reasons) == (10, 0, {GIVEN_UP: 10})
    assert load.caller.live == 0


def test_options_cross_to_the_loads_process_as_json() -> None:
    options = Options((HOST, 5060), rate=50.0, watch=[1, 2])
    assert Options.from_json(json.loads(json.dumps(asdict(options)))) == options


def test_nothing_more_to_wait_for_is_no_endless_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.load.LONGEST", 0.001)
    load = Load(Options((HOST, 9), caller=HOST))
    load._turn(float("inf"), time.perf_counter())       # as when the last call was just given up
    for sock in (load.caller.socket, load.callee.socket):
        sock.close()


def test_it_is_awake_before_a_call_only_while_none_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def select(_read: object, _write: object, _error: object, seconds: float) -> tuple[list[object], ...]:
        slept.append(seconds)
        return [], [], []

    load = Load(Options((HOST, 9), caller=HOST))
    monkeypatch.setattr("bench.load.select.select", select)
    monkeypatch.setattr("bench.load.time.perf_counter", lambda: 1000.0)
    load._turn(1000.02, 1000.0)
    load._turn(1000.0002, 1000.0)
    load.caller.live = 1
    load._turn(1000.02, 1000.0)
    for sock in (load.caller.socket, load.callee.socket):
        sock.close()
    assert slept == pytest.approx([0.0197, 0.0, 0.02])


def test_calls_that_are_held_talk() -> None:
    port = free_port(HOST)
    load = Load(
        Options((HOST, port), caller=HOST, callee_port=port, rate=20.0, seconds=0.1, warm_up=0.0, hold=0.3, audio=True)
    )
    figures = load.run()
    assert figures.ok == 2
    assert figures.audio["streams"] == 4
    assert figures.audio["sent"] > 0
    assert (figures.audio["lost"], figures.audio["doubled"], figures.audio["unknown"]) == (0, 0, 0)
