"""Making messages: RFC 3261 sections 8.1.1 (requests) and 8.2.6 (responses).

Responses copy the rows that must be copied byte for byte. No identifier is made here: tags and branches are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import BLANKS, key_of, known_key, one_line
from pbxcore.sip.message import Field, Request, Response
from pbxcore.sip.views import View

REASONS: dict[int, str] = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK", 202: "Accepted", 204: "No Notification",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Moved Temporarily", 305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    410: "Gone", 412: "Conditional Request Failed", 413: "Request Entity Too Large", 414: "Request-URI Too Long",
    415: "Unsupported Media Type", 416: "Unsupported URI Scheme", 417: "Unknown Resource-Priority",
    420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small", 423: "Interval Too Brief",
    428: "Use Identity Header", 429: "Provide Referrer Identity", 430: "Flow Failed", 433: "Anonymity Disallowed",
    436: "Bad Identity Info", 437: "Unsupported Credential", 438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support", 440: "Max-Breadth Exceeded", 469: "Bad Info Package",
    470: "Consent Needed", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
    483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here", 487: "Request Terminated",
    488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending", 493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large", 580: "Precondition Failure",
    600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
    607: "Unwanted", 608: "Rejected",
}  # fmt: skip
"""The default reason phrases of the IANA registry."""

_COPIED = frozenset(("via", "from", "to", "call-id", "cseq"))
_DIALOG = frozenset((*_COPIED, "record-route"))
_TRYING = frozenset((*_COPIED, "timestamp"))
_DIALOG_METHODS = frozenset(("INVITE", "SUBSCRIBE", "REFER", "NOTIFY"))


def request(method: str, uri: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> Request:
    """A request of (Name, value) pairs in their order. Line breaks in a value become blanks."""
    return Request(method, one_line(uri), rows_of(headers), body)


def response(
    request: Request,
    status: int,
    reason: str | None = None,
    *,
    to_tag: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    rows: Sequence[Field] = (),
    body: bytes = b"",
) -> Response:
    """The answer to `request` (8.2.6.2): its Via, From, To, Call-ID and CSeq rows as they came.

    `to_tag` is put onto a To that has none. Record-Route is copied where the response can make a dialog (12.1.1),
    Timestamp into a 100 (8.2.6.1). Behind them go `headers`, pairs of (Name, value), and `rows`, whole rows that are
    kept and not copied. Works on the `partial` of a ParseError too.
    """
    usual = REASONS.get(status) or REASONS.get(status // 100 * 100, "Unknown")
    reason = usual if reason is None else one_line(reason)
    if headers:
        rows = [*rows_of(headers), *rows]
    tag = None if to_tag is None or _has_to_tag(request) else to_tag
    first = request.first_lines
    made: Response | None = None
    if status != 100 and request.unrepeated and "record-route" not in first:
        try:  # nearly all: each row is there once
            to = first["to"] if tag is None else f"{first['to'].rstrip(BLANKS)};tag={tag}"
            repeated = (first["via"], first["from"], to, first["call-id"], first["cseq"])
            made = Answer(status, reason, repeated, rows, body)
        except KeyError:
            pass
    if made is None:
        made = Response(status, reason, [*_copied(request, status, tag), *rows], body)
    if tag is not None:
        made.seen["to_tag"] = tag  # the ACK of a 2xx is found by it
    return made


_REPEATED = ("via", "from", "to", "call-id", "cseq")


class Answer(Response):
    """A response that repeats one row of each kind: those and the others are listed when somebody asks."""

    __slots__ = ("_repeated", "_rows")

    def __init__(
        self, status: int, reason: str, repeated: tuple[str, str, str, str, str], rows: Sequence[Field], body: bytes
    ) -> None:
        self.status = status
        self.reason = reason
        self.body = body
        self.seen = {}
        self._repeated = repeated
        self._rows = rows

    @View
    def fields(self) -> list[Field]:
        """The rows are listed when somebody asks."""
        return [*zip(_REPEATED, self._repeated, strict=True), *self._rows]

    def to_bytes(self, top: str = "") -> bytes:
        rows, body = self._rows, self.body
        lines = [line for key, line in rows if key != "content-length"] if rows else ()
        if "fields" in self.seen or top or len(lines) != len(rows):
            return super().to_bytes(top)
        start, length = f"SIP/2.0 {self.status} {self.reason}", f"Content-Length: {len(body)}\r\n\r\n"
        return "\r\n".join((start, *self._repeated, *lines, length)).encode("utf-8", "surrogateescape") + body


def _copied(request: Request, status: int, tag: str | None) -> list[Field]:
    """The rows of a request that its response repeats, the first To with this tag."""
    copied = _COPIED
    if status == 100:
        copied = _TRYING
    elif status < 300 and request.method in _DIALOG_METHODS:
        copied = _DIALOG
    fields = [field for field in request.fields if field[0] in copied]
    if len(fields) > 5:
        fields = _once(fields)
    if tag is None:
        return fields
    return [(key, f"{line.rstrip(BLANKS)};tag={tag}" if key == "to" else line) for key, line in fields]


def rows_of(headers: Iterable[tuple[str, str]]) -> list[Field]:
    """Whole rows of (Name, value) pairs. Line breaks in a value become blanks."""
    return [
        (known_key(name) or key_of(name), f"{name}: {value if value.isprintable() else one_line(value)}")
        for name, value in headers
    ]


def _once(fields: list[Field]) -> list[Field]:
    """A broken request may have a row twice that is there once: the first counts."""
    seen: set[str] = set()
    kept: list[Field] = []
    for field in fields:
        key = field[0]
        if key in seen and key != "via" and key != "record-route":
            continue
        seen.add(key)
        kept.append(field)
    return kept


def _has_to_tag(request: Request) -> bool:
    try:
        return request.to_tag is not None
    except ParseError:
        return False  # unreadable: a second tag does no harm
