"""Building: what a response copies, what it adds, and that no text breaks out of its row."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from pbxcore.sip.message import ParseError, Request, Response, check, parse

ROWS = [
    ("Via", "SIP/2.0/UDP a.example;branch=z9hG4bK1"),
    ("v", "SIP/2.0/UDP b.example;branch=z9hG4bK2"),
    ("Record-Route", "<sip:r.example;lr>"),
    ("FROM", '"A" <sip:a@example.org>;tag=1'),
    ("t", "<sip:b@example.org>"),
    ("Call-ID", "c"),
    ("CSeq", "1 INVITE"),
    ("Timestamp", "54"),
    ("Contact", "<sip:a@192.0.2.1>"),
]


def invite(method: str = "INVITE") -> Request:
    return build.request(method, "sip:b@example.org", [*ROWS[:6], ("CSeq", f"1 {method}"), *ROWS[7:]], b"sdp")


def test_request_is_written_in_the_order_given() -> None:
    request = invite()
    check(request)
    raw = request.to_bytes()
    assert raw.startswith(b"INVITE sip:b@example.org SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\nv: SIP")
    assert raw.endswith(b"Contact: <sip:a@192.0.2.1>\r\nContent-Length: 3\r\n\r\nsdp")


def test_response_copies_rows_byte_for_byte_and_tags_the_to() -> None:
    response = build.response(invite(), 486, to_tag="9")
    assert response.to_bytes() == (
        b"SIP/2.0 486 Busy Here\r\n"
        b"Via: SIP/2.0/UDP a.example;branch=z9hG4bK1\r\n"
        b"v: SIP/2.0/UDP b.example;branch=z9hG4bK2\r\n"
        b'FROM: "A" <sip:a@example.org>;tag=1\r\n'
        b"t: <sip:b@example.org>;tag=9\r\n"
        b"Call-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    )


def test_a_tag_that_is_there_stays() -> None:
    request = invite()
    request.replace("To", "<sip:b@example.org>;tag=there")
    assert build.response(request, 200, to_tag="9").to_tag == "there"


def test_a_tag_goes_behind_a_folded_to() -> None:
    request = parse(invite().to_bytes().replace(b"t: <sip:b@example.org>", b"t:\r\n <sip:b@example.org>\r\n "))
    assert isinstance(request, Request)
    response = build.response(request, 200, to_tag="9")
    assert parse(response.to_bytes()).to_tag == "9"


@pytest.mark.parametrize(
    ("method", "status", "copied"),
    [
        ("INVITE", 100, ["timestamp"]),
        ("INVITE", 180, ["record-route"]),
        ("INVITE", 200, ["record-route"]),
        ("SUBSCRIBE", 202, ["record-route"]),
        ("INVITE", 302, []),
        ("INVITE", 404, []),
        ("BYE", 200, []),
        ("REGISTER", 200, []),
    ],
)
def test_record_route_and_timestamp(method: str, status: int, copied: list[str]) -> None:
    response = build.response(invite(method), status)
    extra = [key for key, _ in response.fields if key not in ("via", "from", "to", "call-id", "cseq")]
    assert extra == copied
    assert response.to_tag is None


def test_headers_and_body_are_added() -> None:
    response = build.response(invite(), 200, headers=[("Contact", "<sip:me>"), ("k", "timer")], body=b"sdp!")
    again = parse(response.to_bytes())
    assert again.first("contact") == "<sip:me>"
    assert again.supported == ("timer",)
    assert again.body == b"sdp!"


def test_a_row_that_is_there_twice_is_copied_once() -> None:
    request = invite()
    request.add("To", "<sip:other@example.org>")
    response = build.response(request, 400, to_tag="9")
    assert response.lines("to") == ["t: <sip:b@example.org>;tag=9"]
    assert len(response.lines("via")) == 2


def test_reasons() -> None:
    request = invite()
    assert build.response(request, 404).reason == "Not Found"
    assert build.response(request, 404, "Gone fishing").reason == "Gone fishing"
    assert build.response(request, 499).reason == "Bad Request"
    assert build.response(request, 299, "").reason == ""


def test_an_unreadable_to_is_answered_all_the_same() -> None:
    raw = invite().to_bytes().replace(b"t: <sip:b@example.org>", b't: "open <sip:b@example.org>')
    with pytest.raises(ParseError) as caught:
        check(parse(raw))
    assert caught.value.partial is not None
    response = build.response(caught.value.partial, 400, to_tag="9")
    assert response.lines("to") == ['t: "open <sip:b@example.org>;tag=9']


def test_no_text_breaks_out_of_its_row() -> None:
    evil = "x\r\nEvil: 1\r\n\r\n"
    request = build.request("INVITE", f"sip:{evil}", [*ROWS[:6], ("CSeq", "1 INVITE"), ("Subject", evil)])
    response = build.response(invite(), 200, evil, headers=[("Subject", evil)])
    for message in (request, response):
        head, _, body = message.to_bytes().partition(b"\r\n\r\n")
        assert b"\r\nEvil" not in head
        assert body == b""
    assert isinstance(parse(response.to_bytes()), Response)
