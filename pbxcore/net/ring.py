"""The last SIP messages that went in and out, as they were on the wire: what `hookline trace` and the export to Homer
read.

Always on, so it costs a message a tuple and a place in a deque: nothing is copied, parsed or rendered until somebody
asks. Bounded by count, and by bytes because of giants no more than the beginning is kept. What is kept here is not
masked: `masks` does that before any of it is shown or sent.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from time import time
from typing import Protocol

Address = tuple[str, int]
Row = tuple[float, bool, str, Address, Address, bytes]
"""Unix time, whether it went out, transport as in Via, our address, the peer's, the message."""

LONGEST = 4096   # octets of a message that are kept
BEGINNING = slice(LONGEST)   # copies nothing of a message that is no longer


class Peer(Protocol):
    """As much of a flow as is kept."""

    @property
    def transport(self) -> str: ...
    @property
    def local(self) -> Address: ...
    @property
    def remote(self) -> Address: ...


class Ring:
    """At most `messages`, of each at most LONGEST octets."""

    __slots__ = ("_rows", "append")

    def __init__(self, messages: int = 5000) -> None:
        self._rows: deque[Row] = deque(maxlen=messages)
        self.append = self._rows.append   # for whoever makes the row, with `data[BEGINNING]`

    def note(self, out: bool, peer: Peer, data: bytes) -> None:
        """Keep a message that was received (`out` False) or is being sent. Runs for every message there is."""
        self.append((time(), out, peer.transport, peer.local, peer.remote, data[BEGINNING]))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def last(self) -> Row | None:
        """The newest; `since` goes on from it."""
        return self._rows[-1] if self._rows else None

    def rows(self) -> list[Row]:
        """All that is kept, the oldest first."""
        return list(self._rows)

    def since(self, row: Row | None, most: int = 1000) -> list[Row]:
        """Up to `most` messages that came after this one, the oldest first. All that there are when it is forgotten,
        and for None."""
        newer = 0
        for one in reversed(self._rows):
            if one is row:
                break
            newer += 1
        start = len(self._rows) - newer
        return list(islice(self._rows, start, start + most))
