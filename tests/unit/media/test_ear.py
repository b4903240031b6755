"""Keys are told once, recordings have no holes and an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pbxcore.media import dtmf, g711, rtp, tone, wav
from pbxcore.media.ear import Ear, Recorder

VOICE = tone.sine(440.0, 1.0)


def speech(first: int = 0, count: int = 50, *, payload: int = 0, ssrc: int = 5, start: int = 1000) -> list[bytes]:
    """A second of tone, or a part of it, as packets."""
    encode = g711.alaw_encode if payload == 8 else g711.ulaw_encode
    return [
        rtp.build(payload, n, start + 160 * n, ssrc, encode(VOICE[320 * n : 320 * n + 320]))
        for n in range(first, first + count)
    ]


def keys(text: str) -> list[bytes]:
    packets = []
    for number, digit in enumerate(text):
        for frame in dtmf.press(digit, 800):
            packets.append(rtp.build(101, 0, 8000 * number + frame.offset, 5, frame.payload, marker=frame.marker))
    return packets


class Told:
    def __init__(self) -> None:
        self.digits = ""
        self.full = 0
        self.ear = Ear("a", 101, self.on_digit, self.on_full)

    def on_digit(self, digit: str) -> None:
        self.digits += digit

    def on_full(self) -> None:
        self.full += 1


@pytest.fixture
def told() -> Told:
    return Told()


def test_each_key_once(told: Told) -> None:
    for packet in [*keys("1*#0"), *speech()]:
        told.ear.hear(packet)
    assert told.digits == "1*#0"


def test_rubbish_is_no_key(told: Told) -> None:
    for packet in (b"\x80\x65" + bytes(8), bytes(12), b"\x80\x65" + bytes(10), b"\xff" * 40):
        told.ear.hear(packet)
    assert told.digits == ""


@pytest.mark.parametrize("payload", [0, 8])
def test_a_recording_is_what_was_said(tmp_path: Path, told: Told, payload: int) -> None:
    told.ear.recorder = recorder = Recorder(tmp_path / "a.wav", 10.0)
    for packet in speech(payload=payload):
        told.ear.hear(packet)
    assert recorder.close() == pytest.approx(1.0)
    assert tone.share(wav.read(tmp_path / "a.wav"), 440.0) > 0.99


def test_keys_are_not_in_it(tmp_path: Path, told: Told) -> None:
    told.ear.recorder = recorder = Recorder(tmp_path / "a.wav", 10.0)
    for packet in [*speech(), *keys("5")]:
        told.ear.hear(packet)
    assert recorder.close() == pytest.approx(1.0)
    assert told.digits == "5"


def test_what_was_lost_is_silence_and_what_comes_late_or_twice_is_left_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.wav", 10.0)
    packets = speech()
    for packet in [*packets[:10], packets[20], packets[10], packets[20], *packets[21:]]:
        read = rtp.parse(packet)
        assert read is not None
        assert recorder.take(read)
    assert recorder.close() == pytest.approx(1.0)
    pcm = wav.read(tmp_path / "a.wav")
    assert pcm[3200:6400] == bytes(3200)
    assert tone.share(pcm[6400:], 440.0) > 0.99


def test_a_new_source_or_a_jump_of_time_makes_no_hour_of_silence(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.wav", 10.0)
    for packet in [*speech(count=5), *speech(count=5, ssrc=9, start=77), *speech(count=5, ssrc=9, start=1 << 30)]:
        read = rtp.parse(packet)
        assert read is not None
        recorder.take(read)
    assert recorder.close() == pytest.approx(0.3)


def test_it_ends_when_it_is_as_long_as_it_may_be(tmp_path: Path, told: Told) -> None:
    told.ear.recorder = recorder = Recorder(tmp_path / "a.wav", 0.5)
    for packet in speech():
        told.ear.hear(packet)
    assert told.full >= 1
    assert recorder.close() == pytest.approx(0.5)


def test_other_codecs_are_not_written_down(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.wav", 10.0)
    read = rtp.parse(rtp.build(9, 1, 1, 1, bytes(160)))
    assert read is not None
    assert recorder.take(read)
    assert recorder.close() == 0.0
