"""STUN on a SIP port: Binding requests and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxcore.sip.stun import COOKIE, answer

TRANSACTION = bytes(range(12))


def request(body: bytes = b"", kind: int = 1, cookie: int = COOKIE, length: int | None = None) -> bytes:
    return struct.pack("!HHI12s", kind, len(body) if length is None else length, cookie, TRANSACTION) + body


def test_the_address_as_we_see_it() -> None:
    """The figures of RFC 5769 section 2.2: 192.0.2.1 port 32853."""
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    back = answer(struct.pack("!HHI12s", 1, 0, COOKIE, transaction), "192.0.2.1", 32853)
    assert back == bytes.fromhex("0101000c2112a442b7e7a701bc34d686fa87dfae") + bytes.fromhex("002000080001a147e112a643")


def test_ipv6() -> None:
    """RFC 5769 section 2.3."""
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    back = answer(struct.pack("!HHI12s", 1, 0, COOKIE, transaction), "2001:db8:1234:5678:11:2233:4455:6677", 32853)
    assert back is not None
    assert back[20:] == bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


@pytest.mark.parametrize("data", [
    b"", b"\0" * 20, request(kind=2), request(kind=0x101), request(cookie=1), request(length=4), request(b"abc"),
    request(b"\x80\x22\0\x08abcd"), request(b"\0" * 600), request()[:19],
])  # fmt: skip
def test_what_is_none(data: bytes) -> None:
    assert answer(data, "127.0.0.1", 5060) is None


def test_attributes_that_matter_and_that_do_not() -> None:
    software = b"\x80\x22\0\x03abc\0"
    assert (answer(request(software), "127.0.0.1", 5060) or b"")[:2] == b"\x01\x01"
    back = answer(request(software + b"\x00\x77\0\0"), "127.0.0.1", 5060)
    assert back is not None
    assert back[:2] == b"\x01\x11"
    assert b"\0\0\x04\x14" in back
    assert back.endswith(b"\x00\x0a\x00\x02\x00\x77\0\0")
    assert len(back) == 20 + struct.unpack_from("!H", back, 2)[0]


@given(st.binary(max_size=600))
def test_an_answer_is_short_whatever_comes(data: bytes) -> None:
    for what in (data, request(data)):
        back = answer(what, "127.0.0.1", 5060)
        assert back is None or len(back) <= 3 * len(what)
