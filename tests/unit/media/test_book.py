"""The book of ports: nothing lent twice, nothing lent before it has rested."""

from __future__ import annotations

import pytest

from pbxcore.media.book import LOW_WATER, QUARANTINE_SECONDS, Pool, split_range


@pytest.mark.parametrize(
    ("ports", "workers", "ranges"),
    [
        ("20000-29999", 1, [(20000, 29999)]),
        ("20000-29999", 2, [(20000, 24999), (25000, 29999)]),
        ("20001-20010", 1, [(20002, 20009)]),
        ("20000-20010", 2, [(20000, 20003), (20004, 20007)]),
        (" 2000 - 2001 ", 1, [(2000, 2001)]),
    ],
)
def test_ranges_hold_whole_pairs(ports: str, workers: int, ranges: list[tuple[int, int]]) -> None:
    assert split_range(ports, workers) == ranges


@pytest.mark.parametrize(
    ("ports", "workers"),
    [("", 1), ("20000", 1), ("20000-", 1), ("a-b", 1), ("20000-20000", 1), ("20000-20003", 3), ("20000-65536", 1),
     ("1000-2000", 1), ("30000-20000", 1), ("20000-29999", 0), ("-5-10", 1)],
)  # fmt: skip
def test_unusable_ranges(ports: str, workers: int) -> None:
    with pytest.raises(ValueError, match="range"):
        split_range(ports, workers)


def pool(*ports: int) -> Pool:
    made = Pool("127.0.0.1")
    made.bound(list(ports), "", True)
    return made


def test_longest_free_is_lent_first() -> None:
    made = pool(20000, 20002)
    assert [made.take(0.0), made.take(0.0), made.take(0.0)] == [20000, 20002, 0]
    assert made.lent == 2


def test_given_back_rests_before_it_is_lent_again() -> None:
    made = pool(20000)
    made.give_back(made.take(0.0), 10.0)
    assert made.lent == 0
    assert made.take(10.0 + QUARANTINE_SECONDS / 2) == 0
    assert made.next_rested() == 10.0 + QUARANTINE_SECONDS
    assert made.take(10.0 + QUARANTINE_SECONDS) == 20000
    assert made.next_rested() is None


def test_asks_for_more_once_and_not_when_there_are_none() -> None:
    made = pool(20000)
    assert made.needs_more()
    made.asked = True
    assert not made.needs_more()
    made.bound([20002], "all ports are bound", True)
    assert not made.asked
    assert not made.needs_more()


def test_part_of_what_was_asked_for_is_no_reason_to_ask_again() -> None:
    made = Pool("127.0.0.1")
    made.asked = True
    made.bound([20000], "", False)
    assert not made.needs_more()


def test_enough_is_enough() -> None:
    assert not pool(*range(20000, 20000 + 2 * LOW_WATER, 2)).needs_more()
