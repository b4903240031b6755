"""What the load says and what it looks for in what it hears: templates with a few places, and bytes found by pattern.

Not a parser: it reads well-formed messages of servers on this machine, whose header names may be long or short and of
any case. What it must not get wrong is which call and which transaction a response belongs to: see `Branches`.
"""

from __future__ import annotations

import heapq
import itertools
import re
import socket
from collections.abc import Callable
from typing import Any, Protocol

T1, T2 = 0.5, 4.0
GIVE_UP = 64 * T1       # Timers B, F and H
RECEIVE_BUFFER = 4 << 20
DATAGRAM = 65535

SDP = (
    "v=0\r\no=load 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 8 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n"
    "a=ptime:20\r\na=sendrecv\r\n"
)

_CALL_ID = re.compile(rb"\r\n(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]+)", re.I)
_CSEQ = re.compile(rb"\r\nCSeq[ \t]*:[ \t]*(\d+)", re.I)
_TO = re.compile(rb"\r\n(?:To|t)[ \t]*:[ \t]*([^\r\n]+)", re.I)
_CONTACT = re.compile(rb"\r\n(?:Contact|m)[ \t]*:[^<\r\n]*<([^>]+)>", re.I)
_RECORD_ROUTE = re.compile(rb"\r\nRecord-Route[ \t]*:[ \t]*([^\r\n]+)", re.I)
_COPIED = re.compile(rb"\r\n((?:Via|v|From|f|To|t|Call-ID|i|CSeq|Record-Route)[ \t]*:[^\r\n]*)", re.I)
_AUDIO = re.compile(rb"\r?\nm=audio (\d+)")
_CONNECTION = re.compile(rb"\r?\nc=IN IP4 ([0-9.]+)")


class Branches:
    """Responses find their transaction by the branch, as RFC 3261 section 17.1.3 has it.

    The branch names the run, the request (`i` INVITE, `a` ACK, `b` BYE) and the call. So a retransmitted 200 of the
    INVITE is never taken for the 200 of the BYE, whatever else the message contains, and nothing of an earlier run is
    taken for this one's.
    """

    def __init__(self, run: str) -> None:
        self.prefix = f"z9hG4bK{run}"
        self._pattern = re.compile(self.prefix.encode() + rb"([iab])(\d+)")

    def find(self, data: bytes) -> tuple[bytes, int] | None:
        """Kind and number of the call that a response answers; None when it is none of this run's."""
        found = self._pattern.search(data)
        return (found[1], int(found[2])) if found else None


def call_id(data: bytes) -> bytes:
    """The Call-ID; empty without one."""
    found = _CALL_ID.search(data)
    return found[1].rstrip() if found else b""


def cseq(data: bytes) -> int:
    """CSeq's number; 0 without one."""
    found = _CSEQ.search(data)
    return int(found[1]) if found else 0


def to(data: bytes) -> bytes:
    """The value of To."""
    found = _TO.search(data)
    return found[1] if found else b""


def contact(data: bytes) -> bytes:
    """The URI of the first Contact; empty without one in angle brackets."""
    found = _CONTACT.search(data)
    return found[1] if found else b""


def routes(data: bytes) -> bytes:
    """Route header rows for requests inside the dialog that this response opens (12.1.2: reversed); mostly empty."""
    values = [value.strip() for line in _RECORD_ROUTE.findall(data) for value in line.split(b",")]
    return b"".join(b"Route: %s\r\n" % value for value in reversed(values))


def copied(data: bytes, to_tag: bytes = b"") -> bytes:
    """The header rows that every response copies (8.2.6.2, 12.1.1), `to_tag` added to a To that has none."""
    rows = []
    for row in _COPIED.findall(data.partition(b"\r\n\r\n")[0]):
        if row[:2].lower() in (b"to", b"t:", b"t ") and b";tag=" not in row:
            row += to_tag
        rows.append(row)
    return b"\r\n".join(rows) + b"\r\n"


def media_address(data: bytes) -> tuple[str, int] | None:
    """Where an SDP in this message wants its audio; None when there is none or the stream is refused."""
    audio = _AUDIO.search(data)
    if audio is None or audio[1] == b"0":
        return None
    host = _CONNECTION.search(data, audio.end()) or _CONNECTION.search(data)
    return (host[1].decode(), int(audio[1])) if host else None


class Due(Protocol):
    """Something that happens later; it is told apart from what it was before by `due`."""

    due: float


class Rows:
    """What is due later: retransmissions, hang-ups, answers. A row whose item has got another `due` since is stale."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any, Callable[[Any, float], None]]] = []
        self._count = itertools.count()

    def put(self, due: float, item: Due, act: Callable[[Any, float], None]) -> None:
        """`act(item, now)` once `due` has come, unless the item is put again or its `due` is set to 0 before."""
        item.due = due
        heapq.heappush(self._heap, (due, next(self._count), item, act))

    def next_at(self) -> float:
        """When the first row is due; infinity without one."""
        heap = self._heap
        while heap and heap[0][2].due != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else float("inf")

    def fire(self, now: float) -> None:
        while self.next_at() <= now:
            _, _, item, act = heapq.heappop(self._heap)
            item.due = 0.0
            act(item, now)


def udp_socket(host: str, port: int) -> socket.socket:
    """Non-blocking, with room for bursts: a packet that the load drops would be laid at the server's door."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BUFFER)
    except OSError:     # only root may go past net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.bind((host, port))
    sock.setblocking(False)
    return sock


def free_port(host: str) -> int:
    """A UDP port that is free now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])
