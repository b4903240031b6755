"""The ringing tone: whom it can be sent to, and how it sounds."""

from __future__ import annotations

import pytest

from pbxcore.media import g711, tone
from pbxcore.media.ringback import HERTZ, OFF, ON, payload_for, sound

HEAD = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("line", "payload"),
    [
        (b"m=audio 4000 RTP/AVP 9 8 0", 8),
        (b"m=audio 4000 RTP/AVP 0", 0),
        (b"m=audio 4000 RTP/AVP 9", None),
        (b"m=audio 4000 RTP/SAVP 0", None),
        (b"m=audio 0 RTP/AVP 0", None),
        (b"m=video 4000 RTP/AVP 31", None),
    ],
)
def test_whom_it_can_be_sent_to(line: bytes, payload: int | None) -> None:
    assert payload_for(HEAD + line + b"\r\n") == payload
    assert payload_for(b"nonsense") is None


def test_one_second_sounds_and_four_are_silent() -> None:
    pcm = g711.ulaw_decode(sound())
    assert len(pcm) == 2 * tone.RATE * (ON + OFF)
    assert tone.share(pcm[: int(2 * tone.RATE * ON)], HERTZ) > 0.99
    assert tone.level(pcm[int(2 * tone.RATE * ON) :]) < 0.01
