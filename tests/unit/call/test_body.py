"""The session description in a body: alone, among other parts, and absent."""

from __future__ import annotations

import pytest

from pbxcore.call.body import MAX_PARTS, sdp_in, sdp_or_nothing
from pbxcore.sip import build
from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request

SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"


def message(body: bytes, content_type: str | None = "application/sdp") -> Request:
    headers = [] if content_type is None else [("Content-Type", content_type)]
    return build.request("INVITE", "sip:101@127.0.0.1", headers, body)


def multipart(*parts: tuple[str, bytes], boundary: bytes = b"abc") -> bytes:
    rows = [b"--" + boundary + b"\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + body for kind, body in parts]
    return b"preamble\r\n" + b"\r\n".join(rows) + b"\r\n--" + boundary + b"--\r\n"


@pytest.mark.parametrize("kind", ["application/sdp", "Application/SDP", "application/sdp;a=b", " application/sdp "])
def test_alone(kind: str) -> None:
    assert sdp_in(message(SDP, kind)) == SDP


def test_a_body_of_no_kind_is_sdp() -> None:
    assert sdp_in(message(SDP, None)) == SDP


def test_no_body() -> None:
    assert sdp_in(message(b"")) == b""
    assert sdp_in(message(b"", "application/unknown")) == b""


@pytest.mark.parametrize("kind", ["application/unknown", "text/plain", "application/sdpx", "sdp", ";x"])
def test_another_kind(kind: str) -> None:
    with pytest.raises(SipError) as refused:
        sdp_in(message(b"<xml/>", kind))
    assert refused.value.status == 415
    assert sdp_or_nothing(message(b"<xml/>", kind)) == b""


@pytest.mark.parametrize("parameter", ['boundary=abc', 'boundary="abc"', 'charset=x; Boundary = "abc"'])
def test_among_other_parts(parameter: str) -> None:
    body = multipart(("application/isup", b"\x01\x10\x00"), ("application/sdp", SDP), ("text/plain", b"hi"))
    assert sdp_in(message(body, f"multipart/mixed;{parameter}")) == SDP


def test_the_first_of_two() -> None:
    other = SDP.replace(b"4000", b"5000")
    body = multipart(("application/sdp", SDP), ("application/sdp", other))
    assert sdp_in(message(body, "multipart/alternative;boundary=abc")) == SDP


def test_a_part_without_a_line_end_gets_one() -> None:
    body = multipart(("application/sdp", SDP.removesuffix(b"\r\n")))
    assert sdp_in(message(body, "multipart/mixed;boundary=abc")) == SDP


def test_a_part_without_headers_is_none() -> None:
    assert sdp_or_nothing(message(b"--abc\r\napplication/sdp\r\n--abc--", "multipart/mixed;boundary=abc")) == b""


@pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/mixed;boundary=", "multipart/mixed;boundary=other"])
def test_a_boundary_that_is_not_there(kind: str) -> None:
    with pytest.raises(SipError):
        sdp_in(message(multipart(("application/sdp", SDP)), kind))


def test_more_parts_than_anybody_sends() -> None:
    many = [("text/plain", b"x")] * 5000
    assert sdp_or_nothing(message(multipart(*many, ("application/sdp", SDP)), "multipart/mixed;boundary=abc")) == b""
    few = [("text/plain", b"x")] * (MAX_PARTS - 2)
    assert sdp_or_nothing(message(multipart(*few, ("application/sdp", SDP)), "multipart/mixed;boundary=abc")) == SDP
