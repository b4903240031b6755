"""One trial: the load against a running server, and what came of it beside what the machine was doing meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import Any

from bench import machine, memory, warming
from bench.figures import Run, curve, percentiles
from bench.load import READY
from bench.options import Figures, Options
from bench.subject import ROOT, CannotStart, Subject
from bench.wire import GIVE_UP

SPARE_SECONDS = 30.0
WARM_RATE = 200.0           # calls a second that go before those that are measured: what a cold JIT keeps up with
LOAD_BUSY = 0.7             # shares above which a figure says more of the load or of the neighbours than of the server
LOAD_LATE_MS = 1.0
STEAL = 0.01
OTHERS = 0.1
WAITED = 0.02
NOBODY = 0.02               # without others a server waits for itself: its threads and workers share one CPU


@contextmanager
def loader(options: Options, cpu: int) -> Iterator[subprocess.Popen[str]]:
    """The load, ready to go. Raises RuntimeError when it could not even register."""
    command = [sys.executable, "-m", "bench.load", json.dumps(asdict(options)), "--cpu", str(cpu)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != READY:
            raise RuntimeError("the load did not start; its own words are above")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def offer(
    options: Options, cpu: int, beside: AbstractContextManager[None] | None = None
) -> tuple[Figures, machine.Moment, dict[int, float]]:
    """Run the load, inside of `beside`; its figures, the moment before it, and what watched processes had waited for a
    CPU by then."""
    with loader(options, cpu) as process:
        before = machine.moment()
        waits = {pid: machine.waited_seconds(pid) for pid in options.watch}
        waits[process.pid] = 0.0
        longest = options.warm_up + options.seconds + options.hold + options.answer_after + 2 * GIVE_UP + SPARE_SECONDS
        with beside or nullcontext():
            told, _ = process.communicate("\n", timeout=longest)
    if process.returncode:
        raise RuntimeError(f"the load failed with {process.returncode}; its own words are above")
    return Figures(**json.loads(told)), before, waits


def aimed(options: Options, subject: Subject) -> Options:
    """The options of a load against this server."""
    options.server, options.name = subject.server, subject.name
    options.caller_port, options.callee_port = subject.caller_port, subject.callee_port
    options.password = subject.password
    options.watch = subject.pids
    return options


def warm(subject: Subject, options: Options, calls: int, load_cpu: int) -> Figures:
    """So many calls at WARM_RATE before those that are measured, through a load of their own, without audio; what came
    of them. Returns when their transactions are gone, so that what follows neither weighs them nor pays for them."""
    if not calls:
        return Figures()
    before = replace(
        options, rate=WARM_RATE, seconds=calls / WARM_RATE, warm_up=0.0, hold=0.0, answer_after=0.0, audio=False, raw=""
    )
    figures, _, _ = offer(aimed(before, subject), load_cpu)
    subject.password = ""       # the phone is registered now, and stays so
    time.sleep(memory.LINGER_SECONDS)
    return figures


def trial(subject: Subject, options: Options, load_cpu: int) -> Run:
    """One run of the load against this server. Raises CannotStart when it did not live to the end."""
    options = aimed(options, subject)
    drops = machine.port_drops(subject.server[1]) if subject.pids else 0
    samples: memory.Samples = []
    figures, before, waits = offer(options, load_cpu, memory.sampled(subject.signalling, load_cpu, samples))
    if not all(machine.alive(pid) for pid in subject.pids):
        raise CannotStart(f"a process of it ended under the load: {figures.ok} good calls, {figures.failed} failed")
    after = machine.moment()
    seconds = after.at - before.at
    own = {*subject.pids, *waits, *machine.children(os.getpid()), os.getpid()}
    calls = max(1, figures.counted)

    def spent(pids: list[int]) -> float:
        return sum(machine.cpu_seconds(pid) - figures.watched_cpu[str(pid)] for pid in pids) * 1000 / calls

    waited = sum(machine.waited_seconds(pid) - waits[pid] for pid in subject.pids)
    run = Run(
        name=subject.name,
        rate=options.rate,
        achieved=figures.counted_ok / max(0.001, figures.counted_seconds - options.hold - options.answer_after),
        offered=figures.offered,
        ok=figures.ok,
        failed=figures.failed,
        resent=figures.resent,
        ringing=percentiles(figures.ringing_ms),
        answered=percentiles(figures.answered_ms),
        late=percentiles(figures.late_ms),
        cpu_ms=spent(subject.signalling),
        media_cpu_ms=spent(subject.media),
        load_cpu_ms=figures.cpu_seconds * 1000 / calls,
        load_busy=figures.cpu_seconds / max(0.001, figures.counted_seconds + options.settle),
        rss_mib=sum(machine.rss_mib(pid) for pid in subject.signalling),
        steal=machine.steal(before, after),
        others=machine.others(before, after, own),
        kernel=machine.kernel(before, after),
        waited=waited / seconds,
        dropped=machine.port_drops(subject.server[1]) - drops if subject.pids else 0,
        reasons=figures.reasons,
        faults=faults(figures),
        audio=figures.audio,
        ringing_curve=curve(figures.ringing_ms),
        apart=percentiles(figures.apart_ms),
        memory=[[at, held] for at, held, _ in samples],
        spent=[[at, used] for at, _, used in samples],
        blocks_p99=warming.p99s(figures.ringing_ms),
        tenths=memory.tenths(figures.ringing_ms),
    )
    run.noise = noise(run, figures)
    return run


def faults(figures: Figures) -> list[str]:
    """What the server did wrong in calls that went well, as far as the two phones can see."""
    audio = figures.audio
    told = {
        "calls were answered without ringing": figures.without_ringing,
        "INVITEs reached the callee twice or more, as new calls": max(0, figures.callee_calls - figures.offered),
        "calls were never ended at the callee": figures.callee_open,
        "answers were never acknowledged at the callee": figures.callee_unacknowledged,
        "responses belong to no call": figures.stray,
        "streams of audio were not heard at all": audio.get("deaf", 0) + audio.get("silent", 0),
        "RTP packets were doubled": audio.get("doubled", 0),
        **{f"requests that nobody asked for: {method}": count for method, count in figures.unexpected.items()},
    }
    return [f"{count} {what}" for what, count in told.items() if count]


def noise(run: Run, figures: Figures) -> list[str]:
    """Why these figures are not to be trusted: the load or the neighbours are in them."""
    told: dict[str, Any] = {
        f"the load was busy for {run.load_busy:.0%} of its CPU": run.load_busy > LOAD_BUSY,
        f"the load was late by {run.late.get('p95', 0):.1f} ms (p95)": run.late.get("p95", 0) > LOAD_LATE_MS,
        f"the load's own sockets dropped {figures.dropped} packets": figures.dropped,
        f"{run.steal:.1%} of the CPU were stolen": run.steal > STEAL,
        f"others kept {run.others:.2f} CPUs busy": run.others > OTHERS,
        f"the server waited for a CPU for {run.waited:.1%} of the time": run.waited > WAITED and run.others > NOBODY,
    }
    return [why for why, holds in told.items() if holds]
