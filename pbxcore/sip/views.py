"""The typed views of a message: RFC 3261 section 20, each header read once and when somebody asks.

`message.Message` keeps what these functions return in its slots. Mandatory headers raise ParseError where they are
missing or unreadable; the others are None or empty where they are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import MAX_HEADERS, WS, CSeq, NameAddr, Via, split
from pbxcore.sip.rows import ADDRESSES, CSEQS, MAX_NUMBER, NUMBERS, TAGS, URIS, SentBy, value_of
from pbxcore.sip.uri import Uri

if TYPE_CHECKING:
    from pbxcore.sip.message import Message, Request

T = TypeVar("T")
_UNREAD: Any = object()

# Which views are computed from which header: what an edit makes stale.
STALE = {
    "via": ("via", "vias", "branch", "sent_by"),
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


def row_of(message: Message, key: str, title: str) -> str:
    line = message.first_lines.get(key)
    if line is None:
        raise ParseError(400, f"Missing {title}")
    return line


def via_of(message: Message) -> Via:
    line = row_of(message, "via", "Via")
    via = Via.plain(line, line.find(":") + 1)
    return Via.parse(split(value_of(line), ",")[0]) if via is None else via


def _address(row: str) -> NameAddr:
    tag = TAGS[row]
    if tag is None:
        return NameAddr.parse(value_of(row))
    known = ADDRESSES[row.partition(":")[2].lstrip(WS).removesuffix(f";tag={tag}")]
    assert known is not None  # or there would be no tag
    return NameAddr(known.uri, known.display, {"tag": tag} if tag else {})


def from_of(message: Message) -> NameAddr:
    return _address(row_of(message, "from", "From"))


def to_of(message: Message) -> NameAddr:
    return _address(row_of(message, "to", "To"))


def cseq_of(message: Message) -> CSeq:
    row = row_of(message, "cseq", "CSeq")
    return CSEQS[row] or CSeq.parse(value_of(row))


def vias_of(message: Message) -> list[Via]:
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
    if message.unrepeated:
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


def _number(message: Message, key: str) -> int | None:
    line = message.first_lines.get(key)
    return None if line is None else NUMBERS[line]


def expires_of(message: Message) -> int | None:
    value = message.first("expires") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    return MAX_NUMBER if len(value) > 40 else min(int(value), MAX_NUMBER)


def content_type_of(message: Message) -> str | None:
    return (message.first("content-type") or "").partition(";")[0].strip(WS).lower() or None


def first_lines_of(message: Message) -> dict[str, str]:
    return dict(reversed(message.fields))


def branch_of(message: Message) -> str | None:
    return message.via.branch


def sent_by_of(message: Message) -> SentBy:
    return SentBy.of(message.via)


def from_tag_of(message: Message) -> str | None:
    return message.from_.tag


def to_tag_of(message: Message) -> str | None:
    return message.to.tag


def contact_of(message: Message) -> NameAddr | None:
    return message.contacts[0] if message.contacts else None


def contact_star_of(message: Message) -> bool:
    return message.first("contact") == "*"


def call_id_of(message: Message) -> str:
    return value_of(row_of(message, "call-id", "Call-ID"))


def max_forwards_of(message: Message) -> int | None:
    return _number(message, "max-forwards")


def content_length_of(message: Message) -> int | None:
    return _number(message, "content-length")


def routes_of(message: Message) -> list[NameAddr]:
    return [NameAddr.parse(value) for value in _values(message, "route")]


def record_routes_of(message: Message) -> list[NameAddr]:
    return [NameAddr.parse(value) for value in _values(message, "record-route")]


def require_of(message: Message) -> tuple[str, ...]:
    return tuple(message.values("require"))


def proxy_require_of(message: Message) -> tuple[str, ...]:
    return tuple(message.values("proxy-require"))


def supported_of(message: Message) -> tuple[str, ...]:
    return tuple(message.values("supported"))


def request_uri_of(request: Request) -> Uri:
    return URIS[request.uri]


class View(Generic[T]):
    """An attribute of a message: what `read` makes of the message, kept until an edit makes it stale."""

    __slots__ = ("name", "read")

    def __init__(self, read: Callable[[Any], T]) -> None:
        self.read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, message: Any, owner: type) -> T:
        value: T = message.seen.get(self.name, _UNREAD)
        if value is _UNREAD:
            value = message.seen[self.name] = self.read(message)
        return value

    def __set__(self, message: Any, value: T) -> None:
        message.seen[self.name] = value
