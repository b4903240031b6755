"""SIP over real UDP sockets on loopback."""

from __future__ import annotations

import errno
import os
import random
import socket

import pytest

from pbxcore.net.flow import Limits, NoFlow
from pbxcore.net.udp import AT_ONCE, LINE, UdpSocket
from pbxcore.sip.layer import Flow
from tests.wire.shell import Recorder, both_loops, exchange, open_files, options, receive, settle, udp_socket, until


@both_loops
async def test_an_answer_comes_back_to_where_the_request_came_from() -> None:
    async with exchange("udp:127.0.0.1:0") as (_, layer, (listener,)):
        with udp_socket() as phone:
            phone.sendto(options(), (listener.host, listener.port))
            assert (await receive(phone)).startswith(b"SIP/2.0 200 ")
            flow = layer.flows[0]
            assert flow.transport == "UDP"
            assert flow.reliable is False
            assert flow.local == ("127.0.0.1", listener.port)
            assert flow.remote == phone.getsockname()


@both_loops
async def test_what_a_message_made_us_say_is_on_its_way_before_the_next_is_handled() -> None:
    order: list[str] = []
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        layer.on_message = lambda *_: order.append(f"handled, {endpoint.counters.datagrams_out} sent")
        with udp_socket() as phone:
            for number in range(LINE + 1):   # nothing is read before we give the loop a turn
                phone.sendto(options(number), (listener.host, listener.port))
            await until(lambda: endpoint.counters.datagrams_out == LINE + 1)
            assert order == [f"handled, {number} sent" for number in range(LINE + 1)]


@both_loops
async def test_what_many_messages_of_one_wake_up_made_us_say_leaves_in_portions_and_in_order() -> None:
    sent: list[int] = []
    wake_up, portion = Limits().datagrams_a_wake_up, LINE + AT_ONCE
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        layer.on_message = lambda *_: sent.append(endpoint.counters.datagrams_out)
        with udp_socket() as phone:
            for number in range(wake_up + 2):
                phone.sendto(options(number), (listener.host, listener.port))
            heard = [await receive(phone) for _ in range(wake_up + 2)]
        assert sent[:LINE] == list(range(LINE))
        assert set(sent[LINE:portion]) == {LINE}
        assert set(sent[portion:wake_up]) == {portion}
        assert sent[wake_up:] == [wake_up, wake_up + 1]   # another wake-up
        assert [f"CSeq: {number} ".encode() in answer for number, answer in enumerate(heard)] == [True] * len(heard)
        assert [int(message.cseq.number) for message in layer.messages] == list(range(wake_up + 2))


@both_loops
async def test_what_was_said_before_a_fault_of_ours_has_been_sent() -> None:
    def fault(_: object, flow: Flow) -> None:
        flow.send(b"said")
        raise RuntimeError("ours")

    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        layer.on_message = fault
        with udp_socket() as phone:
            phone.sendto(options(), (listener.host, listener.port))
            assert await receive(phone) == b"said"
            assert endpoint.counters.crashes == 1


@both_loops
async def test_what_is_sent_outside_of_a_wake_up_leaves_at_once_and_in_order() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, __):
        with udp_socket() as phone:
            flow = endpoint.flow_to("UDP", *phone.getsockname())
            flow.send(b"one")
            flow.send(b"two")
            assert endpoint.counters.datagrams_out == 2
            assert [row[1:] for row in endpoint.ring.rows()] == [
                (True, "UDP", flow.local, flow.remote, data) for data in (b"one", b"two")
            ]
            assert await receive(phone) == b"one"
            assert await receive(phone) == b"two"


@both_loops
async def test_keep_alives_reach_nobody_and_get_nothing() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        with udp_socket() as phone:
            for data in (b"", b"\0", b"\0\0\0\0", b"\r\n", b"\r\n\r\n", b"jaK", b" \r\n \r\n  \r\n"):
                phone.sendto(data, (listener.host, listener.port))
            await until(lambda: endpoint.counters.keep_alives == 7)
            assert (layer.messages, layer.errors) == ([], [])
            assert endpoint.counters.datagrams_out == 0


@both_loops
async def test_a_stun_keep_alive_is_answered() -> None:
    """RFC 5626 section 4.4.2: without an answer the phone would take its flow for broken."""
    request = bytes.fromhex("00010000" "2112a442") + bytes(range(12))
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        with udp_socket() as phone:
            phone.sendto(request, (listener.host, listener.port))
            answer = await receive(phone)
            assert answer[:2] == b"\x01\x01"
            assert answer[8:20] == request[8:]
            assert int.from_bytes(answer[26:28], "big") ^ 0x2112 == phone.getsockname()[1]
            phone.sendto(request[:-1], (listener.host, listener.port))
            await until(lambda: endpoint.counters.malformed == 1)
            assert (endpoint.counters.keep_alives, layer.messages) == (1, [])


@both_loops
async def test_noise_is_counted_and_the_next_request_is_answered() -> None:
    noise = random.Random(1)
    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        with udp_socket() as phone:
            for _ in range(60):
                phone.sendto(b"\xff" + noise.randbytes(noise.randrange(20, 1400)), (listener.host, listener.port))
            phone.sendto(b"A" * 65507, (listener.host, listener.port))   # the longest there is
            phone.sendto(options(), (listener.host, listener.port))
            assert (await receive(phone)).startswith(b"SIP/2.0 200 ")
            assert endpoint.counters.malformed == len(layer.errors) == 61
            assert endpoint.counters.crashes == 0


@both_loops
async def test_a_request_that_can_be_read_in_part_is_answered_by_the_layer() -> None:
    async with exchange("udp:127.0.0.1:0") as (_, layer, (listener,)):
        with udp_socket() as phone:
            phone.sendto(options().replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia"), (listener.host, listener.port))
            assert (await receive(phone)).startswith(b"SIP/2.0 505 ")
            assert layer.errors[0].status == 505


@both_loops
async def test_a_fault_of_ours_does_not_stop_the_loop() -> None:
    def fault(*_: object) -> None:
        layer.on_message = None
        raise RuntimeError("ours")

    async with exchange("udp:127.0.0.1:0") as (endpoint, layer, (listener,)):
        layer.on_message = fault
        with udp_socket() as phone:
            phone.sendto(options(1), (listener.host, listener.port))
            phone.sendto(options(2), (listener.host, listener.port))
            assert b"CSeq: 2 OPTIONS" in await receive(phone)
            assert endpoint.counters.crashes == 1


@both_loops
async def test_ipv6_and_a_wildcard_that_knows_its_own_address() -> None:
    async with exchange("udp:[::]:0") as (_, layer, (listener,)):
        with udp_socket("::1") as phone:
            phone.sendto(options(), ("::1", listener.port))
            assert (await receive(phone)).startswith(b"SIP/2.0 200 ")
        assert layer.flows[0].local == ("::1", listener.port)
        assert layer.flows[0].remote[0] == "::1"


@both_loops
async def test_an_ipv4_peer_of_a_dual_stack_socket_is_seen_as_ipv4() -> None:
    async with exchange("udp:[::]:0") as (endpoint, layer, (listener,)):
        with udp_socket() as phone:
            phone.sendto(options(), ("127.0.0.1", listener.port))
            assert (await receive(phone)).startswith(b"SIP/2.0 200 ")
            assert layer.flows[0].local == ("127.0.0.1", listener.port)
            assert layer.flows[0].remote == phone.getsockname()
            flow = endpoint.flow_to("UDP", *phone.getsockname())
            assert flow is layer.flows[0]
            flow.send(b"again")
            assert await receive(phone) == b"again"


@both_loops
async def test_an_ipv4_wildcard_never_shows_its_zeros() -> None:
    async with exchange("udp:0.0.0.0:0") as (endpoint, layer, (listener,)):
        with udp_socket() as phone:
            phone.sendto(options(), ("127.0.0.1", listener.port))
            await receive(phone)
            assert layer.flows[0].local == ("127.0.0.1", listener.port)
            assert endpoint.flow_to("UDP", "127.0.0.1", 9).local == ("127.0.0.1", listener.port)


@both_loops
async def test_an_answer_without_rport_goes_to_the_port_of_the_via() -> None:
    async with exchange("udp:127.0.0.1:0") as (_, layer, (listener,)):
        with udp_socket() as phone, udp_socket() as sent_by:
            phone.sendto(options(), (listener.host, listener.port))
            await receive(phone)
            flow = layer.flows[0].to("127.0.0.1", sent_by.getsockname()[1])
            flow.send(b"there")
            assert await receive(sent_by) == b"there"
            assert flow.local == layer.flows[0].local
            for port in (0, 65536, -1):
                with pytest.raises(NoFlow):
                    layer.flows[0].to("127.0.0.1", port)


@both_loops
async def test_ten_thousand_forged_sources_are_not_remembered() -> None:
    async with exchange("udp:127.0.0.1:0", limits=Limits(peers=10)) as (endpoint, _, (listener,)):
        for port in range(10_000, 20_000):
            endpoint.flow_to("UDP", "127.0.0.1", port)
            listener.udp.flow_of(("127.0.0.1", port), "127.0.0.1")
        assert len(listener.udp._flows) == 10
        assert len(endpoint._routes) == 10


class FullKernel:
    """A socket whose send buffer is full until it is told otherwise."""

    def __init__(self, real: socket.socket, error: int) -> None:
        self.real = real
        self.error = error
        self.full = True

    def sendto(self, data: bytes, address: tuple[str, int]) -> int:
        if self.full:
            raise OSError(self.error, os.strerror(self.error))
        return self.real.sendto(data, address)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)


def fill(udp: UdpSocket, error: int) -> FullKernel:
    udp._sock = kernel = FullKernel(udp._sock, error)   # type: ignore[assignment]  # a stand-in
    return kernel


@both_loops
async def test_a_full_kernel_buffer_keeps_a_bounded_number_and_their_order() -> None:
    async with exchange("udp:127.0.0.1:0", limits=Limits(udp_backlog=4)) as (endpoint, _, (listener,)):
        kernel = fill(listener.udp, errno.EAGAIN)
        with udp_socket() as phone:
            flow = endpoint.flow_to("UDP", *phone.getsockname())
            for number in range(3):
                flow.send(b"%d" % number)
            await settle()              # the kernel is asked again, and has still no room
            for number in range(3, 6):
                flow.send(b"%d" % number)
            assert (endpoint.counters.datagrams_out, len(endpoint.ring)) == (0, 0)
            kernel.full = False
            flow.send(b"not out of its turn")
            assert [await receive(phone) for _ in range(4)] == [b"0", b"1", b"2", b"3"]
            assert endpoint.counters.send_drops == 3
            assert (endpoint.counters.datagrams_out, len(endpoint.ring)) == (4, 4)
            flow.send(b"after")
            assert await receive(phone) == b"after"


@both_loops
async def test_a_kernel_that_refuses_loses_one_datagram_and_not_the_burst() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, (__,)):
        with udp_socket() as phone:
            flow = endpoint.flow_to("UDP", *phone.getsockname())
            flow.send(b"x" * 70_000)   # EMSGSIZE
            flow.send(b"next")
            assert await receive(phone) == b"next"
            assert endpoint.counters.send_errors == 1


@both_loops
async def test_a_device_without_queue_space_is_not_waited_for() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, (listener,)):
        fill(listener.udp, errno.ENOBUFS)
        endpoint.flow_to("UDP", "127.0.0.1", 9).send(b"lost")
        assert (endpoint.counters.send_errors, endpoint.counters.datagrams_out) == (1, 0)
        assert endpoint.counters.send_drops == 0


@both_loops
async def test_closing_leaves_no_reader_no_file_and_deaf_flows() -> None:
    before = open_files()
    async with exchange("udp:127.0.0.1:0", "udp:[::1]:0", layer=Recorder()) as (endpoint, _, (listener, __)):
        flow = endpoint.flow_to("UDP", "127.0.0.1", 9)
        assert flow.closed is False
        with udp_socket() as phone:
            endpoint.flow_to("UDP", *phone.getsockname()).send(b"last words")
            await endpoint.close()
            assert await receive(phone) == b"last words"
    assert open_files() == before
    assert flow.closed is True
    flow.send(b"nobody")
    await settle()
    assert listener.udp._sock.fileno() == -1
