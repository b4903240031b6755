"""Prompts as files that a relay plays: WAV files of the office by their names, sentences spoken, a tone, music.

Everything is kept as mu-law at 8 kHz in a directory of our own, made once and off the event loop. Sentences are spoken
by espeak-ng where that is installed; where it is not they are left out, and a call goes on without them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Formatter

import structlog

from pbxcore.media import g711, tone, wav

log = structlog.get_logger("hookline.media")

LONGEST_TEXT = 500        # characters of a sentence
SPEAK_SECONDS = 5.0
MOST_SPOKEN = 1000        # sentences kept; the one longest not said goes first
BEEP, MUSIC = "beep", "music"
# What services say that no file of the office says, by language.
SENTENCES: dict[str, dict[str, str]] = {
    "en": {
        "voicemail": "Please leave a message after the tone.",
        "your-place": "You are number {place} in the queue.",
        "wrong-key": "There is nothing behind this key.",
        "your-messages": "New messages: {count}.",
        "message-keys": "Press one to hear it again, three for the next one, seven to delete it.",
        "deleted": "Deleted.",
        "no-more-messages": "There are no more messages.",
    },
    "ru": {
        "voicemail": "Оставьте сообщение после сигнала.",
        "your-place": "Вы в очереди под номером {place}.",
        "wrong-key": "Такого пункта нет.",
        "your-messages": "Новых сообщений: {count}.",
        "message-keys": "Один — прослушать снова, три — следующее, семь — удалить.",
        "deleted": "Удалено.",
        "no-more-messages": "Сообщений больше нет.",
    },
}


class Prompts:
    """`directory` has the office's WAV files, `cache` what is made of them. Raises OSError for a cache that cannot be
    written."""

    def __init__(self, directory: Path, cache: Path, language: str) -> None:
        self._directory = directory
        self._cache = cache
        self._language = language
        self._voice = shutil.which("espeak-ng")
        self._spoken: dict[str, Sequence[str]] = {}
        self._complained: set[str] = set()
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)

    def names(self) -> frozenset[str]:
        """The office's own prompts."""
        return frozenset(path.stem for path in self._directory.glob("*.wav"))

    async def files(self, say: str, variables: Mapping[str, str]) -> Sequence[str]:
        """The files for a prompt's name or a sentence with `{variables}`; empty when it cannot be heard."""
        sentence = SENTENCES[self._language].get(say, say if " " in say or "{" in say else "")
        key = f"{say}\n{fill(sentence, variables)}"
        found = self._spoken.pop(key, None)
        if found is None:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(None, self._make, say, fill(sentence, variables))
            if len(self._spoken) >= MOST_SPOKEN:
                del self._spoken[next(iter(self._spoken))]
        self._spoken[key] = found
        return found

    async def recording(self, file: str) -> Sequence[str]:
        """A WAV file that was recorded, as `files`; what is made of it is not kept for long."""
        return await asyncio.get_running_loop().run_in_executor(None, self._recorded, Path(file))

    def _recorded(self, file: Path) -> Sequence[str]:
        try:
            made = self._converted(file)
        except (OSError, wav.WavError) as error:
            log.error("recording not heard", file=str(file), error=str(error))
            return []
        kept = sorted(self._cache.glob(f"{file.stem}-*.ulaw"), key=os.path.getmtime)
        for old in kept[:-1]:
            old.unlink(missing_ok=True)
        return [made]

    def _make(self, name: str, sentence: str) -> Sequence[str]:
        """On a thread. The office's own file goes before everything else."""
        try:
            own = self._directory / f"{name}.wav"
            if "/" not in name and own.is_file():
                return [self._converted(own)]
            if name in (BEEP, MUSIC):
                return [self._kept(name, g711.ulaw_encode(_beep() if name == BEEP else _music()))]
            return [self._said(sentence)] if sentence and self._voice else []
        except (OSError, wav.WavError, subprocess.SubprocessError) as error:
            if name not in self._complained:
                self._complained.add(name)
                log.error("prompt not heard", prompt=name, error=str(error), hint="calls go on without it")
            return []

    def _converted(self, own: Path) -> str:
        found = own.stat()
        made = self._cache / f"{own.stem}-{found.st_mtime_ns:x}-{found.st_size:x}.ulaw"
        return str(made) if made.exists() else self._kept(made.stem, g711.ulaw_encode(wav.read(own)))

    def _said(self, sentence: str) -> str:
        digest = hashlib.sha256(f"{self._language}: {sentence}".encode()).hexdigest()[:32]
        made = self._cache / f"said-{digest}.ulaw"
        if made.exists():
            return str(made)
        assert self._voice is not None
        command = [self._voice, "-v", self._language, "-s", "150", "--stdin", "--stdout"]
        done = subprocess.run(command, input=sentence.encode(), capture_output=True, timeout=SPEAK_SECONDS, check=True)
        return self._kept(made.stem, g711.ulaw_encode(wav.decode(done.stdout)))

    def _kept(self, stem: str, sound: bytes) -> str:
        """Written whole or not at all."""
        made = self._cache / f"{stem}.ulaw"
        unfinished = made.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(sound)
        unfinished.replace(made)
        return str(made)


def fill(sentence: str, variables: Mapping[str, str]) -> str:
    """The sentence with its variables; those that nobody has given are left out, and so is what is no plain name."""
    said = []
    try:
        for text, name, _, _ in Formatter().parse(sentence):
            said += [text, variables.get(name, "") if name else ""]
    except ValueError:      # a lone brace
        return sentence[:LONGEST_TEXT]
    return "".join(said)[:LONGEST_TEXT]


def _beep() -> bytes:
    return tone.sine(1000.0, 0.4, amplitude=0.4)


def _music() -> bytes:
    """A few chords, for offices that have no music of their own."""
    chords = ((262.0, 330.0, 392.0), (220.0, 262.0, 330.0), (175.0, 220.0, 262.0), (196.0, 247.0, 294.0))
    pcm = bytearray()
    for chord in chords:
        for note in (*chord, chord[1]):
            pcm += faded(tone.sine(note, 0.6, amplitude=0.15))
    return bytes(pcm)


def faded(pcm: bytes) -> bytes:
    """Swelling and dying away, so that notes do not click."""
    samples = memoryview(bytearray(pcm)).cast("h")
    edge = len(samples) // 4
    for n in range(edge):
        samples[n] = samples[n] * n // edge
        samples[-1 - n] = samples[-1 - n] * n // edge
    return samples.tobytes()
