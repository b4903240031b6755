"""A peer of the bench that is said to do the same job as the exchange does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import machine, wire
from bench.load import Load
from bench.options import Options
from bench.peers import kamailio, kamailio_pbx, rtpengine_daemon
from bench.peers.kamailio_pbx import Job
from bench.subject import HOST
from bench.trial import faults
from tests.conftest import could_not, require_tool

NAMES = {"embedded": b"Caller 0", "http": b"Anna Ivanova"}


@pytest.mark.parametrize("hook", NAMES)
def test_kamailio_looks_up_anchors_media_and_writes_a_record(
    tmp_path: Path, hook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = kamailio.find() or require_tool("kamailio")
    job = Job(hook, load_cpu=machine.two_cpus()[1])
    if absent := kamailio_pbx.missing(path, job):
        could_not(f"{kamailio_pbx.NAME}: {absent}")
    port, callee_port = wire.free_port(HOST), wire.free_port(HOST)
    with kamailio_pbx.starter(path, job)(tmp_path, machine.two_cpus()[0], port, callee_port) as subject:
        load = Load(
            Options(subject.server, callee_port=callee_port, rate=2, seconds=0.5, warm_up=0, hold=1.0, audio=True)
        )
        heard: list[bytes] = []
        asked = load.callee._asked

        def listening(data: bytes, source: tuple[str, int], now: float) -> None:
            heard.append(data)
            asked(data, source, now)

        monkeypatch.setattr(load.callee, "_asked", listening)
        figures = load.run()
        assert (figures.ok, figures.failed, faults(figures)) == (1, 0, [])
        assert figures.audio["sent"] > figures.audio["lost"]
        invite = next(data for data in heard if data.startswith(b"INVITE "))
        assert b'\r\nP-Asserted-Identity: "%s" <sip:+12025550000@' % NAMES[hook] in invite
        media = wire.media_address(invite)
        assert media is not None
        assert rtpengine_daemon.PORTS[0] <= media[1] <= rtpengine_daemon.PORTS[1]
        assert subject.audit is not None
        assert subject.audit([1]) == (1, [])
