"""SIP over real TLS connections on loopback: both sides of it, strangers who dawdle or lie, new certificates."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pbxcore.net.connections import Options
from pbxcore.net.endpoint import Endpoint
from pbxcore.net.flow import Limits, ListenError, NoFlow
from tests.authority import Authority, Pair
from tests.wire.shell import (
    PATIENCE,
    Recorder,
    both_loops,
    closed_by_peer,
    exchange,
    hang_up,
    open_files,
    options,
    settle,
    until,
)


class Place:
    """The files of this module's tests."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.authority = Authority(self.directory)
        self.pair = self.authority.issue(dns=["pbx.example.net"], name="pbx")

    def options(self, **more: Any) -> Options:
        return Options(self.pair.certificate, self.pair.key, self.authority.file, **more)


place: Place


@pytest.fixture(scope="module", autouse=True)
def files() -> Iterator[None]:
    global place
    place = Place()
    yield
    shutil.rmtree(place.directory)


def tls(number: int = 1, **more: Any) -> bytes:
    return options(number, transport="TLS", **more)


def trusting() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=place.authority.file)


async def connect(listener: Any, name: str = "pbx.example.net") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(listener.host, listener.port, ssl=trusting(), server_hostname=name)


async def answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)


@both_loops
async def test_requests_over_tls_are_answered_and_pings_too() -> None:
    async with exchange("tls:127.0.0.1:0", options=place.options()) as (endpoint, layer, (listener,)):
        assert str(listener) == f"tls:127.0.0.1:{listener.port}"
        reader, writer = await connect(listener)
        writer.write(tls(1) + b"\r\n\r\n")
        assert (await answer(reader)).startswith(b"SIP/2.0 200 ")
        assert await reader.readexactly(2) == b"\r\n"
        flow = layer.flows[0]
        assert (flow.transport, flow.reliable) == ("TLS", True)
        assert flow.local == ("127.0.0.1", listener.port)
        assert endpoint.flow_to("TLS", *flow.remote) is flow        # a phone is reached over what it opened
        body = b"v" * 60_000
        writer.write(tls(2, body=body))
        await answer(reader)
        assert layer.messages[1].body == body
        flow.send(b"x" * 100_000)
        assert await asyncio.wait_for(reader.readexactly(100_000), PATIENCE) == b"x" * 100_000
        await hang_up(writer)
        await until(lambda: layer.lost == [flow])


@both_loops
async def test_our_own_goodbye_is_a_clean_one() -> None:
    async with exchange("tls:127.0.0.1:0", options=place.options()) as (_, __, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tls(1).replace(b"Content-Length: 0", b"Content-Length: -1"))
        data = await asyncio.wait_for(reader.read(), PATIENCE)     # to the end, without an error of TLS
        assert data.startswith(b"SIP/2.0 400 ")
        await hang_up(writer)


@both_loops
async def test_without_a_certificate_there_is_no_listening() -> None:
    for missing in (Options(), Options("/no/such.pem", "/no/such.key"), Options(place.pair.certificate)):
        async with exchange(options=missing) as (endpoint, _, __):
            with pytest.raises(ListenError, match=r"cannot listen on wss:127.0.0.1:0: .*(certificate|private key)"):
                await endpoint.listen("wss:127.0.0.1:0")
            assert endpoint.listeners == []


# ---- strangers

@both_loops
async def test_garbage_and_plain_sip_are_refused_and_others_served() -> None:
    async with exchange("tls:127.0.0.1:0", options=place.options()) as (endpoint, layer, (listener,)):
        for said in (b"\x00" * 50, options(1), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x10" + b"z" * 16):
            reader, writer = await asyncio.open_connection(listener.host, listener.port)
            writer.write(said)
            await closed_by_peer(reader)
            await hang_up(writer)
        assert endpoint.counters.tls_failures == 4
        assert layer.messages == []
        reader, writer = await connect(listener)
        writer.write(tls())
        assert (await answer(reader)).startswith(b"SIP/2.0 200 ")
        await hang_up(writer)


@both_loops
async def test_slow_handshakes_and_500_half_open_sockets_time_out() -> None:
    """attacks.md, row 20."""
    limits = Limits(first_message_seconds=60.0, connections=600, connections_per_address=600)
    before = open_files()
    async with exchange("tls:127.0.0.1:0", options=place.options(), limits=limits) as (endpoint, _, (listener,)):
        sockets = []
        for number in range(500):
            sock = socket.create_connection((listener.host, listener.port))
            sock.sendall(b"\x16\x03\x01"[: number % 4])     # some begin a handshake, none ends it
            sockets.append(sock)
            if number % 50 == 0:
                await asyncio.sleep(0)
        await until(lambda: endpoint.connections == 500)
        reader, writer = await connect(listener)            # who is honest is served meanwhile
        writer.write(tls())
        assert (await answer(reader)).startswith(b"SIP/2.0 200 ")
        endpoint.streams.sweep(endpoint.clock() + 60.0)
        await until(lambda: endpoint.connections == 1)
        assert endpoint.counters.idle_closed == 500
        for sock in sockets:
            sock.close()
        await hang_up(writer)
        await until(lambda: endpoint.connections == 0)
        assert endpoint.streams._by_key == {}
    assert open_files() == before


@both_loops
async def test_half_open_handshakes_count_as_connections() -> None:
    limits = Limits(connections=10, connections_per_address=3)
    async with exchange("tls:127.0.0.1:0", options=place.options(), limits=limits) as (endpoint, _, (listener,)):
        streams = [await asyncio.open_connection(listener.host, listener.port) for _ in range(3)]
        await until(lambda: endpoint.connections == 3)
        reader, refused = await asyncio.open_connection(listener.host, listener.port)
        assert await closed_by_peer(reader) == b""
        assert endpoint.counters.refused == 1
        await hang_up(refused, *(writer for _, writer in streams))


@both_loops
async def test_five_hundred_invites_each_followed_by_a_reset_leave_nothing() -> None:
    """attacks.md, row 3, over TLS."""
    async with exchange("tls:127.0.0.1:0", options=place.options()) as (endpoint, layer, (listener,)):
        during = open_files()
        context, loop = trusting(), asyncio.get_running_loop()

        def once(number: int) -> None:
            with socket.create_connection((listener.host, listener.port)) as sock:
                if number % 5:      # most go before the handshake is over
                    sock.sendall(b"\x16\x03\x01\x02\x00")
                    return
                with contextlib.suppress(OSError), context.wrap_socket(sock, server_hostname="pbx.example.net") as done:
                    done.sendall(tls(number).replace(b"OPTIONS", b"INVITE"))

        for first in range(0, 500, 50):
            await loop.run_in_executor(None, lambda start: [once(n) for n in range(start, start + 50)], first)
        await until(lambda: endpoint.connections == 0 and open_files() == during)
        assert len(layer.lost) == endpoint.counters.accepted
        assert endpoint.counters.crashes == 0


@both_loops
async def test_a_peer_that_does_not_read_is_cut_off() -> None:
    limits = Limits(write_buffer=50_000)
    async with exchange("tls:127.0.0.1:0", options=place.options(), limits=limits) as (endpoint, layer, (listener,)):
        reader, writer = await connect(listener)
        writer.write(tls())
        await answer(reader)
        writer.transport.pause_reading()   # type: ignore[attr-defined]  # a read transport
        flow = layer.flows[0]
        async with asyncio.timeout(PATIENCE):
            while not flow.closed:
                flow.send(b"x" * 65536)
                await asyncio.sleep(0)
        assert endpoint.counters.slow_closed == 1
        writer.transport.abort()


# ---- connections that we open

@contextlib.asynccontextmanager
async def carrier(pair: Pair | None = None, **more: Any) -> AsyncIterator[tuple[Any, Endpoint, Any]]:
    """Another exchange: its recorder, itself and its listener."""
    pair = pair or place.authority.issue(uris=["sip:example.com"], dns=["edge.example.com"])
    async with exchange("tls:127.0.0.1:0", options=Options(pair.certificate, pair.key, **more)) as (end, layer, (at,)):
        yield layer, end, at


@both_loops
async def test_a_carrier_is_checked_by_the_domain_of_its_sip_uri() -> None:
    async with (
        carrier() as (layer, _, at),
        exchange("tls:127.0.0.1:0", options=place.options()) as (ours, mine, (own,)),
    ):
        flow = ours.flow_to("TLS", "127.0.0.1", at.port, domain="example.com")
        assert flow.local == ("127.0.0.1", own.port)
        flow.send(tls(1))
        flow.send(tls(2))
        await until(lambda: len(mine.messages) == 2)
        assert [message.status for message in mine.messages] == [200, 200]
        assert ours.flow_to("TLS", "127.0.0.1", at.port, domain="example.com") is flow
        assert ours.counters.connected == 1
        names = [flow.transport for flow in layer.flows]
        assert names == ["TLS", "TLS"]


@both_loops
async def test_wrong_host_expired_self_signed_and_unknown_ca_are_refused() -> None:
    """attacks.md, row 20."""
    stranger = Authority(place.directory, "Nobody")
    good = place.authority.issue(dns=["example.com"])
    cases = [
        (good, "example.net", place.authority.file),
        (place.authority.issue(dns=["example.com"], expired=True), "example.com", place.authority.file),
        (stranger.issue(dns=["example.com"]), "example.com", place.authority.file),
        (good, "example.com", stranger.file),
        (good, "example.com", ""),                       # of the system's CAs, that is
        (place.authority.issue(dns=["*.example.com"]), "sip.example.com", place.authority.file),
    ]
    for pair, domain, authorities in cases:
        async with carrier(pair) as (layer, _, at), exchange() as (ours, mine, _none):
            flow = ours.flow_to("TLS", "127.0.0.1", at.port, domain=domain, authorities=authorities)
            flow.send(tls())
            await until(lambda mine=mine, flow=flow: mine.lost == [flow])
            assert flow.closed
            assert ours.counters.tls_failures == 1
            assert layer.messages == []                  # nothing was said to the wrong one
            assert ours.connections == 0


@both_loops
async def test_one_domain_s_connection_never_serves_another() -> None:
    pair = place.authority.issue(uris=["sip:one.example", "sip:two.example"])
    async with carrier(pair) as (_, __, at), exchange(options=place.options()) as (ours, mine, _none):
        one = ours.flow_to("TLS", "127.0.0.1", at.port, domain="one.example")
        two = ours.flow_to("TLS", "127.0.0.1", at.port, domain="two.example")
        assert one is not two
        other_ca = ours.flow_to("TLS", "127.0.0.1", at.port, domain="one.example", authorities=place.authority.file)
        assert other_ca is not one
        with pytest.raises(NoFlow, match="no name to check"):
            ours.flow_to("TLS", "127.0.0.1", at.port)
        for flow in (one, two):
            flow.send(tls())
        await until(lambda: len(mine.messages) == 2)


@both_loops
async def test_the_name_is_sent_and_a_peer_that_never_shakes_hands_is_given_up() -> None:
    hello = bytearray()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            hello.extend(await reader.read(4096))
            await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with exchange(options=place.options(), limits=Limits(connect_seconds=0.2)) as (ours, mine, _):
        flow = ours.flow_to("TLS", "127.0.0.1", server.sockets[0].getsockname()[1], domain="sip.example.com")
        flow.send(tls())
        await until(lambda: mine.lost == [flow])
        assert b"sip.example.com" in hello      # SNI (RFC 6066 section 3)
    server.close()


@both_loops
async def test_a_name_that_is_none_fails_its_flow_alone() -> None:
    async with carrier() as (_, __, at), exchange(options=place.options()) as (ours, mine, _none):
        flow = ours.flow_to("TLS", "127.0.0.1", at.port, domain="a" * 80)
        flow.send(tls())
        await until(lambda: mine.lost == [flow])
        assert ours.counters.crashes == 0


@both_loops
async def test_a_carrier_that_asks_for_our_certificate_gets_it() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = place.authority.issue(dns=["example.com"])
    context.load_cert_chain(pair.certificate, pair.key)
    context.load_verify_locations(place.authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert"))
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0, ssl=context)
    async with exchange(options=place.options()) as (ours, mine, _):
        flow = ours.flow_to("TLS", "127.0.0.1", server.sockets[0].getsockname()[1], domain="example.com")
        flow.send(tls())
        await until(lambda: seen)
        assert ("DNS", "pbx.example.net") in seen[0]["subjectAltName"]
        await until(lambda: mine.lost == [flow])
    server.close()
    await settle()


# ---- new certificates

@both_loops
async def test_a_new_certificate_is_used_without_a_restart_and_open_connections_stay() -> None:
    pair = place.authority.issue(dns=["old.example.net"])
    async with exchange("tls:127.0.0.1:0", options=Options(pair.certificate, pair.key)) as (endpoint, _, (listener,)):
        reader, writer = await connect(listener, "old.example.net")
        new = place.authority.issue(dns=["new.example.net"])
        shutil.copy(new.certificate, pair.certificate)
        shutil.copy(new.key, pair.key)
        endpoint._looked_at = float("-inf")
        for number in itertools.count():
            with contextlib.suppress(ssl.SSLCertVerificationError):
                again, second = await connect(listener, "new.example.net")
                break
            await asyncio.sleep(0.05)
            assert number < 100
        for old_or_new, out in ((reader, writer), (again, second)):
            out.write(tls())
            assert (await answer(old_or_new)).startswith(b"SIP/2.0 200 ")
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(listener, "old.example.net")
        await hang_up(writer, second)


@both_loops
async def test_nothing_is_left_when_it_closes_in_the_middle_of_handshakes() -> None:
    before, tasks = open_files(), asyncio.all_tasks()
    async with exchange("tls:127.0.0.1:0", options=place.options(), layer=Recorder()) as (endpoint, _, (listener,)):
        _, writer = await asyncio.open_connection(listener.host, listener.port)
        flow = endpoint.flow_to("TLS", "127.0.0.1", listener.port, domain="pbx.example.net")
        flow.send(tls())
        await until(lambda: endpoint.connections >= 2)
    assert flow.closed
    await hang_up(writer)
    await until(lambda: open_files() <= before)
    assert asyncio.all_tasks() - tasks == set()
