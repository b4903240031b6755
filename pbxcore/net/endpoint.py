"""The pump: sockets and one timer around `pbxcore.sip.layer.Layer`, as asyncio wants them.

Datagrams leave when they are said. What a message (of a stream: a piece of it) or a due timer made us say on a stream
goes out together when that is handled. All of SIP's timers hang on one `loop.call_at`. Nothing that a stranger sends
raises past this file: what the parser refuses goes to `layer.receive_error`, and a fault of our own is logged and
counted while the loop goes on.

Does not resolve names (RFC 3263): every host is an IP address.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pbxcore.net.connections import Connections, Options
from pbxcore.net.flow import (
    Counters,
    Limits,
    ListenError,
    NoFlow,
    bound_socket,
    destination,
    is_wildcard,
    parse_spec,
    plain_host,
    source_towards,
    why_not,
)
from pbxcore.net.pressure import Pressure
from pbxcore.net.ring import BEGINNING, Ring
from pbxcore.net.stream import SECURE, StreamFlow
from pbxcore.net.tls import CertificateFault, Certificates
from pbxcore.net.udp import UdpFlow, UdpSocket
from pbxcore.sip import stun
from pbxcore.sip.errors import ParseError
from pbxcore.sip.message import parse

if TYPE_CHECKING:
    from pbxcore.sip.layer import Flow, Layer
    from pbxcore.sip.timers import Timers

log = logging.getLogger(__name__)

TICK = 0.01             # seconds between two firings of timers: SIP's shortest is half a second
SWEEP = 1.0             # seconds between two looks at the streams' deadlines
FORGET = 60.0           # seconds that a route or a UDP peer's local address is believed
LOG_EVERY = 1.0         # seconds between two tracebacks; all of them are counted
LOOK_AT_CERTIFICATES = 5.0   # seconds between two looks at their files
READ_SIZE = 16 * 1024


@dataclass(slots=True)
class Listener:
    """A bound address; `port` is the real one when 0 was asked for."""

    spec: str
    transport: str
    host: str
    port: int
    udp: UdpSocket | None = None
    server: asyncio.Server | None = None
    dual_stack: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport.lower()}:{host}:{self.port}"

    def reaches(self, family: int) -> bool:
        own = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        return own == family or self.dual_stack

    def close(self) -> None:
        if self.udp is not None:
            self.udp.close()
        if self.server is not None:
            self.server.close()


class Endpoint:
    """All sockets of the exchange. Made and used inside one running event loop.

    `timers = Timers(endpoint.wake_at)`, then `endpoint.attach(layer, timers)`, then `await endpoint.listen(...)`.
    """

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, limits: Limits | None = None, ring: Ring | None = None,
        options: Options | None = None,
    ) -> None:  # fmt: skip
        self.clock = clock
        self.limits = limits or Limits()
        self.options = options = options or Options()
        self.certificates = Certificates(options.certificate, options.key, options.authorities)
        self.streams = Connections(self)
        self.ring = Ring() if ring is None else ring
        self.counters = Counters()
        self.pressure = Pressure()
        self.buffer = bytearray(READ_SIZE)   # every stream reads into it and copies at once
        self.listeners: list[Listener] = []
        self._loop = asyncio.get_running_loop()
        self._layer: Layer | None = None
        self._timers: Timers | None = None
        self._wake: asyncio.TimerHandle | None = None
        self._wake_time = 0.0
        self._fired_at = float("-inf")
        self._busy = False
        self.unsent: list[StreamFlow] = []  # which have something to write
        self._flush_soon: asyncio.Handle | None = None
        self._routes: dict[tuple[str, str, int, tuple[str, int] | None], UdpFlow] = {}
        self._behind = ""
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._forget_at = 0.0
        self._since = time.time() - clock()   # when the clock said 0
        self._logged_at = float("-inf")
        self._looked_at = 0.0       # when the certificates' files were last looked at
        self._looking: asyncio.Future[None] | None = None
        self._closed = False
        self.lost_listeners: list[Callable[[Flow], None]] = []   # told of each connection that is gone, but at the end

    def attach(self, layer: Layer, timers: Timers) -> None:
        """Joins the two halves; timers started before are picked up."""
        self._layer = layer
        self._timers = timers
        first = timers.next_at()
        if first is not None:
            self.wake_at(first)
        self._forget_at = self.clock() + FORGET
        self._sweep_handle = self._loop.call_later(SWEEP, self._sweep)

    # Listening

    async def listen(self, spec: str) -> Listener:
        """Opens `udp:0.0.0.0:5060` or `tcp:[::1]:5060`; port 0 takes a free one. `[::]` takes IPv4 as well, unless a
        listener of ours has that port of 0.0.0.0 already. Raises ListenError."""
        transport, host, port = parse_spec(spec)
        dual_stack = host == "::" and not (port and self._listener(transport, "0.0.0.0", port))
        if host == "0.0.0.0" and port and (other := self._listener(transport, "::", port)) and other.dual_stack:
            raise ListenError(f"cannot listen on {spec}: {other} takes IPv4 as well; leave one of them out")
        sock = bound_socket(spec, transport, host, port, dual_stack=dual_stack)
        listener = Listener(spec, transport, host, sock.getsockname()[1], dual_stack=dual_stack)
        if transport == "UDP":
            listener.udp = UdpSocket(self, sock, self._loop)
        else:
            try:
                await self._serve(listener, sock)
            except OSError as error:   # SO_REUSEADDR lets a second program bind: it is `listen` that fails then
                sock.close()
                raise ListenError(why_not(spec, host, port, error)) from error
        self.listeners.append(listener)
        return listener

    async def _serve(self, listener: Listener, sock: socket.socket) -> None:
        transport = listener.transport
        if transport in SECURE:
            try:
                self.certificates.server()
            except CertificateFault as fault:
                sock.close()
                raise ListenError(f"cannot listen on {listener.spec}: {fault}") from None
        listener.server = await self._loop.create_server(lambda: StreamFlow(self, transport), sock=sock, backlog=512)

    def _listener(self, transport: str, host: str, port: int) -> Listener | None:
        for listener in self.listeners:
            if (listener.transport, listener.host, listener.port) == (transport, host, port):
                return listener
        return None

    # Flows to others

    def flow_to(
        self,
        transport: str,
        host: str,
        port: int,
        *,
        local: tuple[str, int] | None = None,
        domain: str = "",
        authorities: str = "",
    ) -> Flow:
        """A flow to an IP address. UDP is at hand at once; of TCP and TLS an open connection is taken, else one is
        opened in the background, and what is sent meanwhile waits (bounded). A connection that fails ends in
        `layer.flow_lost`. Of WebSocket, and of TLS without a `domain`, there are only those that the peer opened.

        `local` asks for one of our listening addresses, as `Flow.local` gives them. `domain` is whom the certificate
        of a TLS peer must name (RFC 5922), `authorities` a file of CAs to check it by instead of the office's.
        Raises NoFlow (503): no route, no listener of that family, a name, a broadcast or multicast address.
        """
        if transport == "UDP":
            key = (transport, host, port, local)
            flow = self._routes.get(key)
            if flow is None or flow.closed:
                flow = self._udp_flow(host, port, local)
                if len(self._routes) >= self.limits.peers:
                    del self._routes[next(iter(self._routes))]
                self._routes[key] = flow
            return flow
        return self.streams.flow_to(transport, host, port, local=local, domain=domain, authorities=authorities)

    def _udp_flow(self, host: str, port: int, local: tuple[str, int] | None) -> UdpFlow:
        family, plain = destination(host, port)
        listener = self.choose("UDP", family, plain, local)
        if listener is None or listener.udp is None:
            raise NoFlow(f"no UDP listener that reaches {plain}")
        return listener.udp.flow_to(plain, port)

    def choose(self, transport: str, family: int, host: str, local: tuple[str, int] | None) -> Listener | None:
        """The listener that speaks to `host`: the one asked for, else the one bound to the address the kernel would
        send from, else a wildcard, else any on the same side of the loopback fence."""
        usable = [one for one in self.listeners if one.transport == transport and one.reaches(family)]
        if local is not None:
            own = self.behind(local[0])
            usable = [one for one in usable if one.port == local[1] and (one.host == own or is_wildcard(one.host))]
            return min(usable, key=lambda one: is_wildcard(one.host), default=None)
        if len(usable) == 1 and is_wildcard(usable[0].host):
            return usable[0]
        source = source_towards(family, host)
        loopback = _is_loopback(source)
        rank = [
            (0 if one.host == source else 1 if is_wildcard(one.host) else 2, index)
            for index, one in enumerate(usable)
            if is_wildcard(one.host) or _is_loopback(one.host) == loopback
        ]
        return usable[min(rank)[1]] if rank else None

    # Addresses of ours

    def shown(self, own: str, peer: str) -> str:
        """What the peer is told of our address `own`: another one where a NAT router stands between."""
        outside = self.options.outside
        return own if outside is None else outside.shown(own, peer)

    def behind(self, shown: str) -> str:
        """The address of this machine where that comes in which is sent to the address that peers are told."""
        outside = self.options.outside
        if outside is None or shown != outside.address:
            return shown
        if not self._behind:
            self._behind = self._find_behind(shown)
        return self._behind

    def _find_behind(self, shown: str) -> str:
        family, plain = destination(shown, 1)
        for transport in dict.fromkeys(listener.transport for listener in self.listeners):
            with suppress(NoFlow):
                listener = self.choose(transport, family, plain, None)
                if listener is not None:
                    return source_towards(family, plain) if is_wildcard(listener.host) else listener.host
        # No way out for now.
        named = [one.host for one in self.listeners if one.reaches(family) and not is_wildcard(one.host)]
        return named[0] if named else shown

    # The wake-up

    def begin(self) -> float:
        """From here to `end`, what is sent on streams waits. Returns the time."""
        self._busy = True
        return self.clock()

    def end(self) -> None:
        self._busy = False
        if self.unsent:
            self.flush()

    def handle(self, data: bytes, flow: UdpFlow | StreamFlow, now: float) -> bool:
        """One message into the layer, between `begin` and `end`. True if it could be read."""
        layer = self._layer
        if layer is None:
            return False
        if self.pressure.late and not flow.reliable and self._copied(layer, data, flow, now):
            return True
        try:
            message = parse(data)
        except ParseError as error:
            self._no_message(data, flow, error, now)
            return False
        self.ring.append((self._since + now, False, flow.transport, flow.local, flow.remote, data[BEGINNING]))
        try:
            layer.receive(message, flow, now)
        except Exception:   # whatever a stranger's message sets off in us, the loop goes on
            self._crashed(flow)
        return True

    def _copied(self, layer: Layer, data: bytes, flow: UdpFlow | StreamFlow, now: float) -> bool:
        """Whether this is the copy of a request, which its transaction has been told of then."""
        tx = layer.copied(data)
        if tx is None:
            return False
        self.ring.append((self._since + now, False, flow.transport, flow.local, flow.remote, data[BEGINNING]))
        try:
            tx.again(now)
        except Exception:   # as in `handle`
            self._crashed(flow)
        return True

    def _no_message(self, data: bytes, flow: UdpFlow | StreamFlow, error: ParseError, now: float) -> None:
        """What the parser refused: keep-alives, and what a trace should show."""
        if flow.transport == "UDP":
            if len(data) < 5 or data.isspace():   # CRLF, NUL and empty datagrams hold NAT bindings open
                self.counters.keep_alives += 1
                return
            echo = stun.answer(data, *flow.remote)
            if echo is not None:
                self.counters.keep_alives += 1   # RFC 5626 section 4.4.2
                flow.send(echo)
                return
        self.ring.note(False, flow, data)
        self.counters.malformed += 1
        self.unreadable(error, flow, now)

    def unreadable(self, error: ParseError, flow: UdpFlow | StreamFlow, now: float) -> None:
        """What the parser or the framer refused: the layer answers if it can."""
        if self._layer is None:
            return
        try:
            self._layer.receive_error(error, flow, now)
        except Exception:   # as in `handle`
            self._crashed(flow)

    def lost(self, flow: StreamFlow) -> None:
        """A connection is gone: its transactions are told, and who else asked to be."""
        if not self.streams.remove(flow) or self._layer is None:
            return
        self.begin()
        try:
            self._layer.flow_lost(flow)
            if not self._closed:
                for listener in self.lost_listeners:
                    listener(flow)
        except Exception:   # a fault of ours must not take asyncio's callback down
            self._crashed(flow)
        finally:
            self.end()

    def mark(self, flow: StreamFlow) -> None:
        """`flow` has something to write: at the end of this wake-up, or at the next turn of the loop."""
        self.unsent.append(flow)
        if not self._busy and self._flush_soon is None:
            self._flush_soon = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """What streams have waiting goes out, of each in one piece."""
        if self._flush_soon is not None:
            self._flush_soon.cancel()
            self._flush_soon = None
        flows, self.unsent = self.unsent, []
        for flow in flows:
            flow.flush()

    def _crashed(self, source: object) -> None:
        self.counters.crashes += 1
        now = self.clock()
        if now - self._logged_at >= LOG_EVERY:
            self._logged_at = now
            log.exception("a fault while handling what came from %s (%d so far)", source, self.counters.crashes)

    # Timers

    def wake_at(self, at: float) -> None:
        """Timers has a new earliest deadline."""
        if self._closed:
            return
        if at < self._fired_at + TICK:
            at = self._fired_at + TICK
        if self._wake is not None:
            if self._wake_time <= at:
                return
            self._wake.cancel()
        self._wake_time = at
        self._wake = self._loop.call_at(self._loop.time() + at - self.clock(), self._fire)

    def _fire(self) -> None:
        self._wake = None
        timers = self._timers
        if timers is None:
            return
        now = self._fired_at = self.begin()
        try:
            timers.fire(now)
        except Exception:   # the timer that failed is spent; the others fire at the next tick
            self._crashed("a timer")
        finally:
            self.end()
        following = timers.next_at()
        if following is not None:
            self.wake_at(following)

    def _sweep(self) -> None:
        """Once a second: streams past their deadline, and routes too old to be believed."""
        now = self.clock()
        self._since = time.time() - now   # somebody may have set the time of day
        self.streams.sweep(now)
        self.pressure.look(now)
        if now >= self._looked_at + LOOK_AT_CERTIFICATES and (self._looking is None or self._looking.done()):
            self._looked_at = now
            self._looking = self._loop.run_in_executor(None, self.certificates.refresh)
        if now >= self._forget_at:
            self._forget_at = now + FORGET
            self._routes.clear()
            self._behind = ""
            for listener in self.listeners:
                if listener.udp is not None:
                    listener.udp.forget_peers()
        self._sweep_handle = self._loop.call_later(SWEEP, self._sweep)

    # The end

    @property
    def connections(self) -> int:
        return len(self.streams)

    async def close(self) -> None:
        """Sends what is waiting, closes every socket and timer. Streams get a second to drain."""
        if self._closed:
            return
        self._closed = True
        self.flush()
        for handle in (self._wake, self._sweep_handle):
            if handle is not None:
                handle.cancel()
        self._wake = self._sweep_handle = None
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()
        self._routes.clear()
        await self.streams.close()
        if self._looking is not None:
            await self._looking


def _is_loopback(host: str) -> bool:
    plain = plain_host(host)
    return plain == "::1" or plain.startswith("127.")
