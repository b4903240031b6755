"""When Python's cycle collector runs: in quiet moments, and not while calls are set up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from pbxcore import collector as module
from pbxcore.collector import Collector


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Exchange:
    """Counts calls; `busy` while one arrives at every look."""

    def __init__(self) -> None:
        self.calls = 0
        self.busy = False

    def arrived(self) -> int:
        self.calls += self.busy
        return self.calls


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Collector, Exchange, list[int]]]:
    """A collector whose seconds are turns of the loop, and the generations that it collected."""
    generations: list[int] = []
    turn = asyncio.sleep

    async def short(_: float) -> None:
        await turn(0)

    def collect(generation: int = 2) -> int:
        generations.append(generation)
        return 0

    monkeypatch.setattr(asyncio, "sleep", short)
    monkeypatch.setattr(gc, "collect", collect)
    exchange = Exchange()
    collector = Collector(Clock(), exchange.arrived)
    yield collector, exchange, generations
    await collector.stop()
    assert gc.isenabled()


Made = tuple[Collector, Exchange, list[int]]


async def turns(count: int = 20) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        passed: asyncio.Future[None] = loop.create_future()
        loop.call_soon(passed.set_result, None)
        await passed


async def test_it_takes_over_and_gives_back(made: Made) -> None:
    collector, _, generations = made
    collector.start()
    assert not gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert generations == [2]
    await collector.stop()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


async def test_quiet_moments_are_used(made: Made) -> None:
    collector, _, generations = made
    collector.start()
    await turns()
    assert collector.collections >= 2
    assert set(generations[1:]) == {2}
    assert 0 < collector.last_pause <= collector.worst_pause


async def test_never_while_calls_arrive(made: Made) -> None:
    collector, exchange, generations = made
    exchange.busy = True
    collector.start()
    await turns()
    assert (collector.collections, generations) == (0, [2])
    exchange.busy = False
    await turns()
    assert collector.collections > 0


async def test_a_young_collection_after_ten_busy_minutes(made: Made) -> None:
    collector, exchange, generations = made
    exchange.busy = True
    collector.start()
    await turns()
    collector._clock.now += module.FORCED_AFTER + 1  # type: ignore[attr-defined]  # the clock of this test
    await turns()
    assert generations == [2, 0]


async def test_to_stop_what_never_started(made: Made) -> None:
    collector, _, _ = made
    await collector.stop()
    await collector.stop()


async def test_a_collector_that_cannot_be_frozen_is_left_alone(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyPy's works in small steps as objects are made."""
    monkeypatch.setattr(module, "BY_HAND", False)
    collector, _, _ = made
    collector.start()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    await collector.stop()
