"""Voice messages: kept whole, counted, and not lost to a crash."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pbxcore.call.services.voicemail import Message
from pbxcore.call.subscriptions.mailboxes import Counts
from pbxcore.mailroom import MOST_MESSAGES, FileMailroom
from pbxcore.media import tone, wav

BOXES = frozenset({"101"})


class Lamp:
    def __init__(self) -> None:
        self.now: dict[str, Counts] = {}

    def set(self, box: str, counts: Counts) -> None:
        self.now[box] = counts


@pytest.fixture
def lamp() -> Lamp:
    return Lamp()


@pytest.fixture
async def room(tmp_path: Path, lamp: Lamp) -> AsyncIterator[FileMailroom]:
    room = FileMailroom(tmp_path, told=lamp.set)
    room.restore(BOXES)
    yield room
    await room.close()


def left(room: FileMailroom, call_id: str = "c1", at: float = 1000.0) -> Message:
    """Somebody leaves a message."""
    file = room.file_for("101", call_id)
    wav.write(file, tone.sine(440.0, 2.0))
    message = Message("101", call_id, "+15557777", "Anna", at, 2.0, file)
    room.keep(message)
    return message


async def test_a_message_is_kept_and_the_lamp_shines(room: FileMailroom, lamp: Lamp) -> None:
    left(room)
    [kept] = await room.messages("101")
    assert lamp.now == {"101": Counts(1, 0)}
    assert (kept.caller, kept.name, kept.seconds) == ("+15557777", "Anna", 2.0)
    assert len(wav.read(kept.file)) == 32000


async def test_heard_and_deleted(room: FileMailroom, lamp: Lamp) -> None:
    left(room, "c1", 1000.0)
    left(room, "c2", 2000.0)
    newest, oldest = await room.messages("101")
    assert (newest.call_id, oldest.call_id) == ("c2", "c1")
    room.heard(newest)
    room.heard(newest)
    found = await room.messages("101")
    assert [(message.call_id, message.new) for message in found] == [("c1", True), ("c2", False)]
    assert lamp.now["101"] == Counts(1, 1)
    room.delete(oldest)
    room.delete(oldest)
    [kept] = await room.messages("101")
    assert lamp.now["101"] == Counts(0, 1)
    room.heard(kept)
    room.delete(kept)
    assert await room.messages("101") == []
    assert lamp.now["101"] == Counts(0, 0)


async def test_the_loop_never_touches_the_disk(room: FileMailroom, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = room.file_for("101", "c2")
    wav.write(nothing, b"")
    by: set[str] = set()

    def noted(work: Callable[..., Any]) -> Callable[..., Any]:
        def use(*arguments: Any, **options: Any) -> Any:
            by.add(threading.current_thread().name)
            return work(*arguments, **options)

        return use

    file = room.file_for("101", "c1")
    wav.write(file, tone.sine(440.0, 2.0))
    for module, name in ((os, "stat"), (os, "replace"), (os, "unlink"), (os, "scandir"), (io, "open")):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    room.keep(Message("101", "c1", "+15557777", "Anna", 1000.0, 2.0, file))
    room.discard(nothing)
    [kept] = await room.messages("101")
    room.heard(kept)
    room.delete(kept)
    await room.close()
    assert by == {"hookline-mailroom_0"}


async def test_a_slow_disk_loses_nothing_at_the_end(
    tmp_path: Path, lamp: Lamp, room: FileMailroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, replace = threading.Event(), os.replace

    def slowly(*names: Any) -> None:
        ready.wait()
        replace(*names)

    monkeypatch.setattr(os, "replace", slowly)
    left(room)
    assert lamp.now == {"101": Counts(0, 0)}    # nobody waited
    ready.set()
    await room.close()
    assert lamp.now == {"101": Counts(1, 0)}
    assert (tmp_path / "101" / "new" / "c1.wav").exists()


async def test_a_disk_that_takes_nothing_is_told_of(
    room: FileMailroom, lamp: Lamp, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    left(room)
    await room.close()
    assert "No space left on device" in capsys.readouterr().out
    assert lamp.now == {"101": Counts(0, 0)}
    assert room.read("101") == []


async def test_a_crash_between_the_card_and_the_sound(
    tmp_path: Path, room: FileMailroom, lamp: Lamp
) -> None:
    left(room)
    await room.close()
    (tmp_path / "101" / "new" / "c1.wav").rename(tmp_path / "101" / "tmp" / "c1.wav")
    again = FileMailroom(tmp_path, told=lamp.set)
    again.restore(BOXES)
    [kept] = again.read("101")
    assert (kept.caller, kept.name, kept.at) == ("+15557777", "Anna", 1000.0)
    assert lamp.now == {"101": Counts(1, 0)}


async def test_what_a_crash_cut_off_is_there_after_the_next_start(
    tmp_path: Path, room: FileMailroom, lamp: Lamp
) -> None:
    with wav.Writer(room.file_for("101", "c9")) as file:
        file.write(tone.sine(440.0, 3.0))
        file._file.flush()   # and the process is gone
        again = FileMailroom(tmp_path, told=lamp.set)
        again.restore(BOXES)
    [kept] = again.read("101")
    assert kept.call_id == "c9"
    assert kept.seconds == pytest.approx(3.0)
    assert lamp.now == {"101": Counts(1, 0)}


async def test_what_held_nothing_is_thrown_away(tmp_path: Path, room: FileMailroom, lamp: Lamp) -> None:
    (tmp_path / "101" / "tmp" / "c9.wav").write_bytes(bytes(100))
    again = FileMailroom(tmp_path, told=lamp.set)
    again.restore(BOXES)
    assert again.read("101") == []
    assert not list((tmp_path / "101" / "tmp").iterdir())


async def test_a_full_box_and_one_that_is_none(room: FileMailroom) -> None:
    for number in range(MOST_MESSAGES):
        left(room, f"c{number}")
    await room.messages("101")
    assert room.file_for("101", "one more") == ""
    assert room.file_for("102", "c1") == ""


async def test_a_message_without_its_card_is_passed_over(tmp_path: Path, room: FileMailroom) -> None:
    left(room)
    await room.close()
    (tmp_path / "101" / "new" / "c1.json").write_text("{")
    assert room.read("101") == []


async def test_nothing_said(tmp_path: Path, room: FileMailroom) -> None:
    file = room.file_for("101", "c1")
    wav.write(file, b"")
    room.discard(file)
    room.discard(file)
    await room.close()
    assert not list((tmp_path / "101" / "tmp").iterdir())
