"""Telephone-events: digits pressed, as RTP payloads (RFC 4733 section 2). Sans I/O.

Each press is reported once, whatever is lost, doubled or late of its packets. Tones in the audio are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

DIGITS = "0123456789*#ABCD"
_CODES = {digit: code for code, digit in enumerate(DIGITS)}
_END = 0x80
_LONGEST = 0xFFFF         # a segment's duration in timestamp units; a longer press goes on in a new segment (2.5.1.3)
_SEGMENT_SLACK = 8000     # how far a sender's segment may begin off the end of the one before, timestamp units
END_PACKETS = 3           # 2.5.1.4: the last packet is sent three times


class Event(NamedTuple):
    """One telephone-event payload (2.3). `duration` is in timestamp units, `volume` in -dBm0."""

    digit: str
    end: bool
    volume: int
    duration: int

    def to_bytes(self) -> bytes:
        code = _CODES[self.digit]
        return bytes((code, (_END if self.end else 0) | self.volume & 0x3F)) + self.duration.to_bytes(2, "big")


def parse(payload: bytes) -> Event | None:
    """Read a payload; None for one that is too short or an event that is no digit (flash, fax tones)."""
    if len(payload) < 4 or payload[0] >= len(DIGITS):
        return None
    duration = int.from_bytes(payload[2:4], "big")
    return Event(DIGITS[payload[0]], bool(payload[1] & _END), payload[1] & 0x3F, duration)


class Frame(NamedTuple):
    """What to send for one packet of a press: `offset` is added to the timestamp that the press began at, `wait` is
    in timestamp units since the packet before; end packets follow each other at once."""

    offset: int
    marker: bool
    payload: bytes
    wait: int


def press(digit: str, duration: int, *, step: int = 160, volume: int = 10) -> Iterator[Frame]:
    """The packets of one press of `duration` timestamp units, one every `step`.

    Raises ValueError for a digit that does not exist and for a press of no length.
    """
    if digit not in _CODES:
        raise ValueError(f"no DTMF digit: {digit!r}")
    if duration < 1 or step < 1:
        raise ValueError("a press and its steps last at least one timestamp unit")
    offset = elapsed = 0
    while elapsed < duration:
        wait = min(step, duration - elapsed)
        if elapsed + wait - offset > _LONGEST:
            offset += _LONGEST
        elapsed += wait
        end = elapsed >= duration
        payload = Event(digit, end, volume, elapsed - offset).to_bytes()
        yield Frame(offset, elapsed == wait, payload, wait)
    for _ in range(END_PACKETS - 1):
        yield Frame(offset, False, payload, 0)


class Receiver:
    """Turns telephone-event packets of one stream into digits."""

    __slots__ = ("_digit", "_duration", "_ended", "_ssrc", "_timestamp")

    def __init__(self) -> None:
        self._ssrc = self._timestamp = -1
        self._digit = ""
        self._duration = 0
        self._ended = False

    @property
    def duration(self) -> int:
        """How long the last digit was held as far as is known, in timestamp units (of its last segment)."""
        return self._duration

    def receive(self, ssrc: int, timestamp: int, payload: bytes) -> str | None:
        """The digit when this packet is the first seen of a press, None otherwise."""
        event = parse(payload)
        if event is None:
            return None
        if ssrc == self._ssrc:
            ahead = (timestamp - self._timestamp) & 0xFFFFFFFF
            if ahead == 0 and event.digit == self._digit:
                self._duration = max(self._duration, event.duration)
                self._ended = self._ended or event.end
                return None
            if ahead >= 0x80000000:
                return None         # a late packet of a press that was reported before
            known = event.digit == self._digit and not self._ended and self._is_next_segment(ahead)
        else:
            known = False
        self._ssrc, self._timestamp = ssrc, timestamp
        self._digit, self._duration, self._ended = event.digit, event.duration, event.end
        return None if known else event.digit

    def _is_next_segment(self, ahead: int) -> bool:
        """A press over 65535 units goes on in segments that follow each other without a gap and without an end."""
        return self._duration > _LONGEST // 2 and abs(ahead - _LONGEST) <= _SEGMENT_SLACK
