"""Messages as the simulated phones read and write them: quick, on their own, and knowing nothing of `pbxcore.sip`.

The stack that is being tested does not test itself: a phone that shared its parser and its machines would share its
mistakes. What the exchange writes has long header names and no folding, so that little is enough.
"""

from __future__ import annotations

import re
from hashlib import md5 as _md5

_PARAMETER = re.compile(r'(\w+)="?([^",]+)"?')

REASONS = {
    100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 302: "Moved Temporarily", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 407: "Proxy Authentication Required",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 491: "Request Pending", 500: "Server Internal Error", 503: "Service Unavailable",
    600: "Busy Everywhere", 603: "Decline",
}  # fmt: skip


class Wire:
    """A message that arrived. `status` is 0 for a request; `head` has the first value of each header."""

    __slots__ = ("body", "branch", "call_id", "from_tag", "head", "method", "number", "status", "to_tag", "uri")

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        found: dict[str, str] = {}
        self.head = found
        for line in reversed(lines[1:]):
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        number, _, method = found.get("cseq", "0 ?").partition(" ")
        self.number = int(number) if number.isascii() and number.isdigit() else 0
        first = lines[0]
        if first.startswith("SIP/2.0 "):
            self.status, self.method, self.uri = int(first[8:11]), method, ""
        else:
            self.status = 0
            self.method, _, rest = first.partition(" ")
            self.uri = rest.partition(" ")[0]
        self.call_id = found.get("call-id", "")
        self.from_tag = tag_of(found.get("from", ""))
        self.to_tag = tag_of(found.get("to", ""))
        self.branch = found.get("via", "").partition("branch=")[2].partition(";")[0]


def tag_of(value: str) -> str:
    return value.partition(";tag=")[2].partition(";")[0]


def uri_of(value: str) -> str:
    """The URI in angle brackets of a Contact."""
    return value.partition("<")[2].partition(">")[0]


def reply(request: Wire, status: int, tag: str = "", contact: str = "", body: bytes = b"", extra: str = "") -> bytes:
    """A response; `extra` is whole rows with their line ends."""
    head = request.head
    to = head.get("to", "")
    if tag and ";tag=" not in to:
        to += f";tag={tag}"
    rows = (
        f"SIP/2.0 {status} {REASONS.get(status, 'Because')}\r\nVia: {head.get('via', '')}\r\n"
        f"From: {head.get('from', '')}\r\nTo: {to}\r\nCall-ID: {request.call_id}\r\nCSeq: {head.get('cseq', '')}\r\n"
    )
    if contact:
        rows += f"Contact: <{contact}>\r\n"
    return written(rows + extra, body)


def written(rows: str, body: bytes) -> bytes:
    if body and "\r\nContent-Type: " not in rows:
        rows += "Content-Type: application/sdp\r\n"
    return f"{rows}Content-Length: {len(body)}\r\n\r\n".encode() + body


def sdp(host: str, port: int, version: int = 1, direction: str = "sendrecv") -> bytes:
    return (
        f"v=0\r\no=- {port} {version} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
    ).encode()


def digest(challenge: str, method: str, uri: str, user: str, password: str, count: int, cnonce: str) -> str:
    """The value of Authorization that answers a challenge (RFC 7616 with MD5 and qop auth)."""
    given = dict(_PARAMETER.findall(challenge))
    realm, nonce = given.get("realm", ""), given.get("nonce", "")
    a1, a2 = md5(f"{user}:{realm}:{password}"), md5(f"{method}:{uri}")
    answer = md5(f"{a1}:{nonce}:{count:08x}:{cnonce}:auth:{a2}")
    return (
        f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, qop=auth, '
        f'nc={count:08x}, cnonce="{cnonce}", response="{answer}"'
    )


def md5(text: str) -> str:
    return _md5(text.encode(), usedforsecurity=False).hexdigest()
