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
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench import machine, table
from bench.exchange import book_faults, exchange, written
from bench.figures import Run, median_run
from bench.leaks import Watch
from bench.options import Options
from bench.peers import registry
from bench.subject import CannotStart
from bench.trial import trial

AUDIO_HOLD = 2.0


@dataclass(frozen=True)
class Plan:
    """One kind of run. `hold` is seconds that a call stays up, `cpus` those of the server and of the load."""

    rate: float = 50.0
    seconds: float = 10.0
    hook: str = "embedded"
    relay: bool = False
    audio: bool = False
    hold: float = 0.0
    answer_after: float = 0.0
    leaks: bool = False
    cpus: tuple[int, int] = (0, 1)

    def options(self) -> Options:
        """The load of this plan; where to is filled in by the trial."""
        return Options(
            ("", 0), rate=self.rate, seconds=self.seconds, hold=self.hold, answer_after=self.answer_after,
            audio=self.audio,
        )  # fmt: skip

    def words(self) -> str:
        media = "audio relayed" if self.audio else "ports allocated" if self.relay else "no relay"
        hold = f", held {self.hold:g} s" if self.hold else ""
        return f"{self.rate:g} calls/s for {self.seconds:g} s{hold}, hook {self.hook}, {media}"


def ours(plan: Plan) -> Run:
    """One run on a fresh exchange."""
    server_cpu, load_cpu = plan.cpus
    with exchange(plan.hook, relay=plan.relay, cpu=server_cpu, load_cpu=load_cpu) as subject:
        watch = Watch(subject, load_cpu) if plan.leaks else None
        run = trial(subject, plan.options(), load_cpu)
        primed = watch.primed if watch else 0
        assert subject.database is not None
        book = written(subject.database, run.offered + primed)
        run.records, run.activities = book[0] - primed, book[2] - primed
        run.faults += book_faults(run.offered + primed, run.ok + primed, run.failed, book)
        if watch is not None:
            run.leaks = watch.finish(run.offered)
            run.faults += run.leaks["left"]
    return run


def compared(
    plan: Plan, runs: int, others: Sequence[registry.Peer], missing: dict[str, str], say: Callable[[str], None]
) -> dict[str, list[Run]]:
    """Runs of ours and of each peer in turn, by name: what disturbs the machine disturbs all alike.

    A peer that does not start goes to `missing`, with its last words.
    """
    made: dict[str, list[Run]] = {}
    for number in range(runs):
        say(f"run {number + 1} of {runs}: Hookline")
        run = ours(plan)
        made.setdefault(run.name, []).append(run)
        for peer in others:
            say(f"run {number + 1} of {runs}: {peer.name}")
            try:
                made.setdefault(peer.name, []).append(registry.run(peer, plan.options(), plan.cpus))
            except CannotStart as error:
                missing[peer.name] = f"did not start: {error}"
    return {name: done for name, done in made.items() if done}


def report(plan: Plan, made: dict[str, list[Run]], missing: dict[str, str]) -> dict[str, Any]:
    """What --json prints."""
    first = next(iter(made))
    return {
        "bench": "setup",
        "plan": asdict(plan),
        "machine": machine.facts(),
        "median": asdict(median_run(made[first])),
        "runs": [asdict(run) for run in made[first]],
        "peers": {
            name: {"median": asdict(median_run(runs)), "runs": [asdict(run) for run in runs]}
            for name, runs in made.items()
            if name != first
        },
        "ratios": table.ratios({name: median_run(runs) for name, runs in made.items()}),
        "missing": missing,
    }


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
    made.add_argument("--cpus", default="0,1", help="CPU of the server and of the load (default 0,1)")
    made.add_argument("--sippy", default="", help="Sippy's b2bua_simple, when it is not on the path")
    made.add_argument("--json", action="store_true")
    return made


def plan_of(arguments: argparse.Namespace, *, leaks: bool = False) -> Plan:
    """The plan that parsed options describe."""
    server_cpu, load_cpu = (int(cpu) for cpu in arguments.cpus.split(","))
    hold = arguments.hold if arguments.hold is not None else AUDIO_HOLD if arguments.rtp else 0.0
    return Plan(
        arguments.rate, arguments.seconds, arguments.hook, arguments.media or arguments.rtp, arguments.rtp, hold,
        arguments.answer_after, leaks, (server_cpu, load_cpu),
    )  # fmt: skip


def perform(plan: Plan, arguments: argparse.Namespace, *, with_peers: bool) -> int:
    """Run, print; 0 when nothing of ours failed or was left behind."""
    found, missing = registry.look(arguments.sippy) if with_peers else ([], {})
    try:
        made = compared(plan, arguments.runs, found, missing, lambda words: print(words, "...", file=sys.stderr))
    except CannotStart as error:
        print(f"the exchange did not start: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(report(plan, made, missing)))
    else:
        table.show(plan.words(), made, missing)
    return 0 if all(run.good for run in next(iter(made.values()))) else 1


def main(argv: list[str]) -> int:
    """`python -m bench setup`: 0 when no call failed, everything is in the database and nothing is left over."""
    options = parser("python -m bench setup", (__doc__ or "").splitlines()[0])
    options.add_argument("--peers", action="store_true", help="the installed peers' figures of the same run, too")
    options.add_argument("--leaks", action="store_true", help="look 35 s later for what is left over (takes 80 s more)")
    arguments = options.parse_args(argv)
    return perform(plan_of(arguments, leaks=arguments.leaks), arguments, with_peers=arguments.peers)
