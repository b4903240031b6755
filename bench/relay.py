"""`python -m bench relay`: what a relayed RTP packet costs the worker, and what the relay adds to its way.

A one-way stream is 50 packets of 172 octets a second; two of them make a call. The relay's worker is pinned to the
first processor and the load to the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from typing import Any

from bench import machine
from bench.rtp_load import HOST, PERIOD
from pbxcore.hooks import StreamStats
from pbxcore.media.relay import Relay
from pbxcore.media.rewrite import read

SETTLE_SECONDS = 1.0      # between the first packets and the measurement


class _Nobody:
    """A media listener with nothing to do."""

    def media_timed_out(self, call_id: str) -> None: ...

    def media_lost(self, call_id: str) -> None:
        raise SystemExit("the worker died")

    def media_deleted(self, call_id: str, from_a: StreamStats, from_b: StreamStats) -> None: ...

    def media_played(self, call_id: str, number: int) -> None: ...

    def media_digit(self, call_id: str, digit: str) -> None: ...

    def media_recorded(self, call_id: str, seconds: float) -> None: ...


def _sdp(port: int) -> bytes:
    return (
        f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    ).encode()


def _pin(pid: int, processor: int) -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) > 1:
        os.sched_setaffinity(pid, {processors[processor]})


async def _calls(relay: Relay, phones: list[int]) -> list[int]:
    """Set the calls up; where each phone sends to."""
    targets = []
    for n in range(0, len(phones), 2):
        to_b = await relay.offer(f"c{n}", "a", "b1", _sdp(phones[n]), local=HOST)
        to_a = await relay.answer(f"c{n}", "b1", "a", _sdp(phones[n + 1]), local=HOST)
        targets += [read(to_a).lines[0].port, read(to_b).lines[0].port]
    await relay.query("c0")     # answered once the worker has heard of every call
    return targets


async def measure(streams: int, seconds: float) -> dict[str, Any]:
    """One run; the figures. `streams` is rounded up to whole calls."""
    streams += streams & 1
    relay = Relay(addresses=[HOST])
    await relay.start(_Nobody())
    worker = relay.worker_pids()[0]
    load = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.rtp_load", str(streams), str(seconds),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip
    assert load.stdin is not None
    assert load.stdout is not None
    try:
        _pin(worker, 0)
        _pin(load.pid, 1)
        targets = await _calls(relay, json.loads(await load.stdout.readline()))
        load.stdin.write(json.dumps(targets).encode() + b"\n")
        if await load.stdout.readline() != b"ready\n":
            raise SystemExit("the load did not get ready")
        await asyncio.sleep(SETTLE_SECONDS)
        before, waited_before = machine.cpu_seconds(worker), machine.waited_seconds(worker)
        load.stdin.write(b"go\n")
        figures: dict[str, Any] = json.loads(await load.stdout.readline())
        cpu = machine.cpu_seconds(worker) - before
        waited = machine.waited_seconds(worker) - waited_before
    finally:
        if load.returncode is None:
            load.stdin.close()
            await load.wait()
        await relay.close()
    figures |= {
        "streams": streams,
        "seconds": seconds,
        "packets_per_second": streams / PERIOD,
        "lost": figures["sent"] - figures["received"],
        "cpu_us_per_packet": cpu * 1e6 / max(1, figures["received"]),
        "worker_cpu_percent": cpu * 100 / seconds,
        "worker_waited_percent": waited * 100 / seconds,
        "machine": machine.facts(),
    }
    return figures


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench relay", description=__doc__)
    parser.add_argument("--streams", type=int, default=400, help="one-way streams of 50 packets a second (400)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(argv)
    figures = asyncio.run(measure(options.streams, options.seconds))
    if options.json:
        print(json.dumps(figures))
        return 0
    delay = figures["delay_ms"]
    print(
        f"{figures['streams']} streams, {figures['packets_per_second']:.0f} packets/s for {figures['seconds']:.0f} s\n"
        f"worker   {figures['cpu_us_per_packet']:.2f} us CPU a packet, {figures['worker_cpu_percent']:.0f} % of one\n"
        f"         {figures['worker_waited_percent']:.0f} % of the time it was ready and others had the processor\n"
        f"lost     {figures['lost']} of {figures['sent']}\n"
        f"delay    p50 {delay['p50']:.3f}  p95 {delay['p95']:.3f}  p99 {delay['p99']:.3f}  max {delay['max']:.3f} ms\n"
        f"load     at most {figures['late_ms']:.1f} ms late with a packet"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
