"""Where packets leave this machine, and when that changes: netlink, as far as the kernel relay needs it (IPv4)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct

ETHERNET, LOOPBACK = 1, 772                     # ARPHRD_*: devices whose packets begin with an Ethernet header
_GROUPS = 0x01 | 0x10 | 0x40 | 0x80             # news of devices, addresses, routes and rules
_GET_ROUTE, _NEW_ROUTE, _REQUEST = 26, 24, 1
_DESTINATION, _SOURCE, _DEVICE = 1, 2, 4        # RTA_*
_UNICAST, _LOCAL = 1, 2                         # RTN_*
_XFRM, _POLICIES, _GET_POLICY, _DUMP, _DONE = 6, 0x08, 0x15, 0x300, 3
_HARDWARE_ADDRESS = 0x8927                      # SIOCGIFHWADDR
_header = struct.Struct("=IHHII")
_route = struct.Struct("=BBBBBBBBI")
_attribute = struct.Struct("=HH4s")


class Routes:
    """Raises OSError."""

    def __init__(self) -> None:
        self._asking = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._news = [_listening(socket.NETLINK_ROUTE, _GROUPS)]
        with contextlib.suppress(OSError):      # a kernel without IPsec
            self._news.append(_listening(_XFRM, _POLICIES))

    def changed(self) -> bool:
        """Whether anything did since it was asked last."""
        return any(_drained(news) for news in self._news)

    def encrypted(self) -> bool:
        """Whether there are IPsec policies, for anybody: what they want is done to packets of sockets only."""
        if len(self._news) < 2:
            return False
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _XFRM) as asking:
            asking.send(_header.pack(_header.size, _GET_POLICY, _REQUEST | _DUMP, 1, 0))
            return bool(_header.unpack_from(asking.recv(1 << 16))[1] != _DONE)

    def device(self, local: str, remote: str) -> int:
        """The index of the device by which `local` sends to `remote`; 0: none, or one that is not like Ethernet."""
        addresses = _attribute.pack(8, _DESTINATION, socket.inet_aton(remote)) + _attribute.pack(
            8, _SOURCE, socket.inet_aton(local)
        )
        asked = _route.pack(socket.AF_INET, 32, 32, 0, 0, 0, 0, 0, 0) + addresses
        self._asking.send(_header.pack(_header.size + len(asked), _GET_ROUTE, _REQUEST, 1, 0) + asked)
        reply = self._asking.recv(1 << 16)
        if _header.unpack_from(reply)[1] != _NEW_ROUTE:
            return 0
        if _route.unpack_from(reply, _header.size)[7] not in (_UNICAST, _LOCAL):
            return 0
        index, at = 0, _header.size + _route.size
        while at + 4 <= len(reply):
            length, kind = struct.unpack_from("=HH", reply, at)
            if kind == _DEVICE:
                index = struct.unpack_from("=I", reply, at + 4)[0]
            at += max(4, length + 3 & ~3)
        return index if index and self._kind(index) in (ETHERNET, LOOPBACK) else 0

    def _kind(self, index: int) -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            try:
                request = struct.pack("40s", socket.if_indextoname(index).encode())
                return int(struct.unpack_from("=H", fcntl.ioctl(asking, _HARDWARE_ADDRESS, request), 16)[0])
            except OSError:
                return -1       # gone meanwhile

    def close(self) -> None:
        self._asking.close()
        for news in self._news:
            news.close()


def _listening(protocol: int, groups: int) -> socket.socket:
    news = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    try:
        news.bind((0, groups))
    except OSError:
        news.close()
        raise
    return news


def _drained(news: socket.socket) -> bool:
    """Whether anything was there."""
    found = False
    while True:
        try:
            news.recv(1 << 16)
        except BlockingIOError:
            return found
        except OSError as error:
            if error.errno != errno.ENOBUFS:        # so much that it did not fit
                raise
        found = True
