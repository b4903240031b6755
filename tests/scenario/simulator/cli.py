"""The command line of the simulator: `python -m tests.scenario --seeds N`."""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import structlog

from tests.scenario.simulator.disk import Cabinet
from tests.scenario.simulator.report import Report
from tests.scenario.simulator.run import CALLS, Result, run

AT_ONCE = 20        # seeds that a process takes at a time
PROGRESS = 20.0     # seconds between two lines on stderr, and between two versions of the report's file


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


def _in_order(seeds: range, calls: int, processes: int) -> Iterator[Result]:
    """The results in the order of the seeds, so that what is counted so far is a range."""
    if processes <= 1:
        yield from simulate(seeds, calls)
        return
    tasks = [(seeds[n : n + AT_ONCE], calls) for n in range(0, len(seeds), AT_ONCE)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for results in pool.imap(_share, tasks):
            yield from results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.scenario", description="Simulated calls with faults.")
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--calls", type=int, default=CALLS, help="calls a run")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--replay", type=int, metavar="SEED", help="one seed, with its ladder")
    parser.add_argument(
        "--report", type=Path, action="append", default=[], metavar="FILE",
        help="write the report there, too, again and again: Markdown (.md), else JSON; may be given twice",
    )  # fmt: skip
    parser.add_argument(
        "--resume", type=Path, metavar="FILE", help="go on behind the last seed of this JSON report, and add to it"
    )
    parser.add_argument("--revision", default="", help="of the program, for the report")
    return parser


def main(arguments: list[str] | None = None) -> int:
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser.parse_args(arguments)
    quiet()
    if given.replay is not None:
        return _replay(given.replay, given.calls, as_json=given.json)
    report = Report(given.first, calls_a_run=given.calls)
    if given.resume is not None:
        try:
            report = Report.read(given.resume)
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"{given.resume} is no report to go on from: {error}")
    report.command = shlex.join(["python", "-m", "tests.scenario", *arguments])
    report.revision = given.revision or report.revision
    seeds = range(report.next, report.next + given.seeds)
    try:
        _play(report, _in_order(seeds, report.calls_a_run, given.processes), given.report)
    except KeyboardInterrupt:
        print("stopped; what is counted so far:", file=sys.stderr)
    print(report.as_json() if given.json else report.as_text())
    return 1 if report.violations else 0


def _play(report: Report, results: Iterator[Result], files: list[Path]) -> None:
    """Count them, say on stderr how far it is, and keep the files up to date."""
    before, began = report.seconds, time.monotonic()
    said = began
    try:
        for result in results:
            report.add(result)
            if result.violations:
                print(f"seed {result.seed}: {result.violations[0]}", file=sys.stderr, flush=True)
            now = time.monotonic()
            report.seconds = before + now - began
            if now - said >= PROGRESS:
                said = now
                print(report.summary, file=sys.stderr, flush=True)
                _write(report, files)
    finally:
        report.seconds = before + time.monotonic() - began
        _write(report, files)


def _write(report: Report, files: list[Path]) -> None:
    for file in files:
        report.write(file)


def _replay(seed: int, calls: int, *, as_json: bool) -> int:
    result = replay(seed, calls)
    if as_json:
        print(json.dumps({"seed": seed, "violations": result.violations, "ladder": result.ladder}, indent=1))
    else:
        print("\n".join(result.ladder))
        print(f"seed {seed}: {result.calls} calls, {len(result.violations)} violations")
        print("\n".join(result.violations))
    return 1 if result.violations else 0
