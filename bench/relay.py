"""`python -m bench relay`: what a relayed RTP packet costs, by the worker, the kernel and rtpengine, and what each adds
to its way.

A one-way stream is 50 packets of 172 octets a second; two of them make a call. The relay is pinned to the first
processor and the load to the second. The kernel works in whose name it happens to: a packet's arrival at the relay is
charged to the load's sending. So the load's own sending is timed, too, and compared with a load that sends to itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from bench import machine
from bench.budgets import WORKER
from bench.interpreter import Interpreter, add_interpreter, told_apart
from bench.peers import rtpengine_daemon
from bench.peers.registry import NOTHING
from bench.rtp_load import HOST, PERIOD
from pbxcore.hooks import StreamStats
from pbxcore.media.backend import MediaBackend
from pbxcore.media.kernel import trial
from pbxcore.media.relay import Relay
from pbxcore.media.rewrite import read

SETTLE_SECONDS = 1.0      # between the first packets and what follows
WARM_SECONDS = 5.0        # that streams flow before they are measured, whatever relays them: a JIT compiles
LEND_SECONDS = 20.0       # until the kernel has all streams
KERNEL = "kernel"
PARTS = ("cpu_us_per_packet", "kernel_us_per_packet", "sending_us_per_packet")


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


async def _calls(backend: MediaBackend, phones: list[int]) -> list[int]:
    """Set the calls up; where each phone sends to."""
    targets = []
    for n in range(0, len(phones), 2):
        to_b = await backend.offer(f"c{n}", "a", "b1", _sdp(phones[n]), local=HOST)
        to_a = await backend.answer(f"c{n}", "b1", "a", _sdp(phones[n + 1]), local=HOST)
        targets += [read(to_a).ports[0], read(to_b).ports[0]]
    if isinstance(backend, Relay):
        await backend.query("c0")       # answered once the worker has heard of every call
    return targets


def contestants(interpreters: Iterable[Interpreter] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """Who is measured here, with the interpreter that workers run on; and why others are not."""
    found = {NOTHING: sys.executable, WORKER: sys.executable}
    found |= {WORKER + on.suffix: on.path for on in interpreters}
    missing = {}
    refusal = trial()
    if refusal:
        missing[KERNEL] = refusal
    else:
        found[KERNEL] = sys.executable
    if rtpengine_daemon.find():
        found[rtpengine_daemon.NAME] = sys.executable
    else:
        missing[rtpengine_daemon.NAME] = "not installed (Debian: apt-get install rtpengine-daemon)"
    return found, missing


@contextmanager
def _workers_on(python: str) -> Iterator[None]:
    """Workers that are started meanwhile run on this interpreter: they take that of whoever starts them."""
    before, sys.executable = sys.executable, python
    try:
        yield
    finally:
        sys.executable = before


@asynccontextmanager
async def _relay(name: str, python: str) -> AsyncIterator[tuple[MediaBackend | None, int]]:
    """A relay and its process; 0 where there is none."""
    if name == NOTHING:
        yield None, 0
        return
    if name == rtpengine_daemon.NAME:
        async with rtpengine_daemon.running(HOST, machine.two_cpus()[0], _Nobody()) as (backend, pid):
            yield backend, pid
        return
    relay = Relay(addresses=[HOST], kernel=name == KERNEL)
    with _workers_on(python):
        await relay.start(_Nobody())
    try:
        _pin(relay.worker_pids()[0], 0)
        yield relay, relay.worker_pids()[0]
    finally:
        await relay.close()


async def _settled(name: str, backend: MediaBackend | None, streams: int) -> None:
    await asyncio.sleep(SETTLE_SECONDS)
    if name == KERNEL and backend is not None:
        async with asyncio.timeout(LEND_SECONDS):
            while backend.kernel().streams < streams:  # noqa: ASYNC110 - the worker tells it by and by
                await asyncio.sleep(0.1)


async def measure(name: str, streams: int, seconds: float, python: str) -> dict[str, Any]:
    """One run, its workers on this interpreter; the figures. `streams` is rounded up to whole calls."""
    streams += streams & 1
    async with _relay(name, python) as (backend, pid):
        load = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.rtp_load", str(streams),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
        )  # fmt: skip
        assert load.stdin is not None
        assert load.stdout is not None
        try:
            _pin(load.pid, 1)
            phones = json.loads(await load.stdout.readline())
            targets = [phones[n ^ 1] for n in range(streams)] if backend is None else await _calls(backend, phones)
            load.stdin.write(json.dumps(targets).encode() + b"\n")
            if await load.stdout.readline() != b"ready\n":
                raise SystemExit("the load did not get ready")
            await _settled(name, backend, streams)
            load.stdin.write(f"{WARM_SECONDS}\n".encode())
            await load.stdout.readline()
            kernel_before = machine.kernel_seconds()
            before, waited_before = (machine.cpu_seconds(pid), machine.waited_seconds(pid)) if pid else (0.0, 0.0)
            load.stdin.write(f"{seconds}\n".encode())
            figures: dict[str, Any] = json.loads(await load.stdout.readline())
            cpu = machine.cpu_seconds(pid) - before if pid else 0.0
            waited = machine.waited_seconds(pid) - waited_before if pid else 0.0
            kernel = machine.kernel_seconds() - kernel_before
        finally:
            if load.returncode is None:
                load.stdin.close()
                await load.wait()
    packets = max(1, figures["received"])
    return figures | {
        "relay": name,
        "streams": streams,
        "seconds": seconds,
        "packets_per_second": streams / PERIOD,
        "lost": figures["sent"] - figures["received"],
        "cpu_us_per_packet": cpu * 1e6 / packets,
        "kernel_us_per_packet": kernel * 1e6 / packets,
        "sending_us_per_packet": figures["sending_seconds"] * 1e6 / figures["sent"],
        "worker_cpu_percent": cpu * 100 / seconds,
        "worker_waited_percent": waited * 100 / seconds,
    }


def added(run: dict[str, Any], nothing: dict[str, Any]) -> float:
    """Microseconds of CPU that a packet costs more than without a relay, whoever is charged for them."""
    return float(sum(run[part] - nothing[part] for part in PARTS))


def _row(name: str, *cells: str) -> str:
    return f"{name:<20}" + "".join(f"{cell:>9}" for cell in cells)


async def gather(streams: int, seconds: float, measured: Mapping[str, str]) -> list[dict[str, Any]]:
    """One run of each contestant, in this order; the first is the load alone."""
    runs = [await measure(name, streams, seconds, python) for name, python in measured.items()]
    for run in runs:
        run["added_us_per_packet"] = added(run, runs[0])
    return runs


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench relay", description=__doc__)
    parser.add_argument("--streams", type=int, default=400, help="one-way streams of 50 packets a second (400)")
    parser.add_argument("--seconds", type=float, default=10.0)
    add_interpreter(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as one line of JSON")
    options = parser.parse_args(argv)
    interpreters = told_apart(options.interpreter)
    measured, missing = contestants(interpreters)
    runs = asyncio.run(gather(options.streams, options.seconds, measured))
    if options.json:
        facts = machine.facts() | {WORKER + on.suffix: on.facts for on in interpreters}
        print(json.dumps({"runs": runs, "missing": missing, "machine": facts}))
        return 0
    first = runs[0]
    rate, length = first["packets_per_second"], first["seconds"]
    taken = f"{rate:.0f} packets/s for {length:.0f} s each, after {WARM_SECONDS:g} s of the same"
    print(f"{first['streams']} streams, {taken}; us of CPU a packet, delay in ms")
    print(_row("", "relay", "kernel", "sending", "added", "waited %", "p50", "p99", "max", "lost", "late ms"))
    for run in runs:
        costs = [run[part] for part in (*PARTS, "added_us_per_packet")]
        delays = [f"{run['delay_ms'][at]:.3f}" for at in ("p50", "p99", "max")]
        print(_row(
            run["relay"], *(f"{cost:.2f}" for cost in costs), f"{run['worker_waited_percent']:.1f}", *delays,
            str(run["lost"]), f"{run['late_ms']:.1f}",
        ))  # fmt: skip
    for on in interpreters:
        print(f"{WORKER + on.suffix}: {on.facts}")
    for name, why in missing.items():
        print(f"{name} is not measured: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
