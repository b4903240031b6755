"""SIP over UDP (RFC 3261 section 18): drain what is there, and send at once what each message makes us say; where many
wait, what several of them make us say.

The socket is read by `loop.add_reader` (asyncio's datagram transport costs 0.2 ms more a call), until the kernel says
that it holds nothing more: to be refused a read costs four times as much as to ask. STUN keep-alives (RFC 5626 section
4.4.2) and empty ones are what no message is: the endpoint knows them. A request too large for a datagram goes another
way (`UdpFlow.wide`).

Only a wake-up that could not empty the socket asks the kernel how long the last datagram was in there, and whether
others found no room: a plain call pays nothing for it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from fcntl import ioctl
from termios import FIONREAD
from time import time
from typing import TYPE_CHECKING, Any

from pbxcore.net.flow import NoFlow, is_wildcard, plain_host, source_towards
from pbxcore.net.ring import BEGINNING

if TYPE_CHECKING:
    from pbxcore.net.endpoint import Endpoint
    from pbxcore.net.stream import StreamFlow

LINE = 8            # datagrams of one wake-up after which what is sent is gathered: who asks is in a queue anyway
AT_ONCE = 16        # are sent when so many have been gathered, which is less than a millisecond's work
NOTHING = bytes(4)   # an int of C, as FIONREAD says it: the size of the next datagram
SIOCGSTAMPNS = 0x8907   # Linux: when the kernel got the datagram that was read last (socket(7))
TIMESPEC = struct.Struct("ll")
SO_MEMINFO = 55         # Linux: nine numbers, the last of which says how many datagrams found no room (sock_diag(7))
MEMINFO = struct.Struct("9I")
Address = tuple[Any, ...]   # as the socket module has it: (host, port) or (host, port, flow info, scope)


class UdpFlow:
    """One peer of one listening socket."""

    __slots__ = ("_socket", "address", "closed", "local", "reliable", "remote", "transport")

    def __init__(self, udp: UdpSocket, address: Address, local: tuple[str, int]) -> None:
        self.transport = "UDP"
        self.reliable = False
        self.local = local
        self.remote: tuple[str, int] = (plain_host(address[0]), address[1])
        self.closed = False
        self._socket = udp
        self.address = address

    def send(self, data: bytes) -> None:
        """Goes out at once, in its turn where the kernel has no room, with others where many have come at a time. Never
        raises, never blocks."""
        udp = self._socket
        if udp.gathering:
            udp.gathered.append((data, self))
        elif udp.backlog or not udp.transmit(data, self):
            udp.keep(data, self)

    def to(self, host: str, port: int) -> UdpFlow:
        """Another peer from the same local socket: an answer that must go to the port of the Via (section 18.2.2).

        Raises NoFlow.
        """
        if not 0 < port <= 65535:
            raise NoFlow(f"{port} is no port")
        if host == self.remote[0]:   # same route, same scope
            return self._socket.flow_of((self.address[0], port, *self.address[2:]), self.local[0])
        return self._socket.flow_to(host, port)

    def wide(self) -> StreamFlow | None:
        """TCP to the same address, for what a datagram should not carry (section 18.1.1); None where there is none."""
        return self._socket.endpoint.streams.wide(self.remote)

    def keep_narrow(self, seconds: float) -> None:
        """No TCP leads to this peer: a phone behind a NAT."""
        self._socket.endpoint.streams.narrow(self.remote, seconds)

    def __repr__(self) -> str:
        return f"<UDP {self.local} - {self.remote}>"


class UdpSocket:
    """One bound socket: the reader, what the kernel had no room for, and the flows of its recent peers."""

    def __init__(self, endpoint: Endpoint, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.endpoint = endpoint
        self.host: str = sock.getsockname()[0]
        self.port: int = sock.getsockname()[1]
        self.backlog: deque[tuple[bytes, UdpFlow]] = deque()
        self.gathering = False
        self.gathered: list[tuple[bytes, UdpFlow]] = []
        self._sock = sock
        self._fileno = sock.fileno()
        self._receive = sock.recvfrom
        self._family = sock.family
        self._loop = loop
        self._flows: dict[Address, UdpFlow] = {}
        self._dropped = 0
        self._size = bytearray(NOTHING)     # `ioctl` writes in place: octets to be copied cost it three times that
        self.age()      # the kernel notes the time from here on
        loop.add_reader(self._fileno, self._readable)

    def flow_to(self, host: str, port: int) -> UdpFlow:
        """The flow to an IP address in plain form, without brackets. Raises NoFlow when there is no route."""
        if self._family == socket.AF_INET6:
            address: Address = (host if ":" in host else f"::ffff:{host}", port, 0, 0)
        else:
            address = (host, port)
        return self._flows.get(address) or self.flow_of(address, self._local_towards(address))

    def forget_peers(self) -> None:
        """Local addresses change now and then (DHCP): flows are looked up anew once in a while."""
        self._flows.clear()

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        for flow in self._flows.values():
            flow.closed = True
        self._flows.clear()
        self.backlog.clear()
        self._loop.remove_reader(self._fileno)
        self._loop.remove_writer(self._fileno)
        self._sock.close()

    def _readable(self) -> None:
        endpoint, flows, size = self.endpoint, self._flows, self._size
        counters = endpoint.counters
        pressure = endpoint.pressure
        gathered = self.gathered
        now = endpoint.begin()
        read = 0
        try:
            for _ in range(endpoint.limits.datagrams_a_wake_up):
                try:
                    data, address = self._receive(65535)
                except BlockingIOError:
                    break
                except OSError:
                    counters.receive_errors += 1
                    continue
                read += 1
                try:
                    flow = flows[address]
                except KeyError:
                    flow = self.flow_of(address, self._local_or_any(address))
                endpoint.handle(data, flow, now)
                if endpoint.unsent:     # on streams, which are not to wait until others' messages have been handled
                    endpoint.flush()
                ioctl(self._fileno, FIONREAD, size)
                if size == NOTHING:
                    break
                if read == LINE:
                    self.gathering = True
                elif len(gathered) >= AT_ONCE:
                    self._send_gathered()
            else:
                pressure.waited(self, self.age(), endpoint.clock(), self._lost())
                return
            if pressure.late:
                pressure.eased(self, now)
        finally:
            counters.datagrams_in += read
            if self.gathering:
                self.gathering = False
                self._send_gathered()
            endpoint.end()

    def _send_gathered(self) -> None:
        """One behind another: whoever they wake up is awake for the next, and the kernel's code is at hand."""
        for data, flow in self.gathered:
            if self.backlog or not self.transmit(data, flow):
                self.keep(data, flow)
        self.gathered.clear()

    def age(self) -> float:
        """Seconds since the datagram that was read last came; 0 when the kernel does not say."""
        try:
            seconds, nanoseconds = TIMESPEC.unpack(ioctl(self._fileno, SIOCGSTAMPNS, bytes(TIMESPEC.size)))
        except OSError:
            return 0.0
        return time() - float(seconds + nanoseconds / 1e9)

    def _lost(self) -> bool:
        """Whether datagrams have found no room in the socket since this was asked last."""
        try:
            numbers = MEMINFO.unpack(self._sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size))
        except (OSError, struct.error):     # an older kernel
            return False
        before, self._dropped = self._dropped, int(numbers[-1])
        more = (self._dropped - before) & 0xFFFFFFFF
        self.endpoint.counters.receive_drops += more
        return more > 0

    def flow_of(self, address: Address, local: str) -> UdpFlow:
        """The one flow of a peer; made, and remembered for a while, if there is none."""
        flows = self._flows
        known = flows.get(address)
        if known is not None:
            return known
        if len(flows) >= self.endpoint.limits.peers:
            del flows[next(iter(flows))]
        shown = self.endpoint.shown(local, plain_host(address[0]))
        flow = flows[address] = UdpFlow(self, address, (shown, self.port))
        return flow

    def _local_towards(self, address: Address) -> str:
        if not is_wildcard(self.host):
            return self.host
        host: str = address[0]
        plain = plain_host(host)
        if ":" in plain:
            return source_towards(socket.AF_INET6, host)
        return source_towards(socket.AF_INET, plain)

    def _local_or_any(self, address: Address) -> str:
        try:
            return self._local_towards(address)
        except NoFlow:   # a forged source: nothing we say can reach it
            return "::1" if ":" in plain_host(address[0]) else "127.0.0.1"

    def transmit(self, data: bytes, flow: UdpFlow) -> bool:
        """Gives it to the kernel; False when that has no room."""
        endpoint = self.endpoint
        try:
            self._sock.sendto(data, flow.address)
            endpoint.counters.datagrams_out += 1
        except BlockingIOError:
            return False
        except OSError:   # no route, too long, a full device queue: lost like any datagram, SIP sends again
            endpoint.counters.send_errors += 1
        endpoint.ring.append((time(), True, "UDP", flow.local, flow.remote, data[BEGINNING]))
        return True

    def keep(self, data: bytes, flow: UdpFlow) -> None:
        """Until the kernel has room again; what is too much is lost."""
        backlog, endpoint = self.backlog, self.endpoint
        if len(backlog) >= endpoint.limits.udp_backlog:
            endpoint.counters.send_drops += 1
            return
        if not backlog:
            self._loop.add_writer(self._fileno, self._writable)
        backlog.append((data, flow))

    def _writable(self) -> None:
        backlog = self.backlog
        while backlog:
            if not self.transmit(*backlog[0]):
                return
            backlog.popleft()
        self._loop.remove_writer(self._fileno)
