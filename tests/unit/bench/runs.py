"""A run to begin with."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

from bench.figures import Run

GOOD = Run(
    name="Hookline", rate=50, achieved=50, offered=550, ok=550, failed=0, resent=0,
    ringing={"p50": 1.0, "p95": 2.0, "p99": 4.0, "max": 8.0}, answered={"p50": 1.5, "p95": 3.0, "p99": 5.0, "max": 9.0},
    late={"p50": 0.05, "p95": 0.1, "p99": 0.2, "max": 1.0}, cpu_ms=1.0, media_cpu_ms=0.2, load_cpu_ms=0.3,
    load_busy=0.02, rss_mib=100, steal=0.0, others=0.0, kernel=0.0, waited=0.001, dropped=0,
    ringing_curve=[[0.0, 0.5], [0.5, 1.0], [1.0, 8.0]],
)  # fmt: skip


def run(**changes: Any) -> Run:
    """A good run, but for these."""
    return replace(deepcopy(GOOD), **changes)
