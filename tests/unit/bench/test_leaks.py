"""What is left over is named; what the first call made for good is not."""

from __future__ import annotations

import pytest

from bench.leaks import EMPTY, STEADY, Books, leaks, parse_metrics


def books(**changes: float) -> Books:
    figures = {**dict.fromkeys(EMPTY, 0.0), **dict.fromkeys(STEADY, 5.0), **changes}
    return Books(figures, cpu=1.0, rss_mib=100.0)


def test_metrics_without_labels_by_name() -> None:
    text = (
        "# HELP hookline_live_calls calls\n# TYPE hookline_live_calls gauge\nhookline_live_calls 3.0\n"
        'hookline_panel_x{a="b"} 4.0\npython_info 1.0\nhookline_timers 1e+03\n'
    )
    assert parse_metrics(text) == {"live_calls": 3.0, "timers": 1000.0}


def test_nothing_left_over() -> None:
    assert leaks(books(), books()) == []
    assert leaks(books(), books(descriptors=4.0)) == []


@pytest.mark.parametrize("name", EMPTY)
def test_whatever_should_be_gone_is_named_even_when_it_was_there_before(name: str) -> None:
    assert leaks(books(**{name: 2.0}), books(**{name: 2.0})) == [f"2 {name} left over"]


@pytest.mark.parametrize("name", STEADY)
def test_whatever_grew_is_named(name: str) -> None:
    assert leaks(books(), books(**{name: 6.0})) == [f"6 {name}, 5 before"]
