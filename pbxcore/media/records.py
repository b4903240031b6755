"""What the exchange and its media workers tell each other: messages, several in one record. Sans I/O.

A message is a tuple; its first word says what it is. Both ends are one program on one interpreter and the socket
between them is nobody else's, so they are written and read by marshal, in C: plain tuples, lists, texts and numbers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from marshal import dumps, loads
from typing import Any

from pbxcore.media.latch import Address

RECORD = 32768            # octets of messages in a record at most, unless one alone has more
RECEIVED = 2 * RECORD     # octets to read: with what marshal adds it is well under that, and under the socket's buffer

Message = tuple[Any, ...]
# A media line of a leg: our address and port, where its RTP and its RTCP are sent (the same for both: rtcp-mux,
# RFC 5761), its RTP clock in Hz (0: no RTP) and which hosts may send from another port or address than it says (NAT).
# Host 0.0.0.0 or :: sends nothing there (hold, RFC 3264 section 8.4).
Line = tuple[Address, Address, Address, int, tuple[str, ...]]
Lines = list[Line | None]       # None: disabled
Counters = tuple[int, int, int, int] | tuple[()]    # packets, octets, lost and jitter in us; () of silence


def encode(message: Message) -> bytes:
    return dumps(message)


def pack(messages: list[bytes]) -> tuple[bytes, int]:
    """A record of as many messages, each encoded, as it takes from the front, and how many these are."""
    count = bisect_right([*accumulate(map(len, messages))], RECORD) or 1
    return dumps(messages[:count]), count


def unpack(record: bytes) -> Iterator[Message]:
    return map(loads, loads(record))    # noqa: S302 - it is our own, see above
