"""Tones made and found again."""

from __future__ import annotations

import pytest

from pbxcore.media import g711, tone

OFFICE = (440.0, 700.0, 1004.0)


@pytest.mark.parametrize("frequency", OFFICE)
def test_pure_tone_is_found(frequency: float) -> None:
    pcm = tone.sine(frequency, 0.2)
    assert tone.share(pcm, frequency) > 0.98
    assert tone.strongest(pcm, OFFICE) == frequency


def test_tone_is_found_after_g711() -> None:
    pcm = g711.ulaw_decode(g711.ulaw_encode(tone.sine(440.0, 0.2, amplitude=0.1)))
    assert tone.strongest(pcm, OFFICE) == 440.0


def test_other_tones_and_silence_are_not_found() -> None:
    assert tone.share(tone.sine(440.0, 0.2), 1004.0) < 0.02
    assert tone.strongest(tone.silence(0.2), OFFICE) is None
    assert tone.strongest(tone.sine(2000.0, 0.2), OFFICE) is None
    assert tone.share(b"", 440.0) == 0.0


def test_frames_of_a_tone_join_without_a_click() -> None:
    whole = tone.sine(440.0, 0.1)
    frames = b"".join(tone.sine(440.0, 0.02, start=160 * n) for n in range(5))
    assert frames == whole


def test_level() -> None:
    assert tone.level(tone.sine(400.0, 0.5, amplitude=0.5)) == pytest.approx(0.5 / 2**0.5, rel=0.01)
    assert tone.level(b"") == 0.0
