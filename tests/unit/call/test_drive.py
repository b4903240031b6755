"""Coroutines without tasks, and the one deadline of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from math import inf
from types import coroutine
from typing import Any

import pytest

from pbxcore.call.drive import HORIZON, Deadline, drive, resume_after
from pbxcore.sip.timers import Timers


async def at_once(value: int) -> int:
    return value


def test_what_never_waits_is_done_before_drive_returns() -> None:
    results: list[int] = []
    drive(at_once(7), results.append)
    assert results == [7]


async def test_what_waits_goes_on_when_its_future_is_done() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    results: list[int] = []

    async def twice() -> int:
        return await future + await at_once(1)

    drive(twice(), results.append)
    assert results == []
    future.set_result(41)
    await asyncio.sleep(0)
    assert results == [42]


async def test_a_future_that_is_done_already_is_not_waited_for() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    future.set_result(1)
    results: list[int] = []

    async def wait() -> int:
        return await future

    drive(wait(), results.append)
    assert results == [1]


async def test_an_exception_of_a_future_reaches_the_coroutine() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    results: list[str] = []

    async def careful() -> str:
        try:
            await future
        except OSError as error:
            return str(error)
        return "nothing"

    drive(careful(), results.append)
    future.set_exception(OSError("gone"))
    await asyncio.sleep(0)
    assert results == ["gone"]


async def test_no_task_is_made() -> None:
    before = asyncio.all_tasks()
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        assert asyncio.all_tasks() == before
        return await future

    drive(wait(), lambda _: None)
    assert asyncio.all_tasks() == before
    future.set_result(0)
    await asyncio.sleep(0)


def test_only_futures_can_be_waited_for() -> None:
    @coroutine
    def pause() -> Generator[None, None, None]:
        yield

    async def wrong() -> None:
        await pause()

    waiting = wrong()
    with pytest.raises(TypeError, match="awaits futures only"):
        drive(waiting, lambda _: None)
    waiting.close()
    with pytest.raises(TypeError):
        resume_after(None, lambda: None)


class Waiter:
    def __init__(self) -> None:
        self.told = 0

    def on_deadline(self) -> None:
        self.told += 1


def passing(timers: Timers, until: float) -> None:
    """Let every timer up to `until` fire at its own time."""
    while (at := timers.next_at()) is not None and at <= until:
        timers.fire(at)


def waiting() -> tuple[Waiter, Timers, Deadline]:
    waiter, timers = Waiter(), Timers()
    return waiter, timers, Deadline(waiter, timers)


def test_a_deadline_is_told_once_and_not_before() -> None:
    waiter, timers, deadline = waiting()
    deadline.set(15.0, 10.0)
    passing(timers, 14.999)
    assert waiter.told == 0
    passing(timers, 100.0)
    assert waiter.told == 1
    assert len(timers) == 0


def test_a_later_deadline_takes_the_place_of_the_first() -> None:
    waiter, timers, deadline = waiting()
    deadline.set(15.0, 10.0)
    deadline.set(20.0, 10.0)
    passing(timers, 19.0)
    assert waiter.told == 0
    passing(timers, 20.0)
    assert waiter.told == 1


def test_an_earlier_deadline_takes_the_place_of_the_first() -> None:
    waiter, timers, deadline = waiting()
    deadline.set(20.0, 10.0)
    deadline.set(15.0, 10.0)
    passing(timers, 15.0)
    assert waiter.told == 1
    passing(timers, 100.0)
    assert waiter.told == 1


def test_a_deadline_far_away_is_looked_at_again() -> None:
    """So that the timers hold a call that has ended for no longer than that."""
    waiter, timers, deadline = waiting()
    deadline.set(10.0 + 24 * 3600, 10.0)
    assert timers.next_at() == 10.0 + HORIZON
    passing(timers, 10.0 + 24 * 3600 - 1)
    assert (waiter.told, len(timers)) == (0, 1)
    passing(timers, inf)
    assert waiter.told == 1


def test_deadlines_to_and_fro_leave_one_timer() -> None:
    waiter, timers, deadline = waiting()
    now = 0.0
    for _ in range(200):
        deadline.set(now + 1000.0, now)
        deadline.set(now + 0.25, now)
        passing(timers, now + 0.25)
        deadline.set(now + 1000.0, now + 0.25)
        now += 1.0
        passing(timers, now)
    assert waiter.told == 200
    passing(timers, now + 2 * HORIZON)
    assert len(timers) == 1


def test_who_is_dropped_is_not_told() -> None:
    waiter, timers, deadline = waiting()
    deadline.set(15.0, 10.0)
    deadline.drop()
    passing(timers, 100.0)
    assert (waiter.told, len(timers)) == (0, 0)


def test_who_is_told_may_set_the_next_one() -> None:
    timers = Timers()

    class Again:
        told = 0

        def on_deadline(self) -> None:
            self.told += 1
            if self.told < 3:
                deadline.set(10.0 * (self.told + 1), 10.0 * self.told)

    again: Any = Again()
    deadline = Deadline(again, timers)
    deadline.set(10.0, 0.0)
    passing(timers, 100.0)
    assert again.told == 3
