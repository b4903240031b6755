"""SIP over real WebSockets on loopback, plain and secure; the other side is the client of the `websockets` library."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from pbxcore.net.connections import Options
from pbxcore.net.flow import Limits, NoFlow
from pbxcore.net.websocket import Door
from tests.authority import Authority
from tests.wire.shell import both_loops, closed_by_peer, exchange, hang_up, open_files, options, until

SIP = [Subprotocol("sip")]
CRM = "https://crm.example.net"


class Place:
    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        authority = Authority(self.directory)
        pair = authority.issue(dns=["pbx.example.net"])
        self.options = Options(pair.certificate, pair.key, door=Door("/sip", (CRM,)))
        self.trusting = ssl.create_default_context(cafile=authority.file)


place: Place


@pytest.fixture(scope="module", autouse=True)
def files() -> Iterator[None]:
    global place
    place = Place()
    yield
    shutil.rmtree(place.directory)


def ws(number: int = 1, **more: Any) -> str:
    return options(number, transport="WS", **more).decode().replace("127.0.0.1:5070", "df7jal23ls0d.invalid")


async def opened(listener: Any, path: str = "/sip", **more: Any) -> ClientConnection:
    scheme = listener.transport.lower()
    if scheme == "wss":
        more |= {"ssl": place.trusting, "server_hostname": "127.0.0.1"}
    more.setdefault("subprotocols", SIP)
    return await websocket(f"{scheme}://127.0.0.1:{listener.port}{path}", proxy=None, **more)


async def both(transport: str) -> None:
    async with exchange(f"{transport}:127.0.0.1:0", options=place.options) as (endpoint, layer, (listener,)):
        peer = await opened(listener, origin=Origin(CRM))
        assert peer.subprotocol == "sip"
        await peer.send(ws(1))
        assert str(await peer.recv()).startswith("SIP/2.0 200 OK\r\nVia: SIP/2.0/WS df7jal23ls0d.invalid")
        await peer.send(ws(2).encode())                      # a binary one
        assert str(await peer.recv()).startswith("SIP/2.0 200 ")
        await peer.send([ws(3)[:50], ws(3)[50:]])            # and one in two fragments
        assert str(await peer.recv()).startswith("SIP/2.0 200 ")
        flow = layer.flows[0]
        assert (flow.transport, flow.reliable, flow.local) == (transport.upper(), True, ("127.0.0.1", listener.port))
        assert endpoint.flow_to(flow.transport, *flow.remote) is flow
        flow.send(b"OPTIONS sip:101@df7jal23ls0d.invalid SIP/2.0\r\n\r\n")
        flow.send(b"second")                                 # in the same burst: two messages all the same
        assert await peer.recv() == "OPTIONS sip:101@df7jal23ls0d.invalid SIP/2.0\r\n\r\n"
        assert await peer.recv() == "second"
        await peer.send("\r\n\r\n")
        assert await peer.recv() == "\r\n"
        await (await peer.ping())
        await peer.close()
        assert peer.close_code == 1000
        await until(lambda: layer.lost == [flow])
        with pytest.raises(NoFlow, match="only it can open one"):
            endpoint.flow_to(flow.transport, *flow.remote)
        assert endpoint.counters.crashes == 0


@both_loops
async def test_messages_both_ways_over_ws() -> None:
    await both("ws")


@both_loops
async def test_messages_both_ways_over_wss() -> None:
    await both("wss")


@both_loops
async def test_origin_subprotocol_and_path_are_checked_on_the_wire() -> None:
    """attacks.md, row 20."""
    async with exchange("ws:127.0.0.1:0", "wss:127.0.0.1:0", options=place.options) as (endpoint, layer, listeners):
        cases: list[tuple[dict[str, Any], int]] = [
            ({"origin": Origin("https://evil.example")}, 403),
            ({"subprotocols": [Subprotocol("chat")]}, 400),
            ({"subprotocols": None}, 400),
            ({"path": "/"}, 404),
        ]
        for listener in listeners:
            for asked, status in cases:
                with pytest.raises(InvalidStatus) as refused:
                    await opened(listener, **asked)
                assert refused.value.response.status_code == status
        assert endpoint.counters.websocket_refused == 8
        await until(lambda: endpoint.connections == 0)
        assert layer.messages == []


@both_loops
async def test_what_breaks_the_rules_of_frames_ends_its_connection_alone() -> None:
    """attacks.md, row 20: the unit tests have every fault; here the connection goes and the others stay."""
    async with exchange("ws:127.0.0.1:0", options=place.options) as (endpoint, _, (listener,)):
        good = await opened(listener)
        bad = await opened(listener)
        bad.transport.write(b"\x81\xff\x00\x00\x00\x00\x05\xf5\xe1\x00abcd")     # 100 MB are to come
        with pytest.raises(ConnectionClosed) as closed:
            await bad.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        await good.send(ws())
        assert str(await good.recv()).startswith("SIP/2.0 200 ")
        await good.close()
        assert endpoint.counters.crashes == 0


@both_loops
async def test_a_message_that_cannot_be_read_is_answered_and_the_connection_lives_on() -> None:
    async with exchange("ws:127.0.0.1:0", options=place.options) as (endpoint, _, (listener,)):
        peer = await opened(listener)
        await peer.send(ws(1).replace(" SIP/2.0\r\nVia", " SIP/7.0\r\nVia"))
        assert str(await peer.recv()).startswith("SIP/2.0 505 ")
        await peer.send("complete nonsense")
        await peer.send(b"\x00\xff\xfe")
        await peer.send(ws(2))
        assert str(await peer.recv()).startswith("SIP/2.0 200 ")
        assert endpoint.counters.malformed == 3
        await peer.close()


@both_loops
async def test_who_opens_and_says_nothing_is_sent_away() -> None:
    limits = Limits(first_message_seconds=60.0)
    async with exchange("ws:127.0.0.1:0", "wss:127.0.0.1:0", options=place.options, limits=limits) as (end, _, both):
        reader, writer = await asyncio.open_connection("127.0.0.1", both[0].port)
        writer.write(b"GET /sip HTTP/1.1\r\nHost: pbx")      # a handshake that drips
        silent = [await opened(listener) for listener in both]
        await until(lambda: end.connections == 3)
        end.streams.sweep(end.clock() + 60.0)
        assert await closed_by_peer(reader) == b""
        await until(lambda: end.connections == 0)
        assert end.counters.idle_closed == 3
        for peer in silent:
            await peer.close()
        await hang_up(writer)


@both_loops
async def test_limits_count_websockets_too() -> None:
    limits = Limits(connections=5, connections_per_address=2)
    async with exchange("ws:127.0.0.1:0", "tcp:127.0.0.1:0", options=place.options, limits=limits) as (end, _, both):
        first = await opened(both[0])
        second = await asyncio.open_connection("127.0.0.1", both[1].port)
        await until(lambda: end.connections == 2)
        reader, third = await asyncio.open_connection("127.0.0.1", both[0].port)
        assert await closed_by_peer(reader) == b""
        assert end.counters.refused == 1
        await first.close()
        await hang_up(second[1], third)


@both_loops
async def test_a_browser_is_pinged_and_one_that_does_not_answer_is_given_up() -> None:
    kept = Options(door=Door("/sip"), keep_alive_seconds=0.05)
    async with exchange("ws:127.0.0.1:0", options=kept) as (endpoint, layer, (listener,)):
        alive, dead = await opened(listener), await opened(listener)
        for peer in (alive, dead):
            await peer.send(ws())
            await peer.recv()
        deaf = next(flow for flow in layer.flows if flow.remote == dead.local_address)
        now = endpoint.clock()
        for flow in layer.flows:
            flow._ping_at = now
        dead.transport.pause_reading()
        endpoint.streams.sweep(now)
        assert endpoint.counters.pings == 2
        good = next(flow for flow in layer.flows if flow is not deaf)
        await until(lambda: good._pong_at == float("inf"))
        assert deaf._pong_at == pytest.approx(now + 10.0)
        endpoint.streams.sweep(now + 11.0)
        assert endpoint.counters.pong_timeouts == 1
        await until(lambda: layer.lost == [deaf])
        assert not good.closed
        dead.transport.abort()
        await alive.close()


@both_loops
async def test_at_the_end_browsers_are_told_and_nothing_is_left() -> None:
    before, tasks = open_files(), asyncio.all_tasks()
    async with exchange("ws:127.0.0.1:0", "wss:127.0.0.1:0", options=place.options) as (endpoint, layer, listeners):
        peers = [await opened(listener) for listener in listeners]
        for peer in peers:
            await peer.send(ws())
            await peer.recv()
        await endpoint.close()
        for peer in peers:
            with pytest.raises(ConnectionClosed) as closed:
                await peer.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001
        assert len(layer.lost) == 2
        for peer in peers:
            await peer.close()
    await until(lambda: open_files() <= before)
    await until(lambda: asyncio.all_tasks() - tasks == set())
