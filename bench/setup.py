"""Call set-up: an exchange on one CPU, the load on another, the figures of both.

Starts the exchange with a settings file of its own on loopback addresses, pinned to CPU 0; the load (`bench.load`) runs
on CPU 1. A carrier at 127.0.0.2 calls extension 101 from numbers of which nine in ten are in the CRM. What is printed:
failures, latency from the intended arrival, CPU a call of the signalling process and of its media workers, memory, what
is in the database afterwards; and what must stand beside any such figure: the interpreter's build, the collector's
policy, and what else the machine was doing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import interpreter, machine, stages, table
from bench.caller import GIVEN_UP
from bench.crm_server import SLOW_DIGIT, crm_server
from bench.exchange import book_faults, exchange, written
from bench.figures import Run, median_run
from bench.interpreter import Interpreter
from bench.leaks import Watch
from bench.options import Options
from bench.peers import registry
from bench.peers.kamailio_pbx import Job
from bench.subject import CannotStart
from bench.trial import WARM_RATE, trial, warm

AUDIO_HOLD = 2.0
LOOK_UP = {"none": "no look-up", "embedded": "CRM look-up inline", "http": "a CRM asked by HTTP inline"}


@dataclass(frozen=True)
class Plan:
    """One kind of run. `hold` is seconds that a call stays up, `cpus` those of the server and of the load.
    `slow` is seconds that an HTTP hook takes for one caller in ten, whose latencies are kept apart. `raw` is a file
    that gets a line of JSON for every call. Ours is run on the bench's own interpreter, unless `only`, and on
    `interpreters`. `warm_up` is how many calls go before those that are measured; None: as many as a JIT needs, where
    there is one. `skipped` are the first seconds, whose calls are in no latency and CPU. `patience` is how many seconds
    after the last arrival what still lives has failed; None: only RFC 3261's timers end a call."""

    rate: float = 50.0
    seconds: float = 10.0
    hook: str = "embedded"
    relay: bool = False
    audio: bool = False
    hold: float = 0.0
    answer_after: float = 0.0
    leaks: bool = False
    slow: float = 0.0
    raw: str = ""
    interpreters: tuple[Interpreter, ...] = ()
    only: bool = False
    warm_up: int | None = None
    skipped: float = 1.0
    patience: float | None = None
    cpus: tuple[int, int] = field(default_factory=machine.two_cpus)

    def options(self) -> Options:
        """The load of this plan; where to is filled in by the trial."""
        return Options(
            ("", 0), rate=self.rate, seconds=self.seconds, hold=self.hold, answer_after=self.answer_after,
            audio=self.audio, apart=SLOW_DIGIT if self.slow else None, raw=self.raw, warm_up=self.skipped,
            patience=self.patience,
        )  # fmt: skip

    def on(self) -> list[Interpreter]:
        """What ours is run on, in this order."""
        return [*(() if self.only and self.interpreters else (interpreter.own(),)), *self.interpreters]

    def calls_before(self, on: Interpreter) -> int:
        """How many calls go before those that are measured."""
        return self.warm_up if self.warm_up is not None else interpreter.WARM_UP if on.jit else 0

    def facts(self) -> dict[str, str]:
        """Of the machine and of the other interpreters."""
        return machine.facts() | {one.name: one.facts for one in self.interpreters}

    def words(self) -> str:
        media = "audio relayed" if self.audio else "ports allocated" if self.relay else "no relay"
        hold = f", held {self.hold:g} s" if self.hold else ""
        return f"{self.rate:g} calls/s for {self.seconds:g} s{hold}, hook {self.hook}, {media}{self.warming()}"

    def warming(self) -> str:
        """What goes before those that are measured, in words."""
        if self.warm_up is not None:
            return f"; before, on every server, {self.warm_up:,} calls at {WARM_RATE:g}/s" if self.warm_up else ""
        warmed = " and ".join(one.name for one in self.on() if one.jit)
        return f"; before, to warm up {warmed}, {interpreter.WARM_UP:,} calls at {WARM_RATE:g}/s" if warmed else ""

    def does(self) -> str:
        """What our exchange does for each call under this plan."""
        look_up = LOOK_UP[self.hook]
        media = "audio relayed" if self.audio else "media ports allocated" if self.relay else "no media"
        return f"Python; back-to-back user agent, {look_up}, {media}, record and activity written"


def ours(plan: Plan, on: Interpreter, marked: Path | None = None) -> Run:
    """One run on a fresh exchange on this interpreter; `marked`: the file where it leaves the stages of its calls."""
    server_cpu, load_cpu = plan.cpus
    with ExitStack() as stack:
        asked = stack.enter_context(crm_server(load_cpu, slow=plan.slow)) if plan.hook == "http" else ""
        subject = stack.enter_context(
            exchange(
                plan.hook, on=on, relay=plan.relay, cpu=server_cpu, load_cpu=load_cpu, hook_url=asked, stages=marked
            )
        )
        before = warm(subject, plan.options(), plan.calls_before(on), load_cpu)
        watch = Watch(subject, load_cpu) if plan.leaks else None
        run = trial(subject, plan.options(), load_cpu)
        run.warmed = before.offered
        if GIVEN_UP in run.reasons:     # there is no saying what has become of those
            return run
        primed = watch.primed if watch else 0
        earlier = before.offered + primed
        assert subject.database is not None
        refused = run.reasons.get("503", 0)
        book = written(subject.database, run.offered + earlier - refused)
        run.records, run.activities = book.records - earlier, book.activities - earlier
        ok, failed = run.ok + before.ok + primed, run.failed + before.failed
        look_up = plan.hook != "none"
        run.faults += book_faults(run.offered + earlier, ok, failed, book, look_up=look_up, refused=refused)
        run.faults += [f"{before.failed} of {before.offered} calls that went before failed"] * bool(before.failed)
        if watch is not None:
            run.leaks = watch.finish(run.offered)
            run.faults += run.leaks["left"]
    return run


def staged(plan: Plan, on: Interpreter) -> dict[str, Any]:
    """Where the time of a call goes: one run whose exchange marks the stages, as JSON has it. Such a run costs more CPU
    than others, so that is not in it. Raises CannotStart."""
    options = plan.options()
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as name:
        file = Path(name, "stages")
        run = ours(plan, on, file)
        if not file.exists():
            raise CannotStart("it did not end in time to say what its calls spent their time in")
        found = stages.summary(stages.read(file, run.warmed + round(options.rate * options.warm_up)))
    return {
        "bench": "stages",
        "name": on.name,
        "plan": asdict(plan),
        "words": plan.words(),
        "machine": plan.facts(),
        "offered": run.offered,
        "failed": run.failed,
        "good": run.good,
        "noise": run.noise,
        "faults": run.faults,
        "seen": {stages.RINGING: run.ringing, stages.ANSWERED: run.answered},
        "waterfalls": found,
    }


@dataclass(frozen=True)
class Contestant:
    """Somebody who is measured: its name, what it does for its call, and one run of it on a fresh server."""

    name: str
    does: str
    run: Callable[[], Run]


def contestants(plan: Plan, others: Sequence[registry.Peer]) -> list[Contestant]:
    """Ours first, on each interpreter, then the peers, all under the same load."""
    first = [Contestant(on.name, plan.does(), partial(ours, plan, on)) for on in plan.on()]
    return first + [_peer(plan, peer) for peer in others]


def _peer(plan: Plan, peer: registry.Peer) -> Contestant:
    return Contestant(
        peer.name, peer.does, lambda: registry.run(peer, plan.options(), plan.cpus, warm_up=plan.warm_up or 0)
    )


def in_turn(
    measured: Sequence[Contestant], runs: int, missing: dict[str, str], say: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Every contestant once, then again: what disturbs the machine disturbs all alike. The rule is fixed before: no run
    is repeated or left out. A peer that does not start goes to `missing`, with its last words; raises CannotStart when
    it is the first one."""
    made: dict[str, list[Run]] = {}
    for number in range(runs):
        for contestant in measured:
            say(f"run {number + 1} of {runs}: {contestant.name} ...")
            try:
                run = contestant.run()
            except CannotStart as error:
                if contestant is measured[0]:
                    raise
                missing[contestant.name] = f"did not start, or did not stay: {error}"
                continue
            run.name = contestant.name
            made.setdefault(run.name, []).append(run)
    return made


def tell(words: str) -> None:
    """Progress, beside the figures."""
    print(words, file=sys.stderr, flush=True)


def report(plan: Plan, made: dict[str, list[Run]], missing: dict[str, str]) -> dict[str, Any]:
    """What --json prints."""
    first = next(iter(made))
    medians = {name: median_run(runs) for name, runs in made.items()}
    return {
        "bench": "setup",
        "plan": asdict(plan),
        "machine": plan.facts(),
        "median": asdict(medians[first]),
        "runs": [asdict(run) for run in made[first]],
        "peers": {
            name: {"median": asdict(medians[name]), "runs": [asdict(run) for run in runs]}
            for name, runs in made.items()
            if name != first
        },
        "ratios": {ours: table.ratios(medians, ours) for ours in table.to_whom(medians)},
        "missing": missing,
    }


def cpus(text: str) -> tuple[int, int]:
    """The two CPUs of `0,1`. Raises ValueError, which argparse words."""
    server_cpu, load_cpu = (int(cpu) for cpu in text.split(","))
    if not {server_cpu, load_cpu} <= os.sched_getaffinity(0):
        raise ValueError(text)
    return server_cpu, load_cpu


def emptied(text: str) -> str:
    """The absolute path of a file that is now there and empty. Raises argparse.ArgumentTypeError."""
    path = Path(text).absolute()
    try:
        path.write_text("", "utf-8")
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return str(path)


def parser(prog: str, what: str) -> argparse.ArgumentParser:
    """The options that setup and peers share."""
    made = argparse.ArgumentParser(prog=prog, description=what)
    made.add_argument("--rate", type=float, default=50, help="calls a second (default 50)")
    made.add_argument("--seconds", type=float, default=10, help="length of a run after its warm-up (default 10)")
    made.add_argument("--hook", choices=("none", "embedded", "http"), default="embedded")
    media = made.add_mutually_exclusive_group()
    media.add_argument("--media", action="store_true", help="offers and answers go through the relay, ports allocated")
    media.add_argument("--rtp", action="store_true", help="audio flows too, 50 packets/s each way (holds 2 s)")
    made.add_argument("--hold", type=float, help="seconds that a call stays up (default 0, with --rtp 2)")
    made.add_argument("--answer-after", type=float, default=0.0, help="seconds that the phone rings (default 0)")
    made.add_argument("--runs", type=int, default=1, help="runs, each on a fresh server (default 1)")
    made.add_argument("--cpus", default=machine.two_cpus(), type=cpus, help="CPU of the server and of the load")
    made.add_argument("--sippy", default="", help="Sippy's b2bua_simple, when it is not on the path")
    interpreter.add_interpreter(made)
    made.add_argument("--only", action="store_true", help="on the interpreters named, not on the bench's own")
    made.add_argument(
        "--warm-up", type=int, metavar="CALLS",
        help=f"calls before those that are measured, for everybody (default 0, with a JIT {interpreter.WARM_UP:,})",
    )  # fmt: skip
    made.add_argument("--json", action="store_true")
    return made


def plan_of(arguments: argparse.Namespace, *, leaks: bool = False) -> Plan:
    """The plan that parsed options describe."""
    hold = arguments.hold if arguments.hold is not None else AUDIO_HOLD if arguments.rtp else 0.0
    return Plan(
        arguments.rate, arguments.seconds, arguments.hook, arguments.media or arguments.rtp, arguments.rtp, hold,
        arguments.answer_after, leaks, interpreters=interpreter.told_apart(arguments.interpreter),
        only=arguments.only, warm_up=arguments.warm_up, cpus=arguments.cpus,
    )  # fmt: skip


def perform(plan: Plan, arguments: argparse.Namespace, *, with_peers: bool) -> int:
    """Run, print; 0 when nothing of ours failed or was left behind."""
    job = Job(plan.hook, plan.relay, plan.cpus[1])
    found, missing = registry.look(arguments.sippy, job) if with_peers else ([], {})
    try:
        everybody = contestants(plan, found)
        made = in_turn(everybody, arguments.runs, missing, tell)
    except CannotStart as error:
        print(f"the exchange did not start, or did not stay: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(report(plan, made, missing)))
    else:
        table.show(plan.words(), made, {one.name: one.does for one in everybody}, missing, plan.facts())
    measured = [made.get(on.name, []) for on in plan.on()]
    return 0 if all(runs and all(run.good for run in runs) for runs in measured) else 1


def show_stages(plan: Plan, as_json: bool) -> int:
    """Run with the stages marked, print; 0 when nothing failed."""
    try:
        found = staged(plan, plan.on()[0])
    except CannotStart as error:
        print(f"the exchange did not start, or did not stay: {error}", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(found))
    else:
        table.show_stages(found)
    return 0 if found["good"] else 1


def main(argv: list[str]) -> int:
    """`python -m bench setup`: 0 when no call failed, everything is in the database and nothing is left over."""
    options = parser("python -m bench setup", (__doc__ or "").splitlines()[0])
    options.add_argument("--peers", action="store_true", help="the installed peers' figures of the same run, too")
    options.add_argument("--leaks", action="store_true", help="look 35 s later for what is left over (takes 80 s more)")
    options.add_argument(
        "--stages", action="store_true", help="where the time of a call goes, instead of what it costs: one run, marked"
    )
    options.add_argument("--raw", type=emptied, metavar="FILE", help="one line of JSON a call, to this file")
    arguments = options.parse_args(argv)
    if arguments.stages and (arguments.peers or arguments.leaks or arguments.runs > 1):
        options.error("--stages is one run of its own: without --peers, --leaks and --runs")
    if arguments.stages and len(arguments.interpreter) != arguments.only:
        options.error("--stages is one run of its own: another interpreter's with --only and one --interpreter")
    plan = replace(plan_of(arguments, leaks=arguments.leaks), raw=arguments.raw or "")
    if arguments.stages:
        return show_stages(plan, arguments.json)
    return perform(plan, arguments, with_peers=arguments.peers)
