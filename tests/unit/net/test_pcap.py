"""Capture files as Wireshark reads them, taken apart by hand."""

from __future__ import annotations

import struct

from pbxcore.net.pcap import capture
from pbxcore.net.ring import Row

UDP_OUT: Row = (12.5, True, "UDP", ("127.0.0.1", 5060), ("127.0.0.9", 40000), b"OPTIONS sip:x SIP/2.0\r\n\r\n")
TCP_IN: Row = (13.0, False, "TLS", ("::1", 5061), ("2001:db8::7", 40001), b"BYE sip:x SIP/2.0\r\n\r\n")


def packets(data: bytes) -> list[tuple[float, bytes]]:
    magic, major, minor, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (0xA1B2C3D4, 2, 4, 101)
    found, place = [], 24
    while place < len(data):
        seconds, micros, kept, whole = struct.unpack_from("<IIII", data, place)
        assert kept == whole
        found.append((seconds + micros / 1e6, data[place + 16 : place + 16 + kept]))
        place += 16 + kept
    return found


def test_a_datagram_over_ipv4() -> None:
    ((at, packet),) = packets(capture([UDP_OUT]))
    assert at == 12.5
    assert packet[0] == 0x45
    assert struct.unpack_from("!H", packet, 2)[0] == len(packet)
    assert packet[9] == 17
    assert (packet[12:16], packet[16:20]) == (b"\x7f\0\0\x01", b"\x7f\0\0\x09")
    assert struct.unpack_from("!HHH", packet, 20) == (5060, 40000, len(packet) - 20)
    assert packet[28:] == UDP_OUT[5]


def test_a_stream_over_ipv6_with_sequence_numbers_that_fit() -> None:
    first, second = (packet for _, packet in packets(capture([TCP_IN, TCP_IN])))
    assert first[0] >> 4 == 6
    assert first[6] == 6
    assert struct.unpack_from("!H", first, 4)[0] == len(first) - 40
    assert struct.unpack_from("!HHI", first, 40) == (40001, 5061, 1)
    assert struct.unpack_from("!HHI", second, 40) == (40001, 5061, 1 + len(TCP_IN[5]))
    assert first[60:] == TCP_IN[5]


def test_secrets_are_masked_and_a_giant_is_cut() -> None:
    secret = (1.0, False, "UDP", *UDP_OUT[3:5], b'X sip:x SIP/2.0\r\nAuthorization: Digest response="5ec2e7"\r\n\r\n')
    giant = (2.0, False, "TCP", *TCP_IN[3:5], b"X" * 200_000)
    one, two = (packet for _, packet in packets(capture([secret, giant])))
    assert b"5ec2e7" not in one
    assert len(two) <= 65535 + 40
