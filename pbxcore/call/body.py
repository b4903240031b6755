"""The session description in a message body: alone, or as a part of a multipart body (RFC 5621)."""

from __future__ import annotations

from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Message

MAX_PARTS = 16


def sdp_in(message: Message) -> bytes:
    """The SDP that a message carries, empty when it has no body. Raises SipError 415 for a body of another kind."""
    body = message.body
    if not body:
        return b""
    if message.first_lines.get("content-type") == "Content-Type: application/sdp":  # as nearly everybody writes it
        return body
    kind = (message.first("content-type") or "application/sdp").partition(";")
    media_type = kind[0].strip().lower()
    if media_type == "application/sdp":
        return body
    if media_type.startswith("multipart/"):
        found = _part(body, _boundary(kind[2]))
        if found:
            return found
    raise SipError(415, "Unsupported Media Type")


def sdp_or_nothing(message: Message) -> bytes:
    """As `sdp_in`, where another kind of body means just: no SDP."""
    try:
        return sdp_in(message)
    except SipError:
        return b""


def _boundary(params: str) -> bytes:
    for param in params.split(";"):
        name, _, value = param.partition("=")
        if name.strip().lower() == "boundary":
            return value.strip().strip('"').encode("utf-8", "surrogateescape")
    return b""


def _part(body: bytes, boundary: bytes) -> bytes:
    if not boundary:
        return b""
    for part in body.split(b"--" + boundary, MAX_PARTS)[1:]:
        head, blank, content = part.partition(b"\r\n\r\n")
        if blank and b"application/sdp" in head.lower():
            content = content.removesuffix(b"\r\n")  # it belongs to the boundary (RFC 2046 section 5.1.1)
            return content if content.endswith(b"\n") else content + b"\r\n"
    return b""
