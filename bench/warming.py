"""How a call becomes cheaper while a JIT compiles: CPU and latency by blocks of calls, from a cold start on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bench.figures import Run, percentiles

if TYPE_CHECKING:
    from bench.setup import Plan

BLOCK = 1000                # calls
RATE = 200.0                # calls a second
LONGER = 10                 # times as long as other runs


class Block(NamedTuple):
    """`at` is the second of its end. Milliseconds of CPU a call of the signalling process; p99 to the 180."""

    at: float
    cpu_ms: float
    p99: float


def cold(plan: Plan) -> Plan:
    """The same from a cold start: nothing goes before, and every call counts."""
    return replace(plan, rate=RATE, seconds=plan.seconds * LONGER, warm_up=0, skipped=0.0)


def p99s(milliseconds: Sequence[float]) -> list[float]:
    """The p99 of each whole block, in the order given."""
    ends = range(BLOCK, len(milliseconds) + 1, BLOCK)
    return [percentiles(milliseconds[end - BLOCK : end])["p99"] for end in ends]


def blocks(run: Run) -> list[Block]:
    """The blocks of a run that kept up: a block's calls are taken to cost what was used while they were due."""
    ends = [number * BLOCK / run.rate for number in range(len(run.blocks_p99) + 1)]
    used = [_used(run, end) for end in ends]
    return [
        Block(end, (after - before) * 1000 / BLOCK, p99)
        for end, before, after, p99 in zip(ends[1:], used, used[1:], run.blocks_p99, strict=False)
    ]


def _used(run: Run, seconds: float) -> float:
    """CPU seconds by then; between two looks, in proportion."""
    before = run.spent[0]
    for at, used in run.spent:
        if at >= seconds:
            share = (seconds - before[0]) / (at - before[0]) if at > before[0] else 1.0
            return before[1] + share * (used - before[1])
        before = [at, used]
    return before[1]
