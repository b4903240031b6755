"""The typed views of a message: RFC 3261 section 20, each header read once and when somebody asks.

`message.Message` keeps what these functions return in its slots. Mandatory headers raise ParseError where they are
missing or unreadable; the others are None or empty where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import MAX_HEADERS, WS, CSeq, NameAddr, Via, digits, split, unfold
from pbxcore.sip.uri import Uri

if TYPE_CHECKING:
    from pbxcore.sip.message import Message

MAX_NUMBER = 0xFFFFFFFF

# Which views are computed from which header: what an edit makes stale.
STALE = {
    "via": ("via", "vias", "branch"),
    "from": ("from_", "from_tag"),
    "to": ("to", "to_tag"),
    "contact": ("contact", "contacts", "contact_star"),
    "cseq": ("cseq",),
    "call-id": ("call_id",),
    "max-forwards": ("max_forwards",),
    "route": ("routes",),
    "record-route": ("record_routes",),
    "expires": ("expires",),
    "content-type": ("content_type",),
    "content-length": ("content_length",),
    "require": ("require",),
    "proxy-require": ("proxy_require",),
    "supported": ("supported",),
}


def value_of(line: str) -> str:
    """The value of a whole header row, unfolded and stripped."""
    value = line[line.find(":") + 1 :].strip(WS)
    return unfold(value) if "\n" in value else value


def row_of(message: Message, key: str, title: str) -> str:
    line = message.first_lines.get(key)
    if line is None:
        raise ParseError(400, f"Missing {title}")
    return line


def via_of(message: Message) -> Via:
    line = row_of(message, "via", "Via")
    via = Via.plain(line, line.find(":") + 1)
    return Via.parse(split(value_of(line), ",")[0]) if via is None else via


def _address(line: str) -> NameAddr:
    address = NameAddr.plain(line, line.find(":") + 1)
    return NameAddr.parse(value_of(line)) if address is None else address


def from_of(message: Message) -> NameAddr:
    return _address(row_of(message, "from", "From"))


def to_of(message: Message) -> NameAddr:
    return _address(row_of(message, "to", "To"))


def cseq_of(message: Message) -> CSeq:
    line = row_of(message, "cseq", "CSeq")
    cseq = CSeq.plain(line, line.find(":") + 1)
    return CSeq.parse(value_of(line)) if cseq is None else cseq


def _vias(message: Message) -> list[Via]:
    vias = [message.via]
    for value in message.values("via")[1:]:
        try:
            vias.append(Via.parse(value))
        except ParseError:  # a hop that we never talk to
            continue
    return vias


def contacts_of(message: Message) -> list[NameAddr]:
    line = message.first_lines.get("contact")
    if line is None:
        return []
    if len(message.first_lines) == len(message.fields):  # one row
        address = NameAddr.plain(line, line.find(":") + 1)
        if address is not None:  # one value
            return [address]
    values = _values(message, "contact")
    if "*" in values:
        if len(values) > 1:
            raise ParseError(400, "Malformed Contact")
        return []
    return [NameAddr.parse(value) for value in values]


def _values(message: Message, key: str) -> list[str]:
    values = message.values(key)
    if len(values) > MAX_HEADERS:  # 64 kB hold 8,000 of them: more work than a message is worth
        raise ParseError(400, f"Too many {key} values")
    return values


def _number(message: Message, key: str, limit: int) -> int | None:
    line = message.first_lines.get(key)
    return None if line is None else digits(value_of(line), limit)


def _expires(message: Message) -> int | None:
    value = message.first("expires") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    return MAX_NUMBER if len(value) > 40 else min(int(value), MAX_NUMBER)


def _content_type(message: Message) -> str | None:
    return (message.first("content-type") or "").partition(";")[0].strip(WS).lower() or None


VIEWS: dict[str, Callable[[Any], Any]] = {
    "first_lines": lambda message: dict(reversed(message.fields)),
    "via": via_of,
    "vias": _vias,
    "branch": lambda message: message.via.params.get("branch") or None,
    "from_": from_of,
    "from_tag": lambda message: message.from_.params.get("tag") or None,
    "to": to_of,
    "to_tag": lambda message: message.to.params.get("tag") or None,
    "contacts": contacts_of,
    "contact": lambda message: message.contacts[0] if message.contacts else None,
    "contact_star": lambda message: message.first("contact") == "*",
    "cseq": cseq_of,
    "call_id": lambda message: value_of(row_of(message, "call-id", "Call-ID")),
    "max_forwards": lambda message: _number(message, "max-forwards", MAX_NUMBER),
    "routes": lambda message: [NameAddr.parse(value) for value in _values(message, "route")],
    "record_routes": lambda message: [NameAddr.parse(value) for value in _values(message, "record-route")],
    "expires": _expires,
    "content_type": _content_type,
    "content_length": lambda message: _number(message, "content-length", MAX_NUMBER),
    "require": lambda message: tuple(message.values("require")),
    "proxy_require": lambda message: tuple(message.values("proxy-require")),
    "supported": lambda message: tuple(message.values("supported")),
    "request_uri": lambda message: Uri.parse(message.uri),
}
