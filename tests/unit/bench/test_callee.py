"""The callee is a user agent server with a memory: what is sent twice is one call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import wire
from bench.callee import Callee
from bench.options import Figures, Options

INVITE = (
    b"INVITE sip:101@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKa;rport\r\n"
    b"From: <sip:a>;tag=1\r\nTo: <sip:101@h>\r\nCall-ID: one\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


class Server:
    def __init__(self) -> None:
        self.figures = Figures()
        self.rows = wire.Rows()
        self.options = Options(("127.0.0.1", 9))
        self.callee = Callee(self.options, self.figures, self.rows, None)
        self.socket = wire.udp_socket("127.0.0.1", 0)
        self.now = 1000.0

    def say(self, data: bytes) -> list[bytes]:
        self.socket.sendto(data, ("127.0.0.1", self.callee.port))
        self.callee.read(self.now)
        return self.hear()

    def hear(self) -> list[bytes]:
        heard = []
        while True:
            try:
                heard.append(self.socket.recv(65535))
            except BlockingIOError:
                return heard

    def later(self, seconds: float) -> list[bytes]:
        self.now += seconds
        self.rows.fire(self.now)
        return self.hear()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.socket.close()
    made.callee.socket.close()


def asked(method: bytes, number: int, response: bytes) -> bytes:
    """A request inside the dialog that this response made."""
    return (
        b"%s sip:101@h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK%s;rport\r\nFrom: <sip:a>;tag=1\r\n"
        b"To: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\nContent-Length: 0\r\n\r\n"
    ) % (method, method, wire.to(response), wire.call_id(response), number, method)


def test_it_rings_and_answers_with_one_tag(server: Server) -> None:
    ringing, answer = server.say(INVITE)
    assert ringing.startswith(b"SIP/2.0 180 ")
    assert answer.startswith(b"SIP/2.0 200 ")
    assert wire.to(ringing) == wire.to(answer) == b"<sip:101@h>;tag=c1"
    assert wire.media_address(answer) is not None


def test_a_retransmitted_invite_is_no_second_call(server: Server) -> None:
    answer = server.say(INVITE)[-1]
    assert server.say(INVITE) == [answer]
    assert (server.figures.callee_calls, server.figures.callee_repeated) == (1, 1)


def test_the_200_is_sent_again_until_its_ack(server: Server) -> None:
    answer = server.say(INVITE)[-1]
    assert server.later(0.5) == [answer]
    assert server.later(0.6) == []
    assert server.later(0.4) == [answer]
    server.say(asked(b"ACK", 1, answer))
    assert server.later(30.0) == []
    assert server.figures.callee_resent == 2
    server.say(asked(b"BYE", 2, answer))
    server.callee.close()
    assert (server.figures.callee_open, server.figures.callee_unacknowledged) == (0, 0)


def test_a_call_that_nobody_ended_is_a_ghost(server: Server) -> None:
    answer = server.say(INVITE)[-1]
    server.say(asked(b"ACK", 1, answer))
    server.say(INVITE.replace(b"Call-ID: one", b"Call-ID: two"))
    server.callee.close()
    assert server.figures.callee_calls == 2
    assert server.figures.callee_open == 2
    assert server.figures.callee_unacknowledged == 1


def test_a_bye_for_no_call_is_refused(server: Server) -> None:
    answer = server.say(INVITE)[-1]
    other = asked(b"BYE", 2, answer).replace(b"Call-ID: one", b"Call-ID: none")
    assert server.say(other)[0].startswith(b"SIP/2.0 481 ")
    assert server.say(asked(b"BYE", 2, answer))[0].startswith(b"SIP/2.0 200 ")
    assert server.say(asked(b"BYE", 2, answer))[0].startswith(b"SIP/2.0 200 ")
    assert server.figures.callee_repeated == 1


def test_a_re_invite_is_answered_without_ringing_and_told(server: Server) -> None:
    answer = server.say(INVITE)[-1]
    server.say(asked(b"ACK", 1, answer))
    again = server.say(asked(b"INVITE", 2, answer))
    assert [response[:11] for response in again] == [b"SIP/2.0 200"]
    assert wire.to(again[0]) == wire.to(answer)
    assert server.figures.unexpected == {"re-INVITE": 1}
    assert server.figures.callee_calls == 1


def test_a_call_cancelled_while_it_rings(server: Server) -> None:
    server.options.answer_after = 2.0
    assert [response[:11] for response in server.say(INVITE)] == [b"SIP/2.0 180"]
    cancel = INVITE.replace(b"INVITE sip", b"CANCEL sip").replace(b"1 INVITE", b"1 CANCEL")
    assert [response[:11] for response in server.say(cancel)] == [b"SIP/2.0 200", b"SIP/2.0 487"]
    assert server.later(5.0) == []
    server.callee.close()
    assert server.figures.callee_open == 0


def test_a_cancel_after_the_answer_changes_nothing(server: Server) -> None:
    server.say(INVITE)
    cancel = INVITE.replace(b"INVITE sip", b"CANCEL sip").replace(b"1 INVITE", b"1 CANCEL")
    assert [response[:11] for response in server.say(cancel)] == [b"SIP/2.0 200"]
    server.callee.close()
    assert server.figures.callee_open == 1


def test_it_answers_when_it_has_rung_for_long_enough(server: Server) -> None:
    server.options.answer_after = 2.0
    server.say(INVITE)
    assert server.later(1.9) == []
    assert [response[:11] for response in server.later(0.2)] == [b"SIP/2.0 200"]
