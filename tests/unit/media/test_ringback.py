"""The ringing tone: whom it can be sent to, and that it is even and in order."""

from __future__ import annotations

import pytest

from pbxcore.media import g711, tone, wav
from pbxcore.media.ringback import HERTZ, ON, PACKET, WHOLE, Ringback, payload_for, recording
from pbxcore.media.rtp import parse

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
    ringback = Ringback("a", 0, 7, 100.0)
    packets = [packet for n in range(WHOLE) for packet in ringback.due(100.0 + n * PACKET + 0.001)]
    assert len(packets) == WHOLE
    read = [parse(packet) for packet in packets]
    assert [packet.sequence for packet in read if packet] == list(range(WHOLE))
    assert {packet.ssrc for packet in read if packet} == {7}
    pcm = b"".join(g711.ulaw_decode(packet.payload) for packet in read if packet)
    assert tone.share(pcm[: ON * 320], HERTZ) > 0.99
    assert tone.level(pcm[ON * 320 :]) < 0.01


def test_after_a_stall_it_does_not_send_all_of_it_at_once() -> None:
    ringback = Ringback("a", 8, 7, 0.0)
    ringback.due(0.001)
    assert len(ringback.due(10.0)) == 5
    assert ringback.due(10.0) == []


def test_as_a_file() -> None:
    pcm = wav.decode(recording())
    assert len(pcm) == 2 * tone.RATE * 5
    assert tone.share(pcm[: 2 * tone.RATE], HERTZ) > 0.99
