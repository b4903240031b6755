"""G.711 mu-law and A-law against 16-bit linear PCM (ITU-T G.711), little-endian as in WAV files.

Tables made once at import; decoding and transcoding are whole buffers at a time by `bytes.translate`, encoding looks up
one sample after the other (about 10 us for 20 ms). No packet loss concealment, no comfort noise.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable

PCMU, PCMA = 0, 8                  # static payload types (RFC 3551 section 6)
SILENCE_ULAW, SILENCE_ALAW = b"\xff", b"\xd5"
_SEGMENTS = range(8)
_STEPS = range(16)


def _ulaw_to_linear(code: int) -> int:
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << (code >> 4 & 0x07)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def _alaw_to_linear(code: int) -> int:
    code ^= 0x55
    segment, magnitude = code >> 4 & 0x07, (code & 0x0F) << 4
    magnitude = magnitude + 8 if segment == 0 else (magnitude + 0x108) << (segment - 1)
    return magnitude if code & 0x80 else -magnitude


def _ulaw_magnitudes() -> bytes:
    """The seven low bits for the magnitudes 0..8192 of 14-bit samples, before they are inverted."""
    runs = [bytes((segment << 4 | step,)) * (2 << segment) for segment in _SEGMENTS for step in _STEPS]
    return (b"".join(runs)[1:] + b"\x7f" * 64)[:8193]      # the bias of 33 shifts the first run by one


def _alaw_magnitudes() -> bytes:
    """The seven low bits for the magnitudes 0..4095 of 13-bit samples, before every other one is inverted."""
    return b"".join(
        bytes((segment << 4 | step,)) * (1 << max(segment, 1)) for segment in _SEGMENTS for step in _STEPS
    )


def _encoder(positive: Iterable[int], negative: Iterable[int], repeat: int) -> bytes:
    """One code for every 16-bit sample, indexed by the sample itself (a negative index counts from the end)."""
    return b"".join(bytes((code,)) * repeat for half in (positive, negative) for code in half)


_U = _ulaw_magnitudes()
_A = _alaw_magnitudes()
_LINEAR_TO_ULAW = _encoder((code ^ 0xFF for code in _U[:8192]), (_U[m] ^ 0x7F for m in range(8192, 0, -1)), 4)
_LINEAR_TO_ALAW = _encoder((code ^ 0xD5 for code in _A), (code ^ 0x55 for code in reversed(_A)), 8)
_ULAW_LINEAR = [_ulaw_to_linear(code) for code in range(256)]
_ALAW_LINEAR = [_alaw_to_linear(code) for code in range(256)]


def _halves(linear: list[int]) -> tuple[bytes, bytes]:
    return bytes(value & 0xFF for value in linear), bytes(value >> 8 & 0xFF for value in linear)


_ULAW_LOW, _ULAW_HIGH = _halves(_ULAW_LINEAR)
_ALAW_LOW, _ALAW_HIGH = _halves(_ALAW_LINEAR)
_ULAW_TO_ALAW = bytes(_LINEAR_TO_ALAW[value] for value in _ULAW_LINEAR)
_ALAW_TO_ULAW = bytes(_LINEAR_TO_ULAW[value] for value in _ALAW_LINEAR)


def _decode(data: bytes, low: bytes, high: bytes) -> bytes:
    pcm = bytearray(2 * len(data))
    pcm[0::2] = data.translate(low)
    pcm[1::2] = data.translate(high)
    return bytes(pcm)


def _encode(pcm: bytes, table: bytes) -> bytes:
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return bytes([table[sample] for sample in samples])


def ulaw_decode(data: bytes) -> bytes:
    """Mu-law octets to PCM of twice the length."""
    return _decode(data, _ULAW_LOW, _ULAW_HIGH)


def alaw_decode(data: bytes) -> bytes:
    return _decode(data, _ALAW_LOW, _ALAW_HIGH)


def ulaw_encode(pcm: bytes) -> bytes:
    """PCM to mu-law octets of half the length. Raises ValueError for half a sample."""
    return _encode(pcm, _LINEAR_TO_ULAW)


def alaw_encode(pcm: bytes) -> bytes:
    return _encode(pcm, _LINEAR_TO_ALAW)


def ulaw_to_alaw(data: bytes) -> bytes:
    return data.translate(_ULAW_TO_ALAW)


def alaw_to_ulaw(data: bytes) -> bytes:
    return data.translate(_ALAW_TO_ULAW)
