"""The command line of the simulator: `python -m tests.scenario --seeds N`."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from tests.scenario.simulator.disk import Cabinet
from tests.scenario.simulator.run import CALLS, Result, run

SHOWN = 20      # violations in full


@dataclass
class Report:
    """The sum of many runs."""

    first: int
    seeds: int = 0
    calls: int = 0
    answered: int = 0
    messages: int = 0
    seconds: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    violations: dict[int, list[str]] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.calls += result.calls
        self.answered += result.answered
        self.messages += result.messages
        self.done.update(result.done)
        if result.violations:
            self.violations[result.seed] = result.violations

    def as_json(self) -> str:
        return json.dumps(
            {
                "first": self.first, "seeds": self.seeds, "calls": self.calls, "answered": self.answered,
                "messages": self.messages, "seconds": round(self.seconds, 1), "done": dict(sorted(self.done.items())),
                "violations": {str(seed): found for seed, found in sorted(self.violations.items())},
            },
            indent=1,
        )  # fmt: skip

    def as_text(self) -> str:
        lines = [
            f"seeds {self.first} to {self.first + self.seeds - 1}: {self.calls} calls ({self.answered} answered), "
            f"{self.messages} messages, in {self.seconds:.1f} s ({self.calls / max(self.seconds, 0.001):.0f} calls/s)",
            f"{sum(self.done.values())} deeds and faults:",
            *(f"  {count:8}  {what}" for what, count in sorted(self.done.items())),
        ]
        for seed, found in sorted(self.violations.items())[:SHOWN]:
            lines += [f"seed {seed} (python -m tests.scenario --replay {seed}):", *(f"  {one}" for one in found)]
        lines.append(f"{len(self.violations)} seeds with violations" if self.violations else "no violation")
        return "\n".join(lines)


def quiet() -> None:
    """The exchange's log is for people; here nobody reads it, and it would cost half of the time."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def simulate(seeds: range, calls: int = CALLS) -> Iterator[Result]:
    """One seed after the other, in this process."""
    cabinet = Cabinet()
    try:
        for seed in seeds:
            yield run(seed, cabinet, calls=calls)
    finally:
        cabinet.close()


def replay(seed: int, calls: int = CALLS) -> Result:
    """One seed with its ladder."""
    cabinet = Cabinet()
    try:
        return run(seed, cabinet, calls=calls, keep=True)
    finally:
        cabinet.close()


def _share(task: tuple[range, int]) -> list[Result]:
    quiet()
    return list(simulate(*task))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenario", description="Simulated calls with faults.")
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls a run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one seed, with its ladder")
    given = parser.parse_args(arguments)
    quiet()
    if given.replay is not None:
        return _replay(given.replay, given.calls, as_json=given.json)
    report = Report(given.first)
    began = time.monotonic()
    everything = range(given.first, given.first + given.seeds)
    if given.processes > 1:
        tasks = [(everything[n : n + 20], given.calls) for n in range(0, len(everything), 20)]
        with multiprocessing.get_context("spawn").Pool(given.processes) as pool:
            for results in pool.imap_unordered(_share, tasks):
                for result in results:
                    report.add(result)
    else:
        for result in simulate(everything, given.calls):
            report.add(result)
            if result.violations:
                print(f"seed {result.seed}: {result.violations[0]}", file=sys.stderr, flush=True)
    report.seconds = time.monotonic() - began
    print(report.as_json() if given.json else report.as_text())
    return 1 if report.violations else 0


def _replay(seed: int, calls: int, *, as_json: bool) -> int:
    result = replay(seed, calls)
    if as_json:
        print(json.dumps({"seed": seed, "violations": result.violations, "ladder": result.ladder}, indent=1))
    else:
        print("\n".join(result.ladder))
        print(f"seed {seed}: {result.calls} calls, {len(result.violations)} violations")
        print("\n".join(result.violations))
    return 1 if result.violations else 0
