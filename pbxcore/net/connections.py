"""The book of connections: who may connect, which connection leads to whom, and those that we open ourselves.

A connection is found again by transport, address and, of TLS, by whom it was opened to and by whose word (RFC 5923
section 8): one that was proved to be one domain never serves for another. Limits are those of all transports together.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from pbxcore.net.flow import NoFlow, destination, is_wildcard, source_towards
from pbxcore.net.outside import Outside
from pbxcore.net.stream import WEB, StreamFlow
from pbxcore.net.tls import CertificateFault, PeerRefused, TlsWire
from pbxcore.net.websocket import Door

if TYPE_CHECKING:
    from pbxcore.net.endpoint import Endpoint

log = structlog.get_logger("net")

CLOSE_SECONDS = 1.0     # how long closing waits for connections to drain
MOST_NARROW = 4096      # peers remembered that take no TCP

Key = tuple[str, str, int, str, str]   # transport, host, port, domain, file of CAs


@dataclass(frozen=True, slots=True)
class Options:
    """How an endpoint speaks: files of TLS (see `tls.Certificates`), the door of WebSocket, seconds between two
    keep-alives of ours to phones (0: none at all), whether large requests go by TCP, and who we are outside."""

    certificate: str = ""
    key: str = ""
    authorities: str = ""
    door: Door = field(default_factory=Door)
    keep_alive_seconds: float = 25.0
    large_by_tcp: bool = True
    outside: Outside | None = None   # a NAT router before us


class Connections:
    """All connections of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._flows: set[StreamFlow] = set()
        self._by_key: dict[tuple[object, ...], StreamFlow] = {}
        self._per_host: dict[str, int] = {}
        self._connecting: dict[StreamFlow, asyncio.Task[None]] = {}
        self._narrow: dict[tuple[str, int], float] = {}   # by address, until when it is not asked for TCP
        self._closed = False
        self._empty: asyncio.Event | None = None   # set while closing, when the last one is gone

    def __len__(self) -> int:
        return len(self._flows)

    # ---- finding and opening

    def flow_to(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        local: tuple[str, int] | None = None,
        domain: str = "",
        authorities: str = "",
        brief: bool = False,
    ) -> StreamFlow:
        """As `Endpoint.flow_to`; with `brief` a new one is given up soon. Raises NoFlow."""
        family, plain = destination(host, port)
        if transport != "TLS":
            domain = authorities = ""
        key: Key = (transport, plain, port, domain, authorities)
        flow = self._by_key.get(key)
        if flow is not None and not flow.closed and local in (None, flow.local):
            return flow
        if transport in WEB:
            raise NoFlow(f"{plain}:{port} has no WebSocket open, and only it can open one")
        if transport == "TLS" and not domain:
            raise NoFlow(f"{plain}:{port} has no TLS connection open, and there is no name to check one by")
        if transport not in ("TCP", "TLS"):
            raise NoFlow(f"transport {transport} is not served")
        if len(self._flows) >= self._endpoint.limits.connections:
            self._endpoint.counters.refused += 1
            raise NoFlow("too many connections are open")
        sock, own = self._socket(transport, family, plain, local)
        own = (self._endpoint.shown(own[0], plain), own[1])
        flow = StreamFlow(self._endpoint, transport, local=own, remote=(plain, port), domain=domain)
        flow.brief = brief
        self._add(flow, key)
        task = self._connecting[flow] = self._loop.create_task(self._connect(flow, sock, authorities))
        task.add_done_callback(lambda done: self._connected(flow, sock, done))
        return flow

    def _socket(
        self, transport: str, family: int, host: str, local: tuple[str, int] | None
    ) -> tuple[socket.socket, tuple[str, int]]:
        """A socket to connect with, and the address that we can be reached at over this transport."""
        listener = self._endpoint.choose(transport, family, host, local)
        if listener is None and local is not None:
            raise NoFlow(f"no {transport} listener at {local[0]}:{local[1]}")
        source = source_towards(family, host) if listener is None or is_wildcard(listener.host) else listener.host
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise NoFlow(f"no socket: {error.strerror}") from None
        try:
            sock.setblocking(False)
            if listener is None or not is_wildcard(listener.host):
                sock.bind((source, 0))
            return sock, (source, listener.port if listener is not None else sock.getsockname()[1])
        except OSError as error:
            sock.close()
            raise NoFlow(f"cannot send from {source}: {error.strerror}") from None

    async def _connect(self, flow: StreamFlow, sock: socket.socket, authorities: str) -> None:
        limits = self._endpoint.limits
        async with asyncio.timeout(limits.brief_connect_seconds if flow.brief else limits.connect_seconds):
            if flow.domain:   # reads the CAs' files when it is the first of its kind
                context = await self._loop.run_in_executor(None, self._endpoint.certificates.client, authorities)
                flow.secured_by(TlsWire(context, flow.domain))
            await self._loop.sock_connect(sock, flow.remote)
            await self._loop.create_connection(lambda: flow, sock=sock)

    def _connected(self, flow: StreamFlow, sock: socket.socket, task: asyncio.Task[None]) -> None:
        del self._connecting[flow]
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            self._endpoint.counters.connected += 1
            return
        self._endpoint.counters.connect_failures += 1   # refused, unreachable, too slow, or we are closing
        if isinstance(error, CertificateFault | PeerRefused):
            self.refuse(flow, str(error))
        sock.close()
        flow.closed = True
        self._endpoint.lost(flow)

    def refuse(self, flow: StreamFlow, reason: str) -> None:
        """TLS came to nothing. Of a connection that we opened people are told; strangers shall not fill the log."""
        self._endpoint.counters.tls_failures += 1
        if flow.domain:
            log.warning("no TLS", domain=flow.domain, address=f"{flow.remote[0]}:{flow.remote[1]}", reason=reason)

    # ---- large requests (RFC 3261 section 18.1.1)

    def wide(self, remote: tuple[str, int]) -> StreamFlow | None:
        """TCP to where a datagram would have gone; None when that is known to lead nowhere, or is not wanted."""
        endpoint = self._endpoint
        if not endpoint.options.large_by_tcp:
            return None
        if remote in self._narrow:
            if endpoint.clock() < self._narrow[remote]:
                return None
            del self._narrow[remote]
        if not any(listener.transport == "TCP" for listener in endpoint.listeners):   # whose answers find us later
            return None
        try:
            flow = self.flow_to("TCP", *remote, brief=True)
        except NoFlow:
            return None
        endpoint.counters.large_by_tcp += 1
        return flow

    def narrow(self, remote: tuple[str, int], seconds: float) -> None:
        """This peer takes no TCP: it failed, or cannot be (a phone behind a NAT)."""
        self._narrow.pop(remote, None)
        if len(self._narrow) >= MOST_NARROW:
            del self._narrow[next(iter(self._narrow))]
        self._narrow[remote] = self._endpoint.clock() + seconds

    # ---- coming and going

    def admit(self, flow: StreamFlow) -> bool:
        """A stranger has connected: may he stay?"""
        limits = self._endpoint.limits
        if (
            self._closed
            or len(self._flows) >= limits.connections
            or self._per_host.get(flow.remote[0], 0) >= limits.connections_per_address
        ):
            self._endpoint.counters.refused += 1
            return False
        self._endpoint.counters.accepted += 1
        self._add(flow, (flow.transport, *flow.remote, "", ""))
        return True

    def _add(self, flow: StreamFlow, key: Key) -> None:
        host = flow.remote[0]
        flow.key = key
        self._flows.add(flow)
        self._by_key[key] = flow
        self._per_host[host] = self._per_host.get(host, 0) + 1

    def remove(self, flow: StreamFlow) -> bool:
        """False for one that was not admitted: it is nobody's."""
        if flow not in self._flows:
            return False
        self._flows.discard(flow)
        if self._by_key.get(flow.key) is flow:
            del self._by_key[flow.key]
        host = flow.remote[0]
        self._per_host[host] -= 1
        if not self._per_host[host]:
            del self._per_host[host]
        if flow.brief and not flow.was_open:
            self.narrow(flow.remote, self._endpoint.limits.narrow_seconds)
        if self._empty is not None and not self._flows:
            self._empty.set()
        return True

    def sweep(self, now: float) -> None:
        """Once a second: those past their deadline, those that owe a pong, and those that are to be pinged."""
        counters = self._endpoint.counters
        for flow in [flow for flow in self._flows if flow.is_open]:
            if flow.deadline <= now:
                counters.idle_closed += 1
                flow.abort()
            elif not flow.tend(now):
                counters.pong_timeouts += 1
                flow.abort()

    async def close(self) -> None:
        """They get a second to drain."""
        self._closed = True
        tasks = list(self._connecting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for flow in list(self._flows):
            flow.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), CLOSE_SECONDS)
        for flow in list(self._flows):
            flow.abort()
        await self._drained()

    async def _drained(self) -> None:
        """Until asyncio has told the end of every one."""
        if self._flows:
            self._empty = asyncio.Event()
            await self._empty.wait()
