"""The bus: who reads slowly is dropped, and nobody waits for him."""

from __future__ import annotations

import asyncio

import pytest

from pbxcore.bus import QUEUE_LIMIT, Bus, Dropped
from pbxcore.events import Event, Originated


def event(number: int) -> Event:
    return Originated(float(number), f"c{number}", "101", "102")


async def test_every_reader_gets_every_event_in_order() -> None:
    bus = Bus()
    readers = [bus.subscribe() for _ in range(3)]
    for number in range(5):
        bus.publish(event(number))
    for reader in readers:
        assert [await anext(reader) for _ in range(5)] == [event(number) for number in range(5)]
    assert bus.published == 5


async def test_a_reader_who_waits_is_woken() -> None:
    bus = Bus()
    reader = bus.subscribe()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    bus.publish(event(1))
    bus.publish(event(2))
    assert await waiting == event(1)
    assert await anext(reader) == event(2)


async def test_what_was_before_is_not_told() -> None:
    bus = Bus()
    bus.subscribe()
    bus.publish(event(1))
    late = bus.subscribe()
    bus.publish(event(2))
    assert await anext(late) == event(2)


async def test_a_slow_reader_is_dropped_and_told_so() -> None:
    bus = Bus()
    slow, quick = bus.subscribe(limit=3), bus.subscribe(limit=10)
    for number in range(4):
        bus.publish(event(number))
    with pytest.raises(Dropped):
        await anext(slow)
    assert [await anext(quick) for _ in range(4)] == [event(number) for number in range(4)]
    assert bus.dropped_readers == 1
    bus.publish(event(9))
    with pytest.raises(Dropped):
        await anext(slow)
    assert bus.dropped_readers == 1


async def test_a_full_queue_is_not_too_much() -> None:
    bus = Bus()
    reader = bus.subscribe()
    for number in range(QUEUE_LIMIT):
        bus.publish(event(number))
    assert bus.dropped_readers == 0
    assert await anext(reader) == event(0)


async def test_two_fall_behind_at_once() -> None:
    bus = Bus()
    readers = [bus.subscribe(limit=1) for _ in range(2)]
    stays = bus.subscribe()
    bus.publish(event(1))
    bus.publish(event(2))
    assert bus.dropped_readers == 2
    assert bus.wanted
    for reader in readers:
        with pytest.raises(Dropped):
            await anext(reader)
    assert [await anext(stays), await anext(stays)] == [event(1), event(2)]


def test_wanted_while_somebody_listens() -> None:
    bus = Bus()
    assert not bus.wanted
    with bus.subscribe() as one:
        other = bus.subscribe()
        assert bus.wanted
        one.close()
        assert bus.wanted
        other.close()
        assert not bus.wanted
    one.close()
    assert not bus.wanted
    bus.publish(event(1))
    assert bus.dropped_readers == 0


async def test_a_loop_over_events_ends_with_the_loss() -> None:
    bus = Bus()
    reader = bus.subscribe(limit=2)
    seen: list[Event] = []

    async def read() -> None:
        async for one in reader:
            seen.append(one)

    task = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    bus.publish(event(1))
    await asyncio.sleep(0)
    for number in range(2, 9):
        bus.publish(event(number))
    with pytest.raises(Dropped):
        await task
    assert seen == [event(1)]


async def test_a_reader_who_is_cancelled_leaves_nothing() -> None:
    bus = Bus()
    reader = bus.subscribe()
    task = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bus.publish(event(1))
    assert await anext(reader) == event(1)


def test_a_listener_hears_at_once() -> None:
    bus = Bus()
    heard: list[Event] = []
    bus.listen(heard.append)
    assert bus.wanted
    bus.publish(event(1))
    assert heard == [event(1)]
    bus.unlisten(heard.append)
    assert not bus.wanted
    bus.publish(event(2))
    assert heard == [event(1)]


def test_a_listener_who_leaves_while_he_is_told() -> None:
    bus = Bus()
    heard: list[Event] = []

    def once(what: Event) -> None:
        heard.append(what)
        bus.unlisten(once)

    bus.listen(once)
    bus.listen(heard.append)
    bus.publish(event(1))
    bus.publish(event(2))
    assert heard == [event(1), event(1), event(2)]


def test_readers_and_listeners_are_wanted_on_their_own() -> None:
    bus = Bus()
    bus.listen(print)
    with bus.subscribe():
        bus.unlisten(print)
        assert bus.wanted
    assert not bus.wanted
