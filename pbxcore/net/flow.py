"""What every transport of the shell shares: addresses, limits, counters and the two errors.

A flow (RFC 5626 section 2) is a pair of addresses over one transport; `udp.UdpFlow` and `stream.StreamFlow` keep the
`Flow` protocol of `pbxcore.sip.layer`. Host names are not looked up here: every host is an IP address.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from dataclasses import dataclass

from pbxcore.sip.errors import SipError

# RFC 3261 section 19.1.2, RFC 7118 section 5.3: the port of an address that names none.
PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061, "WS": 80, "WSS": 443}
RECEIVE_BUFFER = 4 << 20   # octets of a UDP socket
SO_RCVBUFFORCE = 33        # Linux; Python has no name for it
MAPPED = "::ffff:"   # how a dual-stack socket writes an IPv4 address (RFC 4291 section 2.5.5.2)


class ListenError(Exception):
    """A listening address that cannot be had. The message names the address and says why."""


class NoFlow(SipError):
    """There is no way to this address: answered as 503 (RFC 3261 section 8.1.3.1)."""

    def __init__(self, detail: str) -> None:
        super().__init__(503, "Service Unavailable")
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class Limits:
    """What strangers may take. Sizes are in bytes, times in seconds."""

    datagrams_a_wake_up: int = 32
    udp_backlog: int = 1024            # datagrams kept while the kernel's send buffer is full
    peers: int = 4096                  # remembered UDP peers a listener, and routes
    connections: int = 1000
    connections_per_address: int = 500   # an office behind one NAT is one address
    write_buffer: int = 128 * 1024     # a stream peer that does not read more than this is cut off
    connect_seconds: float = 5.0
    first_message_seconds: float = 10.0   # a stranger who connects and says nothing
    message_seconds: float = 30.0      # from the first byte of a message to its last
    idle_seconds: float = 3700.0       # a registration lives for an hour, and some phones send no keep-alive
    brief_connect_seconds: float = 1.0   # to try TCP for one large request, which goes by UDP if this fails
    brief_seconds: float = 120.0       # such a connection without a message
    narrow_seconds: float = 600.0      # a peer that took no TCP is not asked again


@dataclass(slots=True)
class Counters:
    """Numbers since start, for /metrics."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    stream_messages_in: int = 0
    keep_alives: int = 0
    malformed: int = 0         # the parser refused it
    unframed: int = 0          # streams that lost their framing
    receive_errors: int = 0
    receive_drops: int = 0     # datagrams for which the kernel had no room
    send_errors: int = 0       # the kernel refused to send
    send_drops: int = 0        # our own bounds refused to keep it
    accepted: int = 0
    refused: int = 0           # connections over the limits
    connected: int = 0
    connect_failures: int = 0
    idle_closed: int = 0
    slow_closed: int = 0       # peers that did not read what we wrote
    tls_failures: int = 0      # handshakes that failed, certificates that were not accepted
    websocket_refused: int = 0   # wrong path, origin or subprotocol, or no WebSocket at all
    pings: int = 0             # keep-alives of ours
    pong_timeouts: int = 0     # connections given up for want of an answer to them
    large_by_tcp: int = 0      # requests too large for a datagram
    crashes: int = 0           # faults of ours: each has a traceback in the log


def parse_spec(spec: str) -> tuple[str, str, int]:
    """`udp:0.0.0.0:5060` or `tls:[::1]:5061` as transport (upper case), host and port. Raises ListenError."""
    transport, _, address = spec.partition(":")
    if transport.upper() not in PORTS:
        known = ", ".join(PORTS).lower()
        raise ListenError(f"{spec!r}: the transport is {transport!r}, and only {known} are known")
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket:
            raise ListenError(f"{spec!r}: the bracket is not closed")
        port_text = rest.removeprefix(":")
    else:
        host, _, port_text = address.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ListenError(f"{spec!r}: {host!r} is not an IP address (IPv6 goes in brackets)") from None
    if port_text and not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ListenError(f"{spec!r}: {port_text!r} is not a port")
    return transport.upper(), host, int(port_text) if port_text else PORTS[transport.upper()]


def plain_host(host: str) -> str:
    """The address as it goes into Via and Contact: no scope, and IPv4 out of its IPv6 dress."""
    if ":" in host:
        if host.startswith(MAPPED) and "." in host:
            return host[len(MAPPED):]
        return host.partition("%")[0]
    return host


def destination(host: str, port: int) -> tuple[int, str]:
    """The family and the normal form of an address we may send to.

    Raises NoFlow for names, broadcast, multicast, unspecified addresses and impossible ports: a Contact or a Via that
    names them must not make us talk to a whole network.
    """
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise NoFlow(f"{host!r} is not an IP address") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_multicast or address.is_unspecified or address == ipaddress.IPv4Address("255.255.255.255"):
        raise NoFlow(f"{host} is no address of one machine")
    if not 0 < port <= 65535:
        raise NoFlow(f"{port} is no port")
    return (socket.AF_INET if address.version == 4 else socket.AF_INET6), str(address)


def source_towards(family: int, host: str) -> str:
    """The local address the kernel would send from towards `host`, found by a connected UDP socket: nothing is sent.

    Raises NoFlow when there is no route.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0]).partition("%")[0]
    except OSError as error:
        raise NoFlow(f"no route to {host}: {error.strerror}") from None


def is_wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def bound_socket(spec: str, transport: str, host: str, port: int, *, dual_stack: bool) -> socket.socket:
    """A non-blocking socket bound to the address. Raises ListenError in words that a person can act on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock: socket.socket | None = None
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM if transport == "UDP" else socket.SOCK_STREAM)
        sock.setblocking(False)
        if transport == "UDP":
            _make_room(sock)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.bind((host, port))
    except OSError as error:
        if sock is not None:
            sock.close()
        raise ListenError(why_not(spec, host, port, error)) from error
    return sock


def _make_room(sock: socket.socket) -> None:
    """For what comes while we are busy: some 3,600 datagrams, if we may go past net.core.rmem_max or it allows so."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def why_not(spec: str, host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {spec}: port {port} of {host} is taken by another program"
    if error.errno == errno.EACCES:
        return f"cannot listen on {spec}: port {port} needs more rights than this user has"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {spec}: {host} is not an address of this machine"
    return f"cannot listen on {spec}: {error.strerror}"
