"""Voice messages: kept whole, counted, and not lost to a crash."""

from __future__ import annotations

from pathlib import Path

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
def room(tmp_path: Path, lamp: Lamp) -> FileMailroom:
    room = FileMailroom(tmp_path, told=lamp.set)
    room.restore(BOXES)
    return room


def left(room: FileMailroom, call_id: str = "c1", at: float = 1000.0) -> Message:
    """Somebody leaves a message."""
    file = room.file_for("101", call_id)
    wav.write(file, tone.sine(440.0, 2.0))
    message = Message("101", call_id, "+15557777", "Anna", at, 2.0, file)
    room.keep(message)
    return message


def test_a_message_is_kept_and_the_lamp_shines(room: FileMailroom, lamp: Lamp) -> None:
    left(room)
    assert lamp.now == {"101": Counts(1, 0)}
    [kept] = room.read("101")
    assert (kept.caller, kept.name, kept.seconds) == ("+15557777", "Anna", 2.0)
    assert len(wav.read(kept.file)) == 32000


def test_heard_and_deleted(room: FileMailroom, lamp: Lamp) -> None:
    left(room, "c1", 1000.0)
    left(room, "c2", 2000.0)
    newest, oldest = room.read("101")
    assert (newest.call_id, oldest.call_id) == ("c2", "c1")
    room.heard(newest)
    room.heard(newest)
    assert lamp.now["101"] == Counts(1, 1)
    assert [(message.call_id, message.new) for message in room.read("101")] == [("c1", True), ("c2", False)]
    room.delete(oldest)
    room.delete(oldest)
    assert lamp.now["101"] == Counts(0, 1)
    [kept] = room.read("101")
    room.heard(kept)
    room.delete(kept)
    assert lamp.now["101"] == Counts(0, 0)
    assert room.read("101") == []


def test_what_a_crash_cut_off_is_there_after_the_next_start(tmp_path: Path, room: FileMailroom, lamp: Lamp) -> None:
    with wav.Writer(room.file_for("101", "c9")) as file:
        file.write(tone.sine(440.0, 3.0))
        file._file.flush()   # and the process is gone
        again = FileMailroom(tmp_path, told=lamp.set)
        again.restore(BOXES)
    [kept] = again.read("101")
    assert kept.call_id == "c9"
    assert kept.seconds == pytest.approx(3.0)
    assert lamp.now == {"101": Counts(1, 0)}


def test_what_held_nothing_is_thrown_away(tmp_path: Path, room: FileMailroom, lamp: Lamp) -> None:
    Path(room.file_for("101", "c9")).write_bytes(bytes(100))
    again = FileMailroom(tmp_path, told=lamp.set)
    again.restore(BOXES)
    assert again.read("101") == []
    assert not list((tmp_path / "101" / "tmp").iterdir())


def test_a_full_box_and_one_that_is_none(room: FileMailroom) -> None:
    for number in range(MOST_MESSAGES):
        left(room, f"c{number}")
    assert room.file_for("101", "one more") == ""
    assert room.file_for("102", "c1") == ""


def test_a_message_without_its_card_is_passed_over(tmp_path: Path, room: FileMailroom) -> None:
    left(room)
    (tmp_path / "101" / "new" / "c1.json").write_text("{")
    assert room.read("101") == []


def test_nothing_said(room: FileMailroom) -> None:
    file = room.file_for("101", "c1")
    wav.write(file, b"")
    room.discard(file)
    room.discard(file)
    assert not Path(file).exists()
