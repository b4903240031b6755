"""Percentiles that say what they claim, and a median that is a whole run."""

from __future__ import annotations

import random

import pytest

from bench.figures import curve, median_run, percentiles, ratio
from tests.unit.bench.runs import run


def test_percentiles_are_nearest_rank() -> None:
    values = list(range(1, 101))
    random.Random(7).shuffle(values)
    assert percentiles(values) == {"p50": 50, "p95": 95, "p99": 99, "max": 100}


def test_the_worst_of_a_thousand_is_not_its_p99() -> None:
    assert percentiles([1.0] * 999 + [500.0]) == {"p50": 1.0, "p95": 1.0, "p99": 1.0, "max": 500.0}


def test_one_slow_call_of_fifty_is_its_p99() -> None:
    assert percentiles([1.0] * 49 + [30.0])["p99"] == 30.0


@pytest.mark.parametrize(("values", "expected"), [([], {}), ([3.0], {"p50": 3.0, "p95": 3.0, "p99": 3.0, "max": 3.0})])
def test_percentiles_of_next_to_nothing(values: list[float], expected: dict[str, float]) -> None:
    assert percentiles(values) == expected


def test_a_curve_climbs_from_the_best_to_the_worst() -> None:
    points = curve([5.0, 1.0, 9.0, 2.0])
    assert points[0] == [0.0, 1.0]
    assert points[-1] == [1.0, 9.0]
    assert points == sorted(points)
    assert curve([]) == []


def test_the_median_is_one_run_and_no_mixture() -> None:
    runs = [run(cpu_ms=3.0, rss_mib=1), run(cpu_ms=1.0, rss_mib=2), run(cpu_ms=2.0, rss_mib=3)]
    assert median_run(runs) is runs[2]
    assert median_run(runs[:2]) is runs[1]


def test_no_ratio_to_nothing() -> None:
    assert ratio(3.0, 1.5) == 2.0
    assert ratio(3.0, 0.0) is None
    assert ratio(None, 1.0) is None
    assert ratio(0.0, 1.0) is None


def test_a_run_with_failed_calls_cannot_be_compared() -> None:
    assert run().comparable
    assert not run(failed=1).comparable
    assert not run(ok=0).comparable


def test_a_run_with_a_fault_is_not_good_although_no_call_failed() -> None:
    assert run().good
    assert not run(faults=["1 calls were never ended at the callee"]).good
    assert run(noise=["others kept 1.00 CPUs busy"]).good
