"""What is measured of a relayed packet, and by whom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from bench import relay
from bench.interpreter import Interpreter
from bench.peers import rtpengine_daemon


def run(own: float, kernel: float, sending: float) -> dict[str, Any]:
    return {"cpu_us_per_packet": own, "kernel_us_per_packet": kernel, "sending_us_per_packet": sending}


def test_what_a_relay_adds_is_all_that_grows_whoever_is_charged() -> None:
    nothing = run(0.0, 0.5, 6.0)
    assert relay.added(nothing, nothing) == 0.0
    assert relay.added(run(10.0, 0.75, 8.0), nothing) == pytest.approx(12.25)
    assert relay.added(run(0.0, 0.5, 7.5), nothing) == pytest.approx(1.5)


def test_who_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "trial", lambda: "not permitted")
    monkeypatch.setattr(rtpengine_daemon, "find", lambda: "")
    found, missing = relay.contestants()
    assert list(found) == ["nothing between", "worker"]
    assert missing["kernel"] == "not permitted"
    assert "apt-get install" in missing["rtpengine"]


def test_who_is_there_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "trial", lambda: "")
    monkeypatch.setattr(rtpengine_daemon, "find", lambda: "/usr/bin/rtpengine")
    pypy = Interpreter("/opt/pypy3", "Hookline on PyPy 8.0", "", jit=True)
    found, missing = relay.contestants([pypy])
    assert list(found) == ["nothing between", "worker", "worker on PyPy 8.0", "kernel", "rtpengine"]
    assert {name for name, python in found.items() if python == "/opt/pypy3"} == {"worker on PyPy 8.0"}
    assert missing == {}


async def test_a_few_streams_through_everybody_who_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The whole way once, a worker started by an interpreter of another name among it. Nothing is timed here."""
    monkeypatch.setattr(relay, "WARM_SECONDS", 0.2)
    other, started = tmp_path / "python", tmp_path / "started"
    other.write_text(f'#!/bin/sh\necho "$@" >> {started}\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    names, _ = relay.contestants([Interpreter(str(other), "Hookline on another", "", jit=False)])
    runs = await relay.gather(4, 0.5, names)
    assert [run["relay"] for run in runs] == list(names)
    assert [(run["sent"], run["lost"]) for run in runs] == [(100, 0)] * len(names)
    workers = [run for run in runs if run["relay"] in ("worker", "worker on another", "rtpengine")]
    assert all(run["cpu_us_per_packet"] > 0 for run in workers)
    assert started.read_text("utf-8").count("pbxcore.media.worker") == 1
    assert sys.executable != str(other)
