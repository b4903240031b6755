"""Sine tones and their detection (Goertzel), for tests, the demo and the phone: 16-bit little-endian mono PCM.

Not a telephony tone decoder: no twist, no cadence. DTMF travels as RFC 4733 events (`dtmf`).
"""

from __future__ import annotations

import math
import sys
from array import array

RATE = 8000


def sine(frequency: float, seconds: float, *, amplitude: float = 0.5, rate: int = RATE, start: int = 0) -> bytes:
    """A tone as PCM. `amplitude` is 0..1 of full scale; `start` is the first sample's number, so that tones cut into
    frames go on without a click."""
    step = 2.0 * math.pi * frequency / rate
    peak = amplitude * 32767.0
    count = round(seconds * rate)
    samples = array("h", (round(peak * math.sin(step * n)) for n in range(start, start + count)))
    return _little_endian(samples)


def silence(seconds: float, *, rate: int = RATE) -> bytes:
    return bytes(2 * round(seconds * rate))


def share(pcm: bytes, frequency: float, *, rate: int = RATE) -> float:
    """How much of the signal's power is at `frequency`: 1.0 for a pure tone, near 0 for silence, noise and others."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    power = float(sum(sample * sample for sample in samples))
    if not power:
        return 0.0
    coefficient = 2.0 * math.cos(2.0 * math.pi * frequency / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + coefficient * last - before
    energy = last * last + before * before - coefficient * last * before
    return min(1.0, 2.0 * energy / (power * len(samples)))


def strongest(pcm: bytes, frequencies: tuple[float, ...], *, rate: int = RATE, threshold: float = 0.5) -> float | None:
    """The frequency that holds the largest share, None when none holds `threshold`."""
    best = max(((share(pcm, frequency, rate=rate), frequency) for frequency in frequencies), default=(0.0, 0.0))
    return best[1] if best[0] >= threshold else None


def level(pcm: bytes) -> float:
    """Root mean square, 0..1 of full scale."""
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples)) / 32768.0 if samples else 0.0


def _little_endian(samples: array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
