"""What figures are made of: percentiles, the points of a distribution, the middle run, ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
RESENT, KEPT = 0.001, 0.95      # shares: of calls sent again at most, of the rate kept up at least
CURVE = [*(n / 100 for n in range(0, 99)), 0.99, 0.9925, 0.995, 0.9975, 0.999, 1.0]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 and the worst by nearest rank (the smallest value that so many are at most); empty without any."""
    if not values:
        return {}
    ordered = sorted(values)
    return {**{name: _at(ordered, share) for name, share in PERCENTILES.items()}, "max": ordered[-1]}


def curve(values: Sequence[float]) -> list[list[float]]:
    """Points [share, value] of the distribution, closer together at its end; empty without values."""
    ordered = sorted(values)
    return [[share, round(_at(ordered, share), 4)] for share in CURVE] if ordered else []


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass
class Run:
    """One run's figures. Latencies and CPU in milliseconds, memory in MiB; shares are of one CPU unless said."""

    name: str
    rate: float
    achieved: float
    offered: int
    ok: int
    failed: int
    resent: int
    ringing: dict[str, float]
    answered: dict[str, float]
    late: dict[str, float]
    cpu_ms: float
    media_cpu_ms: float
    load_cpu_ms: float
    load_busy: float            # share of its CPU that the load needed
    rss_mib: float
    steal: float                # share of all CPUs' time that the hypervisor gave to others
    others: float               # CPUs that processes of nobody here kept busy meanwhile
    kernel: float               # CPUs that the kernel's own threads kept busy, on whose behalf ever
    waited: float               # share of the run that the server was ready to run and had no CPU
    dropped: int                # packets that the server's socket had no room for
    reasons: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)     # what the server did wrong in calls that went well
    noise: list[str] = field(default_factory=list)      # why the figures are not to be trusted
    warmed: int = 0             # calls that went before, in no figure but the records that are checked
    records: int | None = None
    activities: int | None = None
    audio: dict[str, Any] = field(default_factory=dict)
    leaks: dict[str, Any] = field(default_factory=dict)
    ringing_curve: list[list[float]] = field(default_factory=list)
    apart: dict[str, float] = field(default_factory=dict)       # latency to the 180 of the callers kept apart
    memory: list[list[float]] = field(default_factory=list)     # [seconds, MiB], once a second
    spent: list[list[float]] = field(default_factory=list)      # [seconds, CPU seconds of the signalling]
    blocks_p99: list[float] = field(default_factory=list)       # p99 to the 180 of each thousand calls (bench.warming)
    tenths: list[float] = field(default_factory=list)           # p99 to the 180 of each tenth of the calls, in turn

    @property
    def total_cpu_ms(self) -> float:
        """Signalling and media together."""
        return self.cpu_ms + self.media_cpu_ms

    @property
    def good(self) -> bool:
        """Nothing failed and nothing went wrong."""
        return not self.failed and not self.faults

    @property
    def comparable(self) -> bool:
        """Whether its latency and CPU can stand in a ratio: no call failed and the server kept up with the load.

        One that falls behind is only queueing; in a short run the sockets' buffers and retransmissions hide that."""
        kept_up = self.resent <= RESENT * self.offered and self.achieved >= KEPT * self.rate
        return self.ok > 0 and not self.failed and kept_up


def median_run(runs: Sequence[Run]) -> Run:
    """The run of the middle CPU a call, the lower one of two: a whole run, not a mixture of several."""
    return sorted(runs, key=lambda run: run.cpu_ms)[(len(runs) - 1) // 2]


def ratio(theirs: float | None, ours: float | None) -> float | None:
    """Theirs by ours; None where one of them is missing or nothing."""
    return theirs / ours if theirs and ours else None
