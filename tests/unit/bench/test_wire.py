"""Matching and picking: which transaction a response belongs to, what a response copies, where audio goes."""

from __future__ import annotations

from bench import wire

RESPONSE = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.2:5062;rport=5062;received=127.0.0.2;branch=z9hG4bKcafe%b\r\n"
    b"From: <sip:a@127.0.0.2>;tag=1\r\nTo: <sip:b@127.0.0.1>;tag=2\r\nCall-ID: 7-cafe\r\nCSeq: %b\r\n"
    b"Allow: ACK, BYE, INVITE\r\nContent-Length: 0\r\n\r\n"
)


def test_a_200_of_the_invite_is_not_taken_for_that_of_the_bye() -> None:
    branches = wire.Branches("cafe")
    assert branches.find(RESPONSE % (b"i7", b"1 INVITE")) == (b"i", 7)
    assert branches.find(RESPONSE % (b"b7", b"2 BYE")) == (b"b", 7)     # although its Allow ends with INVITE


def test_a_response_of_an_earlier_run_belongs_to_nobody() -> None:
    assert wire.Branches("beef").find(RESPONSE % (b"i7", b"1 INVITE")) is None


def test_short_and_shouted_header_names() -> None:
    data = b"BYE sip:a SIP/2.0\r\nv: SIP/2.0/UDP h\r\ni : x-1 \r\nCSEQ: 12 BYE\r\nt: <sip:b>;tag=9\r\n\r\n"
    assert wire.call_id(data) == b"x-1"
    assert wire.cseq(data) == 12
    assert wire.to(data) == b"<sip:b>;tag=9"
    assert wire.call_id(b"BYE sip:a SIP/2.0\r\n\r\n") == b""


REQUEST = (
    b"INVITE sip:101@h SIP/2.0\r\nRecord-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\n"
    b"Via: SIP/2.0/UDP p1;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKb\r\nMax-Forwards: 69\r\n"
    b"From: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContact: <sip:a@h:1>\r\n"
    b"Content-Length: 12\r\n\r\nVia: inside\r\n"
)


def test_a_response_copies_what_it_must_and_nothing_of_the_body() -> None:
    copied = wire.copied(REQUEST, b";tag=c1")
    assert copied == (
        b"Record-Route: <sip:p1;lr>\r\nRecord-Route: <sip:p2;lr>\r\nVia: SIP/2.0/UDP p1;branch=z9hG4bKa\r\n"
        b"Via: SIP/2.0/UDP h;branch=z9hG4bKb\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=c1\r\nCall-ID: c\r\n"
        b"CSeq: 1 INVITE\r\n"
    )
    in_dialog = REQUEST.replace(b"To: <sip:b>", b"To: <sip:b>;tag=old")
    assert b"To: <sip:b>;tag=old\r\n" in wire.copied(in_dialog, b";tag=c1")


def test_the_callers_route_set_is_the_record_route_reversed() -> None:
    assert wire.routes(REQUEST) == b"Route: <sip:p2;lr>\r\nRoute: <sip:p1;lr>\r\n"
    joined = REQUEST.replace(b"<sip:p1;lr>\r\nRecord-Route: ", b"<sip:p1;lr>, ")
    assert wire.routes(joined) == wire.routes(REQUEST)
    assert wire.routes(RESPONSE) == b""


def test_contact_with_and_without_a_name() -> None:
    assert wire.contact(REQUEST) == b"sip:a@h:1"
    assert wire.contact(b"\r\nm: \"Desk, 1\" <sip:d@h;transport=udp>;expires=1\r\n") == b"sip:d@h;transport=udp"


def test_the_medias_own_address_wins_over_the_sessions() -> None:
    sdp = b"v=0\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
    assert wire.media_address(b"\r\n\r\n" + sdp) == ("192.0.2.1", 4000)
    assert wire.media_address(b"\r\n\r\n" + sdp + b"c=IN IP4 192.0.2.2\r\n") == ("192.0.2.2", 4000)
    assert wire.media_address(sdp.replace(b"4000", b"0")) is None
    assert wire.media_address(REQUEST) is None


class Item:
    def __init__(self) -> None:
        self.due = 0.0


def test_rows_come_in_the_order_they_are_due_and_stale_ones_never() -> None:
    rows, told = wire.Rows(), []
    first, second, third = Item(), Item(), Item()
    for item, due, name in ((first, 3.0, "first"), (second, 1.0, "second"), (third, 2.0, "third")):
        rows.put(due, item, lambda item, now, name=name: told.append((name, now)))
    third.due = 0.0
    assert rows.next_at() == 1.0
    rows.fire(2.5)
    assert told == [("second", 2.5)]
    rows.put(9.0, first, lambda item, now: told.append(("later", now)))
    assert rows.next_at() == 9.0
    rows.fire(5.0)
    assert told == [("second", 2.5)]
    rows.fire(9.0)
    assert told[-1] == ("later", 9.0)
    assert rows.next_at() == float("inf")


def test_a_long_wait_does_not_hold_up_a_short_one_put_later() -> None:
    rows, told = wire.Rows(), []
    rows.put(100.0, Item(), lambda item, now: told.append("long"))
    rows.put(0.5, Item(), lambda item, now: told.append("short"))
    rows.fire(1.0)
    assert told == ["short"]
