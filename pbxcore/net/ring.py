"""The last SIP messages that went in and out, as they were on the wire: what `hookline trace` and the export to Homer
read.

Always on, so it costs a message a tuple and a place in a deque: nothing is copied, parsed or rendered until somebody
asks. Bounded by count and by bytes; what is older is gone. What is kept here is not masked: `masks` does that before
any of it is shown or sent.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from time import time
from typing import Protocol

Address = tuple[str, int]
Row = tuple[float, bool, str, Address, Address, bytes]
"""Unix time, whether it went out, transport as in Via, our address, the peer's, the message."""

BYTES_A_MESSAGE = 1024   # the bound in bytes is the bound in messages times this
DROP = 16                # of a full ring, one part in so many goes at a time


class Peer(Protocol):
    """As much of a flow as is kept."""

    @property
    def transport(self) -> str: ...
    @property
    def local(self) -> Address: ...
    @property
    def remote(self) -> Address: ...


class Ring:
    """At most `messages`, and as many kilobytes."""

    __slots__ = ("_append", "_held", "_max_bytes", "_max_rows", "_rows", "dropped")

    def __init__(self, messages: int = 5000) -> None:
        self._rows: deque[Row] = deque()
        self._append = self._rows.append
        self._held = 0
        self._max_rows = messages
        self._max_bytes = messages * BYTES_A_MESSAGE
        self.dropped = 0   # since start: how many the ring has forgotten

    def note(self, out: bool, peer: Peer, data: bytes) -> None:
        """Keep a message that was received (`out` False) or is being sent. Runs for every message there is."""
        self._append((time(), out, peer.transport, peer.local, peer.remote, data))
        self._held += len(data)
        if self._held > self._max_bytes or len(self._rows) > self._max_rows:
            self._trim()

    def _trim(self) -> None:
        rows = self._rows
        spare = len(rows) // DROP
        while rows and (spare > 0 or self._held > self._max_bytes or len(rows) > self._max_rows):
            self._held -= len(rows.popleft()[5])
            self.dropped += 1
            spare -= 1

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def held(self) -> int:
        """Bytes of the messages that are kept."""
        return self._held

    @property
    def count(self) -> int:
        """How many messages there have been since start; `since` counts by it."""
        return self.dropped + len(self._rows)

    def rows(self) -> list[Row]:
        """All that is kept, the oldest first."""
        return list(self._rows)

    def since(self, count: int, most: int = 1000) -> tuple[int, list[Row]]:
        """Up to `most` messages from the `count`th on, and the count to go on with; what the ring has forgotten
        meanwhile is passed over."""
        start = max(0, count - self.dropped)
        found = list(islice(self._rows, start, start + most))
        return self.dropped + start + len(found), found
