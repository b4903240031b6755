"""Offer and answer of a phone: what it takes, what it turns down, who hears whom."""

from __future__ import annotations

import pytest

from pbxcore.media import g711
from pbxcore.phone.description import Description, Remote
from pbxcore.sip.errors import SipError
from pbxcore.sip.sdp import Sdp


def offer(*lines: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 10.0.0.9", "s=-", "c=IN IP4 10.0.0.9", "t=0 0", *lines, ""]).encode()


@pytest.fixture
def ours() -> Description:
    return Description("10.0.0.1", 4000, 7)


def test_two_phones_agree(ours: Description) -> None:
    theirs = Description("10.0.0.2", 5000, 8)
    ours.accept(theirs.answer(ours.offer("sendrecv")))
    assert ours.remote == Remote("10.0.0.2", 5000, g711.PCMU, 0, 101, True)
    assert theirs.remote == Remote("10.0.0.1", 4000, g711.PCMU, 0, 101, True)


def test_the_order_of_the_offer_is_its_wish(ours: Description) -> None:
    ours.answer(offer("m=audio 5000 RTP/AVP 9 8 0"))
    assert ours.remote == Remote("10.0.0.9", 5000, g711.PCMA, 8, None, True)


def test_telephone_events_keep_the_number_of_the_offer(ours: Description) -> None:
    answer = Sdp.parse(ours.answer(offer("m=audio 5000 RTP/AVP 0 96", "a=rtpmap:96 telephone-event/8000")))
    assert answer.media[0].formats == ["0", "96"]
    assert ours.own_event_type == 96


def test_a_codec_under_another_number_is_spoken_under_it(ours: Description) -> None:
    ours.answer(offer("m=audio 5000 RTP/AVP 97", "a=rtpmap:97 PCMA/8000"))
    assert ours.remote == Remote("10.0.0.9", 5000, g711.PCMA, 97, None, True)
    assert ours.codec_of[97] == g711.PCMA


def test_streams_that_are_no_audio_are_turned_down_in_their_place(ours: Description) -> None:
    text = offer("m=video 5002 RTP/AVP 34", "m=audio 5000 RTP/AVP 0", "m=audio 5004 RTP/AVP 0", "m=image 6 udptl t38")
    answer = Sdp.parse(ours.answer(text))
    assert [(media.kind, media.port, media.proto) for media in answer.media] == [
        ("video", 0, "RTP/AVP"), ("audio", 4000, "RTP/AVP"), ("audio", 0, "RTP/AVP"), ("image", 0, "udptl"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        offer("m=audio 5000 RTP/AVP 9"),
        offer("m=audio 0 RTP/AVP 0"),
        offer("m=audio 5000 RTP/SAVP 0"),
        offer("m=video 5000 RTP/AVP 0"),
        offer(),
    ],
)
def test_nothing_that_fits_is_488(ours: Description, text: bytes) -> None:
    ours.offer("sendrecv")
    for take in (ours.answer, ours.accept):
        with pytest.raises(SipError) as caught:
            take(text)
        assert caught.value.status == 488


def test_nonsense_is_400(ours: Description) -> None:
    ours.offer("sendrecv")
    with pytest.raises(SipError) as caught:
        ours.accept(b"hello")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("theirs", "answer", "held", "hears"),
    [
        ("sendrecv", "sendrecv", False, True),
        ("sendonly", "recvonly", True, False),
        ("recvonly", "sendonly", False, True),
        ("inactive", "inactive", True, False),
    ],
)
def test_a_hold_is_answered_as_rfc_3264_says(
    ours: Description, theirs: str, answer: str, held: bool, hears: bool
) -> None:
    found = Sdp.parse(ours.answer(offer("m=audio 5000 RTP/AVP 0", f"a={theirs}")))
    assert found.media[0].direction == answer
    assert ours.held is held
    assert ours.remote is not None
    assert ours.remote.wants_audio is hears


def test_a_hold_of_the_old_kind_is_understood(ours: Description) -> None:
    ours.answer(offer("m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0"))
    assert ours.held
    assert ours.remote is not None
    assert not ours.remote.wants_audio


def test_our_hold_outlasts_their_offer(ours: Description) -> None:
    ours.offer("sendonly")
    ours.accept(offer("m=audio 5000 RTP/AVP 0", "a=recvonly"))
    answer = Sdp.parse(ours.answer(offer("m=audio 5000 RTP/AVP 0", "a=sendrecv")))
    assert answer.media[0].direction == "sendonly"
    assert ours.remote is not None
    assert not ours.remote.wants_audio


def test_every_description_has_a_later_version(ours: Description) -> None:
    versions = [Sdp.parse(ours.offer("sendrecv")).version for _ in range(3)]
    assert versions == [1, 2, 3]


def test_ipv6_says_so() -> None:
    sdp = Sdp.parse(Description("::1", 4000, 7).offer("sendrecv"))
    assert sdp.media[0].address == "::1"
    assert "IP6" in sdp.origin
