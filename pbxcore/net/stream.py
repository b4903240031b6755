"""SIP over TCP (RFC 3261 section 18.3): framing, keep-alives (RFC 5626 section 4.4.1), bounds and idle time-outs.

A connection is an asyncio protocol that reads at most 16 kB a turn of the loop, so that one flooding peer cannot keep
the others waiting. Not here: TLS and WebSocket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, cast

from pbxcore.net.flow import plain_host
from pbxcore.sip.framing import FramingError, KeepAlive, StreamFramer

if TYPE_CHECKING:
    from pbxcore.net.endpoint import Endpoint

PONG = b"\r\n"


class StreamFlow(asyncio.BufferedProtocol):
    """One connection. `local` of one that we opened names our listening port: answers find us when it has closed."""

    __slots__ = (
        "_endpoint", "_framer", "_pending", "_pending_size", "_proven", "_stalled_at", "_writer",
        "closed", "deadline", "local", "reliable", "remote", "transport",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        local: tuple[str, int] = ("", 0),
        remote: tuple[str, int] = ("", 0),
    ) -> None:
        self.transport = "TCP"
        self.reliable = True
        self.local = local
        self.remote = remote
        self.closed = False
        self._proven = bool(remote[0])     # we called this peer; one that calls us must say something sensible first
        limits = endpoint.limits
        self.deadline = endpoint.clock() + (limits.idle_seconds if self._proven else limits.first_message_seconds)
        self._endpoint = endpoint
        self._framer = StreamFramer()
        self._writer: asyncio.Transport | None = None
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._stalled_at: float | None = None   # when the message that is on its way must be complete

    # The Flow protocol

    def send(self, data: bytes) -> None:
        """Goes out with the burst at the end of this wake-up, or when the connection stands. Never raises."""
        if self.closed:
            return
        if self._writer is None and self._pending_size + len(data) > self._endpoint.limits.write_buffer:
            self._endpoint.counters.send_drops += 1
            return
        if not self._pending:
            self._endpoint.mark(self)
        self._pending.append(data)
        self._pending_size += len(data)
        if data is not PONG:
            self._endpoint.ring.note(True, self, data)

    def flush(self) -> None:
        writer = self._writer
        if writer is None:   # still connecting
            return
        data = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        if not data or self.closed:
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
        if self._writer is not None:
            self._writer.close()

    def abort(self) -> None:
        self.closed = True
        if self._writer is not None:
            self._writer.abort()

    @property
    def is_open(self) -> bool:
        return self._writer is not None

    def __repr__(self) -> str:
        return f"<TCP {self.local} - {self.remote}{' closed' if self.closed else ''}>"

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.Transport, transport)
        peer, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        if peer is None or own is None or self.closed:   # reset before we got to it, or closed while connecting
            self.closed = True
            writer.abort()
            return
        if not self.remote[0]:
            self.remote = (plain_host(peer[0]), peer[1])
            self.local = (plain_host(own[0]), own[1])
            if not self._endpoint.admit(self):
                self.closed = True
                writer.abort()
                return
        sock = writer.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):   # some systems refuse it on a connection that was reset meanwhile
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._writer = writer
        if self._pending:
            self._endpoint.mark(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._endpoint.buffer

    def buffer_updated(self, nbytes: int) -> None:
        endpoint = self._endpoint
        data = bytes(memoryview(endpoint.buffer)[:nbytes])
        now = endpoint.begin()
        try:
            self._take(data, now)
        finally:
            endpoint.end()

    def eof_received(self) -> bool:
        return False   # asyncio then closes, after what we have answered is out

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._writer = None
        self._pending.clear()
        self._endpoint.lost(self)

    # Messages

    def _take(self, data: bytes, now: float) -> None:
        endpoint = self._endpoint
        try:
            items = self._framer.feed(data)
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
                self.deadline = now + endpoint.limits.idle_seconds
        elif self._stalled_at is None:
            self._stalled_at = now + endpoint.limits.message_seconds
            self.deadline = min(self.deadline, self._stalled_at)

    def _take_all(self, items: list[bytes | KeepAlive], now: float) -> None:
        for item in items:
            if self.closed:
                return
            self._take_one(item, now)

    def _take_one(self, item: bytes | KeepAlive, now: float) -> None:
        endpoint = self._endpoint
        if isinstance(item, bytes):
            endpoint.counters.stream_messages_in += 1
            if endpoint.handle(item, self, now):
                self._proven = True
            return
        endpoint.counters.keep_alives += 1
        if item is KeepAlive.PING:
            self.send(PONG)
