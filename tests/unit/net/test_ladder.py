"""Ladders out of the ring: both dialogs of a call, who is who, what was sent again."""

from __future__ import annotations

import pytest

from pbxcore.net.ladder import build, call_id_of, summary
from pbxcore.net.ring import Row

US = ("127.0.0.1", 5060)
PHONE, DESK = ("127.0.0.9", 40000), ("::1", 5080)
INVITE = b"INVITE sip:102@x SIP/2.0\r\nFrom: <sip:101@x>;tag=1\r\nTo: <sip:102@x>\r\nCall-ID: %s\r\nCSeq: 1 INVITE\r\n"
SDP = b"Content-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n"


def response(line: bytes, call_id: bytes, cseq: bytes = b"1 INVITE") -> bytes:
    head = b"SIP/2.0 %s\r\nFrom: <sip:101@x>;tag=1\r\nTo: <sip:102@x>;tag=2\r\nCall-ID: %s\r\nCSeq: %s\r\n\r\n"
    return head % (line, call_id, cseq)


def row(at: float, data: bytes, *, out: bool = False, remote: tuple[str, int] = PHONE, transport: str = "UDP") -> Row:
    return at, out, transport, US, remote, data


ROWS = [
    row(1.0, INVITE % b"aa" + SDP),
    row(1.1, b"REGISTER sip:x SIP/2.0\r\nCall-ID: cc\r\nSubject: aa bb\r\n\r\n"),
    row(1.2, INVITE % b"bb" + SDP, out=True, remote=DESK, transport="TCP"),
    row(1.3, INVITE % b"aa" + SDP),
    row(1.4, response(b"180 Ringing", b"bb"), remote=DESK, transport="TCP"),
    row(1.5, response(b"180 Ringing", b"aa"), out=True),
]


def test_both_dialogs_of_a_call_are_one_ladder() -> None:
    trace = build("ours", ["aa", "bb"], ROWS)
    assert [(party.name, party.address, party.transport, party.side) for party in trace.parties] == [
        ("101", "127.0.0.9:40000", "UDP", "a"),
        ("102", "[::1]:5080", "TCP", "b"),
    ]
    assert [(step.party, step.out, step.text, step.again) for step in trace.steps] == [
        (0, False, "INVITE (SDP)", False),
        (1, True, "INVITE (SDP)", False),
        (0, False, "INVITE (SDP)", True),
        (1, False, "180 Ringing", False),
        (0, True, "180 Ringing", False),
    ]
    assert trace.steps[0].message.startswith("INVITE sip:102@x SIP/2.0\r\n")
    assert trace.steps[0].at == 1.0


def test_who_called_in_stands_on_the_left_even_if_his_first_messages_are_forgotten() -> None:
    trace = build("ours", ["aa", "bb"], ROWS[2:])
    assert [party.name for party in trace.parties] == ["101", "102"]
    assert [step.party for step in trace.steps] == [1, 0, 1, 0]


def test_two_legs_to_one_address_are_two_columns() -> None:
    rows = [row(1.0, INVITE % b"aa"), row(1.1, INVITE % b"bb", out=True)]
    assert [party.address for party in build("ours", ["aa", "bb"], rows).parties] == ["127.0.0.9:40000"] * 2


def test_a_call_that_nobody_remembers_has_no_steps() -> None:
    assert build("ours", ["dd", ""], ROWS).steps == ()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (response(b"200 OK", b"aa", b"2 BYE"), "200 OK (BYE)"),
        (response(b"487 Request Terminated", b"aa"), "487 Request Terminated"),
        (response(b"180", b"aa"), "180"),
        (b"BYE sip:x SIP/2.0\r\n\r\n", "BYE"),
        (b"", "?"),
        (b"\xff\xfe\x00", "\N{REPLACEMENT CHARACTER}" * 3),
        (b"INV\x1b[31mITE x SIP/2.0\r\n\r\n", "INV\N{REPLACEMENT CHARACTER}[31mITE"),
    ],
)
def test_what_stands_on_the_arrow(message: bytes, text: str) -> None:
    assert summary(message) == text


@pytest.mark.parametrize(
    ("line", "found"),
    [(b"Call-ID: x@y", "x@y"), (b"call-id :x", "x"), (b"i: x", "x"), (b"Call-ID:\r\n x", "x"), (b"X-Call-ID: x", "")],
)
def test_the_call_id_in_any_spelling(line: bytes, found: str) -> None:
    assert call_id_of(b"BYE sip:x SIP/2.0\r\n" + line + b"\r\n\r\nCall-ID: body\r\n") == found


def test_names_of_strangers_cannot_steer_a_terminal() -> None:
    hostile = INVITE.replace(b"101", b"\x1b]0;x\x07" + b"9" * 200) % b"aa"
    trace = build("ours", ["aa"], [row(1.0, hostile)])
    assert "\x1b" not in trace.parties[0].name + trace.steps[0].message
    assert len(trace.parties[0].name) <= 32
