"""The listener, and the streams through real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.web.fakes import World
from web import feed
from web.server import CannotListen, Listening, serve, split_address


@asynccontextmanager
async def listening(world: World, **more: Any) -> AsyncIterator[tuple[Listening, Any]]:
    app = world.app(**more)
    server = await serve(app, "127.0.0.1:0")
    try:
        yield server, app.state.panel
    finally:
        await server.stop()


def cookie(panel: Any, world: World, username: str) -> str:
    return f"hookline_session={panel.sessions.start(world.users.rows[username])[1]}"


class Stream:
    """A bare HTTP client of one event stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0

    @classmethod
    async def open(cls, address: str, path: str, cookie: str, last_id: str = "") -> Stream:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        last = f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n{last}\r\n".encode())
        stream = cls(reader, writer)
        stream.status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        return stream

    async def event(self) -> dict[str, str]:
        """The next event, pings left out; an empty one at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(30):
            while True:
                line = (await self.reader.readline()).decode().rstrip("\r\n")
                if self.reader.at_eof():
                    return {}
                name, _, value = line.partition(": ")
                if name in ("event", "data", "id"):
                    fields[name] = f"{fields[name]}\n{value}" if name in fields else value
                elif not line and fields and fields.get("event") != "ping":
                    return fields
                elif not line:
                    fields = {}

    def close(self) -> None:
        self.writer.close()


async def test_port_zero_is_answered_with_the_real_one() -> None:
    world = World()
    async with listening(world) as (server, _):
        host, _, port = server.address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 200")
    assert "\r\ndate: " in answer.lower()
    assert "server: uvicorn" not in answer.lower()


async def test_ipv6_is_listened_on() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = await serve(World().app(), "[::1]:0")
    assert server.address.startswith("[::1]:")
    await server.stop()


async def test_a_taken_port_is_a_clear_error() -> None:
    async with listening(World()) as (server, _):
        with pytest.raises(CannotListen, match=server.address):
            await serve(World().app(), server.address)


@pytest.mark.parametrize("listen", ["", "8080", "127.0.0.1:", ":8080", "127.0.0.1:http", "127.0.0.1:99999"])
async def test_an_address_that_is_none_is_a_clear_error(listen: str) -> None:
    with pytest.raises(CannotListen):
        await serve(World().app(), listen)


def test_addresses() -> None:
    assert split_address("[::1]:80") == ("::1", 80)
    assert split_address("0.0.0.0:8080") == ("0.0.0.0", 8080)


async def test_signals_stay_the_exchanges_own_and_nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    before, tasks = signal.getsignal(signal.SIGTERM), asyncio.all_tasks()
    with caplog.at_level(logging.WARNING):
        async with listening(World()):
            assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before
    assert asyncio.all_tasks() == tasks
    assert caplog.records == []


async def test_stop_ends_open_streams_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.server.STOP_SECONDS", 300.0)     # what it would wait for them
    world = World()
    tasks = asyncio.all_tasks()
    async with listening(world) as (server, panel):
        stream = await Stream.open(server.address, "/api/v1/events", cookie(panel, world, "super"))
        assert (await stream.event())["event"] == "refresh"
        async with asyncio.timeout(30):
            await server.stop()
        assert (await stream.event())["event"] == "stopping"
        stream.close()
    assert asyncio.all_tasks() == tasks
    assert not world.bus.wanted


async def test_events_are_filtered_named_and_resumed() -> None:
    world = World()
    async with listening(world) as (server, panel):
        anna = cookie(panel, world, "anna")
        stream = await Stream.open(server.address, "/api/v1/events", anna)
        assert json.loads((await stream.event())["data"]) == {"calls": []}
        world.ring("+14155550123", "102")
        call = world.ring("+14155550100", "101")
        first = await stream.event()
        assert first["event"] == "Originated"
        assert json.loads(first["data"])["call_id"] == call
        stream.close()
        world.end(call)
        again = await Stream.open(server.address, "/api/v1/events", anna, first["id"])
        names = [(await again.event())["event"] for _ in range(3)]
        assert names == ["CardFound", "Delivered", "ConnectionCleared"]
        world.registered("102", 1)
        assert (await again.event())["event"] == "RegistrationChanged"
        again.close()


async def test_the_last_event_of_a_call_brings_its_snapshot() -> None:
    world = World()
    async with listening(world) as (server, panel):
        stream = await Stream.open(server.address, "/api/v1/events", cookie(panel, world, "super"))
        await stream.event()
        world.end(world.ring("+14155550100", "101"))
        event = await stream.event()
        while event["event"] != "ConnectionCleared":
            event = await stream.event()
        assert json.loads(event["data"])["call"]["disposition"] == "cancelled"
        stream.close()


async def test_programs_get_a_bounded_number_of_streams() -> None:
    world = World()
    async with listening(world) as (server, panel):
        anna = cookie(panel, world, "anna")
        streams = [await Stream.open(server.address, "/api/v1/events", anna) for _ in range(feed.STREAMS_PER_USER + 1)]
        assert [stream.status for stream in streams] == [200] * feed.STREAMS_PER_USER + [429]
        boris = await Stream.open(server.address, "/api/v1/events", cookie(panel, world, "boris"))
        assert boris.status == 200
        for stream in (*streams, boris):
            stream.close()


async def test_one_page_too_many_closes_the_oldest() -> None:
    world = World()
    async with listening(world) as (server, panel):
        anna = cookie(panel, world, "anna")
        streams = []
        for _ in range(feed.STREAMS_PER_USER + 1):
            streams.append(await Stream.open(server.address, "/live/feed", anna))
            assert "hx-partial" in (await streams[-1].event())["data"]
        assert (await streams[0].event())["event"] == "superseded"
        world.ring("+14155550100", "101")
        assert "+1 415-555-0100" in (await streams[-1].event())["data"]
        assert len(panel.hub.of_user("anna")) == feed.STREAMS_PER_USER
        for stream in streams:
            stream.close()


async def test_a_page_resumes_with_what_it_missed_and_no_more() -> None:
    world = World()
    async with listening(world) as (server, panel):
        anna = cookie(panel, world, "anna")
        stream = await Stream.open(server.address, "/live/feed", anna)
        first = await stream.event()
        stream.close()
        call = world.ring("+14155550100", "101")
        again = await Stream.open(server.address, "/live/feed", anna, first["id"])
        missed = await again.event()
        assert f'id="card-{call}"' in missed["data"]
        assert 'hx-target="#summaries"' not in missed["data"], "not everything anew"
        again.close()


async def test_sign_out_ends_the_sessions_streams() -> None:
    world = World()
    async with listening(world) as (server, panel):
        anna = cookie(panel, world, "anna")
        stream = await Stream.open(server.address, "/live/feed", anna)
        await stream.event()
        panel.sessions.end(panel.sessions.find(anna.partition("=")[2]))
        assert (await stream.event())["event"] == "signed-out"
        stream.close()


async def test_a_user_whose_role_changed_is_sent_to_begin_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "PING_SECONDS", 0.02)
    world = World()
    async with listening(world) as (server, panel):
        boss = cookie(panel, world, "super")
        stream = await Stream.open(server.address, "/api/v1/events", boss)
        await stream.event()
        world.users.put("super", "agent", "103")
        assert (await stream.event())["event"] == "signed-out"
        stream.close()


async def test_readers_that_go_away_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    left = asyncio.Semaphore(0)
    leave = feed.Hub.leave

    def leave_and_tell(hub: feed.Hub, cursor: feed.Cursor) -> None:
        leave(hub, cursor)
        left.release()

    monkeypatch.setattr(feed.Hub, "leave", leave_and_tell)
    async with listening(world) as (server, panel):
        for _ in range(3):
            stream = await Stream.open(server.address, "/live/feed", cookie(panel, world, "anna"))
            await stream.event()
            stream.close()
        async with asyncio.timeout(30):
            for _ in range(3):
                await left.acquire()
        assert len(panel.hub) == 0
