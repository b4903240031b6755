"""The hub and its streams: order, resuming, bounds, and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sse_starlette import ServerSentEvent

from pbxcore.bus import QUEUE_LIMIT
from pbxcore.events import Held, RegistrationChanged, SummaryWritten
from tests.unit.web.fakes import World
from web import feed
from web.feed import Cursor, Entry, Hub, Stream, follow


def registered(world: World, count: int) -> None:
    for number in range(count):
        world.publish(RegistrationChanged(float(number), "101", number))


def bindings(entries: list[Entry] | None) -> list[int]:
    assert entries is not None
    return [entry.event.bindings for entry in entries if isinstance(entry.event, RegistrationChanged)]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nobody_listens_so_the_bus_is_not_wanted() -> None:
    world = World()
    hub = Hub(world.bus, world.control, linger=0)
    assert not world.bus.wanted
    with hub.join("anna"):
        await settled()
        assert world.bus.wanted
    await settled()
    assert not world.bus.wanted
    assert len(hub) == 0


async def test_closed_before_it_ever_read_it_leaves_the_bus() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    hub.join("anna")
    hub.close()
    assert not world.bus.wanted


async def test_what_happens_right_after_joining_is_not_lost() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        registered(world, 1)
        assert bindings(await cursor.next(1)) == [0]
    hub.close()


async def test_events_come_in_order_and_once() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        await settled()
        registered(world, 3)
        await settled()
        assert bindings(await cursor.next(1)) == [0, 1, 2]
        assert await cursor.next(0.001) == []
        registered(world, 1)
        assert bindings(await cursor.next(1)) == [0]
    hub.close()


async def test_reconnect_goes_on_where_it_stopped() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        await settled()
        registered(world, 2)
        await cursor.next(1)
        last = cursor.id
    registered(world, 3)
    await settled()
    with hub.join("anna", last_id=last) as again:
        assert again.resumed
        assert bindings(await again.next(1)) == [0, 1, 2]
    hub.close()


@pytest.mark.parametrize(
    "last", ["", "x", "deadbeef.3", "{epoch}.999", "{epoch}.-1", "{epoch}.", "{epoch}.٣", "{epoch}.1e3"]
)
async def test_an_unknown_place_is_not_resumed(last: str) -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        epoch = cursor.id.split(".")[0]
        with hub.join("anna", last_id=last.replace("{epoch}", epoch)) as other:
            assert not other.resumed
    hub.close()


async def test_a_place_that_the_ring_lost_is_not_resumed() -> None:
    world = World()
    hub = Hub(world.bus, world.control, ring=4)
    with hub.join("anna") as cursor:
        await settled()
        registered(world, 1)
        await cursor.next(1)
        last = cursor.id
        registered(world, 5)
        await settled()
        with hub.join("anna", last_id=last) as other:
            assert not other.resumed
    hub.close()


async def test_a_stream_that_fell_behind_the_ring_is_told_to_refresh() -> None:
    world = World()
    hub = Hub(world.bus, world.control, ring=4)
    with hub.join("anna") as cursor:
        await settled()
        registered(world, 10)
        await settled()
        assert await cursor.next(1) is None
        registered(world, 1)
        assert bindings(await cursor.next(1)) == [0]
    hub.close()


async def test_dropped_by_the_bus_it_subscribes_anew_and_everybody_refreshes() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        await settled()
        before = cursor.id
        registered(world, QUEUE_LIMIT + 1)  # all at once: the reader had no turn
        assert await cursor.next(1) is None
        assert hub.refreshes == 1
        assert world.bus.dropped_readers == 1
        await settled()
        registered(world, 2)
        assert bindings(await cursor.next(1)) == [0, 1]
        assert cursor.id.split(".")[0] != before.split(".")[0]
        with hub.join("anna", last_id=before) as other:
            assert not other.resumed
    hub.close()


async def test_entries_say_whose_call_it_is_even_after_its_end() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna") as cursor:
        await settled()
        call = world.ring("+14155550100", "101")
        await settled()
        world.end(call)
        world.publish(SummaryWritten(0.0, call, "101"))
        world.publish(Held(0.0, "never-heard-of", "101"))
        await settled()
        entries = await cursor.next(1)
        assert entries is not None
        assert all("101" in entry.parties for entry in entries[:-1])
        assert entries[-1].parties == frozenset()
    hub.close()


async def test_memory_of_owners_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "REMEMBERED_CALLS", 3)
    world = World()
    hub = Hub(world.bus, world.control)
    with hub.join("anna"):
        await settled()
        for _ in range(10):
            world.ring()
        await settled()
        assert len(hub._owners) == 3
    hub.close()


async def test_hub_keeps_reading_for_a_while_after_the_last_page_left() -> None:
    world = World()
    hub = Hub(world.bus, world.control, linger=60)
    with hub.join("anna") as cursor:
        await settled()
        last = cursor.id
    registered(world, 1)
    await settled()
    with hub.join("anna", last_id=last) as again:
        assert again.resumed
        assert bindings(await again.next(1)) == [0]
    hub.close()
    await settled()
    assert not world.bus.wanted


def names(messages: list[ServerSentEvent]) -> list[str | None]:
    return [message.event for message in messages]


def follower(cursor: Cursor, alive: bool = True) -> AsyncIterator[ServerSentEvent]:
    async def show(entries: list[Entry] | None) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(event="all" if entries is None else f"{len(entries)}", data="x", id=cursor.id)

    async def still() -> bool:
        return alive

    return follow(cursor, still, show)


async def test_a_new_stream_begins_with_everything_and_a_resumed_one_does_not() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    cursor = hub.join("anna")
    stream = follower(cursor)
    assert (await anext(stream)).event == "ping"
    assert (await anext(stream)).event == "all"
    registered(world, 1)
    await settled()
    assert (await anext(stream)).event == "1"
    again = follower(hub.join("anna", last_id=cursor.id))
    await anext(again)
    registered(world, 2)
    assert (await anext(again)).event == "2"
    hub.close()
    assert names([m async for m in stream])[-1] == "stopping"
    assert names([m async for m in again])[-1] == "stopping"


async def test_a_stream_ends_when_its_session_does() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    stream = follower(hub.join("anna", "session"))
    await anext(stream)
    await anext(stream)
    hub.end_session("other")
    hub.end_session("session")
    assert names([message async for message in stream]) == ["signed-out"]
    assert len(hub) == 0
    hub.close()


async def test_a_quiet_stream_pings_and_asks_whether_its_reader_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PING_SECONDS", 0.002)
    world = World()
    hub = Hub(world.bus, world.control)
    assert names([m async for m in follower(hub.join("anna"), alive=False)])[-1] == "signed-out"
    stream = follower(hub.join("anna"))
    assert [(await anext(stream)).event for _ in range(4)] == ["ping", "all", "ping", "ping"]
    hub.close()


async def test_a_reader_that_stalls_is_cut_off_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SEND_TIMEOUT_SECONDS", 0.01)
    world = World()
    hub = Hub(world.bus, world.control)
    stream = Stream(follower(hub.join("anna")))

    async def receive() -> dict[str, str]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def send(message: object) -> None:
        if isinstance(message, dict) and message.get("body"):
            await asyncio.get_running_loop().create_future()

    scope = {"type": "http", "method": "GET", "headers": []}
    async with asyncio.timeout(30):
        await stream(scope, receive, send)
    assert len(hub) == 0
    hub.close()


async def test_streams_leave_no_task_behind() -> None:
    before = asyncio.all_tasks()
    world = World()
    hub = Hub(world.bus, world.control)
    stream = Stream(follower(hub.join("anna")))
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        gone.set()

    await stream({"type": "http", "method": "GET", "headers": []}, receive, send)
    hub.close()
    await settled()
    assert asyncio.all_tasks() == before


async def test_the_stream_that_carries_calls_does_not_give_way_to_a_new_page() -> None:
    world = World()
    hub = Hub(world.bus, world.control)
    carrying = hub.join("anna", firm=True)
    pages = []
    for _ in range(4):
        hub.make_room("anna")
        pages.append(hub.join("anna"))
    assert [page.ended for page in pages] == ["superseded", None, None, None]
    assert carrying.ended is None
    hub.close()
