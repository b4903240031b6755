"""WAV files as telephone audio: 8 kHz, 16-bit, mono, little-endian PCM in memory.

Reads what office PBXs are fed with: PCM of 8, 16, 24 and 32 bits, mu-law and A-law, any number of channels, any rate
(resampled by linear interpolation, good enough for speech prompts). No compressed formats, no RF64.
"""

from __future__ import annotations

import struct
import sys
from array import array
from pathlib import Path
from typing import IO, NamedTuple

from pbxcore.media import g711

RATE = 8000
MAX_BYTES = 64 * 1024 * 1024
_PCM, _ALAW, _ULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_UNKNOWN_LENGTH = 0xFFFFFFFF


class WavError(ValueError):
    """The file is no WAV file that can be played; the message names the file and says why."""


class _Format(NamedTuple):
    tag: int
    channels: int
    rate: int
    bits: int


def read(path: str | Path) -> bytes:
    """The file's sound as 8 kHz 16-bit mono PCM. Raises WavError, OSError."""
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise WavError(f"{path}: larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return decode(path.read_bytes())
    except WavError as error:
        raise WavError(f"{path}: {error}") from None


def decode(data: bytes) -> bytes:
    """The sound of a whole WAV file in memory as 8 kHz 16-bit mono PCM. Raises WavError."""
    form, body = _chunks(data)
    samples = _mono(_samples(form, body), form.channels)
    if form.rate != RATE:
        samples = resample(samples, form.rate, RATE)
    return _to_bytes(samples)


def _chunks(data: bytes) -> tuple[_Format, bytes]:
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a WAV file")
    form: _Format | None = None
    position = 12
    while position + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        if name == b"fmt ":
            form = _format(body)
        elif name == b"data":
            if form is None:
                raise WavError("its sound comes before its format")
            return form, body       # a recorder that was killed leaves a length too large: take what is there
        position += 8 + length + (length & 1)
    raise WavError("it holds no sound")


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise WavError("its format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if tag == _EXTENSIBLE and len(body) >= 26:
        tag = int.from_bytes(body[24:26], "little")
    supported = bits in (8, 16, 24, 32) if tag == _PCM else bits == 8 and tag in (_ALAW, _ULAW)
    if not supported:
        raise WavError(f"format {tag:#x} with {bits} bits cannot be played; PCM, mu-law and A-law can")
    if not 1 <= channels <= 64 or not 1000 <= rate <= 384000:
        raise WavError(f"{channels} channels at {rate} Hz make no sense")
    return _Format(tag, channels, rate, bits)


def _samples(form: _Format, body: bytes) -> array[int]:
    """Every channel's samples in turn, as 16-bit values in the machine's order."""
    frame = form.channels * form.bits // 8
    body = body[: len(body) - len(body) % frame]
    if form.tag == _ULAW:
        body = g711.ulaw_decode(body)
    elif form.tag == _ALAW:
        body = g711.alaw_decode(body)
    elif form.bits == 8:
        return array("h", [(value - 128) << 8 for value in body])
    elif form.bits > 16:
        width = form.bits // 8
        kept = bytearray(len(body) // width * 2)
        kept[0::2] = body[width - 2 :: width]
        kept[1::2] = body[width - 1 :: width]
        body = bytes(kept)
    samples = array("h", body)
    if sys.byteorder == "big":
        samples.byteswap()
    return samples


def _mono(samples: array[int], channels: int) -> array[int]:
    if channels == 1:
        return samples
    return array("h", [sum(samples[n : n + channels]) // channels for n in range(0, len(samples), channels)])


def resample(samples: array[int], rate: int, to: int) -> array[int]:
    """Linear interpolation; going down, as many samples as fall together are averaged first, against aliases."""
    fold = rate // to
    if fold > 1:
        samples = array("h", [sum(samples[n : n + fold]) // fold for n in range(0, len(samples) - fold + 1, fold)])
        numerator, denominator = rate, to * fold
    else:
        numerator, denominator = rate, to
    if numerator == denominator or len(samples) < 2:
        return samples
    count = len(samples) * denominator // numerator
    last = len(samples) - 1
    out = array("h", bytes(2 * count))
    for n in range(count):
        whole, part = divmod(n * numerator, denominator)
        here = samples[whole]
        out[n] = here + (samples[min(whole + 1, last)] - here) * part // denominator
    return out


def _to_bytes(samples: array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _head(rate: int, length: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", min(36 + length, _UNKNOWN_LENGTH), b"WAVE", b"fmt ", 16,
        _PCM, 1, rate, rate * 2, 2, 16, b"data", min(length, _UNKNOWN_LENGTH),
    )  # fmt: skip


def encode(pcm: bytes, *, rate: int = RATE) -> bytes:
    """A whole WAV file of 16-bit mono PCM."""
    return _head(rate, len(pcm)) + pcm


def wrap_ulaw(sound: bytes) -> bytes:
    """A whole WAV file of mu-law at 8 kHz."""
    form = struct.pack("<HHIIHH", _ULAW, 1, RATE, RATE, 1, 8)
    head = struct.pack("<4sI4s4sI", b"RIFF", 4 + 8 + len(form) + 8 + len(sound), b"WAVE", b"fmt ", len(form))
    return head + form + struct.pack("<4sI", b"data", len(sound)) + sound


def seconds(path: str | Path) -> float:
    """How long a file of `write` or `Writer` sounds, by its size: also one that was not closed. Raises OSError."""
    return max(0, Path(path).stat().st_size - len(_head(RATE, 0))) / (2 * RATE)


def write(path: str | Path, pcm: bytes, *, rate: int = RATE) -> None:
    """Raises OSError."""
    Path(path).write_bytes(encode(pcm, rate=rate))


class Writer:
    """A WAV file that grows. What was written so far is playable even when nobody closes it."""

    def __init__(self, path: str | Path, *, rate: int = RATE) -> None:
        """Raises OSError."""
        self._rate = rate
        self._length = 0
        self._file: IO[bytes] = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._file.write(_head(rate, _UNKNOWN_LENGTH))

    def write(self, pcm: bytes) -> None:
        self._file.write(pcm)
        self._length += len(pcm)

    @property
    def seconds(self) -> float:
        return self._length / 2 / self._rate

    def close(self) -> None:
        """Put the true length into the header; closing twice is harmless."""
        if not self._file.closed:
            self._file.seek(0)
            self._file.write(_head(self._rate, self._length))
            self._file.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
