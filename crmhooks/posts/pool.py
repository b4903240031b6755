"""The connections to one server of hooks: at most so many, kept while they are of use, one request on each at a time.

A request that a connection swallowed is sent once more, on a new one, if nothing of an answer came: a server that
closes a kept connection at this very moment looks the same as one that hangs up. Standard Webhooks makes that safe,
because the message keeps its id. Nothing else is sent twice. Proxies of the environment are not asked.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
import sys

# What asyncio's own create_connection races addresses with (RFC 8305); uvloop's does not race.
from asyncio.staggered import staggered_race
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, zip_longest
from typing import Any, cast

from crmhooks.posts.answer import BadAnswer, Broken, Reader

CONNECTIONS = 32
IDLE_SECONDS = 60.0
MOST_SECONDS = 15.0         # a request, with everything: longer than any call or notice waits
NEXT_ADDRESS = 0.25         # seconds until another address is tried beside the first


class CannotConnect(Exception):
    """Nobody to send to; the message says why."""


class _Gone(Broken):
    """The connection ended, and nothing of an answer had come."""


class Pool:
    """`host` is a name or an address without brackets; with `tls`, it must be in the server's certificate."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, most: int) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._most = most                               # octets of an answer's body
        self._places = asyncio.Semaphore(CONNECTIONS)   # of requests under way
        self._idle: list[_Connection] = []              # the last one used is used next; those in front get old
        self._open: set[_Connection] = set()

    async def post(self, request: bytes) -> Reader:
        """The answer, all of it if it is 2xx. Raises CannotConnect, BadAnswer, and TimeoutError after MOST_SECONDS."""
        async with asyncio.timeout(MOST_SECONDS), self._places:
            try:
                return await self._ask(self._kept() or await self._dial(), request)
            except _Gone:
                self._drop_idle()       # what one of them met the others meet, and there is room for a new one
                return await self._ask(await self._dial(), request)

    async def close(self) -> None:
        """Nobody waits for an answer any more."""
        for connection in self._open:
            connection.abort()
        if self._open:
            await asyncio.wait([connection.lost for connection in self._open], timeout=1.0)

    async def _ask(self, connection: _Connection, request: bytes) -> Reader:
        try:
            reader = await connection.ask(request, self._most)
        except BaseException:           # also when nobody waits any more: what comes late must meet no other request
            connection.abort()
            raise
        if reader.keep and connection.usable():
            connection.since = connection.loop.time()
            self._idle.append(connection)
        else:
            connection.abort()
        return reader

    def _kept(self) -> _Connection | None:
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.loop.time() - connection.since > IDLE_SECONDS:
                connection.abort()
                self._drop_idle()       # they were idle for longer
            elif connection.usable() and not connection.readable():
                return connection
            else:
                connection.abort()
        return None

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().abort()

    async def _dial(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            reached = await _reach([(family, address) for family, _, _, _, address in found])
            _, made = await loop.create_connection(
                partial(_Connection, loop, self._open),
                sock=reached,
                ssl=self._tls,
                server_hostname=None if self._tls is None else self._host,
            )
        except (OSError, UnicodeError) as error:
            raise CannotConnect(str(getattr(error, "strerror", None) or error) or type(error).__name__) from None
        return made


class _Connection(asyncio.Protocol):
    """One of them: idle, or with one request on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, among: set[_Connection]) -> None:
        self.loop = loop
        self.since = 0.0                                # of the loop's clock: idle since then
        self.lost: asyncio.Future[None] = loop.create_future()
        self._among = among
        self._transport: asyncio.Transport | None = None    # None: not made yet, or to be used no more
        self._reader: Reader | None = None              # of the request that is on it
        self._answered: asyncio.Future[Reader] | None = None
        self._fault: BadAnswer | None = None            # what it did while nobody asked

    def usable(self) -> bool:
        """It is open, and all that was sent on it has left: a server may answer before it has read its request."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not transport.get_write_buffer_size()

    def readable(self) -> bool:
        """Something has come that the loop has not seen yet: its end, or what nobody asked for."""
        sock: socket.socket | None = cast(asyncio.Transport, self._transport).get_extra_info("socket")
        if sock is None:
            return False
        if sys.platform == "win32":
            return bool(select.select([sock], [], [], 0)[0])
        poll = select.poll()
        poll.register(sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def ask(self, request: bytes, most: int) -> Reader:
        """The answer. Raises BadAnswer; whatever is raised, the connection is to be aborted."""
        if self._transport is None:
            raise self._fault or _Gone("the connection ended")
        self._reader = Reader(most)
        self._answered = self.loop.create_future()
        self._transport.write(request)
        try:
            return await self._answered
        finally:
            self._reader = self._answered = None

    def abort(self) -> None:
        """Close it at once. Whoever waits for an answer is told that there will be none."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
        self._end(Broken("the connection was closed"))

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._among.add(self)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None or reader.done:
            if reader is None:
                self._fault = Broken("the server spoke before it was asked")
                self.abort()
            else:
                reader.keep = False
            return
        try:
            reader.feed(data)
        except BadAnswer as error:
            self._end(error)
        else:
            if reader.done:
                self._end(None)

    def eof_received(self) -> None:
        self._over(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._among.discard(self)
        self._over(error)
        if not self.lost.done():
            self.lost.set_result(None)

    def _over(self, error: Exception | None) -> None:
        """Nothing more comes."""
        reader = self._reader
        if reader is None or self._answered is None or self._answered.done():
            return
        if not reader.began:
            return self._end(_Gone("the connection ended"))
        if error is not None:
            return self._end(Broken("the connection broke in the middle of it"))
        try:
            reader.end()
        except BadAnswer as fault:
            self._end(fault)
        else:
            self._end(None)

    def _end(self, fault: BadAnswer | None) -> None:
        """There is an answer, or there will be none."""
        answered = self._answered
        if answered is not None and not answered.done():
            if fault is not None:
                answered.set_exception(fault)
            else:
                answered.set_result(cast(Reader, self._reader))


async def _reach(addresses: list[tuple[int, Any]]) -> socket.socket:
    """A socket connected to the first address that answers; both families in turn (RFC 8305). Raises OSError."""
    by_family = [[one for one in addresses if one[0] == family] for family in dict.fromkeys(f for f, _ in addresses)]
    ordered = [one for one in chain.from_iterable(zip_longest(*by_family)) if one is not None]
    tries: list[Callable[[], Awaitable[socket.socket]]] = [partial(_connected, *one) for one in ordered]
    if len(tries) == 1:
        return await tries[0]()
    sock: socket.socket | None
    sock, _, faults = await staggered_race(tries, NEXT_ADDRESS)
    if sock is None:
        raise next((fault for fault in faults if isinstance(fault, OSError)), OSError("no address"))
    return sock


async def _connected(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
