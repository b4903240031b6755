"""RFC 4733: every press reported once."""

from __future__ import annotations

import pytest

from pbxcore.media import dtmf
from pbxcore.media.dtmf import DIGITS, Event, Receiver


def digits(receiver: Receiver, start: int, frames: list[dtmf.Frame], ssrc: int = 1) -> str:
    heard = (receiver.receive(ssrc, start + frame.offset & 0xFFFFFFFF, frame.payload) for frame in frames)
    return "".join(digit for digit in heard if digit)


@pytest.mark.parametrize("digit", DIGITS)
def test_payload_goes_there_and_back(digit: str) -> None:
    event = Event(digit, True, 10, 800)
    assert dtmf.parse(event.to_bytes()) == event


def test_wire_format() -> None:
    assert Event("#", True, 10, 0x0320).to_bytes() == bytes((11, 0x8A, 0x03, 0x20))


@pytest.mark.parametrize("payload", [b"", b"\x01\x0a\x00", b"\x10\x0a\x00\xa0", b"\xff\xff\xff\xff"])
def test_no_digit(payload: bytes) -> None:
    assert dtmf.parse(payload) is None
    assert Receiver().receive(1, 0, payload) is None


def test_press_begins_with_the_marker_and_ends_three_times() -> None:
    frames = list(dtmf.press("5", 800))
    events = [dtmf.parse(frame.payload) for frame in frames]
    assert [frame.marker for frame in frames] == [True] + [False] * 6
    assert [event.end for event in events if event] == [False] * 4 + [True] * 3
    assert [event.duration for event in events if event] == [160, 320, 480, 640, 800, 800, 800]
    assert sum(frame.wait for frame in frames) == 800


@pytest.mark.parametrize(("digit", "duration"), [("X", 800), ("", 800), ("5", 0)])
def test_impossible_press(digit: str, duration: int) -> None:
    with pytest.raises(ValueError, match=r"DTMF digit|timestamp unit"):
        list(dtmf.press(digit, duration))


def test_press_is_reported_at_its_first_packet_and_once() -> None:
    receiver = Receiver()
    frames = list(dtmf.press("5", 1600))
    assert receiver.receive(1, 5000, frames[0].payload) == "5"
    assert digits(receiver, 5000, frames[1:]) == ""
    assert receiver.duration == 1600


def test_same_digit_twice_is_two_presses() -> None:
    receiver = Receiver()
    frames = list(dtmf.press("1", 800))
    assert digits(receiver, 0, frames) + digits(receiver, 1600, frames) == "11"


def test_long_press_in_segments_is_one_press() -> None:
    frames = list(dtmf.press("9", 160_000))
    assert {frame.offset for frame in frames} == {0, 65535, 131070}
    assert digits(Receiver(), 1000, frames) == "9"


def test_long_press_whose_segment_ends_are_lost() -> None:
    frames = [frame for n, frame in enumerate(dtmf.press("9", 160_000)) if n % 10 == 0]
    assert digits(Receiver(), 1000, frames) == "9"


def test_only_an_end_packet_got_through() -> None:
    assert digits(Receiver(), 0, list(dtmf.press("7", 800))[-1:]) == "7"


def test_all_end_packets_lost() -> None:
    receiver = Receiver()
    frames = list(dtmf.press("7", 800))[:3]
    assert digits(receiver, 0, frames) + digits(receiver, 2400, frames) == "77"


def test_late_packet_of_the_press_before() -> None:
    receiver = Receiver()
    first, second = list(dtmf.press("1", 800)), list(dtmf.press("2", 800))
    assert digits(receiver, 0, first[:-1]) == "1"
    assert digits(receiver, 1600, second[:2]) == "2"
    assert digits(receiver, 0, first[-1:]) == ""
    assert digits(receiver, 1600, second[2:]) == ""


def test_timestamp_wraps_between_presses() -> None:
    receiver = Receiver()
    frames = list(dtmf.press("3", 800))
    assert digits(receiver, 2**32 - 400, frames) + digits(receiver, 1200, frames) == "33"


def test_new_source_is_a_new_press_whatever_its_timestamp() -> None:
    receiver = Receiver()
    frames = list(dtmf.press("4", 800))
    assert digits(receiver, 90_000, frames) + digits(receiver, 10, frames, ssrc=2) == "44"


def test_other_digit_at_the_same_timestamp_is_another_press() -> None:
    receiver = Receiver()
    assert digits(receiver, 0, list(dtmf.press("1", 800))) + digits(receiver, 0, list(dtmf.press("2", 800))) == "12"
