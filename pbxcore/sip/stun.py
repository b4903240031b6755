"""The answer to a STUN Binding request on a SIP port: how phones keep a UDP flow alive (RFC 5626 section 4.4.2).

Just that of RFC 8489: no credentials, no other method, nothing asked of anybody. The answer tells the phone its address
as we see it, and is less than three times as long as the request.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct

COOKIE = 0x2112A442
BINDING, SUCCESS, ERROR = 0x0001, 0x0101, 0x0111
XOR_MAPPED_ADDRESS, ERROR_CODE, UNKNOWN_ATTRIBUTES = 0x0020, 0x0009, 0x000A
IGNORED_FROM = 0x8000       # attributes from here on may be passed over
# Known, and of no weight here: USERNAME, MESSAGE-INTEGRITY, REALM, NONCE, and those of ICE.
KNOWN = frozenset({0x0006, 0x0008, 0x0014, 0x0015, 0x001C, 0x0024, 0x0025})
MAX_BYTES = 548

_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HH")


def answer(data: bytes, host: str, port: int) -> bytes | None:
    """The answer to `data`, which came from this address; None for what is no Binding request."""
    if not _HEADER.size <= len(data) <= MAX_BYTES:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind != BINDING or cookie != COOKIE or length != len(data) - _HEADER.size or length % 4:
        return None
    unknown = _unknown(data)
    if unknown is None:
        return None
    if unknown:
        words = b"".join([number.to_bytes(2, "big") for number in unknown[:2]])
        refusal = _row(ERROR_CODE, b"\0\0\x04\x14Unknown ") + _row(UNKNOWN_ATTRIBUTES, words)
        return _HEADER.pack(ERROR, len(refusal), COOKIE, transaction) + refusal
    row = _row(XOR_MAPPED_ADDRESS, _address(host, port, transaction))
    return _HEADER.pack(SUCCESS, len(row), COOKIE, transaction) + row


def _unknown(data: bytes) -> list[int] | None:
    """The attributes that would have to be understood; None when they cannot be read."""
    found = []
    at = _HEADER.size
    while at < len(data):
        kind, length = _ATTRIBUTE.unpack_from(data, at)  # the whole is a multiple of four
        at += _ATTRIBUTE.size + (length + 3) // 4 * 4
        if kind < IGNORED_FROM and kind not in KNOWN:
            found.append(kind)
    return found if at == len(data) else None


def _row(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)


def _address(host: str, port: int, transaction: bytes) -> bytes:
    """XOR-MAPPED-ADDRESS (RFC 8489 section 14.2)."""
    address = ip_address(host.partition("%")[0])
    mask = COOKIE.to_bytes(4, "big") + transaction
    packed = bytes([one ^ other for one, other in zip(address.packed, mask, strict=False)])
    return bytes([0, 1 if address.version == 4 else 2]) + (port ^ COOKIE >> 16).to_bytes(2, "big") + packed
