"""Timers: order, exact deadlines, and what happens while they fire."""

from __future__ import annotations

import random

import pytest

from pbxcore.sip.timers import Lane, Timers


class Target:
    def __init__(self) -> None:
        self.fired: list[tuple[str, float]] = []

    def on_timer(self, name: str, now: float) -> None:
        self.fired.append((name, now))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fired]


def test_nothing_waits_at_first() -> None:
    timers = Timers()
    assert timers.next_at() is None
    assert timers.fire(1e9) == 0
    assert len(timers) == 0


def test_fires_at_its_time_and_not_before() -> None:
    timers, target = Timers(), Target()
    timers.start(100.5, target, "B")
    assert timers.next_at() == 100.5
    assert timers.fire(100.499) == 0
    assert timers.fire(100.5) == 1
    assert target.fired == [("B", 100.5)]
    assert timers.next_at() is None


def test_a_late_call_fires_all_in_the_order_of_their_deadlines() -> None:
    timers, target = Timers(), Target()
    for at in (132.0, 100.5, 105.0, 100.51, 100.2, 132.001):
        timers.start(at, target, str(at))
    assert timers.fire(200.0) == 6
    assert target.names == ["100.2", "100.5", "100.51", "105.0", "132.0", "132.001"]


def test_equal_deadlines_fire_in_the_order_of_starting() -> None:
    timers, target = Timers(), Target()
    for name in "abc":
        timers.start(7.0, target, name)
    timers.start(6.99, target, "first")
    timers.fire(6.99)  # the slot of 7.0 may be open now or not: the order stays
    timers.start(7.0, target, "d")
    timers.fire(7.0)
    assert target.names == ["first", "a", "b", "c", "d"]


def test_a_timer_started_while_its_slot_is_open_is_sorted_in() -> None:
    timers, target = Timers(), Target()
    timers.start(10.001, target, "a")
    timers.start(10.05, target, "d")
    timers.fire(10.002)
    timers.start(10.03, target, "c")
    timers.start(10.01, target, "b")
    assert timers.next_at() == 10.01
    timers.fire(10.05)
    assert target.names == ["a", "b", "c", "d"]


def test_a_deadline_in_the_past_fires_at_the_next_call() -> None:
    timers, target = Timers(), Target()
    timers.start(50.0, target, "a")
    timers.fire(50.0)
    timers.start(3.0, target, "late")
    assert timers.next_at() == 3.0
    assert timers.fire(50.0) == 1
    assert target.names == ["a", "late"]


def test_what_is_started_while_firing_fires_too_when_due() -> None:
    timers = Timers()

    class Chain(Target):
        def on_timer(self, name: str, now: float) -> None:
            super().on_timer(name, now)
            if len(self.fired) < 4:
                timers.start(now, self, f"again{len(self.fired)}")

    chain = Chain()
    timers.start(1.0, chain, "first")
    assert timers.fire(1.0) == 4
    assert chain.names == ["first", "again1", "again2", "again3"]


def test_the_shell_is_told_of_earlier_deadlines_only() -> None:
    told: list[float] = []
    timers, target = Timers(told.append), Target()
    for at in (32.0, 40.0, 5.0, 5.0, 4.5, 100.0):
        timers.start(at, target, "x")
    assert told == [32.0, 5.0, 4.5]


def test_the_shell_is_not_told_while_firing_and_asks_afterwards() -> None:
    told: list[float] = []
    timers = Timers(told.append)

    class Again(Target):
        def on_timer(self, name: str, now: float) -> None:
            timers.start(now + 1.0, self, name)

    timers.start(1.0, Again(), "x")
    timers.fire(1.0)
    assert told == [1.0]
    assert timers.next_at() == 2.0
    timers.start(1.5, Target(), "y")
    assert told == [1.0, 1.5]


def test_a_target_that_raises_takes_no_other_timer_with_it() -> None:
    timers, target = Timers(), Target()

    class Broken:
        def on_timer(self, name: str, now: float) -> None:
            raise RuntimeError(name)

    timers.start(1.0, Broken(), "x")
    timers.start(1.0, target, "y")
    with pytest.raises(RuntimeError):
        timers.fire(2.0)
    assert timers.next_at() == 1.0
    timers.fire(2.0)
    assert target.names == ["y"]


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_a_sorted_list(seed: int) -> None:
    chance = random.Random(seed)
    timers, target = Timers(), Target()
    waiting: list[tuple[float, str]] = []
    now = 1000.0
    for step in range(400):
        if chance.random() < 0.7:
            at = now + chance.choice((0.0, 0.001, 0.2, 0.5, 1.0, 5.0, 32.0)) * chance.choice((1, chance.random()))
            timers.start(at, target, str(step))
            waiting.append((at, str(step)))
        else:
            now += chance.choice((0.0, 0.01, 0.1, 1.0, 8.0))
            timers.fire(now)
            due = sorted((row for row in waiting if row[0] <= now), key=lambda row: row[0])
            waiting = [row for row in waiting if row[0] > now]
            assert target.fired == [(name, now) for _, name in due]
            target.fired.clear()
        assert timers.next_at() == min((at for at, _ in waiting), default=None)
        assert len(timers) == len(waiting)


# ---- a lane


def test_a_lane_fires_each_at_its_time_and_is_one_row() -> None:
    timers = Timers()
    lane = Lane(timers, 0.5)
    targets = [Target(), Target(), Target()]
    for number, target in enumerate(targets):
        lane.start(target, "A", 10.0 + number / 10)
    assert len(timers) == 1
    for number, target in enumerate(targets):
        at = 10.0 + number / 10 + 0.5
        assert timers.next_at() == at
        timers.fire(at)
        assert target.fired == [("A", at)]
    assert timers.next_at() is None


def test_who_leaves_a_lane_is_not_called_and_leaves_no_row_behind() -> None:
    timers = Timers()
    lane = Lane(timers, 0.5)
    answered, silent = Target(), Target()
    lane.start(answered, "A", 10.0)
    lane.start(silent, "E", 10.2)
    lane.pop(answered, None)
    lane.pop(answered, None)
    timers.fire(10.5)
    assert (answered.fired, silent.fired) == ([], [])
    assert timers.next_at() == 10.7
    lane.pop(silent)
    timers.fire(10.7)
    assert silent.fired == []
    assert len(timers) == 0
    lane.start(answered, "A", 20.0)
    timers.fire(20.5)
    assert answered.names == ["A"]


def test_a_lane_whose_targets_start_and_stop_others_while_it_fires() -> None:
    timers = Timers()
    lane = Lane(timers, 0.5)
    stopped = Target()

    class Busy(Target):
        def on_timer(self, name: str, now: float) -> None:
            super().on_timer(name, now)
            lane.pop(stopped, None)
            lane.start(self, "again", now)

    busy = Busy()
    lane.start(busy, "first", 10.0)
    lane.start(stopped, "x", 10.0)
    timers.fire(10.5)
    assert timers.next_at() == 11.0
    assert len(timers) == 1
    timers.fire(11.0)
    assert busy.fired == [("first", 10.5), ("again", 11.0)]
    assert stopped.fired == []


def test_one_in_a_lane_that_raises_takes_no_other_with_it() -> None:
    timers = Timers()
    lane = Lane(timers, 0.5)

    class Broken:
        def on_timer(self, name: str, now: float) -> None:
            raise RuntimeError(name)

    target = Target()
    lane.start(Broken(), "x", 10.0)
    lane.start(target, "y", 10.0)
    with pytest.raises(RuntimeError):
        timers.fire(10.5)
    assert target.fired == []
    timers.fire(10.51)
    assert target.names == ["y"]


@pytest.mark.parametrize("seed", range(10))
def test_a_lane_agrees_with_timers_one_by_one(seed: int) -> None:
    chance = random.Random(seed)
    timers = Timers()
    lane = Lane(timers, 0.5)
    waiting: dict[Target, float] = {}
    now = 1000.0
    for _ in range(400):
        what = chance.random()
        if what < 0.5:
            target = Target()
            lane.start(target, "A", now)
            waiting[target] = now + 0.5
        elif waiting and what < 0.7:
            target = chance.choice(list(waiting))
            del waiting[target]
            lane.pop(target)
        else:
            now += chance.choice((0.0, 0.01, 0.1, 0.7))
            timers.fire(now)
            for target in [target for target, at in waiting.items() if at <= now]:
                assert target.fired == [("A", now)]
                del waiting[target]
        assert not any(target.fired for target in waiting)
        following = timers.next_at()
        assert not waiting or (following is not None and following <= min(waiting.values()))
        assert len(timers) <= 1
