"""Prompts become files of mu-law: the office's own, sentences, the tone and the music."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pbxcore.media import g711, tone, wav
from pbxcore.media.prompts import LONGEST_TEXT, Prompts, fill


@pytest.fixture
def own(tmp_path: Path) -> Path:
    directory = tmp_path / "prompts"
    directory.mkdir()
    return directory


@pytest.fixture
def voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An espeak-ng that says a tone, and writes down what it was given."""
    tool = tmp_path / "bin" / "espeak-ng"
    tool.parent.mkdir()
    said = tmp_path / "said"
    (tmp_path / "voice.wav").write_bytes(wav.encode(tone.sine(300.0, 0.5)))
    tool.write_text(f'#!/bin/sh\necho "$@" >> {said}; cat >> {said}; cat {tmp_path}/voice.wav\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    return said


def said(voice: Path) -> str:
    return voice.read_text()


def put(file: Path, pcm: bytes, rate: int = 8000) -> None:
    file.write_bytes(wav.encode(pcm, rate=rate))


def heard(files: object) -> bytes:
    (file,) = files  # type: ignore[misc]
    return g711.ulaw_decode(Path(file).read_bytes())


async def test_a_file_of_the_office(own: Path, tmp_path: Path) -> None:
    put(own / "closed.wav", tone.sine(500.0, 1.0, rate=16000), 16000)
    prompts = Prompts(own, tmp_path / "cache", "en")
    assert prompts.names() == {"closed"}
    pcm = heard(await prompts.files("closed", {}))
    assert len(pcm) == 16000
    assert tone.share(pcm, 500.0) > 0.95


async def test_a_changed_file_is_heard_after_the_next_start(own: Path, tmp_path: Path) -> None:
    put(own / "closed.wav", tone.sine(500.0, 1.0))
    await Prompts(own, tmp_path / "cache", "en").files("closed", {})
    put(own / "closed.wav", tone.sine(900.0, 0.5))
    pcm = heard(await Prompts(own, tmp_path / "cache", "en").files("closed", {}))
    assert tone.share(pcm, 900.0) > 0.95


async def test_the_office_s_own_music_takes_the_place_of_ours(own: Path, tmp_path: Path) -> None:
    ours = heard(await Prompts(own, tmp_path / "cache", "en").files("music", {}))
    assert 0.01 < tone.level(ours) < 0.3
    put(own / "music.wav", tone.sine(500.0, 1.0))
    pcm = heard(await Prompts(own, tmp_path / "cache", "en").files("music", {}))
    assert tone.share(pcm, 500.0) > 0.95


async def test_the_tone(own: Path, tmp_path: Path) -> None:
    pcm = heard(await Prompts(own, tmp_path / "cache", "en").files("beep", {}))
    assert tone.share(pcm, 1000.0) > 0.95


async def test_a_sentence_is_spoken_once(own: Path, tmp_path: Path, voice: Path) -> None:
    prompts = Prompts(own, tmp_path / "cache", "en")
    for _ in range(2):
        assert tone.share(heard(await prompts.files("Your balance is {balance}", {"balance": "12"})), 300.0) > 0.9
    assert said(voice).count("Your balance is 12") == 1
    await Prompts(own, tmp_path / "cache", "en").files("Your balance is {balance}", {"balance": "12"})
    assert said(voice).count("Your balance is 12") == 1
    await prompts.files("Your balance is {balance}", {"balance": "13"})
    assert "Your balance is 13" in said(voice)


async def test_the_exchange_s_own_sentences_in_the_office_s_language(own: Path, tmp_path: Path, voice: Path) -> None:
    await Prompts(own, tmp_path / "cache", "ru").files("your-place", {"place": "3"})
    assert "-v ru" in said(voice)
    assert "под номером 3" in said(voice)


async def test_what_was_said_before_asks_no_disk(
    own: Path, tmp_path: Path, voice: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = Prompts(own, tmp_path / "cache", "en")
    said_before = await prompts.files("Good day to you", {})

    asked = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda path, **_: asked.append(path))
        again = await prompts.files("Good day to you", {})
    assert asked == []
    assert again == said_before


async def test_what_is_said_is_no_option_and_no_command(own: Path, tmp_path: Path, voice: Path) -> None:
    await Prompts(own, tmp_path / "cache", "en").files("{who} calls", {"who": "--version; touch /tmp/x"})
    assert "--version; touch" not in said(voice).splitlines()[0]


async def test_without_a_voice_sentences_are_left_out(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await Prompts(own, tmp_path / "cache", "en").files("Good day to you", {}) == []


@pytest.mark.parametrize("name", ["none", "../secret", "/etc/passwd", ""])
async def test_what_is_not_there_is_left_out(own: Path, tmp_path: Path, name: str) -> None:
    put(tmp_path / "secret.wav", tone.sine(500.0, 1.0))
    assert await Prompts(own, tmp_path / "cache", "en").files(name, {}) == []


@pytest.fixture
def no_sound(own: Path) -> Path:
    (own / "closed.wav").write_bytes(b"MP3 or so")
    return own


async def test_a_file_that_is_no_sound(no_sound: Path, tmp_path: Path) -> None:
    assert await Prompts(no_sound, tmp_path / "cache", "en").files("closed", {}) == []


@pytest.mark.parametrize(
    ("sentence", "said"),
    [
        ("You have {n} {what}", "You have 3 "),
        ("{n.__class__} {n!r} {n:>9}", " 3 3"),
        ("a lone { brace", "a lone { brace"),
        ("{" * 3, "{" * 3),
        ("x" * 900, "x" * LONGEST_TEXT),
    ],
)
def test_sentences_are_filled_in_by_name_alone(sentence: str, said: str) -> None:
    assert fill(sentence, {"n": "3"}) == said
