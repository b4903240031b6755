"""A media socket in a worker process: latched, relayed to its peer, counted. No asyncio.

Until its latch is locked a socket reads with the sender's address and refuses strangers one by one. Once locked it is
connected to its source (connect(2)): the kernel then drops strangers before they reach the process, and a packet costs
less both ways. What is sent to a stream goes to its latch's `remote`, nowhere else.
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Callable
from typing import Protocol

from pbxcore.media.latch import Address, Latch, Phase
from pbxcore.media.rtp import Kind, Reception, classify

DATAGRAM = 4096           # octets read at most: RTP is cut to the MTU, a fragmented video packet fits too
_AF_UNSPEC = bytes(16)
_libc = ctypes.CDLL(None, use_errno=True)

Send = Callable[[bytes], object]


class Lent(Protocol):
    """A direction that the kernel relays (`kernel.Flow`)."""

    def count(self) -> None: ...

    def end(self) -> None: ...


class Stream:
    """One socket, for as long as the process lives; between calls its latch is closed and all it gets is thrown away.

    `forward` is how the peer is sent to, None while there is nobody to send to. `locked` tells the worker's loop that
    the socket is connected and may be read without looking at addresses. `lent` is set while the kernel relays what
    comes in here; whatever changes for a stream or its peer takes it back.
    """

    __slots__ = (
        "failed", "fileno", "forward", "latch", "lent", "locked", "muted", "peer", "reception", "recv", "refused",
        "rtp", "send", "sock", "update",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fileno = sock.fileno()
        self.recv = sock.recv
        self.latch = Latch()
        self.reception = Reception()
        self.update: Callable[[bytes, float], None] = self.reception.update
        self.peer: Stream | None = None
        self.lent: Lent | None = None
        self.forward: Send | None = None
        self.send: Send | None = None
        self.locked = False
        self.muted = False
        self.refused = 0
        self.failed = 0
        self.rtp = True

    def open(self, rate: int) -> None:
        """A call takes this socket: begin counting anew. `rate` is the RTP clock in Hz, 0 for what is no RTP."""
        self.rtp = rate > 0
        reception = self.reception
        if reception.packets or reception.other or reception.rate != rate:
            reception.reset(rate or 8000)
        self.refused = self.failed = 0

    def expect(self, remote: Address, hosts: tuple[str, ...], now: float) -> None:
        """An offer or answer names the address to send to and the hosts that may send from another one."""
        self.muted = False
        if self.latch.expect(remote, hosts, now) and self.locked:
            self._disconnect()
        self._settle()

    def mute(self) -> None:
        """Send nothing there for now (on hold the old way, c=0.0.0.0); the latch stays as it is."""
        self.muted = True
        self._settle()

    def close(self) -> None:
        """The call is over: cut it off, and take nothing from anybody."""
        self._part()
        self.forward = None
        self.latch.close()
        if self.locked:
            self._disconnect()
        self.muted = False
        self.send = None

    def bridge(self, peer: Stream | None) -> None:
        """Relay both ways between this stream and `peer`; whoever was bridged to one of them before is cut off."""
        if peer is self.peer:
            return
        self._part()
        if peer is not None:
            peer._part()
            self.peer, peer.peer = peer, self
            self.forward, peer.forward = peer.send, self.send

    def _part(self) -> None:
        peer = self.peer
        if peer is not None:
            self.take_back()
            peer.peer = peer.forward = None
            self.peer = self.forward = None

    @property
    def settled(self) -> bool:
        """RTP flows between two whose sources are known for good."""
        peer = self.peer
        heard = self.rtp and self.reception.packets > 0
        return heard and self.locked and self.forward is not None and peer is not None and peer.locked

    def addresses(self) -> tuple[Address, Address]:
        """Ours and the latched one."""
        assert self.latch.remote is not None
        return self.sock.getsockname()[:2], self.latch.remote

    def take_back(self) -> None:
        """From the kernel, both directions."""
        if self.lent is not None:
            self.lent.end()
        peer = self.peer
        if peer is not None and peer.lent is not None:
            peer.lent.end()

    def listen(self, ear: Send | None) -> None:
        """Give what comes in to `ear` instead of a peer, until it is bridged again; None: to nobody."""
        self._part()
        self.forward = ear

    def take(self, now: float) -> list[bytes]:
        """Read while the latch is not locked: what came from the right source. Raises OSError."""
        data, source = self.sock.recvfrom(DATAGRAM)
        if not self._accept(data, source, now):
            self.refused += 1
            return []
        if self.latch.phase is not Phase.LOCKED:
            return [data]
        self._connect()
        return [data, *self._queued()] if self.locked else [data]

    def _accept(self, data: bytes, source: Address, now: float) -> bool:
        plausible = not self.rtp or classify(data) is not Kind.OTHER
        before = self.latch.phase
        accepted = self.latch.accept(source[:2], plausible, now)
        if self.latch.phase is not before:
            self._settle()
        return accepted

    def _queued(self) -> list[bytes]:
        """What waited in the socket when it was connected: strangers' packets may still be among it."""
        found: list[bytes] = []
        while True:
            try:
                data, source = self.sock.recvfrom(DATAGRAM)
            except OSError:
                return found
            if source[:2] == self.latch.remote:
                found.append(data)
            else:
                self.refused += 1

    def _connect(self) -> None:
        remote = self.latch.remote
        assert remote is not None
        try:
            self.sock.connect(remote)
        except OSError:         # no route back: go on refusing strangers by hand
            return
        self.locked = True
        self._settle()

    def _disconnect(self) -> None:
        """Back to an unconnected socket on the same port; the socket module has no word for AF_UNSPEC."""
        self.locked = False
        if _libc.connect(self.fileno, _AF_UNSPEC, len(_AF_UNSPEC)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def _settle(self) -> None:
        self.take_back()
        if self.muted or self.latch.remote is None:
            self.send = None
        else:
            self.send = self.sock.send if self.locked else self._send_to
        if self.peer is not None:
            self.peer.forward = self.send

    def _send_to(self, data: bytes) -> None:
        remote = self.latch.remote
        if remote is not None:
            self.sock.sendto(data, remote)
