"""Blocks of calls from a cold start: what each cost, and where the report says so."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from bench import results, warming
from bench.document import html, markdown
from bench.figures import Run
from bench.setup import Plan
from tests.unit.bench.runs import run


def cold(**changes: Any) -> Run:
    """Three thousand calls at 200 a second: ten, then two, then two seconds of CPU; looked at once in 2.5 s."""
    spent = [[0.0, 1.0], [2.5, 6.0], [5.0, 11.0], [10.0, 13.0], [12.5, 14.0], [15.1, 15.0]]
    return run(**{"rate": 200, "achieved": 200, "spent": spent, "blocks_p99": [90.0, 3.0, 2.5], **changes})


def test_a_blocks_calls_cost_what_was_used_while_they_were_due() -> None:
    found = warming.blocks(cold())
    assert [block.at for block in found] == [5.0, 10.0, 15.0]
    assert [block.cpu_ms for block in found] == pytest.approx([10.0, 2.0, 1.0 + 2.5 / 2.6])
    assert [block.p99 for block in found] == [90.0, 3.0, 2.5]


def test_a_run_that_is_no_block_long_has_none() -> None:
    assert warming.blocks(cold(blocks_p99=[])) == []
    assert warming.p99s([1.0] * 999) == []
    assert warming.p99s([1.0] * 1000 + [2.0] * 1000 + [9.0] * 999) == [1.0, 2.0]


def test_nothing_goes_before_a_cold_start_and_every_call_counts() -> None:
    plan = warming.cold(Plan(seconds=10.0))
    assert (plan.rate, plan.seconds, plan.warm_up) == (200.0, 100.0, 0)
    assert plan.options().warm_up == 0.0
    assert Plan().options().warm_up == 1.0


def test_the_report_shows_how_one_warms_up_beside_one_that_does_not() -> None:
    runs = {"Hookline": [asdict(cold(spent=[[0.0, 0.0], [15.0, 3.0]]))], "Hookline on PyPy 8.0": [asdict(cold())]}
    found = {"plan": asdict(Plan(rate=200)), "words": "200 calls/s for 15 s", "runs": runs, "missing": {}}
    section = results.warming_section(found)
    text = markdown("Results", [section])
    assert "| thousand calls | 1 | 2 | 3 |" in text
    assert "| Hookline, CPU ms | 1.000 | 1.000 | 1.000 |" in text
    assert "| Hookline on PyPy 8.0, CPU ms | 10.000 | 2.000 |" in text
    assert "| Hookline on PyPy 8.0, 180 p99 ms | 90.00 | 3.00 | 2.50 |" in text
    assert html("Results", [section]).count("<polyline") == 4
