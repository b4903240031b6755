"""A client of rtpengine's ng control protocol over UDP: a cookie, a space, a bencoded dictionary.

Requests are repeated with their cookie, which the daemon knows again, and given up in the end. It needs no asyncio
task: a request is a future. Control over TCP and web sockets is not spoken.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping

from pbxcore.media import bencode
from pbxcore.media.backend import NoRoom

REPEATS = (0.2, 0.4, 0.8)     # seconds to wait for an answer before each repetition, and before giving up
PING_SECONDS = 2.0
MISSED_PINGS = 2              # so many pings that were given up make a daemon dead

Words = dict[str, bencode.Value]


class NoAnswer(NoRoom):
    """The daemon did not answer in time."""


class _Request:
    __slots__ = ("data", "future", "timer", "tries")

    def __init__(self, data: bytes, future: asyncio.Future[Words]) -> None:
        self.data = data
        self.future = future
        self.tries = 0
        self.timer: asyncio.TimerHandle | None = None


def parse_address(spec: str) -> tuple[str, int]:
    """ "udp:127.0.0.1:2223", "[::1]:2223". Raises ValueError."""
    host, colon, port = spec.removeprefix("udp:").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError(f"not an rtpengine's address: {spec!r} (udp:127.0.0.1:2223)")
    return host, int(port)


class Daemon(asyncio.DatagramProtocol):
    """One rtpengine. `alive` is what its pings say; `on_dead` is called each time it ceases to be."""

    def __init__(self, spec: str, on_dead: Callable[[Daemon], None]) -> None:
        self.spec = spec
        self.alive = False
        self._address = parse_address(spec)
        self._on_dead = on_dead
        self._missed = 0
        self._requests: dict[bytes, _Request] = {}
        self._prefix = secrets.token_hex(6)      # the daemon keeps answers by cookie, from before our start too
        self._count = 0
        self._ping_timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Open the socket and start to ping. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        transport, _ = await self._loop.create_datagram_endpoint(lambda: self, remote_addr=self._address)
        self._transport: asyncio.DatagramTransport = transport

    def close(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        for request in self._requests.values():
            if request.timer is not None:
                request.timer.cancel()
            if not request.future.done():
                request.future.set_exception(NoAnswer("closed"))
                request.future.exception()      # nobody needs to have waited for it
        self._requests.clear()
        self._transport.close()

    def request(self, words: Mapping[str, bencode.Encodable]) -> asyncio.Future[Words]:
        """Send a command. The future raises NoAnswer when the daemon stays silent."""
        self._count += 1
        cookie = f"{self._prefix}{self._count}".encode()
        request = _Request(cookie + b" " + bencode.encode(words), self._loop.create_future())
        self._requests[cookie] = request
        self._send(cookie)
        return request.future

    def _send(self, cookie: bytes) -> None:
        request = self._requests.get(cookie)
        if request is None:
            return
        if request.tries == len(REPEATS):
            del self._requests[cookie]
            if not request.future.done():
                request.future.set_exception(NoAnswer(f"rtpengine at {self.spec} does not answer"))
                request.future.exception()      # told to whoever waits; a command sent without waiting is no error
            return
        self._transport.sendto(request.data)
        request.timer = self._loop.call_later(REPEATS[request.tries], self._send, cookie)
        request.tries += 1

    def datagram_received(self, data: bytes, addr: object) -> None:
        cookie, _, body = data.partition(b" ")
        request = self._requests.pop(cookie, None)
        if request is None:
            return                              # an answer that came after we gave up, or twice
        if request.timer is not None:
            request.timer.cancel()
        if request.future.done():
            return
        try:
            words = bencode.decode(body)
        except bencode.BencodeError as error:
            words = {"result": "error", "error-reason": f"unreadable answer: {error}"}
        request.future.set_result(words if isinstance(words, dict) else {"result": "error"})

    def error_received(self, exc: Exception) -> None:
        """Nobody listens on the daemon's port: the repetitions find that out."""

    def connection_lost(self, exc: Exception | None) -> None:
        pass

    async def ping(self) -> bool:
        """Ask whether it lives, now and then every few seconds."""
        pong = self.request({"command": "ping"})
        pong.add_done_callback(self._on_pong)
        try:
            await pong
        except NoAnswer:
            return False
        return True

    def _on_pong(self, pong: asyncio.Future[Words]) -> None:
        if self._transport.is_closing() or pong.cancelled():
            return
        if pong.exception() is None:
            self._missed = 0
            self.alive = True
        else:
            self._missed += 1
            if self.alive and self._missed >= MISSED_PINGS:
                self.alive = False
                self._on_dead(self)
        self._ping_timer = self._loop.call_later(PING_SECONDS, self._ping_again)

    def _ping_again(self) -> None:
        self.request({"command": "ping"}).add_done_callback(self._on_pong)
