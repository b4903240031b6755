"""Whether a description that answered one offer is an answer to another."""

from __future__ import annotations

import pytest

from pbxcore.call.early import fits


def sdp(*media: str) -> bytes:
    head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    return (head + "".join(f"m={line}\r\n" for line in media)).encode()


@pytest.mark.parametrize(
    ("offer", "answer", "expected"),
    [
        (sdp("audio 1000 RTP/AVP 0 8"), sdp("audio 2000 RTP/AVP 8"), True),
        (sdp("audio 1000 RTP/AVP 0"), sdp("audio 2000 RTP/AVP 8"), False),
        (sdp("audio 1000 RTP/AVP 0", "video 1002 RTP/AVP 96"), sdp("audio 2000 RTP/AVP 0"), False),
        (sdp("audio 1000 RTP/AVP 0", "video 0 RTP/AVP 96"), sdp("audio 2000 RTP/AVP 0", "video 0 RTP/AVP 31"), True),
        (b"", sdp("audio 2000 RTP/AVP 0"), False),
        (sdp("audio 1000 RTP/AVP 0"), b"", False),
        (sdp("audio 1000 RTP/AVP 0"), b"nonsense", False),
    ],
)
def test_fits(offer: bytes, answer: bytes, expected: bool) -> None:
    assert fits(offer, answer) is expected
