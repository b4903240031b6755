"""Bencode, the wire format of rtpengine's ng protocol: integers, strings, lists, dictionaries. Sans I/O.

Strings are text here; bytes that are no UTF-8 survive a round trip (surrogateescape).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "int | str | list[Value] | dict[str, Value]"
Encodable: TypeAlias = "int | str | bytes | Sequence[Encodable] | Mapping[str, Encodable]"

MAX_DEPTH = 32


class BencodeError(ValueError):
    """Not bencode, or cut short."""


def encode(value: Encodable) -> bytes:
    parts: list[bytes] = []
    _encode(value, parts)
    return b"".join(parts)


def _encode(value: Encodable, parts: list[bytes]) -> None:
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
    elif isinstance(value, int):
        parts.append(b"i%de" % value)
    elif isinstance(value, Mapping):
        parts.append(b"d")
        for key in sorted(value):
            _encode(key, parts)
            _encode(value[key], parts)
        parts.append(b"e")
    else:
        parts.append(b"l")
        for item in value:
            _encode(item, parts)
        parts.append(b"e")


def decode(data: bytes) -> Value:
    """The one value that `data` is. Raises BencodeError."""
    try:
        value, end = _decode(data, 0, MAX_DEPTH)
    except (ValueError, IndexError) as error:
        raise BencodeError(f"no bencode: {error}") from None
    if end != len(data):
        raise BencodeError("something follows the value")
    return value


def _decode(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    kind = data[at]
    if 0x30 <= kind <= 0x39:
        start = data.index(b":", at, at + 12) + 1
        end = start + int(data[at : start - 1])
        if not start <= end <= len(data):
            raise ValueError("a string is cut short")
        return data[start:end].decode("utf-8", "surrogateescape"), end
    if kind == 0x69:    # i
        end = data.index(b"e", at)
        return int(data[at + 1 : end]), end + 1
    if not depth:
        raise ValueError("nested too deeply")
    if kind == 0x64:    # d
        return _dictionary(data, at + 1, depth - 1)
    if kind != 0x6C:    # l
        raise ValueError(f"unknown type {kind:#x}")
    at += 1
    items: list[Value] = []
    while data[at] != 0x65:
        item, at = _decode(data, at, depth - 1)
        items.append(item)
    return items, at + 1


def _dictionary(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    """Most of what is read is a dictionary of strings: they are read in place."""
    found: dict[str, Value] = {}
    size = len(data)
    index = data.index
    while data[at] != 0x65:
        start = index(b":", at) + 1
        end = start + int(data[at : start - 1])
        if end < start:
            raise ValueError("a string of negative length")
        key = data[start:end].decode("utf-8", "surrogateescape")
        kind = data[end]
        if 0x30 <= kind <= 0x39:
            start = index(b":", end) + 1
            at = start + int(data[end : start - 1])
            if not start <= at <= size:
                raise ValueError("a string is cut short")
            found[key] = data[start:at].decode("utf-8", "surrogateescape")
        else:
            found[key], at = _decode(data, end, depth)
    return found, at + 1
