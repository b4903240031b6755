"""RTP and RTCP at a glance: header peek, demultiplexing on one port, reception statistics. Sans I/O.

RFC 3550 sections 5.1 (header), 6.4.1 (report block) and appendices A.1 (sequence), A.2 (RTCP validity), A.3 (loss),
A.8 (jitter); RFC 5761 section 4 and RFC 7983 (what a packet is, by its first bytes). It neither reorders nor plays
anything out, and it leaves a packet as it came.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

MIN_HEADER = 12
MAX_DROPOUT = 3000      # RFC 3550 A.1: a larger jump ahead is a source that started anew, or garbage
MAX_MISORDER = 100      # RFC 3550 A.1: so far behind a packet still counts as late
_CYCLE = 1 << 16
_TIMESTAMP_MASK = 0xFFFFFFFF

_peek = struct.Struct("!HHII").unpack_from
_header = struct.Struct("!BBHII").pack
_RTCP_TYPES_FIRST, _RTCP_TYPES_LAST = 192, 223   # RFC 5761 section 4: RTP payload types 64-95 are kept free for them
_SENDER_REPORT, _RECEIVER_REPORT = 200, 201


class Kind(IntEnum):
    """What a datagram on a media port is (RFC 7983 section 7, RFC 5761 section 4)."""

    OTHER = 0
    RTP = 1
    RTCP = 2
    STUN = 3
    DTLS = 4


def classify(data: bytes) -> Kind:
    """Tell RTP, RTCP, STUN and DTLS on one port apart; too short or unknown is OTHER."""
    if len(data) < 8:
        return Kind.OTHER
    first = data[0]
    if 128 <= first <= 191:
        if _RTCP_TYPES_FIRST <= data[1] <= _RTCP_TYPES_LAST:
            return Kind.RTCP
        return Kind.RTP if len(data) >= MIN_HEADER else Kind.OTHER
    if first <= 3 and len(data) >= 20 and data[4:8] == b"\x21\x12\xa4\x42":
        return Kind.STUN
    return Kind.DTLS if 20 <= first <= 63 and len(data) >= 13 else Kind.OTHER


class Packet(NamedTuple):
    """An RTP packet (RFC 3550 section 5.1). `payload` is without CSRCs, header extension and padding."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes


def parse(data: bytes) -> Packet | None:
    """Read a whole RTP packet; None when it is none, or when its lengths do not add up."""
    if classify(data) is not Kind.RTP:
        return None
    first, sequence, timestamp, ssrc = _peek(data)
    start = MIN_HEADER + 4 * (first >> 8 & 0x0F)
    if first & 0x1000:
        if len(data) < start + 4:
            return None
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    end = len(data)
    if first & 0x2000:
        if not data[-1]:
            return None
        end -= data[-1]
    if end < start:
        return None
    return Packet(first & 0x7F, bool(first & 0x80), sequence, timestamp, ssrc, data[start:end])


def build(
    payload_type: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, *, marker: bool = False
) -> bytes:
    """One RTP packet; sequence and timestamp are taken modulo their width."""
    second = payload_type | 0x80 if marker else payload_type
    return _header(0x80, second, sequence & 0xFFFF, timestamp & _TIMESTAMP_MASK, ssrc) + payload


def rtcp_types(data: bytes) -> tuple[int, ...]:
    """The packet types of a compound RTCP packet, empty when it is malformed (RFC 3550 A.2, RFC 5506)."""
    types = []
    position = 0
    while position < len(data):
        if len(data) - position < 4 or data[position] >> 6 != 2:
            return ()
        types.append(data[position + 1])
        position += 4 + 4 * int.from_bytes(data[position + 2 : position + 4], "big")
    return tuple(types) if position == len(data) else ()


class ReportBlock(NamedTuple):
    """What a receiver tells about one source (RFC 3550 section 6.4.1). `jitter` is in timestamp units, `fraction`
    in 256ths since the last report, `lost` may be negative when packets came twice."""

    ssrc: int
    fraction: int
    lost: int
    highest: int
    jitter: int

    def to_bytes(self, last_report: int = 0, delay: int = 0) -> bytes:
        """On the wire, with LSR and DLSR (units of 1/65536 s); `lost` is clamped to its signed 24 bits."""
        lost = max(-0x800000, min(0x7FFFFF, self.lost)) & 0xFFFFFF
        return struct.pack(
            "!IIIIII", self.ssrc, self.fraction << 24 | lost, self.highest & _TIMESTAMP_MASK,
            self.jitter & _TIMESTAMP_MASK, last_report, delay,
        )  # fmt: skip


def receiver_report(sender: int, blocks: list[ReportBlock]) -> bytes:
    """An RTCP receiver report from the SSRC `sender` (RFC 3550 section 6.4.2), at most 31 blocks."""
    head = struct.pack("!BBHI", 0x80 | len(blocks), _RECEIVER_REPORT, 1 + 6 * len(blocks), sender)
    return head + b"".join(block.to_bytes() for block in blocks)


class Reception:
    """What arrived on one stream: counts, loss and jitter, over every source (SSRC) that it had.

    `packets` and `octets` count RTP as received, headers included; `other` counts whatever else came (RTCP, STUN,
    DTLS). A source is valid from its first packet: the caller knows its address already, so A.1's probation, which
    would miscount the first packet of every call, is left out.
    """

    __slots__ = (
        "_bad", "_base", "_cycles", "_expected_before", "_far", "_highest", "_lost_before", "_received",
        "_received_before", "_ssrc", "_timestamp", "_transit", "jitter", "octets", "other", "packets", "rate",
    )  # fmt: skip

    def __init__(self, rate: int = 8000) -> None:
        self.reset(rate)

    def reset(self, rate: int = 8000) -> None:
        """Begin anew; `rate` is the RTP clock in Hz."""
        self.rate = rate
        self._far = rate * 10       # timestamps that jump by more than ten seconds say nothing about jitter
        self.packets = self.octets = self.other = 0
        self.jitter = 0.0           # timestamp units
        self._ssrc = -1
        self._lost_before = 0       # of sources that were replaced
        self._base = self._highest = self._cycles = self._received = 0
        self._bad = -1
        self._timestamp = -1
        self._transit = 0.0
        self._expected_before = self._received_before = 0

    def update(self, data: bytes, arrival: float) -> None:
        """Take one datagram that arrived at `arrival` (monotonic seconds). Runs for every relayed packet."""
        if len(data) < 12:
            self.other += 1
            return
        first, sequence, timestamp, ssrc = _peek(data)
        if first & 0xC000 != 0x8000 or 192 <= first & 0xFF <= 223:
            self.other += 1
            return
        self.packets += 1
        self.octets += len(data)
        if ssrc != self._ssrc:
            self._new_source(ssrc, sequence)
        elif sequence == self._highest + 1:
            self._highest = sequence
            self._received += 1
        else:
            self._out_of_line(sequence)
        if timestamp != self._timestamp:    # a video frame's packets share one; so do those of a telephone-event
            transit = arrival * self.rate - timestamp
            difference = transit - self._transit
            if difference < 0:
                difference = -difference
            if difference < self._far and self._timestamp >= 0:
                self.jitter += (difference - self.jitter) * 0.0625
            self._transit = transit
            self._timestamp = timestamp

    def _new_source(self, ssrc: int, sequence: int) -> None:
        self._lost_before = self.lost_signed
        self._ssrc = ssrc
        self._timestamp = -1
        self._start(sequence)

    def _start(self, sequence: int) -> None:
        self._base = self._highest = sequence
        self._cycles = 0
        self._received = 1
        self._bad = -1
        self._expected_before = self._received_before = 0

    def _out_of_line(self, sequence: int) -> None:
        """RFC 3550 A.1 `update_seq` for every packet but the very next one."""
        delta = (sequence - self._highest) & 0xFFFF
        if delta < MAX_DROPOUT:
            if sequence < self._highest:
                self._cycles += _CYCLE
            self._highest = sequence
        elif delta <= _CYCLE - MAX_MISORDER:
            if sequence != self._bad:
                self._bad = (sequence + 1) & 0xFFFF
                return
            self._lost_before = self.lost_signed    # two in a row: the source restarted without a word
            self._start(sequence)
            return
        self._received += 1

    def expectation(self) -> tuple[int, int, int, float, float]:
        """What somebody must know who goes on counting in our place while packets come in line: the next sequence
        number (65536 when it begins anew), SSRC, and of the last packet its timestamp, its arrival and the jitter."""
        arrival = (self._transit + self._timestamp) / self.rate
        return self._highest + 1, self._ssrc, self._timestamp, arrival, self.jitter

    def counted_elsewhere(self, packets: int, octets: int, timestamp: int, arrival: float, jitter: float) -> None:
        """So many packets of the present source came in line; what was true of the last of them."""
        self.packets += packets
        self.octets += octets
        self._highest += packets
        self._received += packets
        self._timestamp = timestamp
        self._transit = arrival * self.rate - timestamp
        self.jitter = jitter

    @property
    def expected(self) -> int:
        """Packets that the present source has sent, by its sequence numbers (A.3)."""
        return self._cycles + self._highest - self._base + 1 if self._received else 0

    @property
    def lost_signed(self) -> int:
        """Packets expected and not received (A.3); negative when packets were doubled."""
        return self._lost_before + self.expected - self._received

    @property
    def lost(self) -> int:
        return max(0, self.lost_signed)

    @property
    def jitter_ms(self) -> float:
        return self.jitter * 1000.0 / self.rate

    def report(self) -> ReportBlock | None:
        """The report block due now (6.4.1), None before the first packet; starts a new interval (A.3)."""
        if not self._received:
            return None
        expected = self.expected - self._expected_before
        lost = expected - (self._received - self._received_before)
        self._expected_before, self._received_before = self.expected, self._received
        fraction = 0 if expected <= 0 or lost <= 0 else min(255, (lost << 8) // expected)
        return ReportBlock(self._ssrc, fraction, self.lost_signed, self._cycles + self._highest, int(self.jitter))
