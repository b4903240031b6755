"""G.711 against the standard's landmarks (the whole tables are checked against the stdlib where it still has them)."""

from __future__ import annotations

import sys
import warnings
from array import array

import pytest

from pbxcore.media import g711

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = array("h", range(-32768, 32768)).tobytes()


def linear(data: bytes) -> list[int]:
    return array("h", data).tolist()


@pytest.mark.parametrize(("code", "value"), [(0xFF, 0), (0x7F, 0), (0x80, 32124), (0x00, -32124), (0xF0, 120)])
def test_ulaw_landmarks(code: int, value: int) -> None:
    assert linear(g711.ulaw_decode(bytes((code,)))) == [value]


@pytest.mark.parametrize(("code", "value"), [(0xD5, 8), (0x55, -8), (0xAA, 32256), (0x2A, -32256)])
def test_alaw_landmarks(code: int, value: int) -> None:
    assert linear(g711.alaw_decode(bytes((code,)))) == [value]


def test_silence_is_silent() -> None:
    assert linear(g711.ulaw_decode(g711.SILENCE_ULAW)) == [0]
    assert g711.alaw_encode(bytes(2)) == g711.SILENCE_ALAW


def test_codes_survive_a_round_trip() -> None:
    assert g711.alaw_encode(g711.alaw_decode(EVERY_CODE)) == EVERY_CODE
    again = g711.ulaw_encode(g711.ulaw_decode(EVERY_CODE))
    assert again == EVERY_CODE.replace(b"\x7f", b"\xff")     # minus zero becomes zero


def test_encoding_is_monotonic_and_close() -> None:
    for encode, decode, worst in (
        (g711.ulaw_encode, g711.ulaw_decode, 644),
        (g711.alaw_encode, g711.alaw_decode, 512),
    ):
        heard = linear(decode(encode(EVERY_SAMPLE)))
        assert heard == sorted(heard)
        assert max(abs(value - sample) for value, sample in zip(heard, range(-32768, 32768), strict=True)) <= worst


def test_transcoding_equals_going_over_linear() -> None:
    assert g711.ulaw_to_alaw(EVERY_CODE) == g711.alaw_encode(g711.ulaw_decode(EVERY_CODE))
    assert g711.alaw_to_ulaw(EVERY_CODE) == g711.ulaw_encode(g711.alaw_decode(EVERY_CODE))


def test_half_a_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="multiple"):
        g711.ulaw_encode(b"\x00\x00\x00")


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="audioop left the standard library")
def test_equals_audioop() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import audioop
    assert g711.ulaw_encode(EVERY_SAMPLE) == audioop.lin2ulaw(EVERY_SAMPLE, 2)
    assert g711.alaw_encode(EVERY_SAMPLE) == audioop.lin2alaw(EVERY_SAMPLE, 2)
    assert g711.ulaw_decode(EVERY_CODE) == audioop.ulaw2lin(EVERY_CODE, 2)
    assert g711.alaw_decode(EVERY_CODE) == audioop.alaw2lin(EVERY_CODE, 2)
