"""What one peer was told of somebody's media, as another peer gets it."""

from __future__ import annotations

from pbxcore.call.retell import alike, answer, awake
from pbxcore.sip.sdp import Sdp

HEAD = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


def sdp(*lines: str) -> bytes:
    return (HEAD + "".join(f"{line}\r\n" for line in lines)).encode()


def directions(text: bytes) -> list[str]:
    return [media.direction for media in Sdp.parse(text).media]


def test_who_was_held_wakes_up_and_who_holds_goes_on_holding() -> None:
    audio = "m=audio 4000 RTP/AVP 0"
    assert directions(awake(sdp(audio, "a=recvonly"))) == ["sendrecv"]
    assert directions(awake(sdp(audio, "a=inactive"))) == ["sendrecv"]
    assert directions(awake(sdp(audio))) == ["sendrecv"]
    assert directions(awake(sdp(audio, "a=sendonly"))) == ["sendonly"]
    assert awake(b"no SDP") == b"no SDP"


def test_a_stream_that_was_turned_down_stays_so() -> None:
    text = awake(sdp("m=audio 4000 RTP/AVP 0", "m=video 0 RTP/AVP 96"))
    assert [media.port for media in Sdp.parse(text).media] == [4000, 0]


def test_what_a_peer_need_not_be_told_again() -> None:
    one = sdp("m=audio 4000 RTP/AVP 0 8", "a=sendrecv")
    assert alike(one, sdp("m=audio 5000 RTP/AVP 0 8", "a=recvonly"))
    assert not alike(one, sdp("m=audio 4000 RTP/AVP 0", "a=sendrecv"))
    assert not alike(one, sdp("m=audio 4000 RTP/SAVP 0 8", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"))
    assert not alike(one, b"no SDP")


def test_two_offers_answer_each_other() -> None:
    """The formats that both mean by the same numbers, in the order of the one whose media it is."""
    offer = sdp("m=audio 4000 RTP/AVP 8 0 96", "a=rtpmap:96 telephone-event/8000")
    other = sdp("m=audio 5000 RTP/AVP 0 8 96 97", "a=rtpmap:96 opus/48000/2", "a=rtpmap:97 telephone-event/8000")
    made = answer(offer, other)
    assert made is not None
    [media] = Sdp.parse(made).media
    assert (media.port, media.formats) == (5000, ["0", "8"])
    assert media.attributes("rtpmap") == []


def test_a_stream_that_the_other_does_not_have_is_turned_down() -> None:
    offer = sdp("m=audio 4000 RTP/AVP 0", "m=video 4002 RTP/AVP 31")
    made = answer(offer, sdp("m=audio 5000 RTP/AVP 0"))
    assert made is not None
    assert [(media.kind, media.port) for media in Sdp.parse(made).media] == [("audio", 5000), ("video", 0)]


def test_two_offers_that_do_not_fit() -> None:
    offer = sdp("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000")
    assert answer(offer, sdp("m=audio 5000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000")) is None
    assert answer(offer, sdp("m=audio 5000 RTP/SAVP 0")) is None
    assert answer(offer, b"nonsense") is None
