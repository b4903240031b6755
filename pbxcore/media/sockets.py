"""The ports a worker has bound: pairs of UDP sockets, RTP on the even port, RTCP on the odd one above."""

from __future__ import annotations

import errno
import resource
import socket

from pbxcore.media.stream import Stream

SPARE_DESCRIPTORS = 32
EXPEDITED = 0xB8          # DSCP EF (RFC 4594 section 4.1), as the TOS octet

Pair = tuple[Stream, Stream]


class Ports:
    """The ports this worker has bound, by local address."""

    def __init__(self, first: int, last: int, most: int) -> None:
        self._first, self._last, self._most = first, last, most
        self._next: dict[str, int] = {}
        self._bound = 0
        self.pairs: dict[tuple[str, int], Pair] = {}

    def bind(self, address: str, count: int) -> tuple[list[int], str]:
        """Up to `count` more pairs; the ports bound, and why they are fewer, when there will be no more."""
        ports: list[int] = []
        port = self._next.setdefault(address, self._first)
        while len(ports) < count:
            if port + 1 > self._last:
                return ports, f"all ports of {self._first}-{self._last} are bound on {address}"
            if self._bound >= self._most:
                return ports, f"the limit of open files allows {self._most} pairs of ports: raise it (ulimit -n)"
            try:
                self.pairs[address, port] = _open_pair(address, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    return ports, f"{address} port {port}: {error.strerror}"
            else:
                ports.append(port)
                self._bound += 1
            port += 2
            self._next[address] = port
        return ports, ""


def _open_pair(address: str, port: int) -> Pair:
    first = open_socket(address, port)
    try:
        return Stream(first), Stream(open_socket(address, port + 1))
    except OSError:
        first.close()
        raise


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one; how many pairs of ports fit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 1 << 20 if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(0, limit - SPARE_DESCRIPTORS) // 2


def open_socket(address: str, port: int) -> socket.socket:
    """A UDP socket bound to a literal IP address. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, EXPEDITED)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, EXPEDITED)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
