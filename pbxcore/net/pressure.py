"""Whether messages wait too long before they are read, so that new calls would be at the cost of those in progress.

A peer that hears nothing for T1 (500 ms) says it again, and every repetition is more work: behind by that much, a
process would do little else. So new calls are turned away long before (RFC 3261 section 21.5.4). What counts is how
long datagrams have been in the socket, and whether the kernel had no room for some; and that it lasts: a burst that is
worked off soon refuses nobody. Reads no clock.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

LATE = 0.1        # seconds in the socket that are too long
PATIENCE = 0.1    # seconds for which that may go on
EASED = 0.05      # seconds in the socket with which new calls are taken again
CALM = 5.0        # seconds without a refusal after which it is over


class Pressure:
    """Of all sockets of one endpoint. `late`: messages wait too long, for now. `behind`: and have done so for a while;
    whoever takes new calls asks for it."""

    __slots__ = ("_began", "_ended", "_since", "behind", "late")

    def __init__(self) -> None:
        self.late = False
        self.behind = False
        self._since: dict[object, float] = {}   # by socket: since when its datagrams have come too late
        self._began: float | None = None        # until it is over
        self._ended = 0.0

    def waited(self, socket: object, seconds: float, now: float, lost: bool = False) -> None:
        """A datagram that was in the socket for so long has been read, and others are in it still. `lost`: the kernel
        has had no room for some since the last time."""
        if seconds >= LATE or lost:
            self.late = True
            since = self._since.setdefault(socket, now)
            if not self.behind and (self._began is not None or now - since >= PATIENCE):
                self._begin(seconds, now, lost)
        elif seconds <= EASED or not self.behind:
            self.eased(socket, now)

    def eased(self, socket: object, now: float) -> None:
        """All that was in the socket has been read."""
        if self._since.pop(socket, None) is not None and not self._since:
            self.late = self.behind = False
            self._ended = now

    def _begin(self, seconds: float, now: float, lost: bool) -> None:
        self.behind = True
        if self._began is None:
            self._began = now
            log.warning("behind: messages wait for %.0f ms%s; new calls are refused until that is better",
                        seconds * 1000, ", or find no room" if lost else "")  # fmt: skip

    def look(self, now: float) -> None:
        """Once a second: says when it is over."""
        if self._began is not None and not self.behind and now - self._ended >= CALM:
            log.warning("no longer behind: new calls have been refused now and then for %.1f s",
                        self._ended - self._began)  # fmt: skip
            self._began = None
