"""A call's ladder out of the ring: which messages are its own, whose they are, what was said twice.

A B2BUA has a dialog with each side (RFC 7092), and every one has its own Call-ID; who knows which of them belong to
one call tells them. Reads the messages as bytes and leniently: what the parser refuses is shown all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pbxcore.control import Trace, TraceParty, TraceStep
from pbxcore.net.masks import masked
from pbxcore.net.ring import Row
from pbxcore.sip.uri import join_host

NAME_LENGTH = 32

_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*:\s*(\S+)", re.IGNORECASE | re.MULTILINE)
_CSEQ = re.compile(rb"^cseq[ \t]*:\s*\d+\s+(\S+)", re.IGNORECASE | re.MULTILINE)
_PEOPLE = {
    False: re.compile(rb"^(?:from|f)[ \t]*:([^\r\n]*)", re.IGNORECASE | re.MULTILINE),
    True: re.compile(rb"^(?:to|t)[ \t]*:([^\r\n]*)", re.IGNORECASE | re.MULTILINE),
}
_USER = re.compile(rb"(?:sips?|tel):([^@:;>\s]+)@?", re.IGNORECASE)
_SDP = re.compile(rb"(?:^|\n)v=0\r?\n")


def call_id_of(message: bytes) -> str:
    """The Call-ID of a message; empty when it has none."""
    head = message.partition(b"\r\n\r\n")[0]
    found = _CALL_ID.search(head)
    return _text(found[1]) if found else ""


def build(call_id: str, dialogs: Iterable[str], rows: Iterable[Row]) -> Trace:
    """The ladder of the dialogs with these Call-IDs; without steps when the ring has none of them."""
    mine = own(dialogs, rows)
    places: dict[str, int] = {}
    parties: list[TraceParty] = []
    steps: list[TraceStep] = []
    said: set[tuple[bool, int, bytes]] = set()
    for dialog, row in mine:
        place = places.get(dialog)
        if place is None:
            place = places[dialog] = len(parties)
            parties.append(_party(row))
        key = (row[1], place, row[5])
        steps.append(step(row, place, again=key in said))
        said.add(key)
    return _in_order(call_id, parties, steps)


def own(dialogs: Iterable[str], rows: Iterable[Row]) -> list[tuple[str, Row]]:
    """The rows of these Call-IDs, each with its own."""
    wanted = {name.encode("utf-8", "surrogateescape"): name for name in dialogs if name}
    found: list[tuple[str, Row]] = []
    for row in rows:
        data = row[5]
        for raw, name in wanted.items():
            if raw in data and call_id_of(data) == name:   # the first is quick, the second sure
                found.append((name, row))
                break
    return found


def step(row: Row, party: int = 0, *, again: bool = False) -> TraceStep:
    """One message as it is shown."""
    at, out, transport, local, remote, data = row
    here, there = join_host(*local), join_host(*remote)
    return TraceStep(at, party, out, summary(data), again, here, there, transport, _text(masked(data)))


def summary(message: bytes) -> str:
    """What stands on the arrow: the method, or the status with its method where that is no INVITE; and whether it
    brings a session description."""
    first, _, rest = message.partition(b"\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    words = _text(first).split(None, 2)
    sdp = " (SDP)" if body and _SDP.search(body) else ""
    if not words:
        return "?"
    if not words[0].upper().startswith("SIP/"):
        return words[0] + sdp
    found = _CSEQ.search(head)
    method = _text(found[1]) if found else ""
    of = f" ({method})" if method and method != "INVITE" else ""
    return " ".join(words[1:]).strip() + of + sdp


def _party(first: Row) -> TraceParty:
    """Who is at the other end of a dialog, by its first message: a request that came in has him in From, one that went
    out in To; a response the other way round."""
    _, out, transport, _, remote, data = first
    response = data[:4].upper() == b"SIP/"
    called = out != response
    found = _PEOPLE[called].search(data)
    value = found[1] if found else b""
    user = _USER.search(value)
    name = _text(user[1]) if user and user[0].endswith(b"@") else ""
    return TraceParty(name[:NAME_LENGTH] or "?", join_host(*remote), transport, "b" if called else "a")


def _in_order(call_id: str, parties: Sequence[TraceParty], steps: Sequence[TraceStep]) -> Trace:
    """Who called in stands on the left, whom the exchange called on the right."""
    order = sorted(range(len(parties)), key=lambda place: parties[place].side)
    if order != list(range(len(parties))):
        moved = {old: new for new, old in enumerate(order)}
        steps = [
            TraceStep(s.at, moved[s.party], s.out, s.text, s.again, s.local, s.remote, s.transport, s.message)
            for s in steps
        ]
    return Trace(call_id, tuple(parties[place] for place in order), tuple(steps))


def _text(data: bytes) -> str:
    """Bytes of a stranger as text that a terminal and JSON take: no control characters but line ends and tabs."""
    text = data.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\r\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
