"""Requests too large for a datagram (RFC 3261 section 18.1.1): by TCP, and by UDP after all when TCP leads nowhere."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from pbxcore.sip.layer import MOST_BY_UDP
from pbxcore.sip.message import Request, Response
from tests.unit.sip.joined import Bench, FakeFlow, outgoing, tables_empty


class WideFlow(FakeFlow):
    """A UDP flow whose peer may have TCP."""

    tcp: FakeFlow | None = None

    def wide(self) -> FakeFlow | None:
        return self.tcp


def bench(tcp: bool = True) -> tuple[Bench, WideFlow, FakeFlow]:
    made = Bench()
    udp = WideFlow(lambda: made.now)
    stream = FakeFlow(lambda: made.now, ("127.0.0.1", 5071), udp.remote, "TCP")
    udp.tcp = stream if tcp else None
    return made, udp, stream


def large(method: str = "INVITE", size: int = MOST_BY_UDP) -> Request:
    made = outgoing(method)
    made.body = b"x" * size
    return made


def answer(made: Bench, flow: FakeFlow, status: int) -> None:
    sent = flow.messages[-1]
    assert isinstance(sent, Request)
    made.receive(build.response(sent, status, to_tag="theirs"), flow)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_it_goes_by_tcp_with_tcp_in_its_via(method: str) -> None:
    made, udp, stream = bench()
    tx = made.layer.request(large(method), udp, made.user)
    assert (udp.lines, stream.lines) == ([], [method])
    via = stream.messages[0].via
    assert (via.transport, via.host, via.port) == ("TCP", "127.0.0.1", 5071)
    assert len(stream.messages[0].vias) == 1
    made.run(10.0)
    assert stream.lines == [method]      # a stream repeats nothing
    answer(made, stream, 404)
    assert made.user.heard == ["404"]
    assert tx.flow is stream
    made.run(40.0)
    assert tables_empty(made.layer)
    assert not made.layer._narrow


@pytest.mark.parametrize(("size", "by_tcp"), [(0, False), (MOST_BY_UDP, True)])
def test_a_small_one_stays_a_datagram(size: int, by_tcp: bool) -> None:
    made, udp, stream = bench()
    made.layer.request(large(size=size), udp, made.user)
    assert (stream.lines == ["INVITE"], udp.lines == ["INVITE"]) == (by_tcp, not by_tcp)


def test_the_bound_counts_every_byte() -> None:
    made, udp, stream = bench()
    made.layer.request(large(size=0), udp, made.user)
    size = MOST_BY_UDP - len(udp.sent[0][1]) - 3      # Content-Length grows by three digits
    made.layer.request(large(size=size), udp, made.user)
    assert len(udp.sent[-1][1]) == MOST_BY_UDP
    made.layer.request(large(size=size + 1), udp, made.user)
    assert (len(udp.sent), len(stream.sent)) == (2, 1)


def test_without_tcp_it_is_a_large_datagram() -> None:
    for flow in (bench(tcp=False)[1], FakeFlow(lambda: 0.0)):
        made = Bench()
        made.layer.request(large(), flow, made.user)
        assert flow.lines == ["INVITE"]


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_when_tcp_fails_it_goes_by_udp_with_udp_s_via_and_timers(method: str) -> None:
    made, udp, stream = bench()
    tx = made.layer.request(large(method), udp, made.user)
    made.run(0.8)
    made.layer.flow_lost(stream)
    assert made.user.heard == []         # nobody is troubled with it
    via = udp.messages[0].via
    assert (via.transport, via.port) == ("UDP", udp.local[1])
    assert len(udp.messages[0].vias) == 1
    assert via.branch == stream.messages[0].via.branch
    made.run(1.6)
    assert udp.times == [0.0, 0.5, 1.5]
    answer(made, udp, 200)
    assert made.user.heard == ["200"]
    assert tx.flow is udp
    made.run(40.0)
    assert tables_empty(made.layer)


def test_nobody_at_either_door_is_a_timeout_once() -> None:
    made, udp, stream = bench()
    made.layer.request(large(), udp, made.user)
    made.run(1.0)
    made.layer.flow_lost(stream)
    made.run(40.0)
    assert made.user.heard == ["timeout"]
    assert tables_empty(made.layer)


def test_a_connection_that_breaks_after_a_response_is_a_transport_error() -> None:
    made, udp, stream = bench()
    made.layer.request(large(), udp, made.user)
    answer(made, stream, 180)
    made.layer.flow_lost(stream)
    assert made.user.heard == ["180", "transport error"]
    assert udp.lines == []
    assert tables_empty(made.layer)
    assert not made.layer._narrow


def test_a_cancel_follows_its_invite_over_tcp() -> None:
    made, udp, stream = bench()
    tx = made.layer.request(large(), udp, made.user)
    made.layer.cancel(tx)
    answer(made, stream, 180)
    assert stream.lines == ["INVITE", "CANCEL"]
    first, second = (sent.via for sent in stream.messages)
    assert str(first) == str(second)
    assert udp.lines == []


def test_a_response_must_carry_the_via_of_the_way_it_was_sent() -> None:
    made, udp, stream = bench()
    made.layer.request(large(), udp, made.user)
    sent = stream.messages[0]
    assert isinstance(sent, Request)
    made.layer.flow_lost(stream)
    late = build.response(sent, 200, to_tag="theirs")     # names the port of TCP
    assert isinstance(late, Response)
    made.receive(late, udp)
    assert made.user.heard == []
    assert made.layer.counters.foreign_responses == 1
