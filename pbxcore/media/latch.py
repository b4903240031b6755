"""Symmetric RTP (RFC 4961): from where a stream is taken, and to where it is sent. Sans I/O.

The address in the SDP may always latch. Phones behind NAT send from another one: a single source of that kind is
taken, only from an IP address that the signalling vouches for, and only in a short window after each offer or answer.
After that the latch is locked and every stranger is refused, until an offer or answer with a changed address opens it
again. Nothing is ever sent to an address that was not named by the SDP or latched, so a stranger gets no byte back
(RTP bleed, CVE-2017-14099; RTP injection, CVE-2025-53399). It knows no SRTP, which would prove a source better.
"""

from __future__ import annotations

from enum import IntEnum

Address = tuple[str, int]

LEARN_SECONDS = 5.0       # after an offer or answer: how long a NAT source may still be learnt
YIELD_SECONDS = 1.0       # how long a NAT source gives way to the SDP's own address, should that one speak up
LINGER_SECONDS = 1.0      # how long the source of before a change of address is not taken for a new NAT source


class Phase(IntEnum):
    CLOSED = 0        # no SDP yet, or the stream is disabled: everything is refused
    LEARNING = 1
    YIELDING = 2      # a NAT source speaks; the SDP's own address would still displace it
    LOCKED = 3


class Latch:
    """The latch of one media socket. `remote` is where to send to: the latched source, until then the SDP's."""

    __slots__ = ("_deadline", "_hosts", "_linger", "_previous", "_signalled", "phase", "remote")

    def __init__(self) -> None:
        self.close()
        self._hosts: tuple[str, ...] = ()
        self._deadline = self._linger = 0.0

    def close(self) -> None:
        """Forget everything: the stream is over."""
        self.phase = Phase.CLOSED
        self.remote: Address | None = None
        self._signalled: Address | None = None
        self._previous: Address | None = None

    def expect(self, signalled: Address, hosts: tuple[str, ...], now: float) -> bool:
        """Take what an offer or answer says: the address in the SDP and the hosts that NAT sources may have.

        True when the latch was opened anew (first SDP, or a changed address). The same address again leaves a locked
        latch as it is, and gives one that has not learnt yet another window.
        """
        changed = signalled != self._signalled
        if changed or self.phase is Phase.LEARNING:
            if changed and self.phase >= Phase.YIELDING:
                self._previous, self._linger = self.remote, now + LINGER_SECONDS
            self._signalled = self.remote = signalled
            self._hosts = hosts
            self._deadline = now + LEARN_SECONDS
            self.phase = Phase.LEARNING
        return changed

    def accept(self, source: Address, plausible: bool, now: float) -> bool:
        """Whether a packet from `source` belongs to this stream. `plausible`: its content is what the stream carries.

        May lock the latch; look at `phase` and `remote` afterwards.
        """
        phase = self.phase
        if phase is Phase.LOCKED:
            return source == self.remote
        if phase is Phase.CLOSED:
            return False
        if source == self._signalled:
            self.remote = source
            self.phase = Phase.LOCKED
            return True
        if phase is Phase.YIELDING:
            if now > self._deadline:
                self.phase = Phase.LOCKED
            return source == self.remote
        if not plausible or now > self._deadline or source[0] not in self._hosts:
            return False
        if source == self._previous and now < self._linger:
            return False
        self.remote = source
        self.phase = Phase.YIELDING
        self._deadline = now + YIELD_SECONDS
        return True
