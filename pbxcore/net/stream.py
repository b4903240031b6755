"""SIP over connections (RFC 3261 section 18.3): TCP, TLS, WebSocket and secure WebSocket, each with the same bounds,
idle time-outs and keep-alives (RFC 5626 section 4.4.1, RFC 7118 section 6).

A connection is an asyncio protocol that reads at most 16 kB a turn of the loop, so that one flooding peer cannot keep
the others waiting. What arrives passes `tls.TlsWire` where there is TLS, then the framer or `websocket.WebSocket`.
A connection counts from its first octet: half-open handshakes have the same limits as everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from typing import TYPE_CHECKING, cast

from pbxcore.net.flow import plain_host
from pbxcore.net.tls import CertificateFault, PeerRefused, TlsWire
from pbxcore.net.websocket import WebSocket
from pbxcore.sip.framing import FramingError, KeepAlive, StreamFramer

if TYPE_CHECKING:
    from pbxcore.net.endpoint import Endpoint

PING, PONG = b"\r\n\r\n", b"\r\n"
PING_SECONDS = (95.0, 120.0)   # RFC 5626 section 4.4: between two pings of the side that opened the connection
PONG_SECONDS = 10.0            # section 4.4.1: without the pong by then the flow has failed
NEVER = float("inf")
SECURE = ("TLS", "WSS")
WEB = ("WS", "WSS")
# A peer that is gone without a word: found by the kernel, seconds. Phones behind a NAT are kept open by it, too.
KERNEL = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4), ("TCP_USER_TIMEOUT", 60_000))


class StreamFlow(asyncio.BufferedProtocol):
    """One connection. `local` of one that we opened names our listening port: answers find us when it has closed.

    `domain` is whom the peer of a TLS connection that we opened has proved to be, `key` what finds it again; with
    `brief` it is given up soon after its last message.
    """

    __slots__ = (
        "_endpoint", "_framer", "_pending", "_pending_size", "_ping_at", "_pong_at", "_ponged", "_proven", "_ready",
        "_stalled_at", "_tls", "_web", "_writer", "brief", "closed", "deadline", "domain", "key", "local", "reliable",
        "remote", "transport", "was_open",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: Endpoint,
        transport: str = "TCP",
        *,
        local: tuple[str, int] = ("", 0),
        remote: tuple[str, int] = ("", 0),
        domain: str = "",
    ) -> None:
        self.transport = transport
        self.reliable = True
        self.local = local
        self.remote = remote
        self.domain = domain
        self.key: tuple[object, ...] = ()
        self.brief = False
        self.was_open = False
        self.closed = False
        self._proven = bool(remote[0])     # we called this peer; one that calls us must say something sensible first
        limits = endpoint.limits
        self.deadline = endpoint.clock() + (limits.idle_seconds if self._proven else limits.first_message_seconds)
        self._endpoint = endpoint
        self._framer = StreamFramer()
        self._tls: TlsWire | None = None
        self._web: WebSocket | None = None
        self._writer: asyncio.Transport | None = None
        self._ready = False                # handshakes are done: messages may go out
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._stalled_at: float | None = None   # when the message that is on its way must be complete
        self._ping_at = NEVER
        self._pong_at = NEVER
        self._ponged = False               # this peer answers pings: it can be held to it

    # The Flow protocol

    def send(self, data: bytes) -> None:
        """Goes out at the end of this wake-up, or when the connection stands. Never raises."""
        self._endpoint.ring.note(True, self, data)
        self._put(data)

    def _put(self, data: bytes) -> None:
        if self.closed:
            return
        if not self._ready and self._pending_size + len(data) > self._endpoint.limits.write_buffer:
            self._endpoint.counters.send_drops += 1
            return
        if not self._pending:
            self._endpoint.mark(self)
        self._pending.append(data)
        self._pending_size += len(data)

    def flush(self) -> None:
        if not self._ready:   # still connecting, or shaking hands
            return
        messages = self._pending
        if self._web is not None:
            data = b"".join([self._web.wrap(message) for message in messages])
        else:
            data = b"".join(messages)
        messages.clear()
        self._pending_size = 0
        if not data or self.closed:
            return
        self._say(data)

    def _write(self, data: bytes) -> None:
        writer = self._writer
        if writer is None or not data:
            return
        if writer.get_write_buffer_size() > self._endpoint.limits.write_buffer:
            self._endpoint.counters.slow_closed += 1
            self.abort()
            return
        writer.write(data)

    def close(self) -> None:
        """Closes after what has been sent is out."""
        self.flush()
        self.closed = True
        if self._writer is None:
            return
        if self._web is not None:
            self._web.close()
            self._say(self._web.outgoing())
        if self._tls is not None:
            self._tls.close()
            self._write(self._tls.outgoing())
        self._writer.close()

    def abort(self) -> None:
        self.closed = True
        if self._writer is not None:
            self._writer.abort()

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def __repr__(self) -> str:
        return f"<{self.transport} {self.local} - {self.remote}{' closed' if self.closed else ''}>"

    # asyncio's side

    def secured_by(self, wire: TlsWire) -> None:
        """Before the connection is made: what it will speak TLS with."""
        self._tls = wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.Transport, transport)
        peer, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if peer is None or own is None or self.closed:   # reset before we got to it, or closed while connecting
            self.closed = True
            writer.abort()
            return
        if not self.remote[0]:
            self.remote = (plain_host(peer[0]), peer[1])
            self.local = (self._endpoint.shown(plain_host(own[0]), self.remote[0]), own[1])
            if not self._endpoint.streams.admit(self):
                self.closed = True
                writer.abort()
                return
            if not self._accepted():
                writer.abort()
                return
        else:
            self._called()
        _have_the_kernel_watch(writer)
        self._writer = writer
        if self._tls is not None:
            if self._tls.domain:
                self._tls.start()
                self._write(self._tls.outgoing())
        elif self._web is None:
            self._open()

    def _accepted(self) -> bool:
        """What a connection that was made to us speaks besides SIP. False when we have no certificate for it."""
        if self.transport in SECURE:
            try:
                self._tls = TlsWire(self._endpoint.certificates.server())
            except CertificateFault:   # listening needed one: cannot be
                self._endpoint.counters.tls_failures += 1
                self.closed = True
                return False
        if self.transport in WEB:
            self._web = WebSocket(self._endpoint.options.door)
        return True

    def _called(self) -> None:
        """A connection that we opened: TLS has as long to shake hands as TCP had to connect."""
        endpoint = self._endpoint
        if self._tls is not None:
            self.deadline = endpoint.clock() + endpoint.limits.connect_seconds

    def _open(self) -> None:
        """Handshakes are done."""
        endpoint = self._endpoint
        self._ready = self.was_open = True
        now = endpoint.clock()
        if self._proven:
            self.deadline = now + self._idle()
        if endpoint.options.keep_alive_seconds and not self.brief:
            if self._web is not None:
                self._ping_at = now + endpoint.options.keep_alive_seconds
            elif self._proven:
                self._ping_at = now + random.uniform(*PING_SECONDS)
        if self._pending:
            endpoint.mark(self)

    def _idle(self) -> float:
        limits = self._endpoint.limits
        return limits.brief_seconds if self.brief else limits.idle_seconds

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._endpoint.buffer

    def buffer_updated(self, nbytes: int) -> None:
        endpoint = self._endpoint
        data = bytes(memoryview(endpoint.buffer)[:nbytes])
        now = endpoint.begin()
        try:
            if self._tls is not None:
                data = self._decrypt(self._tls, data)
            if data:
                self._take(data, now)
            if self._tls is not None and self._tls.ended and not self.closed:
                self.close()
        finally:
            endpoint.end()

    def eof_received(self) -> bool:
        return False   # asyncio then closes, after what we have answered is out

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._writer = None
        self._pending.clear()
        self._endpoint.lost(self)
        self._tls = self._web = None   # they are full of references to themselves

    # TLS

    def _decrypt(self, wire: TlsWire, data: bytes) -> bytes:
        was = wire.established
        try:
            plain = wire.receive(data)
        except PeerRefused as refused:
            self._write(wire.outgoing())   # the alert
            self._endpoint.streams.refuse(self, str(refused))
            self.closed = True
            if self._writer is not None:
                self._writer.close()
            return b""
        self._write(wire.outgoing())
        if wire.established and not was and self._web is None:
            self._open()
        return plain

    def _say(self, data: bytes) -> None:
        """Octets of SIP or of the WebSocket, through TLS where there is some."""
        if data and self._tls is not None:
            try:
                self._tls.send(data)
            except PeerRefused:   # it has broken down while we were not looking
                self.abort()
                return
            data = self._tls.outgoing()
        self._write(data)

    # Messages

    def _take(self, data: bytes, now: float) -> None:
        endpoint = self._endpoint
        try:
            items = self._framer.feed(data) if self._web is None else self._unwrap(self._web, data)
        except FramingError as error:   # dealt with here: kept in a variable it would be a cycle of references
            endpoint.counters.unframed += 1
            self._take_all(error.messages, now)
            if not self.closed:
                endpoint.unreadable(error, self, now)
                self.close()
            return
        if items:
            self._take_all(items, now)
            self._stalled_at = None
            if self._proven:
                self.deadline = now + self._idle()
        elif self._stalled_at is None:
            self._stalled_at = now + endpoint.limits.message_seconds
            self.deadline = min(self.deadline, self._stalled_at)
        if self._web is not None and self._web.ended and not self.closed:
            self.close()

    def _unwrap(self, web: WebSocket, data: bytes) -> list[bytes | KeepAlive]:
        was = web.open
        items = web.feed(data)
        self._say(web.outgoing())
        if web.open and not was:
            self._open()
        elif web.ended and not web.open:
            self._endpoint.counters.websocket_refused += 1
        return items

    def _take_all(self, items: list[bytes | KeepAlive], now: float) -> None:
        for item in items:
            if self.closed:
                return
            self._take_one(item, now)

    def _take_one(self, item: bytes | KeepAlive, now: float) -> None:
        endpoint = self._endpoint
        self._pong_at = NEVER
        if isinstance(item, bytes):
            endpoint.counters.stream_messages_in += 1
            if endpoint.handle(item, self, now):
                self._proven = True
            return
        endpoint.counters.keep_alives += 1
        if item is KeepAlive.PING:
            self._put(PONG)
        else:
            self._ponged = True

    # Keep-alives

    def tend(self, now: float) -> bool:
        """Once a second: pings when it is time. False when the peer owes a pong for too long: the flow has failed
        (RFC 5626 section 4.4.1). A peer that has never answered a ping may not know them; the kernel watches it."""
        if now >= self._pong_at:
            return False
        if now >= self._ping_at and self._ready and not self.closed:
            endpoint = self._endpoint
            endpoint.counters.pings += 1
            if self._web is not None:
                self._ping_at = now + endpoint.options.keep_alive_seconds
                self._pong_at = min(self._pong_at, now + PONG_SECONDS)   # RFC 6455 section 5.5.2: it MUST
                self._web.ping()
                self._say(self._web.outgoing())
            else:
                self._ping_at = now + random.uniform(*PING_SECONDS)
                if self._ponged:
                    self._pong_at = min(self._pong_at, now + PONG_SECONDS)
                self._put(PING)
        return True


def _have_the_kernel_watch(writer: asyncio.Transport) -> None:
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    with contextlib.suppress(OSError):   # some systems refuse it on a connection that was reset meanwhile
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KERNEL:
            option = getattr(socket, name, None)   # Linux has them all
            if option is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
