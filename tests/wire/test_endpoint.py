"""The pump: listening addresses, flows to others, the one timer, and the real layer behind it."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import weakref
from typing import Any

import pytest

from pbxcore.net import endpoint as pump
from pbxcore.net.endpoint import Endpoint
from pbxcore.net.flow import ListenError, NoFlow, destination, parse_spec, plain_host
from pbxcore.sip import build
from pbxcore.sip.layer import Flow, Layer
from pbxcore.sip.message import Request, Response
from pbxcore.sip.timers import Timers
from pbxcore.sip.transaction import ClientTransaction, ServerTransaction
from tests.torture.corpus import EVERYTHING
from tests.wire.shell import (
    both_loops,
    closed_by_peer,
    exchange,
    hang_up,
    open_files,
    opened,
    options,
    receive,
    settle,
    udp_socket,
    until,
)

# ---- addresses to listen at

@pytest.mark.parametrize(("spec", "parsed"), [
    ("udp:0.0.0.0:5060", ("UDP", "0.0.0.0", 5060)), ("tcp:[::1]:5070", ("TCP", "::1", 5070)),
    ("UDP:127.0.0.1", ("UDP", "127.0.0.1", 5060)), ("udp:[::]", ("UDP", "::", 5060)),
    ("tcp:127.0.0.1:0", ("TCP", "127.0.0.1", 0)),
])
def test_specs(spec: str, parsed: tuple[str, str, int]) -> None:
    assert parse_spec(spec) == parsed


@pytest.mark.parametrize(("spec", "word"), [
    ("", "transport"), ("5060", "transport"), ("sctp:127.0.0.1:5060", "sctp"), ("udp:localhost:5060", "localhost"),
    ("udp:::1:5060", "brackets"), ("udp:[::1:5060", "bracket"), ("udp:127.0.0.1:65536", "65536"),
    ("udp:127.0.0.1:x", "x"), ("udp:127.0.0.1:-1", "-1"), ("udp:127.0.0.1:5060:1", "5060:1"),
    ("udp::5060", "IP address"),
])
def test_bad_specs_say_what_is_wrong(spec: str, word: str) -> None:
    with pytest.raises(ListenError) as caught:
        parse_spec(spec)
    assert word in str(caught.value)


@both_loops
async def test_a_taken_port_is_an_error_that_names_it() -> None:
    before = open_files()
    async with exchange() as (endpoint, _, __):
        for kind, transport in ((socket.SOCK_DGRAM, "udp"), (socket.SOCK_STREAM, "tcp")):
            with socket.socket(socket.AF_INET, kind) as taken:
                taken.bind(("127.0.0.1", 0))
                if transport == "tcp":
                    taken.listen()
                port = taken.getsockname()[1]
                with pytest.raises(ListenError) as caught:
                    await endpoint.listen(f"{transport}:127.0.0.1:{port}")
                assert f"{transport}:127.0.0.1:{port}" in str(caught.value)
                assert "taken by another program" in str(caught.value)
    assert open_files() == before


@both_loops
async def test_two_programs_cannot_share_a_tcp_port_by_binding_before_listening() -> None:
    async with exchange() as (endpoint, _, __):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", 0))
            port = other.getsockname()[1]
            listener = await endpoint.listen(f"tcp:127.0.0.1:{port}")
            assert listener.port == port
            with pytest.raises(ListenError, match="taken by another program"):
                await endpoint.listen(f"tcp:127.0.0.1:{port}")


@both_loops
async def test_an_address_of_another_machine_is_an_error_that_says_so() -> None:
    async with exchange() as (endpoint, _, __):
        for spec in ("udp:203.0.113.1:0", "tcp:203.0.113.1:0", "udp:[2001:db8::1]:0"):
            with pytest.raises(ListenError, match="not an address of this machine"):
                await endpoint.listen(spec)


@both_loops
async def test_a_listener_says_where_it_is() -> None:
    async with exchange("udp:127.0.0.1:0", "tcp:[::1]:0") as (_, __, (udp, tcp)):
        assert udp.port > 0
        assert str(udp) == f"udp:127.0.0.1:{udp.port}"
        assert str(tcp) == f"tcp:[::1]:{tcp.port}"


@both_loops
async def test_both_wildcards_of_a_port_in_either_order() -> None:
    for transport in ("udp", "tcp"):
        async with exchange(f"{transport}:0.0.0.0:0") as (endpoint, _, (four,)):
            six = await endpoint.listen(f"{transport}:[::]:{four.port}")
            assert (six.port, six.dual_stack) == (four.port, False)
        async with exchange(f"{transport}:[::]:0") as (endpoint, _, (both,)):
            assert both.dual_stack
            with pytest.raises(ListenError, match="takes IPv4 as well"):
                await endpoint.listen(f"{transport}:0.0.0.0:{both.port}")


# ---- flows to others

@pytest.mark.parametrize(("host", "port"), [
    ("example.com", 5060), ("", 5060), ("localhost", 5060), ("0.0.0.0", 5060), ("::", 5060), ("255.255.255.255", 5060),
    ("224.0.1.75", 5060), ("239.1.2.3", 5060), ("ff02::1", 5060), ("::ffff:224.0.0.1", 5060), ("127.0.0.1", 0),
    ("127.0.0.1", -1), ("127.0.0.1", 65536), ("127.0.0.1\0", 5060), ("1", 5060), ("\u0661.1.1.1", 5060),
])
def test_addresses_that_are_never_sent_to(host: str, port: int) -> None:
    with pytest.raises(NoFlow) as caught:
        destination(host, port)
    assert caught.value.status == 503


def test_addresses_in_their_normal_form() -> None:
    assert destination("[0:0::1]", 5060) == (socket.AF_INET6, "::1")
    assert destination("::ffff:192.0.2.1", 5060) == (socket.AF_INET, "192.0.2.1")
    assert plain_host("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_host("fe80::1%eth0") == "fe80::1"
    assert plain_host("192.0.2.1") == "192.0.2.1"


@both_loops
async def test_the_listener_is_chosen_by_the_way_to_the_peer() -> None:
    async with exchange("udp:127.0.0.2:0", "udp:127.0.0.1:0", "udp:[::1]:0") as (endpoint, _, (two, one, six)):
        assert endpoint.flow_to("UDP", "127.0.0.1", 9).local == ("127.0.0.1", one.port)
        assert endpoint.flow_to("UDP", "::1", 9).local == ("::1", six.port)
        assert endpoint.flow_to("UDP", "[::1]", 9).remote == ("::1", 9)
        asked = endpoint.flow_to("UDP", "127.0.0.1", 9, local=("127.0.0.2", two.port))
        assert asked.local == ("127.0.0.2", two.port)
        assert asked is endpoint.flow_to("UDP", "127.0.0.1", 9, local=("127.0.0.2", two.port))


@both_loops
async def test_no_way_is_an_error_and_not_a_crash() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, (listener,)):
        for transport, host, port in (
            ("UDP", "::1", 9), ("UDP", "192.0.2.200", 9), ("UDP", "example.com", 9), ("TLS", "127.0.0.1", 9),
            ("WS", "127.0.0.1", 9), ("TCP", "224.0.0.1", 9),
        ):
            with pytest.raises(NoFlow):
                endpoint.flow_to(transport, host, port)
        for transport in ("UDP", "TCP"):
            with pytest.raises(NoFlow):
                endpoint.flow_to(transport, "127.0.0.1", 9, local=("127.0.0.1", listener.port + 1))


@both_loops
async def test_a_local_address_behind_a_wildcard_can_be_asked_for() -> None:
    async with exchange("udp:0.0.0.0:0", "tcp:0.0.0.0:0") as (endpoint, _, (udp, __)):
        assert endpoint.flow_to("UDP", "127.0.0.1", 9, local=("127.0.0.1", udp.port)).local == ("127.0.0.1", udp.port)


@both_loops
async def test_routes_are_believed_for_a_minute_only() -> None:
    async with exchange("udp:127.0.0.1:0") as (endpoint, _, (listener,)):
        flow = endpoint.flow_to("UDP", "127.0.0.1", 9)
        assert endpoint.flow_to("UDP", "127.0.0.1", 9) is flow
        endpoint._forget_at = 0.0
        endpoint._sweep()
        again = endpoint.flow_to("UDP", "127.0.0.1", 9)
        assert again is not flow
        with udp_socket() as phone:
            kept = endpoint.flow_to("UDP", *phone.getsockname())
            listener.udp.forget_peers()
            kept.send(b"an old flow still sends")
            assert await receive(phone) == b"an old flow still sends"


# ---- timers

class Alarm:
    def __init__(self) -> None:
        self.rang: list[tuple[str, float]] = []
        self.fault = False

    def on_timer(self, name: str, now: float) -> None:
        self.rang.append((name, now))
        if self.fault:
            self.fault = False
            raise RuntimeError("ours")


async def with_timers() -> tuple[Endpoint, Timers, Any]:
    endpoint = opened(Endpoint())
    timers = Timers(endpoint.wake_at)
    layer: Any = type("Nobody", (), {"flow_lost": lambda *_: None})()
    endpoint.attach(layer, timers)
    return endpoint, timers, endpoint.clock


@both_loops
async def test_timers_fire_in_order_not_early_and_not_late() -> None:
    endpoint, timers, clock = await with_timers()
    alarm, start = Alarm(), clock()
    for delay in (0.05, 0.01, 0.03, 0.02):
        timers.start(start + delay, alarm, f"{delay}")
    await until(lambda: len(alarm.rang) == 4)
    assert [name for name, _ in alarm.rang] == ["0.01", "0.02", "0.03", "0.05"]
    for name, at in alarm.rang:
        assert 0 <= at - start - float(name) < 5     # a machine that is busy is late
    await endpoint.close()


@both_loops
async def test_a_thousand_timers_are_one_handle_and_few_wake_ups() -> None:
    endpoint, timers, clock = await with_timers()
    loop = asyncio.get_running_loop()
    asked: list[float] = []
    real = loop.call_at

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(loop, name)

        def call_at(self, when: float, callback: Any) -> asyncio.TimerHandle:
            asked.append(when)
            return real(when, callback)

    endpoint._loop = Counting()   # type: ignore[assignment]  # a stand-in that counts
    alarm, start = Alarm(), clock()
    for number in range(1000):
        timers.start(start + 0.02 + number * 0.0001, alarm, "x")
    assert len(asked) == 1
    await until(lambda: len(alarm.rang) == 1000)
    assert len(asked) <= 15   # a tenth of a second in ticks of a hundredth
    await endpoint.close()


@both_loops
async def test_an_earlier_timer_overtakes_and_one_started_by_a_timer_is_not_lost() -> None:
    endpoint, timers, clock = await with_timers()
    alarm, start = Alarm(), clock()

    class Chain:
        def on_timer(self, name: str, now: float) -> None:
            timers.start(now + 0.01, alarm, "second")
            timers.start(now - 1, alarm, "first")

    timers.start(start + 30, alarm, "never")
    timers.start(start + 0.01, Chain(), "chain")
    await until(lambda: len(alarm.rang) == 2)
    assert [name for name, _ in alarm.rang] == ["first", "second"]
    await endpoint.close()
    assert endpoint._wake is None


@both_loops
async def test_a_timer_that_fails_does_not_stop_the_others() -> None:
    endpoint, timers, clock = await with_timers()
    alarm, start = Alarm(), clock()
    alarm.fault = True
    for delay in (0.0, 0.001, 0.05):
        timers.start(start + delay, alarm, f"{delay}")
    await until(lambda: len(alarm.rang) == 3)
    assert endpoint.counters.crashes == 1
    await endpoint.close()


@both_loops
async def test_timers_started_before_attaching_are_picked_up() -> None:
    endpoint = opened(Endpoint())
    timers = Timers(endpoint.wake_at)
    alarm = Alarm()
    timers.start(endpoint.clock(), alarm, "early bird")
    await settle()
    endpoint.attach(type("Nobody", (), {})(), timers)
    await until(lambda: alarm.rang)
    await endpoint.close()


@both_loops
async def test_closing_twice_and_timers_after_closing() -> None:
    before = open_files()
    endpoint, timers, clock = await with_timers()
    await endpoint.listen("udp:127.0.0.1:0")
    await endpoint.close()
    await endpoint.close()
    alarm = Alarm()
    timers.start(clock(), alarm, "late")
    await settle()
    assert alarm.rang == []
    assert open_files() == before


@both_loops
async def test_datagrams_before_a_layer_is_attached_are_dropped() -> None:
    endpoint = opened(Endpoint())
    listener = await endpoint.listen("udp:127.0.0.1:0")
    with udp_socket() as phone:
        phone.sendto(options(), (listener.host, listener.port))
        phone.sendto(b"not a message", (listener.host, listener.port))
        await until(lambda: endpoint.counters.datagrams_in == 2)
    assert endpoint.counters.crashes == 0
    await endpoint.close()


@both_loops
async def test_tracebacks_are_logged_once_a_second_and_counted_always() -> None:
    endpoint = opened(Endpoint())
    seen: list[str] = []
    real = pump.log.exception
    pump.log.exception = lambda text, *arguments: seen.append(text % arguments)   # type: ignore[method-assign,assignment]  # a spy
    try:
        for _ in range(100):
            endpoint._crashed("test")
    finally:
        pump.log.exception = real   # type: ignore[method-assign]  # back again
    assert len(seen) == 1
    assert endpoint.counters.crashes == 100


# ---- the real layer

class User:
    """Answers OPTIONS at once and INVITE when told to; keeps what happens."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.invite: ServerTransaction | None = None
        self.layer: Layer

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        self.events.append(request.method)
        if request.method == "INVITE":
            tx.owner = self
            self.invite = tx
        else:
            self.layer.respond(tx, build.response(request, 200, to_tag="u"))

    def on_stray_ack(self, request: Request, flow: Flow) -> None:
        self.events.append("stray ACK")

    def on_cancel(self, tx: ServerTransaction, cancel: Request) -> None:
        self.events.append("CANCEL")

    def on_ack(self, tx: ServerTransaction, ack: Request) -> None:
        self.events.append("ACK")

    def on_no_ack(self, tx: ServerTransaction) -> None:
        self.events.append("no ACK")

    def on_response(self, tx: ClientTransaction, response: Response) -> None:
        self.events.append(str(response.status))

    def on_timeout(self, tx: ClientTransaction) -> None:
        self.events.append("timeout")

    def on_transport_error(self, tx: ServerTransaction | ClientTransaction) -> None:
        self.events.append("transport error")


async def station(*specs: str, t1: float = 0.01) -> tuple[Endpoint, User, list[Any]]:
    endpoint, user = opened(Endpoint()), User()
    timers = Timers(endpoint.wake_at)
    numbers = iter(range(10**9))
    user.layer = Layer(user, timers, endpoint.clock, lambda: f"{next(numbers):016x}", t1=t1, t2=4 * t1, t4=t1)
    endpoint.attach(user.layer, timers)
    return endpoint, user, [await endpoint.listen(spec) for spec in specs]


def request(method: str, local: tuple[str, int]) -> Request:
    return build.request(method, "sip:b@127.0.0.1", [
        ("From", "<sip:a@127.0.0.1>;tag=a"), ("To", "<sip:b@127.0.0.1>"), ("Call-ID", "c"), ("CSeq", f"1 {method}"),
        ("Contact", f"<sip:a@{local[0]}:{local[1]}>"), ("Max-Forwards", "70"),
    ])


@both_loops
async def test_two_exchanges_over_udp_and_tcp_and_their_tables_empty_themselves() -> None:
    for transport in ("udp", "tcp"):
        near, caller, _ = await station(f"{transport}:127.0.0.1:0")
        far, callee, (listener,) = await station(f"{transport}:127.0.0.1:0")
        flow = near.flow_to(transport.upper(), "127.0.0.1", listener.port)
        caller.layer.request(request("INVITE", flow.local), flow, caller)
        await until(lambda: callee.invite is not None)   # noqa: B023 - of this round
        assert callee.invite is not None
        callee.layer.respond(callee.invite, build.response(callee.invite.request, 486, to_tag="u"))
        await until(lambda: "486" in caller.events)   # noqa: B023 - of this round
        caller.layer.request(request("OPTIONS", flow.local), flow, caller)
        await until(lambda: "200" in caller.events)   # noqa: B023 - of this round
        timer_d = 1 if transport == "udp" else 0   # 32 s at least (RFC 3261 section 17.1.1.2)
        await until(lambda: caller.layer.client_count() == timer_d)   # noqa: B023 - of this round
        await until(lambda: callee.layer.server_count() == 0)   # noqa: B023 - of this round
        assert callee.events == ["INVITE", "OPTIONS"]
        for endpoint in (near, far):
            assert (endpoint.counters.crashes, endpoint.counters.malformed) == (0, 0)
            await endpoint.close()


@both_loops
async def test_a_request_that_nobody_hears_is_sent_again_and_times_out() -> None:
    endpoint, user, _ = await station("udp:127.0.0.1:0", t1=0.005)
    with udp_socket() as deaf:
        flow = endpoint.flow_to("UDP", *deaf.getsockname())
        user.layer.request(request("OPTIONS", flow.local), flow, user)
        await until(lambda: user.events == ["timeout"])
        assert user.layer.counters.retransmissions_out >= 5
    await endpoint.close()


@both_loops
async def test_a_transaction_on_a_connection_that_breaks_hears_of_it() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        endpoint, user, _ = await station(t1=0.5)
        flow = endpoint.flow_to("TCP", *server.getsockname())
        user.layer.request(request("INVITE", flow.local), flow, user)
        accepted, __ = await asyncio.get_running_loop().sock_accept(server)
        accepted.close()
        await until(lambda: user.events == ["transport error"])
        await endpoint.close()


@both_loops
async def test_a_call_whose_caller_hangs_up_the_connection_is_not_left_behind() -> None:
    endpoint, user, (listener,) = await station("tcp:127.0.0.1:0")
    sock = socket.create_connection((listener.host, listener.port))
    data = request("INVITE", ("127.0.0.1", 1))
    data.prepend("Via", "SIP/2.0/TCP 127.0.0.1:1;branch=z9hG4bK1")
    sock.sendall(data.to_bytes())
    await until(lambda: user.invite is not None)
    sock.close()
    await until(lambda: "transport error" in user.events)
    await endpoint.close()


@both_loops
async def test_an_answer_without_rport_reaches_the_port_of_the_via() -> None:
    endpoint, _, (listener,) = await station("udp:127.0.0.1:0")
    with udp_socket() as phone, udp_socket() as sent_by:
        port = sent_by.getsockname()[1]
        data = options().replace(b"127.0.0.1:5070", f"127.0.0.1:{port}".encode()).replace(b";rport", b"")
        phone.sendto(data, (listener.host, listener.port))
        assert (await receive(sent_by)).startswith(b"SIP/2.0 200 ")
    await endpoint.close()


@both_loops
async def test_three_thousand_mutated_messages_and_the_next_request_is_answered() -> None:
    """Attack class 1: no traceback, no dead task, and the next OPTIONS is answered at once."""
    noise = random.Random(11)
    samples = [sample.raw for sample in EVERYTHING]
    endpoint, _, (udp, tcp) = await station("udp:127.0.0.1:0", "tcp:127.0.0.1:0")
    with udp_socket() as phone:
        for number in range(3000):
            data = bytearray(noise.choice(samples)[:20_000])
            for _ in range(noise.randrange(6)):
                place = noise.randrange(len(data) + 1)
                data[place:place + noise.randrange(4)] = noise.randbytes(noise.randrange(4))
            phone.sendto(data, (udp.host, udp.port))
            if number % 60 == 0:
                with socket.create_connection((tcp.host, tcp.port)) as stream:
                    stream.sendall(data)
                await until(lambda: endpoint.counters.datagrams_in > number - 30)   # noqa: B023 - of this round
    await until(lambda: endpoint.connections == 0)
    with udp_socket() as phone:
        phone.sendto(options(), (udp.host, udp.port))
        assert (await receive(phone)).startswith(b"SIP/2.0 200 ")
    assert endpoint.counters.crashes == 0
    await endpoint.close()


@both_loops
async def test_flows_are_freed_without_the_garbage_collector() -> None:
    """Automatic collection is off in the signalling process."""
    endpoint, user, (udp, tcp) = await station("udp:127.0.0.1:0", "tcp:127.0.0.1:0")
    seen: list[weakref.ref[Any]] = []
    real = user.layer.receive_error

    def watch(error: Any, flow: Any, now: float) -> None:
        seen.extend((weakref.ref(error), weakref.ref(flow._framer)) if flow.reliable else (weakref.ref(error),))
        real(error, flow, now)

    user.layer.receive_error = watch   # type: ignore[method-assign]  # a spy
    gc.disable()
    try:
        for data in (b"OPTIONS " + b"x" * 80_000, options().replace(b"Content-Length: 0", b"Content-Length: x")):
            reader, writer = await asyncio.open_connection(tcp.host, tcp.port)
            writer.write(data)
            await closed_by_peer(reader)
            await hang_up(writer)
        with udp_socket() as phone:
            phone.sendto(b"INVITE no message at all", (udp.host, udp.port))
            phone.sendto(options().replace(b" SIP/2.0\r\nVia", b" SIP/7.0\r\nVia"), (udp.host, udp.port))
            await receive(phone)
        await until(lambda: endpoint.connections == 0 and len(seen) == 6)
        await settle()
        assert [ref() for ref in seen] == [None] * 6
    finally:
        gc.enable()
    await endpoint.close()
