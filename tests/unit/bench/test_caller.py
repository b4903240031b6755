"""The caller counts a call as good only when it was, and says what else came of it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from bench import wire
from bench.caller import Caller
from bench.options import Figures, Options

SDP = b"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\n"


class Server:
    """A server played by hand: hears one request at a time, answers with what the test says."""

    def __init__(self) -> None:
        self.socket = wire.udp_socket("127.0.0.1", 0)
        self.figures = Figures()
        self.rows = wire.Rows()
        host, port = self.socket.getsockname()
        self.caller = Caller(Options((host, port), caller="127.0.0.1"), self.figures, self.rows, None)
        self.now = time.perf_counter()

    def place(self, late: float = 0.0) -> bytes:
        self.caller.place(self.now - late, self.now, True)
        return self.hear()

    def hear(self) -> bytes:
        """The next request; empty when nothing was sent."""
        try:
            return self.socket.recv(65535)
        except BlockingIOError:
            return b""

    def say(self, request: bytes, status: bytes, *, sdp: bool = False) -> bytes:
        """Answer; what the caller says to it."""
        body = SDP if sdp else b""
        head = wire.copied(request, b";tag=s") + b"Contact: <sip:s@127.0.0.1:9>\r\n"
        self.socket.sendto(
            b"SIP/2.0 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, head, len(body), body),
            self.caller.socket.getsockname(),
        )
        self.caller.read()
        return self.hear()

    def later(self, seconds: float) -> bytes:
        """Let time pass for what is due; the request that it makes."""
        self.now += seconds
        self.rows.fire(self.now)
        return self.hear()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()
    made.caller.socket.close()


def method(request: bytes) -> bytes:
    return request.split(b" ", 1)[0]


def branch(request: bytes) -> bytes:
    return request.partition(b"branch=")[2].partition(b";")[0]


def answered(server: Server) -> tuple[bytes, bytes]:
    """A call that is up and being hung up: its INVITE and its BYE."""
    invite = server.place()
    server.say(invite, b"180 Ringing")
    ack = server.say(invite, b"200 OK", sdp=True)
    assert method(ack) == b"ACK"
    assert branch(ack) != branch(invite)
    bye = server.hear()
    assert bye.startswith(b"BYE sip:s@127.0.0.1:9 SIP/2.0\r\n")
    return invite, bye


def test_a_good_call(server: Server) -> None:
    _, bye = answered(server)
    server.say(bye, b"200 OK")
    assert (server.figures.ok, server.figures.failed, server.caller.live) == (1, 0, 0)
    assert len(server.figures.ringing_ms) == len(server.figures.answered_ms) == 1
    assert server.later(40.0) == b""


def test_latency_counts_from_the_intended_arrival(server: Server) -> None:
    invite = server.place(late=0.2)
    server.say(invite, b"180 Ringing")
    server.say(invite, b"200 OK", sdp=True)
    server.say(server.hear(), b"200 OK")
    assert server.figures.ringing_ms[0] >= 200.0
    assert server.figures.answered_ms[0] >= server.figures.ringing_ms[0]


def test_a_repeated_200_gets_its_ack_again_and_ends_no_call(server: Server) -> None:
    invite, bye = answered(server)
    again = server.say(invite, b"200 OK", sdp=True)
    assert method(again) == b"ACK"
    assert server.figures.repeated == 1
    assert server.figures.ok == 0
    server.say(bye, b"200 OK")
    assert method(server.say(invite, b"200 OK", sdp=True)) == b"ACK"
    assert (server.figures.ok, server.figures.repeated) == (1, 2)


def test_a_refused_call_is_acknowledged_in_its_transaction_and_counted_with_its_status(server: Server) -> None:
    invite = server.place()
    ack = server.say(invite, b"486 Busy Here")
    assert method(ack) == b"ACK"
    assert branch(ack) == branch(invite)
    assert b";tag=s" in wire.to(ack)
    assert server.figures.reasons == {"486": 1}
    assert server.caller.live == 0
    assert method(server.say(invite, b"486 Busy Here")) == b"ACK"
    assert server.figures.failed == 1


def test_a_bye_that_finds_no_call_is_a_failure(server: Server) -> None:
    _, bye = answered(server)
    server.say(bye, b"481 Call Does Not Exist")
    assert (server.figures.ok, server.figures.reasons) == (0, {"BYE 481": 1})


def test_a_call_that_the_server_ends_is_a_failure(server: Server) -> None:
    invite = server.place()
    server.caller.options.hold = 1.0
    server.say(invite, b"200 OK", sdp=True)
    bye = b"BYE sip:load SIP/2.0\r\nVia: SIP/2.0/UDP s;branch=z9hG4bKs\r\nCall-ID: %s\r\nCSeq: 1 BYE\r\n\r\n"
    server.socket.sendto(bye % wire.call_id(invite), server.caller.socket.getsockname())
    server.caller.read()
    assert server.hear().startswith(b"SIP/2.0 200 ")
    assert server.figures.reasons == {"ended by the server": 1}
    assert server.later(5.0) == b""


def test_invite_is_sent_again_at_doubling_intervals_and_given_up_after_32_seconds(server: Server) -> None:
    invite = server.place()
    waits = []
    wait = 0.0
    while server.caller.live:
        wait += 0.25
        if again := server.later(0.25):
            assert again == invite
            waits.append(wait)
            wait = 0.0
    assert [round(seconds, 1) for seconds in waits] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert server.figures.resent == 6
    assert server.figures.reasons == {"no end of INVITE": 1}


def test_a_call_is_given_up_at_its_time_however_the_sum_rounds(server: Server) -> None:
    rounded_down = (n / 10 for n in range(1, 10_000) if (n / 10 + wire.GIVE_UP) - n / 10 < wire.GIVE_UP)
    server.now = next(rounded_down)
    server.place()
    server.later(wire.GIVE_UP - 0.1)        # sent again late, and due once more when it is given up
    server.now = server.now - (wire.GIVE_UP - 0.1)
    server.rows.fire(server.now + wire.GIVE_UP)
    assert server.figures.reasons == {"no end of INVITE": 1}


def test_a_provisional_response_ends_the_retransmissions_of_invite(server: Server) -> None:
    invite = server.place()
    server.say(invite, b"100 Trying")
    assert all(server.later(0.5) == b"" for _ in range(20))
    assert server.figures.resent == 0


def test_bye_is_sent_again_at_most_every_four_seconds(server: Server) -> None:
    _, bye = answered(server)
    sent = sum(1 for _ in range(32 * 4) if server.later(0.25))
    assert sent == 10           # after 0.5, 1.5, 3.5, 7.5, 11.5 ... 31.5 seconds
    assert branch(bye)
    server.later(0.5)
    assert server.figures.reasons == {"no end of BYE": 1}


def test_a_call_held_longer_than_any_timer_ends_well(server: Server) -> None:
    server.caller.options.hold = 60.0
    invite = server.place()
    assert method(server.say(invite, b"200 OK", sdp=True)) == b"ACK"
    assert server.later(59.0) == b""
    bye = server.later(2.0)
    assert method(bye) == b"BYE"
    assert server.later(0.6) == bye
    server.say(bye, b"200 OK")
    assert (server.figures.ok, server.figures.failed) == (1, 0)


def test_what_belongs_to_no_call_is_counted(server: Server) -> None:
    stray = server.place().replace(b"z9hG4bK", b"z9hG4bKx")
    server.say(stray, b"200 OK")
    assert server.figures.stray == 1
    server.say(stray.replace(b"z9hG4bKx", b"z9hG4bK").replace(b"i0;", b"i7;"), b"200 OK")     # a call not made yet
    assert server.figures.stray == 2
    for method in (b"OPTIONS", b"INFO"):    # the first is how an exchange asks whether its carrier is there
        server.socket.sendto(method + b" sip:load SIP/2.0\r\nCall-ID: x\r\n\r\n", server.caller.socket.getsockname())
        server.caller.read()
        assert server.hear().startswith(b"SIP/2.0 200 ")
    assert server.figures.unexpected == {"INFO": 1}


def test_a_call_without_ringing_is_told(server: Server) -> None:
    invite = server.place()
    server.say(invite, b"200 OK", sdp=True)
    server.say(server.hear(), b"200 OK")
    assert server.figures.without_ringing == 1
    assert server.figures.ringing_ms == []


def test_requests_in_the_dialog_follow_the_record_route(server: Server) -> None:
    invite = server.place()
    routed = invite.replace(b"\r\nFrom:", b"\r\nRecord-Route: <sip:p;lr>\r\nFrom:")
    assert b"\r\nRoute: <sip:p;lr>\r\n" in server.say(routed, b"200 OK", sdp=True)
    assert b"\r\nRoute: <sip:p;lr>\r\n" in server.hear()


def test_every_socket_is_bound_where_it_was_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="in use"):
            wire.udp_socket("127.0.0.1", taken.getsockname()[1])


def test_latencies_of_some_callers_are_kept_apart(server: Server) -> None:
    server.caller.options.apart = 0
    for _ in range(2):
        invite = server.place()
        server.say(invite, b"180 Ringing")
        bye = server.say(invite, b"200 OK", sdp=True)
        server.say(server.hear() if b"BYE" not in bye else bye, b"200 OK")
    figures = server.figures
    assert (figures.ok, len(figures.apart_ms), len(figures.ringing_ms), len(figures.answered_ms)) == (2, 1, 1, 1)
