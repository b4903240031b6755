"""Bencode, there and back; and what is not bencode."""

from __future__ import annotations

import pytest

from pbxcore.media import bencode
from pbxcore.media.bencode import BencodeError

PING = b"d7:command4:pinge"


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (0, b"i0e"),
        (-42, b"i-42e"),
        ("", b"0:"),
        ("Łódź", b"7:\xc5\x81\xc3\xb3d\xc5\xba"),
        ([], b"le"),
        (["a", 1, []], b"l1:ai1elee"),
        ({"b": 1, "a": ["x"]}, b"d1:al1:xe1:bi1ee"),
        ({"command": "ping"}, PING),
    ],
)
def test_there_and_back(value: bencode.Value, wire: bytes) -> None:
    assert bencode.encode(value) == wire
    assert bencode.decode(wire) == value


def test_octets_that_are_no_utf8_survive() -> None:
    text = bencode.decode(b"3:a\xff\n")
    assert isinstance(text, str)
    assert bencode.encode(text) == b"3:a\xff\n"
    assert bencode.encode(b"a\xff\n") == b"3:a\xff\n"


@pytest.mark.parametrize(
    "wire",
    [
        b"", b"i", b"ie", b"i1", b"ixe", b"5:abc", b"-1:", b"99999999999999:", b"l", b"li1e", b"d", b"d1:a", b"d1:a1:b",
        b"di1e1:be", b"x", b"1", b"d3:ab", b"d-9:ai1ee", b"d1:a9:be", b"i1ei1e", b"l" * 100_000, b"d1:a" * 100_000,
    ],
)  # fmt: skip
def test_garbage(wire: bytes) -> None:
    with pytest.raises(BencodeError):
        bencode.decode(wire)
