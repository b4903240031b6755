"""The load's audio: RTP both ways while a call is up, 50 packets a second of 172 bytes (RFC 3550, G.711, 20 ms).

Every stream has its own SSRC and every packet the time it was sent, so that what arrives is counted to its stream and
its delay is known. One socket a side for all calls: what is measured is the relay, not this process' sockets. A stream
ends before the hang-up does, so that whatever is missing at the end was lost and not cut off.
"""

from __future__ import annotations

import heapq
import socket
import struct
import time
from typing import Any

from bench import wire
from bench.figures import percentiles

PERIOD = 0.02
SAMPLES = 160
PACKET = 172
BURST = 64
_HEAD = struct.Struct(">BBHIId")     # V=2, payload type 0, sequence number, timestamp, SSRC, and when it was sent
_SEEN = struct.Struct(">2xH4xId")


class Stream:
    """One direction of one call."""

    __slots__ = ("first", "received", "sent", "sock", "target", "until")

    def __init__(self, sock: socket.socket, target: tuple[str, int], until: float) -> None:
        self.sock = sock
        self.target = target
        self.until = until
        self.sent = self.received = 0
        self.first = 0          # number of the first packet that was heard


class Audio:
    """All streams of one run."""

    def __init__(self, caller: str, callee: str) -> None:
        self.sockets = wire.udp_socket(caller, 0), wire.udp_socket(callee, 0)
        self.caller_port, self.callee_port = (int(sock.getsockname()[1]) for sock in self.sockets)
        self._streams: dict[int, Stream] = {}
        self._heap: list[tuple[float, int, Stream]] = []
        self._out = bytearray(PACKET)
        self._in = bytearray(2048)
        self._delays: list[float] = []
        self._silent = 0            # sides that were given no address to send to
        self._unknown = 0
        self._late = 0.0

    def caller_talks(self, number: int, target: tuple[str, int] | None, now: float, until: float) -> None:
        """`number` is any that the caller's calls are told apart by; None for a target counts as a silent side."""
        self._start(self.sockets[0], number << 1, target, now, until)

    def callee_talks(self, number: int, target: tuple[str, int] | None, now: float, until: float) -> None:
        self._start(self.sockets[1], number << 1 | 1, target, now, until)

    def _start(
        self, sock: socket.socket, ssrc: int, target: tuple[str, int] | None, now: float, until: float
    ) -> None:
        if target is None:
            self._silent += 1
            return
        stream = self._streams[ssrc] = Stream(sock, target, until)
        heapq.heappush(self._heap, (now, ssrc, stream))

    def next_at(self) -> float:
        """When the next packet is due; infinity when nobody talks."""
        return self._heap[0][0] if self._heap else float("inf")

    def send(self, now: float) -> None:
        """What is due, at most a burst: the calls' own messages go between."""
        heap, out = self._heap, self._out
        for _ in range(BURST):
            if not heap or heap[0][0] > now:
                return
            due, ssrc, stream = heap[0]
            sent_at = time.perf_counter()
            self._late = max(self._late, sent_at - due)
            number = stream.sent
            _HEAD.pack_into(out, 0, 0x80, 0, number & 0xFFFF, number * SAMPLES & 0xFFFFFFFF, ssrc, sent_at)
            stream.sock.sendto(out, stream.target)
            stream.sent = number + 1
            due += PERIOD
            if due < stream.until:
                heapq.heapreplace(heap, (due, ssrc, stream))
            else:
                heapq.heappop(heap)

    def read(self, sock: socket.socket) -> None:
        """Count what has arrived, at most a burst."""
        into, receive, delays, streams = self._in, sock.recv_into, self._delays, self._streams
        for _ in range(BURST):
            try:
                size = receive(into)
            except BlockingIOError:
                return
            if size < _SEEN.size:
                self._unknown += 1
                continue
            number, ssrc, sent_at = _SEEN.unpack_from(into)
            stream = streams.get(ssrc)
            if stream is None or stream.sock is sock:       # of nobody, or back to its sender
                self._unknown += 1
                continue
            if not stream.received:
                stream.first = number
            stream.received += 1
            delays.append((time.perf_counter() - sent_at) * 1000)

    def figures(self) -> dict[str, Any]:
        """Packets sent, lost (of their own stream; those before the first that was heard apart), doubled; delay."""
        streams = self._streams.values()
        return {
            "streams": len(streams),
            "silent": self._silent,
            "sent": sum(stream.sent for stream in streams),
            "received": sum(stream.received for stream in streams),
            "lost": sum(max(0, stream.sent - stream.received) for stream in streams),
            "lost_at_start": sum(stream.first for stream in streams if stream.received),
            "doubled": sum(max(0, stream.received - stream.sent) for stream in streams),
            "deaf": sum(1 for stream in streams if stream.sent and not stream.received),
            "unknown": self._unknown,
            "late_ms": self._late * 1000,
            "delay_ms": percentiles(self._delays),
        }
