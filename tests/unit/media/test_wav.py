"""WAV files as they come from offices: wrong rates, stereo, mu-law, cut short."""

from __future__ import annotations

import struct
from array import array
from pathlib import Path

import pytest

from pbxcore.media import g711, tone, wav

FOREIGN = (400.0, 440.0, 880.0)


def chunked(tag: int, channels: int, rate: int, bits: int, body: bytes, extra: bytes = b"") -> bytes:
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits) + extra
    chunks = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)
        for name, data in ((b"fmt ", form), (b"LIST", b"odd"), (b"data", body))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def test_write_and_read(tmp_path: Path) -> None:
    pcm = tone.sine(440.0, 0.1)
    wav.write(tmp_path / "a.wav", pcm)
    assert wav.read(tmp_path / "a.wav") == pcm


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_any_rate_keeps_its_pitch_and_length(rate: int) -> None:
    heard = wav.decode(chunked(1, 1, rate, 16, tone.sine(440.0, 0.5, rate=rate)))
    assert len(heard) == pytest.approx(8000, abs=20)
    assert tone.strongest(heard, FOREIGN) == 440.0


def test_stereo_becomes_mono() -> None:
    left = array("h", tone.sine(440.0, 0.1))
    both = array("h", [value for sample in left for value in (sample, 0)])
    heard = array("h", wav.decode(chunked(1, 2, 8000, 16, both.tobytes())))
    assert list(heard) == [sample // 2 for sample in left]


def test_widths() -> None:
    pcm = array("h", tone.sine(440.0, 0.05))
    eight = bytes((sample >> 8) + 128 for sample in pcm)
    wide = b"".join(b"\x55" + struct.pack("<h", sample) for sample in pcm)
    wider = b"".join(b"\x55\xaa" + struct.pack("<h", sample) for sample in pcm)
    assert list(array("h", wav.decode(chunked(1, 1, 8000, 8, eight)))) == [sample & ~0xFF for sample in pcm]
    assert wav.decode(chunked(1, 1, 8000, 24, wide)) == pcm.tobytes()
    assert wav.decode(chunked(1, 1, 8000, 32, wider)) == pcm.tobytes()


def test_telephone_formats() -> None:
    pcm = tone.sine(440.0, 0.05)
    ulaw, alaw = g711.ulaw_encode(pcm), g711.alaw_encode(pcm)
    assert wav.decode(chunked(7, 1, 8000, 8, ulaw)) == g711.ulaw_decode(ulaw)
    assert wav.decode(chunked(6, 1, 8000, 8, alaw)) == g711.alaw_decode(alaw)


def test_extensible_header() -> None:
    pcm = tone.sine(440.0, 0.05)
    extra = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    assert wav.decode(chunked(0xFFFE, 1, 8000, 16, pcm, extra)) == pcm


def test_recorder_that_was_killed_is_still_playable(tmp_path: Path) -> None:
    pcm = tone.sine(440.0, 0.1)
    writer = wav.Writer(tmp_path / "live.wav")
    writer.write(pcm)
    writer._file.flush()
    assert wav.read(tmp_path / "live.wav") == pcm
    writer.close()


def test_closed_recorder_has_its_true_length(tmp_path: Path) -> None:
    with wav.Writer(tmp_path / "done.wav") as writer:
        writer.write(bytes(320))
        writer.write(bytes(320))
        assert writer.seconds == pytest.approx(0.04)
    writer.close()
    assert (tmp_path / "done.wav").read_bytes() == wav.encode(bytes(640))


def test_how_long_a_file_is_while_it_grows_and_when_it_is_done(tmp_path: Path) -> None:
    file = tmp_path / "said.wav"
    with wav.Writer(file) as writer:
        writer.write(tone.sine(440.0, 0.5))
        writer._file.flush()
        assert wav.seconds(file) == 0.5
    assert wav.seconds(file) == 0.5
    file.write_bytes(b"RIFF")
    assert wav.seconds(file) == 0.0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x03 this is an mp3 file", "not a WAV file"),
        (b"RIFF\x04\0\0\0WAVE", "no sound"),
        (b"RIFF\x04\0\0\0WAVEdata\0\0\0\0", "before its format"),
        (b"RIFF\x04\0\0\0WAVEfmt \x02\0\0\0\x01\0", "cut short"),
        (chunked(0x55, 1, 8000, 16, b""), "format 0x55"),
        (chunked(1, 1, 8000, 12, b""), "12 bits"),
        (chunked(1, 0, 8000, 16, b""), "0 channels"),
        (chunked(1, 1, 0, 16, b""), "0 Hz"),
    ],
)
def test_unreadable_says_why(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "prompt.wav"
    path.write_bytes(data)
    with pytest.raises(wav.WavError, match=f"prompt.wav: .*{message}"):
        wav.read(path)


def test_odd_last_byte_is_dropped() -> None:
    assert wav.decode(chunked(1, 1, 8000, 16, b"\x01\x02\x03")) == b"\x01\x02"


def test_resampling_nothing_gives_nothing() -> None:
    assert wav.decode(chunked(1, 1, 44100, 16, b"")) == b""
