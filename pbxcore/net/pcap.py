"""SIP messages as a capture file that Wireshark reads (the classic pcap format, link type RAW IP).

The IP, UDP and TCP headers are made up around each message: what went over a stream is shown as one TCP segment with
sequence numbers that fit, TLS and WebSocket as the plain SIP that was inside. Over-long messages are cut.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from pbxcore.net.masks import masked
from pbxcore.net.ring import Address, Row

LINKTYPE_RAW = 101
SNAP = 65535
MOST = 65535 - 60   # of a message: with its headers it must fit into an IP packet
UDP, TCP = 17, 6

_FILE = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, SNAP, LINKTYPE_RAW)


def capture(rows: Iterable[Row]) -> bytes:
    """A whole file; secrets are masked."""
    parts = [_FILE]
    sent: dict[tuple[Address, Address], int] = {}   # octets so far of each direction of each stream
    for at, out, transport, local, remote, data in rows:
        source, target = (local, remote) if out else (remote, local)
        payload = masked(data)[:MOST]
        if transport == "UDP":
            protocol = UDP
            segment = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
        else:
            protocol = TCP
            sequence, back = sent.get((source, target), 1), sent.get((target, source), 1)
            sent[source, target] = sequence + len(payload)
            head = struct.pack("!HHIIBBHHH", source[1], target[1], sequence & 0xFFFFFFFF, back & 0xFFFFFFFF, 5 << 4,
                               0x18, 65535, 0, 0)  # fmt: skip
            segment = head + payload
        packet = _ip(source[0], target[0], protocol, segment)
        seconds = int(at)
        parts.append(struct.pack("<IIII", seconds, int((at - seconds) * 1e6), len(packet), len(packet)))
        parts.append(packet)
    return b"".join(parts)


def _ip(source: str, target: str, protocol: int, segment: bytes) -> bytes:
    here, there = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if here.version == there.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, protocol, 0)
        return head + here.packed + there.packed + segment
    return struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + _v6(here) + _v6(there) + segment


def _v6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed
