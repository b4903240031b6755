"""What single rows say, remembered by their text.

Most rows of a message have been seen before: a phone has one Contact, Allow and User-Agent for all its calls, and a
dialog repeats its From, To and Call-ID. So each is understood once. The topmost Via is new in every request: of it only
what stands before the branch is remembered. None, here, says nothing but that the row is to be read with care.

Every table holds at most ROWS_REMEMBERED texts of LONGEST_REMEMBERED characters, and is emptied when it is full.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import METHODS, WS, CSeq, NameAddr, Via, digits, is_token, known_key, split, unfold
from pbxcore.sip.uri import Uri

ROWS_REMEMBERED = 4096  # in each table
LONGEST_REMEMBERED = 256  # characters; a longer row is read anew each time, so that no stranger fills our memory
MAX_NUMBER = 0xFFFFFFFF
SCHEMES = ("sip", "sips", "tel")

T = TypeVar("T")
Field = tuple[str, str]


class Memo(dict[str, T]):
    """What `read` makes of a text, by that text: `memo[text]`. `read` depends on nothing else, and may raise."""

    __slots__ = ("read",)

    def __init__(self, read: Callable[[str], T]) -> None:
        super().__init__()
        self.read = read

    def __missing__(self, text: str) -> T:
        value = self.read(text)
        if len(text) <= LONGEST_REMEMBERED:
            if len(self) >= ROWS_REMEMBERED:
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


def _field(row: str) -> Field:
    name, colon, _ = row.partition(":")
    if not colon:
        raise ValueError
    return known_key(name) or rare_key(name), row


def _start(line: str) -> tuple[int, str, str, Uri] | None:
    """Status, empty, reason, nothing; or 0, method, Request-URI and what it says, if it may be one."""
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


def _address(row: str) -> NameAddr | None:
    """An address in brackets with nothing behind them. It is for all messages: not to be changed."""
    try:
        return NameAddr.parse(value_of(row)) if row[-1] == ">" else None
    except ParseError:
        return None


def _tag(row: str) -> str | None:
    """The tag of a From or To with no parameter but it; empty when there is none."""
    address, mark, tag = row.partition(">;tag=")
    if not mark:
        return None if ADDRESSES[row] is None else ""
    return tag if is_token(tag) and ADDRESSES[address + ">"] is not None else None


def _cseq(row: str) -> CSeq | None:
    return CSeq.plain(row, row.find(":") + 1)


def _number(row: str) -> int | None:
    return digits(value_of(row), MAX_NUMBER)


def _uri(row: str) -> str | None:
    """The URI of a Contact with one value; it is a SIP URI and has no headers."""
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
    if "," in text or "branch" in text.lower():
        return None
    try:
        via = Via.parse(value_of(text))
    except ParseError:
        return None
    return SentBy.of(via) if via.protocol == "SIP/2.0" else None


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
TABLES: tuple[Memo[Any], ...] = (FIELDS, STARTS, ADDRESSES, TAGS, CSEQS, NUMBERS, CONTACTS, URIS, SENT_BY)

branch_of = re.compile(r"([A-Za-z0-9.!%*_+`'~:\[\]/=-]++)(?:;[A-Za-z0-9.!%*_+`'~:\[\]/=;-]*+)?").fullmatch
"""Group 1 is the branch, in what stands behind the `;branch=` of a Via that is alone in its row."""
