"""Offer and answer of one audio stream: codecs, holds, streams that are turned down, what both sides make of it."""

from __future__ import annotations

import pytest

from pbxcore.sip.offer import G711, PCMA, PCMU, Codec, Here, agreed, direction_allowed, make_offer, negotiate
from pbxcore.sip.sdp import DIRECTIONS, RtpMap, Sdp, SdpError
from tests.torture.corpus import DEVICES

HERE = Here("127.0.0.1", 4000, 7)
HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def offer(*lines: str, head: str = HEAD) -> Sdp:
    return Sdp.parse((head + "".join(f"{line}\r\n" for line in lines)).encode())


def test_an_offer_of_ours_word_for_word() -> None:
    assert make_offer(G711, HERE).to_bytes().decode() == (
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
        "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n"
    )


def test_the_first_codec_of_the_offer_that_we_have_is_answered_in_the_offers_numbers() -> None:
    answer = negotiate(offer("m=audio 5000 RTP/AVP 9 8 0 96", "a=rtpmap:96 telephone-event/8000"), G711, HERE)
    assert answer.to_bytes().decode() == (
        "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
        "m=audio 4000 RTP/AVP 8 96\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-16\r\n"
        "a=ptime:20\r\na=sendrecv\r\n"
    )


def test_streams_that_we_cannot_have_are_turned_down_in_their_place() -> None:
    asked = offer(
        "m=video 5004 RTP/AVP 96", "m=audio 5000 RTP/SAVP 0", "m=audio 0 RTP/AVP 0", "m=audio 5010 RTP/AVP 18",
        "m=audio 5012 RTP/AVPF 0", "m=audio 5014 RTP/AVP 0", "m=image 5016 udptl t38",
    )
    answer = negotiate(asked, G711, HERE)
    assert [line for line in answer.to_bytes().decode().split("\r\n") if line.startswith("m=")] == [
        "m=video 0 RTP/AVP 96", "m=audio 0 RTP/SAVP 0", "m=audio 0 RTP/AVP 0", "m=audio 0 RTP/AVP 18",
        "m=audio 4000 RTP/AVPF 0", "m=audio 0 RTP/AVP 0", "m=image 0 udptl t38",
    ]


def test_an_offer_of_nothing_that_we_speak_has_an_answer_without_a_port() -> None:
    for line in ("m=audio 5000 RTP/AVP 18", "m=audio 5000 RTP/AVP 101", "m=audio 5000 RTP/AVP 999"):
        answer = negotiate(offer(line, "a=rtpmap:101 telephone-event/8000", "a=rtpmap:999 PCMU/8000"), G711, HERE)
        assert [media.port for media in answer.media] == [0]
    assert negotiate(offer(), G711, HERE).media == []


def test_telephone_event_must_have_the_clock_of_the_voice() -> None:
    asked = offer("m=audio 5000 RTP/AVP 0 110", "a=rtpmap:110 telephone-event/48000")
    assert negotiate(asked, (*G711, Codec("telephone-event", 110, 48000)), HERE).media[0].formats == ["0"]


@pytest.mark.parametrize(("offered", "wanted", "answered"), [
    ("sendrecv", "sendrecv", "sendrecv"), ("sendonly", "sendrecv", "recvonly"), ("recvonly", "sendrecv", "sendonly"),
    ("inactive", "sendrecv", "inactive"), ("sendrecv", "sendonly", "sendonly"), ("sendonly", "sendonly", "inactive"),
    ("recvonly", "sendonly", "sendonly"), ("recvonly", "recvonly", "inactive"), ("sendonly", "recvonly", "recvonly"),
    ("sendrecv", "inactive", "inactive"),
])
def test_directions(offered: str, wanted: str, answered: str) -> None:
    assert direction_allowed(offered, wanted) == answered
    here = Here("127.0.0.1", 4000, 7, direction=wanted)
    answer = negotiate(offer("m=audio 5000 RTP/AVP 0", f"a={offered}"), G711, here)
    assert answer.media[0].direction == answered


def test_rfc2543_hold_is_answered_as_a_hold() -> None:
    answer = negotiate(offer("m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0"), G711, HERE)
    assert answer.media[0].direction == "recvonly"
    assert answer.media[0].address == "127.0.0.1"


def test_the_answer_repeats_the_times_and_takes_mux_when_both_want_it() -> None:
    asked = offer("m=audio 5000 RTP/AVP 0", "a=rtcp-mux", head=HEAD.replace("t=0 0", "t=3034423619 3042462419"))
    answer = negotiate(asked, G711, Here("::1", 4000, 7, rtcp_mux=True))
    assert answer.times == "3034423619 3042462419"
    assert answer.media[0].rtcp_mux
    assert answer.media[0].address == "::1"
    assert not negotiate(asked, G711, HERE).media[0].rtcp_mux
    assert not negotiate(offer("m=audio 5000 RTP/AVP 0"), G711, Here("::1", 4000, 7, rtcp_mux=True)).media[0].rtcp_mux


def test_an_address_or_direction_of_ours_that_is_none_is_our_fault() -> None:
    for here in (Here("", 1, 1), Here("a\r\nb", 1, 1), Here("127.0.0.1", 70000, 1), Here("127.0.0.1", 1, 1, 1, "up")):
        with pytest.raises(SdpError):
            make_offer(G711, here)


# ---- what it amounts to

def test_both_sides_understand_the_same() -> None:
    ours = make_offer(G711, HERE)
    theirs = negotiate(ours, (PCMA, Codec("telephone-event", 96)), Here("127.0.0.2", 5000, 9))
    caller, callee = agreed(ours, theirs, answerer=False), agreed(theirs, ours, answerer=True)
    assert caller is not None
    assert callee is not None
    assert caller.codec == callee.codec == RtpMap("PCMA", 8000)
    assert (caller.payload, caller.event_payload, callee.event_payload) == (8, 101, 101)
    assert (caller.address, caller.port, caller.rtcp_port) == ("127.0.0.2", 5000, 5001)
    assert (callee.address, callee.port, callee.rtcp_port) == ("127.0.0.1", 4000, 4001)
    assert (caller.sends, caller.receives, callee.sends, callee.receives) == (True,) * 4
    assert caller.receive_payloads == frozenset({8})


def test_each_sends_in_the_numbers_of_the_other() -> None:
    """RFC 3264 section 6.1: an answer may number its formats anew; what counts is the receiver's number."""
    ours = make_offer((Codec("opus", 111, 48000, 2), Codec("telephone-event", 110, 48000)), HERE)
    theirs = offer("m=audio 5000 RTP/AVP 96 97", "a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 telephone-event/48000")
    found = agreed(ours, theirs, answerer=False)
    assert found is not None
    assert (found.payload, found.event_payload) == (96, 97)
    assert (found.receive_payloads, found.receive_event_payload) == (frozenset({111}), 110)


def test_nothing_is_agreed_without_a_stream_in_both() -> None:
    ours = make_offer(G711, HERE)
    for line in (
        "m=audio 0 RTP/AVP 0", "m=audio 5000 RTP/AVP 18", "m=video 5000 RTP/AVP 0", "m=audio 5000 RTP/AVP 101",
    ):
        assert agreed(ours, offer(line, "a=rtpmap:101 telephone-event/8000"), answerer=False) is None
    assert agreed(ours, offer(), answerer=False) is None


def test_a_held_party_hears_nothing_and_a_nameless_address_is_not_sent_to() -> None:
    ours = make_offer(G711, HERE)
    for held in (offer("m=audio 5000 RTP/AVP 0", "a=sendonly"), offer("m=audio 5000 RTP/AVP 0", "c=IN IP4 0.0.0.0"),
                 offer("m=audio 5000 RTP/AVP 0", head="v=0\r\n")):
        found = agreed(ours, held, answerer=False)
        assert found is not None
        assert not found.sends
        assert found.receives
    found = agreed(ours, offer("m=audio 5000 RTP/AVP 0", "a=inactive"), answerer=False)
    assert found is not None
    assert not found.receives


@pytest.mark.parametrize(("wanted", "used"), [("30", 30), ("20", 20), ("15", 20), ("0", 20), ("200", 20), ("x", 20)])
def test_packets_have_the_length_that_the_other_side_likes_within_reason(wanted: str, used: int) -> None:
    found = agreed(make_offer(G711, HERE), offer("m=audio 5000 RTP/AVP 0", f"a=ptime:{wanted}"), answerer=False)
    assert found is not None
    assert found.ptime == used


def test_rtcp_mux_agreed_by_both_shares_the_port() -> None:
    ours = make_offer(G711, Here("127.0.0.1", 4000, 7, rtcp_mux=True))
    found = agreed(ours, offer("m=audio 5000 RTP/AVP 0", "a=rtcp:5099", "a=rtcp-mux"), answerer=False)
    assert found is not None
    assert found.rtcp_port == 5000
    found = agreed(ours, offer("m=audio 5000 RTP/AVP 0", "a=rtcp:5099"), answerer=False)
    assert found is not None
    assert found.rtcp_port == 5099


@pytest.mark.parametrize("sample", [s for s in DEVICES if b"\r\n\r\nv=0" in s.raw], ids=str)
def test_offers_of_real_phones(sample: object) -> None:
    asked = Sdp.parse(sample.raw.partition(b"\r\n\r\n")[2])   # type: ignore[attr-defined]  # a corpus.Sample
    answer = negotiate(asked, G711, HERE)
    secure = "SAVP" in asked.media[0].proto
    assert [media.port for media in answer.media] == [0 if secure else 4000] + [0] * (len(asked.media) - 1)
    if not secure:
        found = agreed(answer, asked, answerer=True)
        assert found is not None
        assert found.codec in (PCMU.rtpmap, PCMA.rtpmap)


def test_every_direction_has_an_answer() -> None:
    assert {direction_allowed(a, b) for a in DIRECTIONS for b in DIRECTIONS} == set(DIRECTIONS)
