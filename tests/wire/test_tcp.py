"""SIP over real TCP connections on loopback: framing, bounds, time-outs, floods, and connections that we open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from pbxcore.net.endpoint import Endpoint
from pbxcore.net.flow import Limits
from tests.wire.shell import (
    PATIENCE,
    both_loops,
    closed_by_peer,
    connect,
    exchange,
    hang_up,
    open_files,
    options,
    settle,
    until,
)

ABORT = struct.pack("ii", 1, 0)   # SO_LINGER: closing sends RST


def tcp(number: int = 1, **more: object) -> bytes:
    return options(number, transport="TCP", **more)   # type: ignore[arg-type]  # passed on


async def answers(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    async with asyncio.timeout(PATIENCE):
        return [await reader.readuntil(b"\r\n\r\n") for _ in range(count)]


@both_loops
async def test_a_message_cut_into_single_octets() -> None:
    async with exchange("tcp:127.0.0.1:0") as (_, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in tcp(body=b"v=0\r\n"):
            writer.write(bytes([octet]))
            await asyncio.sleep(0)
        assert (await answers(reader, 1))[0].startswith(b"SIP/2.0 200 ")
        assert layer.messages[0].body == b"v=0\r\n"
        flow = layer.flows[0]
        assert (flow.transport, flow.reliable) == ("TCP", True)
        assert flow.local == ("127.0.0.1", listener.port)
        assert flow.remote == writer.get_extra_info("sockname")
        await hang_up(writer)


@both_loops
async def test_messages_that_come_together_are_answered_in_order() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, _, (listener,)):
        reader, writer = await connect(listener)
        writer.write(b"\r\n".join(tcp(number, body=b"x" * number) for number in range(1, 101)))
        got = await answers(reader, 100)
        assert all(f"Call-ID: call-{number}\r\n".encode() in answer for number, answer in enumerate(got, 1))
        assert endpoint.counters.stream_messages_in == 100
        await hang_up(writer)


@both_loops
async def test_a_ping_gets_a_pong_and_a_pong_gets_nothing() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(b"\r\n")
        await until(lambda: endpoint.counters.keep_alives == 1)
        writer.write(tcp(1) + b"\r\n\r\n")
        await answers(reader, 1)
        assert await asyncio.wait_for(reader.readexactly(2), PATIENCE) == b"\r\n"
        writer.write(tcp(2))
        assert (await answers(reader, 1))[0].startswith(b"SIP/2.0 200 ")   # nothing stood between
        assert len(layer.messages) == 2
        await hang_up(writer)


@both_loops
async def test_a_malformed_message_is_answered_and_the_connection_lives_on() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, _, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tcp(1).replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia") + tcp(2))
        first, second = await answers(reader, 2)
        assert first.startswith(b"SIP/2.0 505 ")
        assert second.startswith(b"SIP/2.0 200 ")
        assert (endpoint.counters.malformed, endpoint.counters.unframed) == (1, 0)
        await hang_up(writer)


@both_loops
async def test_lost_framing_is_answered_400_and_closed_after_the_messages_before_it() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        broken = tcp(2).replace(b"Content-Length: 0", b"Content-Length: -1")
        writer.write(tcp(1) + broken + tcp(3))
        data = await closed_by_peer(reader)
        assert data.count(b"SIP/2.0 200 ") == 1
        assert data.count(b"SIP/2.0 400 ") == 1
        assert data.index(b"200 ") < data.index(b"400 ")
        assert endpoint.counters.unframed == 1
        await until(lambda: layer.lost)
        await hang_up(writer)


@both_loops
async def test_an_oversized_message_ends_the_connection() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        for opening in (tcp(1).replace(b"Content-Length: 0", b"Content-Length: 9999999"), b"OPTIONS " + b"x" * 80_000):
            reader, writer = await connect(listener)
            writer.write(opening)
            await closed_by_peer(reader)
            await hang_up(writer)
        assert layer.messages == []
        await until(lambda: endpoint.connections == 0)


@both_loops
async def test_ipv6() -> None:
    async with exchange("tcp:[::1]:0") as (_, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tcp())
        await answers(reader, 1)
        assert layer.flows[0].local == ("::1", listener.port)
        assert layer.flows[0].remote[0] == "::1"
        await hang_up(writer)


@both_loops
async def test_an_ipv4_peer_of_a_dual_stack_listener_is_seen_as_ipv4() -> None:
    async with exchange("tcp:[::]:0") as (endpoint, layer, (listener,)):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(tcp())
        await answers(reader, 1)
        flow = layer.flows[0]
        assert flow.local == ("127.0.0.1", listener.port)
        assert flow.remote == writer.get_extra_info("sockname")
        assert endpoint.flow_to("TCP", *flow.remote) is flow
        await hang_up(writer)


# ---- bounds

@both_loops
async def test_the_thousand_and_first_connection_is_refused_and_the_thousand_still_served() -> None:
    limits = Limits(connections=1000, connections_per_address=1000)
    before = open_files()
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, _, (listener,)):
        streams = [await connect(listener) for _ in range(1000)]
        await until(lambda: endpoint.connections == 1000)
        reader, extra = await connect(listener)
        assert await closed_by_peer(reader) == b""
        assert endpoint.counters.refused == 1
        for reader, writer in (streams[0], streams[999]):
            writer.write(tcp())
            await answers(reader, 1)
        await hang_up(streams.pop()[1], extra)
        await until(lambda: endpoint.connections == 999)
        streams.append(await connect(listener))
        await until(lambda: endpoint.connections == 1000)
        await hang_up(*(writer for _, writer in streams))
        await until(lambda: endpoint.connections == 0)
    assert open_files() == before


@both_loops
async def test_one_address_cannot_take_every_connection() -> None:
    limits = Limits(connections=10, connections_per_address=3)
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, _, (listener,)):
        streams = [await connect(listener) for _ in range(3)]
        await until(lambda: endpoint.connections == 3)
        reader, refused = await connect(listener)
        assert await closed_by_peer(reader) == b""
        other, welcome = await asyncio.open_connection(
            listener.host, listener.port, local_addr=("127.0.0.2", 0)
        )
        welcome.write(tcp())
        await answers(other, 1)
        await hang_up(refused, welcome, *(writer for _, writer in streams))


@both_loops
async def test_five_hundred_requests_each_followed_by_a_reset_leave_nothing() -> None:
    """ES2018-04, ES2020-02."""
    before = open_files()
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        during = open_files()
        for number in range(500):
            with socket.create_connection((listener.host, listener.port)) as sock:
                sock.sendall(tcp(number))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            if number % 25 == 0:
                await asyncio.sleep(0)
        await until(lambda: endpoint.connections == 0 and open_files() == during)
        assert len(layer.lost) == endpoint.counters.accepted
        assert all(flow.closed for flow in layer.lost)
        assert endpoint.streams._by_key == {}
        assert endpoint.streams._per_host == {}
        reader, writer = await connect(listener)
        writer.write(tcp())
        await answers(reader, 1)
        await hang_up(writer)
    assert open_files() == before


@both_loops
async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    limits = Limits(write_buffer=50_000)
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, layer, (listener,)):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, (listener.host, listener.port))
            await loop.sock_sendall(sock, tcp())
            await until(lambda: layer.flows)
            flow = layer.flows[0]
            async with asyncio.timeout(PATIENCE):
                while not flow.closed:
                    flow.send(b"x" * 65536)
                    await asyncio.sleep(0)
            await until(lambda: layer.lost == [flow])
            assert endpoint.counters.slow_closed == 1
            flow.send(b"into the void")
            await settle()


# ---- time-outs

@both_loops
async def test_who_says_nothing_is_sent_away_and_pings_alone_do_not_help() -> None:
    limits = Limits(first_message_seconds=0.05)
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, _, (listener,)):
        streams = [await connect(listener) for _ in range(2)]
        streams[1][1].write(b"\r\n\r\n")
        assert await closed_by_peer(streams[0][0]) == b""
        assert await closed_by_peer(streams[1][0]) == b"\r\n"
        assert endpoint.counters.idle_closed == 2
        await hang_up(*(writer for _, writer in streams))


@both_loops
async def test_who_has_spoken_stays_until_the_idle_time_is_over() -> None:
    limits = Limits(first_message_seconds=60.0, idle_seconds=120.0)
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tcp())
        await answers(reader, 1)
        deadline = layer.flows[0].deadline
        assert deadline > endpoint.clock() + 60
        writer.write(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"\r\n"
        assert layer.flows[0].deadline > deadline
        layer.flows[0].deadline = endpoint.clock()
        assert await closed_by_peer(reader) == b""
        assert layer.lost == layer.flows
        await hang_up(writer)


@both_loops
async def test_a_message_that_drips_does_not_keep_its_connection() -> None:
    limits = Limits(message_seconds=0.05)
    async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tcp())
        await answers(reader, 1)
        for octet in b"OPT":
            writer.write(bytes([octet]))
            await asyncio.sleep(0.01)
        assert layer.flows[0].deadline <= endpoint.clock() + 0.05
        await closed_by_peer(reader)
        await hang_up(writer)


# ---- connections that we open

class Peer:
    """Somebody else's TCP server."""

    def __init__(self) -> None:
        self.data = b""
        self.connections: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Peer:
        self.server = await asyncio.start_server(self.on_connect, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        return self

    async def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.data += data

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await hang_up(*self.connections)


@both_loops
async def test_what_is_sent_before_the_connection_stands_waits_for_it() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)), Peer() as peer:
        flow = endpoint.flow_to("TCP", *peer.address)
        assert (flow.transport, flow.reliable, flow.closed) == ("TCP", True, False)
        assert flow.remote == peer.address
        assert flow.local == ("127.0.0.1", listener.port)   # where answers find us when this one has closed
        flow.send(b"one ")
        flow.send(b"two ")
        await until(lambda: peer.data == b"one two ")
        assert endpoint.flow_to("TCP", *peer.address) is flow
        assert endpoint.flow_to("TCP", "127.0.0.1", peer.address[1], local=flow.local) is flow
        peer.connections[0].write(tcp())
        await until(lambda: layer.flows == [flow])
        await until(lambda: b"200 OK" in peer.data)
        peer.connections[0].close()
        await until(lambda: layer.lost == [flow])
        assert flow.closed
        assert endpoint.flow_to("TCP", *peer.address) is not flow


@both_loops
async def test_without_a_listener_the_connection_names_its_own_port() -> None:
    async with exchange() as (endpoint, _, __), Peer() as peer:
        flow = endpoint.flow_to("TCP", *peer.address)
        flow.send(b"x")
        await until(lambda: peer.data)
        assert flow.local == peer.connections[0].get_extra_info("peername")


@both_loops
async def test_a_refused_connection_is_a_lost_flow() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))   # bound and not listening: refuses
        async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, _):
            flow = endpoint.flow_to("TCP", *taken.getsockname())
            flow.send(b"x")
            assert not flow.closed
            await until(lambda: layer.lost == [flow])
            assert flow.closed
            assert endpoint.counters.connect_failures == 1
            assert endpoint.connections == 0


@both_loops
async def test_a_connection_that_never_comes_is_given_up_and_its_buffer_is_bounded() -> None:
    limits = Limits(connect_seconds=0.1, write_buffer=1000)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]   # the accept queue takes one or two; the rest get no answer
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with exchange("tcp:127.0.0.1:0", limits=limits) as (endpoint, layer, _):
            flow = endpoint.flow_to("TCP", *full.getsockname())
            for _ in range(100):
                flow.send(b"x" * 100)
                await asyncio.sleep(0)
            assert flow._pending_size <= 1100
            assert endpoint.counters.send_drops > 0
            await until(lambda: layer.lost == [flow])
        for filler in fillers:
            filler.close()


@both_loops
async def test_closing_while_connecting_leaves_nothing() -> None:
    before = open_files()
    async with Peer() as peer:
        endpoint = Endpoint()
        flow = endpoint.flow_to("TCP", *peer.address)
        await endpoint.close()
        assert flow.closed
        assert endpoint.connections == 0
    await until(lambda: open_files() == before)


@both_loops
async def test_closing_sends_what_is_waiting_and_tells_every_flow() -> None:
    before, tasks = open_files(), asyncio.all_tasks()
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tcp())
        await answers(reader, 1)
        layer.flows[0].send(b"last words")
        await endpoint.close()
        assert await closed_by_peer(reader) == b"last words"
        assert layer.lost == layer.flows
        await hang_up(writer)
    await until(lambda: open_files() == before)
    assert asyncio.all_tasks() - tasks == set()
