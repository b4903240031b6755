"""What single rows say, remembered by their text.

Most rows of a message have been seen before: a phone has one Contact, Allow and User-Agent for all its calls, and a
dialog repeats its From, To and Call-ID. So each is understood once. The topmost Via is new in every request: of it only
what stands before the branch is remembered. None, here, says nothing but that the row is to be read with care.

Every table holds at most ROWS_REMEMBERED texts of LONGEST_REMEMBERED characters, and is emptied when it is full; that
of tails, many rows as one text, is as large and holds fewer and longer ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import (
    MAX_HEADERS,
    METHODS,
    WS,
    CSeq,
    NameAddr,
    Via,
    digits,
    is_token,
    known_key,
    split,
    unfold,
)
from pbxcore.sip.uri import Uri

ROWS_REMEMBERED = 4096  # in each table
LONGEST_REMEMBERED = 256  # characters; a longer row is read anew each time, so that no stranger fills our memory
TAILS_REMEMBERED = 1024
LONGEST_TAIL = 1024  # characters
MAX_NUMBER = 0xFFFFFFFF
SCHEMES = ("sip", "sips", "tel")

T = TypeVar("T")
Field = tuple[str, str]


class Memo(dict[str, T]):
    """What `read` makes of a text, by that text: `memo[text]`. `read` depends on nothing else, and may raise."""

    __slots__ = ("longest", "most", "read")

    def __init__(
        self, read: Callable[[str], T], most: int = ROWS_REMEMBERED, longest: int = LONGEST_REMEMBERED
    ) -> None:
        super().__init__()
        self.read = read
        self.most = most
        self.longest = longest

    def __missing__(self, text: str) -> T:
        value = self.read(text)
        if len(text) <= self.longest:
            if len(self) >= self.most:
                self.clear()
            self[text] = value
        return value


class Fields(Memo[Field]):
    """The long lower-case name of each row, and the row. A Via is not kept: its branch makes it unlike any other."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_field)

    def __missing__(self, text: str) -> Field:
        if text[:5] == "Via: ":  # as nearly everybody writes it
            return "via", text
        field = self.read(text)
        if field[0] != "via" and len(text) <= LONGEST_REMEMBERED:
            if len(self) >= ROWS_REMEMBERED:
                self.clear()
            self[text] = field
        return field


@dataclass(frozen=True, slots=True)
class SentBy:
    """The sent-by of a Via: IPv6 without brackets, `port` None when it names none. `text` is both, for use in keys."""

    host: str
    port: int | None
    text: str

    @classmethod
    def of(cls, via: Via) -> SentBy:
        return cls(via.host, via.port, f"{via.host} {via.port}")


def value_of(row: str) -> str:
    """The value of a whole header row, unfolded and stripped."""
    value = row.partition(":")[2].strip(WS)
    return unfold(value) if "\n" in value else value


def rare_key(name: str) -> str:
    """The key of any header; ValueError for a fold or a malformed name."""
    if name[:1] in WS:
        raise ValueError
    name = name.rstrip(WS)
    if not is_token(name):
        raise ValueError
    name = name.lower()
    return known_key(name) or name


def _broken(text: str) -> bool:
    """Whether there are line breaks in it, of a fold or of another row."""
    return "\n" in text or "\r" in text


def _field(row: str) -> Field:
    name, colon, _ = row.partition(":")
    if not colon:
        raise ValueError
    return known_key(name) or rare_key(name), row


def _start(line: str) -> tuple[int, str, str, Uri] | None:
    """Status, empty, reason, nothing; or 0, method, Request-URI and what it says, if it may be one."""
    if "\n" in line:
        return None
    if line[:8] == "SIP/2.0 ":
        status, _, reason = line[8:].lstrip(" ").partition(" ")
        return (int(status), "", reason, NO_URI) if is_status(status) else None
    parts = line.split(" ")
    if len(parts) != 3 or parts[2] != "SIP/2.0" or parts[0] not in METHODS:
        return None
    try:
        uri = Uri.parse(parts[1])
    except ParseError:
        return None
    return (0, parts[0], parts[1], uri) if uri.scheme in SCHEMES and not uri.headers else None


def is_status(text: str) -> bool:
    return len(text) == 3 and "100" <= text <= "699" and text.isascii() and text.isdigit()


def _address(value: str) -> NameAddr | None:
    """An address in brackets with nothing behind them. It is for all messages: not to be changed."""
    if value[-1:] != ">" or _broken(value):
        return None
    try:
        return NameAddr.parse(value)
    except ParseError:
        return None


def _tag(row: str) -> str | None:
    """The tag of a From or To with no parameter but it; empty when there is none."""
    address, mark, tag = row.partition(":")[2].lstrip(WS).partition(">;tag=")
    if not mark:
        return None if ADDRESSES[address] is None else ""
    return tag if is_token(tag) and ADDRESSES[address + ">"] is not None else None


def _cseq(row: str) -> CSeq | None:
    return CSeq.plain(row, row.find(":") + 1)


def _number(row: str) -> int | None:
    return digits(value_of(row), MAX_NUMBER)


def _uri(row: str) -> str | None:
    """The URI of a Contact with one value; it is a SIP URI and has no headers."""
    if _broken(row):
        return None
    found = NameAddr.plain_uri(row, row.find(":") + 1)
    if found is not None:
        return found
    value = value_of(row)
    try:
        uri = NameAddr.parse(value).uri
    except ParseError:
        return None
    alone = uri.scheme in ("sip", "sips") and not uri.headers and len(split(value, ",")) == 1
    return str(uri) if alone else None


def _sent_by(text: str) -> SentBy | None:
    """Of a Via cut before its branch."""
    if "," in text or "branch" in text.lower() or _broken(text):
        return None
    try:
        via = Via.parse(value_of(text))
    except ParseError:
        return None
    return SentBy.of(via) if via.protocol == "SIP/2.0" else None


def _tail(text: str) -> dict[str, str] | None:
    """The row of each header. None may be there twice, nor be one of those that come before (`usual`)."""
    lines = text.split("\r\n")
    if _broken("".join(lines)) or len(lines) > MAX_HEADERS - _MOST_BEFORE:
        return None
    try:
        first = dict(map(_field, lines))
    except ValueError:
        return None
    hops, contact = first.get("max-forwards"), first.get("contact")
    if (
        len(first) != len(lines)
        or not _NOT_IN_A_TAIL.isdisjoint(first)
        or (hops is not None and NUMBERS[hops] is None)
        or (contact is not None and CONTACTS[contact] is None)
    ):
        return None
    return first


NO_URI = Uri("sip", None, "")
FIELDS = Fields()
STARTS = Memo(_start)
ADDRESSES = Memo(_address)
TAGS = Memo(_tag)
CSEQS = Memo(_cseq)
NUMBERS = Memo(_number)
CONTACTS = Memo(_uri)
URIS = Memo(Uri.parse)
"""Not to be changed: they are for everybody."""
SENT_BY = Memo(_sent_by)
TAILS = Memo(_tail, TAILS_REMEMBERED, LONGEST_TAIL)
"""Not to be changed either."""
TABLES: tuple[Memo[Any], ...] = (FIELDS, STARTS, ADDRESSES, TAGS, CSEQS, NUMBERS, CONTACTS, URIS, SENT_BY, TAILS)

_BRANCH = r"([A-Za-z0-9.!%*_+`'~:\[\]/=-]++)"
_BEHIND = r"[A-Za-z0-9.!%*_+`'~:\[\]/=;-]*+"  # nothing, or from a semicolon on: the branch has taken the rest
branch_of = re.compile(_BRANCH + _BEHIND).fullmatch
"""Group 1 is the branch, in what stands behind the `;branch=` of a Via that is alone in its row."""

_ADDRESS = r"(([^>]*+>)(?:;tag=([A-Za-z0-9.!%*_+`'~-]++)|))"
usual = re.compile(
    rf"([^\r]*+)\r\n((Via: [^;]*+(?:;rport|));branch={_BRANCH}{_BEHIND})\r\n(?:"
    # No row twice: where its group has something already, the tail begins. Marks are set behind a literal, so that an
    # alternative that is not the one leaves the groups as they are.
    rf"From: (?(5)(?!)){_ADDRESS}\r\n|To: (?(8)(?!)){_ADDRESS}\r\n|Call-ID: (?(11)(?!))([!-~]++)\r\n"
    r"|CSeq: (?(12)(?!))([^\r]*+)\r\n|Max-Forwards: (?(13)(?!))([0-9]{1,9}+)\r\n|Contact: (?(14)(?!))([^\r]*+)\r\n"
    r")*+(?<=\n)(.*)",  # some versions of `re` go on in the middle of the row that was not as usual
    re.DOTALL,
).fullmatch
"""The head of a message whose rows begin as nearly everybody's do: Via, then in any order what is new in each call.

Start line; the row of Via, what of it is before the branch, and the branch; From, its address and its tag; To, its
address and its tag; Call-ID; CSeq; Max-Forwards; Contact; the tail, the rows that are the same in call after call. What
an address, a CSeq or a Contact is worth is not looked at here."""
_BEFORE = ("via", "from", "to", "call-id", "cseq")
_MOST_BEFORE = 7  # rows before the tail
_NOT_IN_A_TAIL = frozenset((*_BEFORE, "route", "record-route"))
