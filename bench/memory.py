"""Memory over the time of a run, and whether a long run was at its end what it was at its beginning.

A finished transaction lingers for 32 s (RFC 3261: Timers H, J and L), so memory grows until the first ones are let go
and is to stay where it is from then on.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from bench import machine
from bench.figures import Run, percentiles

EVERY = 1.0                 # seconds between two looks
FIRST_CALLS = 1000
LINGER_SECONDS = 35.0
TENTHS = 10
LONG_CALLS = 20_000         # from which on a run is asked how it ended compared with how it began
Samples = list[list[float]]


@contextmanager
def sampled(pids: Sequence[int], cpu: int, samples: Samples) -> Iterator[None]:
    """While this lasts, [seconds, MiB, CPU seconds] of these processes together go to `samples`; the last at its end.

    The looks are taken on `cpu`, the load's: they are no work of the server's."""
    over = threading.Event()
    began = time.monotonic()

    def look() -> None:
        with suppress(OSError):     # it has ended: the trial says so
            held = sum(machine.rss_mib(pid) for pid in pids)
            used = sum(machine.cpu_seconds(pid) for pid in pids)
            samples.append([round(time.monotonic() - began, 2), round(held, 2), round(used, 6)])

    def watch() -> None:
        os.sched_setaffinity(0, {cpu})      # of this thread alone
        look()
        while not over.wait(EVERY):
            look()
        look()

    thread = threading.Thread(target=watch, daemon=True)
    if pids:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if pids:
            thread.join()


def tenths(milliseconds: Sequence[float]) -> list[float]:
    """The p99 of each tenth of the calls, in the order given; empty with fewer than ten."""
    size = len(milliseconds) / TENTHS
    if size < 1:
        return []
    parts = [milliseconds[math.ceil(n * size) : math.ceil((n + 1) * size)] for n in range(TENTHS)]
    return [percentiles(part)["p99"] for part in parts]


class Drift(NamedTuple):
    """A long run's memory in MiB after its first calls, when the first transactions are let go, and at its end; the p99
    to the 180 in milliseconds of its first and its last tenth."""

    first: float
    lingering: float
    end: float
    p99_first: float
    p99_last: float

    @property
    def growth(self) -> float:
        """Share by which memory grew after the first transactions were let go."""
        return self.end / self.lingering - 1

    @property
    def slower(self) -> float:
        """Share by which the last tenth's p99 is above the first's."""
        return self.p99_last / self.p99_first - 1


def drift(run: Run) -> Drift | None:
    """How a long run ended compared with how it began; None of a short one, or one that was not watched."""
    if run.offered < LONG_CALLS or not run.memory or run.memory[-1][0] <= LINGER_SECONDS or not run.tenths:
        return None
    return Drift(
        _at(run.memory, FIRST_CALLS / run.rate), _at(run.memory, LINGER_SECONDS), run.memory[-1][1],
        run.tenths[0], run.tenths[-1],
    )  # fmt: skip


def _at(samples: Samples, seconds: float) -> float:
    return next((memory for at, memory in samples if at >= seconds), samples[-1][1])


def words(found: Drift) -> str:
    """The same, for people."""
    return (
        f"RSS {found.first:.1f} MiB after {FIRST_CALLS:,} calls, {found.lingering:.1f} at {LINGER_SECONDS:g} s, "
        f"{found.end:.1f} at the end ({found.growth:+.1%} since); "
        f"180 p99 {found.p99_first:.2f} ms in the first tenth of the calls, {found.p99_last:.2f} in the last"
    )
