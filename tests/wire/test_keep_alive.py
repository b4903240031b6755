"""Keep-alives of ours on connections that we opened (RFC 5626 section 4.4.1), and large requests on real sockets."""

from __future__ import annotations

import asyncio
import socket

from pbxcore.net.connections import Options
from pbxcore.net.flow import Limits
from pbxcore.sip.layer import Layer
from pbxcore.sip.message import Request
from pbxcore.sip.timers import Timers
from tests.unit.sip.joined import Recorder as Owner
from tests.unit.sip.joined import outgoing
from tests.wire.shell import Recorder, both_loops, exchange, receive, udp_socket, until
from tests.wire.test_tcp import Peer, tcp


@both_loops
async def test_we_ping_and_a_peer_that_stops_answering_has_failed() -> None:
    async with exchange("tcp:127.0.0.1:0") as (endpoint, layer, _), Peer() as peer:
        flow = endpoint.flow_to("TCP", *peer.address)
        flow.send(tcp())
        await until(lambda: peer.data == tcp())
        now = endpoint.clock()
        assert 95 - 1 < flow._ping_at - now < 120 + 1
        endpoint.streams.sweep(flow._ping_at)
        await until(lambda: peer.data == tcp() + b"\r\n\r\n")
        endpoint.streams.sweep(now + 1000)           # it may not know pings: it is not held to them
        assert endpoint.counters.pong_timeouts == 0
        peer.connections[0].write(b"\r\n")
        await until(lambda: endpoint.counters.keep_alives)
        endpoint.streams.sweep(now + 1200)           # it does: from now on it is
        pinged = endpoint.counters.pings
        peer.connections[0].write(b"\r\n")
        await until(lambda: endpoint.counters.keep_alives == 2)
        endpoint.streams.sweep(now + 1400)
        assert endpoint.counters.pings == pinged + 1
        endpoint.streams.sweep(now + 1409)
        assert endpoint.counters.pong_timeouts == 0
        endpoint.streams.sweep(now + 1411)
        assert endpoint.counters.pong_timeouts == 1
        await until(lambda: layer.lost == [flow])


@both_loops
async def test_zero_seconds_are_no_keep_alives_and_nobody_who_called_us_is_pinged() -> None:
    for kept, there in ((0.0, True), (25.0, False)):
        options = Options(keep_alive_seconds=kept)
        async with exchange("tcp:127.0.0.1:0", options=options) as (endpoint, layer, (listener,)), Peer() as peer:
            if there:
                flow = endpoint.flow_to("TCP", *peer.address)
                await until(lambda flow=flow: flow.is_open)
            else:
                _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
                writer.write(tcp())
                await until(lambda: layer.flows)
                flow = layer.flows[0]
            endpoint.streams.sweep(endpoint.clock() + 130)
            assert endpoint.counters.pings == 0
            if not there:
                writer.close()


@both_loops
async def test_a_connection_for_one_large_request_is_let_go_soon() -> None:
    async with exchange("tcp:127.0.0.1:0", "udp:127.0.0.1:0") as (endpoint, _, __), Peer() as peer:
        flow = endpoint.flow_to("UDP", *peer.address).wide()
        await until(lambda: flow.is_open)
        assert flow.deadline < endpoint.clock() + 121
        assert flow._ping_at == float("inf")
        assert endpoint.flow_to("UDP", *peer.address).wide() is flow


def big_invite(size: int = 2000) -> Request:
    made = outgoing("INVITE")
    made.body = b"a" * size
    return made


def real_layer(endpoint_clock: object) -> tuple[Layer, Timers, Owner]:
    timers, owner = Timers(), Owner()
    return Layer(owner, timers, endpoint_clock, iter_tokens().__next__), timers, owner  # type: ignore[arg-type]


def iter_tokens():  # type: ignore[no-untyped-def]  # of text
    number = 0
    while True:
        number += 1
        yield f"token{number:016d}"


@both_loops
async def test_a_big_invite_goes_over_tcp_to_a_peer_that_has_both() -> None:
    layer, timers, owner = real_layer(asyncio.get_running_loop().time)
    answering = Recorder()
    async with (
        exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0", layer=layer) as (ours, _, __),
        exchange("udp:127.0.0.1:0", layer=answering) as (theirs, ___, (there,)),
    ):
        ours.attach(layer, timers)
        await theirs.listen(f"tcp:127.0.0.1:{there.port}")
        layer.request(big_invite(), ours.flow_to("UDP", "127.0.0.1", there.port), owner)
        await until(lambda: owner.heard == ["200"])
        assert [flow.transport for flow in answering.flows] == ["TCP"]
        assert answering.messages[0].via.transport == "TCP"
        assert len(answering.messages[0].body) == 2000
        assert ours.counters.large_by_tcp == 1


@both_loops
async def test_a_big_invite_goes_over_udp_to_a_peer_without_tcp_and_the_next_one_at_once() -> None:
    layer, timers, owner = real_layer(asyncio.get_running_loop().time)
    answering = Recorder()
    async with (
        exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0", layer=layer) as (ours, _, __),
        exchange("udp:127.0.0.1:0", layer=answering) as (___, ____, (there,)),
    ):
        ours.attach(layer, timers)
        flow = ours.flow_to("UDP", "127.0.0.1", there.port)
        layer.request(big_invite(), flow, owner)
        await until(lambda: owner.heard == ["200"])
        assert answering.messages[0].via.transport == "UDP"
        assert flow.wide() is None       # remembered: the next one does not try
        assert ours.counters.connect_failures == 1


@both_loops
async def test_tcp_that_is_swallowed_by_a_firewall_costs_a_second() -> None:
    layer, timers, owner = real_layer(asyncio.get_running_loop().time)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(3)]    # nobody takes them: the next gets no answer
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        peer = udp_socket()
        peer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as beside:
            beside.bind(full.getsockname())
            beside.setblocking(False)
            limits = Limits(brief_connect_seconds=0.1)
            async with exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0", layer=layer, limits=limits) as (ours, _, __):
                ours.attach(layer, timers)
                layer.request(big_invite(), ours.flow_to("UDP", *full.getsockname()), owner)
                assert (await receive(beside)).startswith(b"INVITE ")
        for filler in fillers:
            filler.close()


@both_loops
async def test_phones_behind_a_nat_settings_and_missing_listeners_keep_it_to_udp() -> None:
    async with exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0") as (endpoint, _, __), Peer() as peer:
        flow = endpoint.flow_to("UDP", *peer.address)
        flow.keep_narrow(60.0)
        assert flow.wide() is None
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, __), Peer() as peer:
        assert endpoint.flow_to("UDP", *peer.address).wide() is None
    async with exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0", options=Options(large_by_tcp=False)) as (endpoint, _, __):
        assert endpoint.flow_to("UDP", "127.0.0.1", 5060).wide() is None


async def test_what_is_remembered_of_narrow_peers_is_bounded() -> None:
    async with exchange("udp:127.0.0.1:0", "tcp:127.0.0.1:0") as (endpoint, _, __):
        for port in range(1, 5000):
            endpoint.streams.narrow(("127.0.0.1", port), 60.0)
        assert len(endpoint.streams._narrow) <= 4096


