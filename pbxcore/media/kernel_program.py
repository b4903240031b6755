"""The program of the kernel relay, its tables, and how it rewrites a packet. What it is for is said in `kernel`.

`flows` leads from a packet's addresses and ports (the IP header's last 8 octets and the UDP header's first 4, as they
stand) to the headers that it gets. `slots` has what was counted, and what is expected next; the worker sees that table
as memory (mmap) and writes there too, the number of the next packet last.
"""

from __future__ import annotations

import socket
import struct

from pbxcore.media.latch import Address
from pbxcore.media.sockets import EXPEDITED

LARGEST = 1280            # octets of an IP packet: what is longer may not fit everywhere, and the worker's socket knows
HOPS = 64
DO_NOT_FRAGMENT = 0x4000
NOBODY = 1 << 16          # a sequence number that no packet has
ETHERNET = 14             # octets before the IP header

KEY_OCTETS = 12
FLOW = struct.Struct("=II24sIIII")      # slot, device, new headers, their sum, what changes in the UDP checksum (twice)
SLOT = struct.Struct("=QQQQIIII")       # packets, octets, arrival ns, 16 x jitter ns, next, SSRC, timestamp, ns a unit
SLOT_OCTETS = 64
PROGRESS = 16             # where arrival and jitter are in a slot
NEXT = 32                 # where the number of the next packet is; SSRC and timestamp follow

# Offsets: Ethernet 14, IP 20 (no options), UDP 8, RTP 12. In __sk_buff: len 0, protocol 16, vlan_present 20, data 76,
# data_end 80, gso_segs 164. Returns -1 (TCX_NEXT) for what is not ours.
PROGRAM = f"""
    r6 = r1
    r0 = *(u32 *)(r6 + 16)
    if r0 != {socket.htons(0x0800)} goto pass
    r9 = *(u32 *)(r6 + 76)
    r0 = *(u32 *)(r6 + 80)
    r1 = r9
    r1 += 54
    if r1 > r0 goto pass
    r0 = *(u8 *)(r9 + 23)
    if r0 != {socket.IPPROTO_UDP} goto pass
    r0 = *(u8 *)(r9 + 14)
    if r0 != 0x45 goto pass
    r0 = *(u16 *)(r9 + 20)
    r0 &= {socket.htons(0x3FFF)}        ; a fragment
    if r0 != 0 goto pass
    r0 = *(u32 *)(r9 + 26)              ; both addresses and both ports are the key
    *(u32 *)(r10 - 16) = r0
    r0 = *(u32 *)(r9 + 30)
    *(u32 *)(r10 - 12) = r0
    r0 = *(u32 *)(r9 + 34)
    *(u32 *)(r10 - 8) = r0
    r1 = map flows
    r2 = r10
    r2 += -16
    call map_lookup_elem
    if r0 == 0 goto pass
    r7 = r0

    r0 = *(u32 *)(r6 + 20)
    if r0 != 0 goto pass
    r0 = *(u32 *)(r6 + 164)
    if r0 > 1 goto pass
    r1 = *(u16 *)(r9 + 16)
    r1 = be16 r1                        ; length of the IP packet
    if r1 > {LARGEST} goto pass
    r2 = *(u16 *)(r9 + 38)
    r2 = be16 r2
    if r2 < 20 goto pass
    r2 += 20
    if r1 != r2 goto pass
    r1 += {ETHERNET}
    r0 = *(u32 *)(r6 + 0)
    if r1 > r0 goto pass
    r0 = *(u8 *)(r9 + 42)
    r0 &= 0xc0
    if r0 != 0x80 goto pass
    r0 = *(u8 *)(r9 + 43)
    if r0 < 192 goto rtp
    if r0 < 224 goto pass               ; RTCP on the same port (RFC 5761)
rtp:
    r0 = *(u32 *)(r7 + 0)
    *(u32 *)(r10 - 4) = r0
    r1 = map slots
    r2 = r10
    r2 += -4
    call map_lookup_elem
    if r0 == 0 goto pass
    r8 = r0
    r1 = *(u32 *)(r9 + 50)
    r2 = *(u32 *)(r8 + 36)
    if r1 != r2 goto pass
    r1 = *(u16 *)(r9 + 44)
    r1 = be16 r1
    r2 = *(u32 *)(r8 + {NEXT})
    if r1 != r2 goto pass
    r1 += 1
    *(u32 *)(r8 + {NEXT}) = r1

    call ktime_get_ns                   ; interarrival jitter, RFC 3550 section 6.4.1 and appendix A.8, in ns
    r3 = *(u32 *)(r9 + 46)
    r3 = be32 r3
    r4 = *(u32 *)(r8 + 40)
    if r3 == r4 goto counted
    *(u32 *)(r8 + 40) = r3
    r3 -= r4
    r3 <<= 32
    r3 s>>= 32
    r4 = *(u32 *)(r8 + 44)
    r3 *= r4
    r4 = *(u64 *)(r8 + 16)
    *(u64 *)(r8 + 16) = r0
    r0 -= r4
    r0 -= r3
    if r0 s>= 0 goto late
    r0 = -r0
late:
    r1 = r0
    r1 >>= 33                           ; nine seconds
    if r1 != 0 goto counted
    r1 = *(u64 *)(r8 + 24)
    r2 = r1
    r2 += 8
    r2 >>= 4
    r1 -= r2
    r1 += r0
    *(u64 *)(r8 + 24) = r1
counted:
    r1 = *(u16 *)(r9 + 38)
    r1 = be16 r1
    r1 += -8
    lock *(u64 *)(r8 + 8) += r1
    r1 = 1
    lock *(u64 *)(r8 + 0) += r1

    r1 = *(u64 *)(r7 + 8)               ; the new headers, up to the ports
    *(u64 *)(r10 - 40) = r1
    r1 = *(u64 *)(r7 + 16)
    *(u64 *)(r10 - 32) = r1
    r1 = *(u64 *)(r7 + 24)
    *(u64 *)(r10 - 24) = r1
    r1 = *(u16 *)(r9 + 16)
    *(u16 *)(r10 - 38) = r1
    r2 = *(u32 *)(r7 + 32)
    r1 += r2
    r2 = r1
    r2 >>= 16
    r1 &= 0xffff
    r1 += r2
    r2 = r1
    r2 >>= 16
    r1 += r2
    r1 ^= 0xffff
    *(u16 *)(r10 - 30) = r1
    r1 = r6
    r2 = 40
    r3 = 0
    r4 = *(u32 *)(r7 + 36)
    r5 = 0x30                           ; of the pseudo-header; none stays none
    call l4_csum_replace
    r1 = r6
    r2 = 40
    r3 = 0
    r4 = *(u32 *)(r7 + 40)
    r5 = 0x20
    call l4_csum_replace
    r1 = r6
    r2 = {ETHERNET}
    r3 = r10
    r3 += -40
    r4 = 24
    r5 = 0
    call skb_store_bytes
    r1 = *(u32 *)(r7 + 4)
    r2 = 0
    r3 = 0
    r4 = 0
    call redirect_neigh
    exit
pass:
    r0 = -1
    exit
"""


def octets(source: Address, destination: Address) -> bytes:
    """Addresses and ports as they stand in a packet's headers."""
    hosts = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
    return hosts + struct.pack("!HH", source[1], destination[1])


def rewriting(slot: int, device: int, before: bytes, after: bytes) -> bytes:
    """A value of `flows`: where packets go on, and the headers that they get. Both as `octets` makes them."""
    header = struct.pack("!BBHHHBBH", 0x45, EXPEDITED, 0, 0, DO_NOT_FRAGMENT, HOPS, socket.IPPROTO_UDP, 0)
    headers = header + after
    return FLOW.pack(
        slot, device, headers, _sum(headers[:20]), _change(before[:8], after[:8]), _change(before[8:], after[8:]), 0
    )


def _sum(octets: bytes) -> int:
    return sum(struct.unpack(f"={len(octets) // 2}H", octets))


def _change(before: bytes, after: bytes) -> int:
    """By how much the sum of a checksum changes (RFC 1624)."""
    return _sum(after) + _sum(bytes(octet ^ 0xFF for octet in before))
