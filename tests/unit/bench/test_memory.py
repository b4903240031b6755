"""A long run is judged by what it was before, a short one not at all."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import Any

import pytest

from bench import budgets, memory, table
from bench.figures import Run
from tests.unit.bench.runs import run

CPU = min(os.sched_getaffinity(0))


def long(**changes: Any) -> Run:
    samples = [[0.0, 90.0], [1.0, 95.0], [2.0, 100.0], [35.0, 120.0], [200.0, 123.0]]
    given = {"rate": 500, "achieved": 500, "offered": 100_500, "ok": 100_500, "memory": samples,
             "tenths": [2.0, *[9.0] * 8, 2.2], **changes}  # fmt: skip
    return run(**given)


def test_a_process_is_looked_at_from_the_first_to_the_last() -> None:
    samples: memory.Samples = []
    with memory.sampled([os.getpid()], CPU, samples):
        pass
    assert len(samples) == 2
    assert all(held > 1 for _, held, _ in samples)
    assert 0 < samples[0][2] <= samples[1][2] <= time.process_time() + 1


def test_nobody_to_look_at_and_who_is_gone_are_no_fault() -> None:
    samples: memory.Samples = []
    with memory.sampled([], CPU, samples):
        pass
    with memory.sampled([2**22 + 1], CPU, samples):
        pass
    assert samples == []


def test_tenths_are_of_equal_size_and_leave_nobody_out() -> None:
    assert memory.tenths([float(n) for n in range(1, 101)]) == [float(n) for n in range(10, 101, 10)]
    assert len(memory.tenths([1.0] * 10 + [5.0])) == 10
    assert max(memory.tenths([1.0] * 14 + [5.0])) == 5.0
    assert memory.tenths([1.0] * 9) == []


def test_a_long_run_ends_beside_its_beginning() -> None:
    found = memory.drift(long())
    assert found == memory.Drift(100.0, 120.0, 123.0, 2.0, 2.2)
    assert (found.growth, found.slower) == pytest.approx((0.025, 0.1))
    words = "RSS 100.0 MiB after 1,000 calls, 120.0 at 35 s, 123.0 at the end (+2.5% since)"
    assert any(remark.startswith(words) for remark in table.remarks(long()))


@pytest.mark.parametrize("changes", [{"offered": 500}, {"memory": [[0.0, 90.0], [20.0, 95.0]]}, {"tenths": []}])
def test_a_run_too_short_to_say_is_not_judged(changes: dict[str, Any]) -> None:
    assert memory.drift(long(**changes)) is None


@pytest.mark.parametrize(
    ("changes", "grown", "slower"),
    [
        ({}, "met", "met"),
        ({"memory": [[35.0, 100.0], [200.0, 106.0]]}, "missed", "met"),
        ({"tenths": [2.0, 2.5]}, "met", "missed"),
        ({"failed": 1}, "missed", "missed"),
        ({"noise": ["a neighbour"]}, "met, in a disturbed run", "met, in a disturbed run"),
    ],
)
def test_memory_and_latency_of_a_long_run_have_a_budget(changes: dict[str, Any], grown: str, slower: str) -> None:
    gathered = {"setups": [], "crm": None, "relay": [], "long": {"runs": {"Hookline": [asdict(long(**changes))]}}}
    assert [row[3] for row in budgets.verdicts(gathered)] == [grown, slower]
    assert budgets.verdicts({**gathered, "long": None}) == []
