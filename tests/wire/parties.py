"""Parties of a call on real UDP sockets, for the tests of the relay and of rtpengine."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from typing import NamedTuple

from pbxcore.hooks import StreamStats
from pbxcore.media import rtp
from pbxcore.media.rewrite import read

WAIT = 30.0


class Line(NamedTuple):
    """Where a media line says that its RTP is to go."""

    host: str
    port: int


def udp(host: str, port: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, port))
    return sock


def free_range(pairs: int, host: str = "127.0.0.1") -> tuple[int, int]:
    """A range of ports that nobody uses, first and last; another run of the tests may be going on beside this one."""
    while True:
        first = random.randrange(10_000, 12_000 - 2 * pairs, 2)
        try:
            for port in range(first, first + 2 * pairs):
                udp(host, port).close()
        except OSError:
            continue
        return first, first + 2 * pairs - 1


async def receive(sock: socket.socket) -> bytes:
    """The next datagram. Raises TimeoutError."""
    async with asyncio.timeout(WAIT):
        return await asyncio.get_running_loop().sock_recv(sock, 4096)


def silent(sock: socket.socket) -> bool:
    """Nothing has arrived. Only meaningful once something later has been seen to arrive elsewhere."""
    try:
        sock.recv(4096)
    except BlockingIOError:
        return True
    return False


def description(host: str, port: int, *attributes: str, more: tuple[str, ...] = ()) -> bytes:
    """An SDP with one audio line."""
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0", f"o=x 1 1 IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0", f"m=audio {port} RTP/AVP 0",
        "a=rtpmap:0 PCMU/8000", *(f"a={attribute}" for attribute in attributes), *more, "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


class Party:
    """A phone with one RTP and one RTCP socket. `ssrc` tells its packets from everybody else's."""

    def __init__(self, host: str, ssrc: int) -> None:
        self.host = host
        self.ssrc = ssrc
        self.sequence = 100
        while True:
            self.rtp = udp(host)
            self.port = self.rtp.getsockname()[1]
            try:
                self.rtcp = udp(host, self.port + 1)
                break
            except (OSError, OverflowError):
                self.rtp.close()

    def close(self) -> None:
        self.rtp.close()
        self.rtcp.close()

    def sdp(self, *attributes: str, host: str = "", port: int | None = None, more: tuple[str, ...] = ()) -> bytes:
        """Offer or answer: one audio line with `attributes`, then the lines `more`."""
        return description(host or self.host, self.port if port is None else port, *attributes, more=more)

    def packet(self) -> bytes:
        self.sequence += 1
        return rtp.build(0, self.sequence, 160 * self.sequence, self.ssrc, bytes(160))

    def speak(self, to: Line, sock: socket.socket | None = None) -> bytes:
        """Send one packet to the relay, by the SDP that this party was given."""
        data = self.packet()
        (sock or self.rtp).sendto(data, (to.host, to.port))
        return data

    async def hears(self, data: bytes) -> bool:
        """Whether the next RTP packet to arrive is this one."""
        return await receive(self.rtp) == data


def line(sdp: bytes, index: int = 0) -> Line:
    body = read(sdp)
    return Line(body.parts[index].host, body.ports[index])


class Heard:
    """A media listener that keeps what it hears."""

    def __init__(self) -> None:
        self.timed_out: list[str] = []
        self.lost: list[str] = []
        self.deleted: dict[str, tuple[StreamStats, StreamStats]] = {}
        self.played: list[int] = []
        self.digits = ""
        self.recorded: list[float] = []

    def media_timed_out(self, call_id: str) -> None:
        self.timed_out.append(call_id)

    def media_lost(self, call_id: str) -> None:
        self.lost.append(call_id)

    def media_deleted(self, call_id: str, from_a: StreamStats, from_b: StreamStats) -> None:
        self.deleted[call_id] = (from_a, from_b)

    def media_played(self, call_id: str, number: int) -> None:
        self.played.append(number)

    def media_digit(self, call_id: str, digit: str) -> None:
        self.digits += digit

    def media_recorded(self, call_id: str, seconds: float) -> None:
        self.recorded.append(seconds)

    async def until(self, condition: Callable[[], object], seconds: float = WAIT) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.005)

    async def statistics(self, call_id: str) -> tuple[StreamStats, StreamStats]:
        await self.until(lambda: call_id in self.deleted)
        return self.deleted[call_id]
