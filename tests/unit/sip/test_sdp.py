"""Session descriptions: what is read, what an edit leaves alone, and what hostile bodies come to."""

from __future__ import annotations

import gc
import random
import time
import weakref

import pytest

from pbxcore.sip.sdp import (
    ICE_ATTRIBUTES,
    MAX_FORMATS,
    MAX_LINES,
    MAX_MEDIA,
    MAX_SIZE,
    Media,
    RtpMap,
    Sdp,
    SdpError,
)
from tests.torture.corpus import DEVICES

AUDIO = (
    b"v=0\r\no=- 7 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 20442 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
    b"a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)
HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n"


def audio(*attributes: str, session: str = "", formats: str = "0", port: str = "4000") -> Media:
    text = f"{session}m=audio {port} RTP/AVP {formats}\r\n" + "".join(f"{line}\r\n" for line in attributes)
    return Sdp.parse(HEAD + text.encode()).media[0]


# ---- reading

def test_an_ordinary_offer() -> None:
    sdp = Sdp.parse(AUDIO)
    (media,) = sdp.media
    assert (media.kind, media.port, media.proto, media.formats) == ("audio", 20442, "RTP/AVP", ["0", "8", "101"])
    assert media.address == "192.0.2.1"
    assert media.direction == "sendrecv"
    assert media.rtpmap() == {
        "0": RtpMap("PCMU", 8000), "8": RtpMap("PCMA", 8000), "101": RtpMap("telephone-event", 8000),
    }
    assert media.fmtp("101") == "0-15"
    assert media.fmtp("0") == ""
    assert media.ptime == 20
    assert (media.rtcp_port, media.rtcp_address, media.rtcp_mux) == (20443, "192.0.2.1", False)
    assert media.is_rtp
    assert sdp.version == 1
    assert sdp.times == "0 0"


def test_a_part_overrides_the_session_and_inherits_the_rest() -> None:
    session = "c=IN IP6 2001:db8::1\r\na=inactive\r\n"
    assert audio(session=session).address == "2001:db8::1"
    assert audio(session=session).direction == "inactive"
    assert audio("c=IN IP4 198.51.100.1/127", session=session).address == "198.51.100.1"
    assert audio("a=recvonly", session=session).direction == "recvonly"
    assert audio().address == ""
    assert audio().direction == "sendrecv"


@pytest.mark.parametrize(("lines", "held"), [
    (("c=IN IP4 192.0.2.1",), False),
    (("c=IN IP4 192.0.2.1", "a=sendonly"), True),
    (("c=IN IP4 192.0.2.1", "a=inactive"), True),
    (("c=IN IP4 192.0.2.1", "a=recvonly"), False),
    (("c=IN IP4 0.0.0.0",), True),
    (("c=IN IP4 0.0.0.0", "a=sendrecv"), True),
    (("c=IN IP6 ::",), True),
])
def test_every_way_to_put_somebody_on_hold(lines: tuple[str, ...], held: bool) -> None:
    assert audio(*lines).is_held is held


@pytest.mark.parametrize(("line", "port", "address"), [
    ("a=rtcp:4010", 4010, "192.0.2.1"),
    ("a=rtcp:4010 IN IP4 198.51.100.9", 4010, "198.51.100.9"),
    ("a=rtcp:9 IN IP4 0.0.0.0", 9, "0.0.0.0"),
    ("a=rtcp:70000", 4001, "192.0.2.1"),
    ("a=rtcp:", 4001, "192.0.2.1"),
    ("a=rtcp", 4001, "192.0.2.1"),
    ("a=tool:x", 4001, "192.0.2.1"),
])
def test_where_rtcp_goes(line: str, port: int, address: str) -> None:
    media = audio(line, session="c=IN IP4 192.0.2.1\r\n")
    assert (media.rtcp_port, media.rtcp_address) == (port, address)


def test_rtcp_of_no_stream_and_of_the_last_port() -> None:
    assert audio(port="0").rtcp_port == 0
    assert audio("a=rtcp:99", port="0").rtcp_port == 0
    assert audio(port="65535").rtcp_port == 0
    assert audio("a=rtcp-mux").rtcp_mux


def test_formats_that_nobody_explains_are_left_out_and_explanations_may_differ_from_the_table() -> None:
    media = audio("a=rtpmap:97 opus/48000/2", "a=rtpmap:0 L16/8000", "a=rtpmap:50 X/8000", formats="97 99 0 8")
    assert media.rtpmap() == {"97": RtpMap("opus", 48000, 2), "0": RtpMap("L16", 8000), "8": RtpMap("PCMA", 8000)}
    assert list(media.rtpmap()) == ["97", "0", "8"]
    assert str(media.rtpmap()["97"]) == "opus/48000/2"


@pytest.mark.parametrize("line", [
    "a=rtpmap:96", "a=rtpmap:96 ", "a=rtpmap:96 opus", "a=rtpmap:96 /8000", "a=rtpmap:96 x/", "a=rtpmap:96 x/0",
    "a=rtpmap:96 x/-1", "a=rtpmap:96 x/8000/0", "a=rtpmap:96 x/8000/1/2", "a=rtpmap:96 x/9999999999",
    "a=rtpmap:96 x/\u0663", "a=rtpmap:96 x/" + "9" * 5000,
])
def test_a_broken_rtpmap_explains_nothing(line: str) -> None:
    assert audio(line, formats="96").rtpmap() == {}


@pytest.mark.parametrize("value", ["", "x", "-20", "20.5", "1000", "9" * 4000, "\u0662\u0660"])
def test_a_broken_ptime_is_none(value: str) -> None:
    assert audio(f"a=ptime:{value}").ptime is None


def test_names_of_codecs_compare_without_regard_to_case() -> None:
    assert RtpMap("pcmu", 8000).key == RtpMap("PCMU", 8000).key
    assert RtpMap("opus", 48000, 2).key != RtpMap("opus", 48000).key


@pytest.mark.parametrize(("proto", "rtp"), [
    ("RTP/AVP", True), ("RTP/AVPF", True), ("RTP/SAVP", True), ("RTP/SAVPF", True), ("UDP/TLS/RTP/SAVPF", True),
    ("rtp/avp", True), ("udptl", False), ("TCP/MSRP", False), ("UDP/DTLS/SCTP", False), ("TCP/RTP/AVP", False),
    ("RTP/AVP/TCP", False),
])
def test_what_is_rtp_over_udp(proto: str, rtp: bool) -> None:
    assert Sdp.parse(HEAD + f"m=audio 9 {proto} 0\r\n".encode()).media[0].is_rtp is rtp


# ---- printing

@pytest.mark.parametrize("data", [
    AUDIO, AUDIO.replace(b"\r\n", b"\n"), AUDIO[:-2], AUDIO + b"\r\n", AUDIO.replace(b"s=-\r\n", b"s=-\n"),
    b"v=0", b"v=0\r\n", b"v=0 \r\n", HEAD, HEAD + b"\xff\xfe=\r\nx\r\n\r\n",
    HEAD + b"m=audio 5004/2 RTP/AVP  0   8 \r\n", HEAD.replace(b"s=-", b"s=\xc3\xa9 \x85\x1c\x0b"),
    AUDIO + b"k=clear:x\r\nz=1\r\nq\r\n", b"v=0\nm=audio 9 RTP/AVP 0\r",
    *(sample.raw.partition(b"\r\n\r\n")[2] for sample in DEVICES if b"\r\n\r\nv=0" in sample.raw),
])
def test_what_was_not_edited_is_printed_as_it_came(data: bytes) -> None:
    sdp = Sdp.parse(data)
    for media in sdp.media:
        assert (media.rtpmap(), media.direction, media.address) is not None
    assert sdp.to_bytes() == data


def test_a_relay_touches_addresses_and_ports_and_nothing_else() -> None:
    offer = AUDIO + (
        b"a=rtcp:20443 IN IP4 192.0.2.1\r\na=candidate:1 1 udp 1 192.0.2.1 20442 typ host\r\na=ice-ufrag:x\r\n"
        b"a=ice-pwd:y\r\na=ice-options:trickle\r\na=end-of-candidates\r\na=ice-lite\r\na=x-icebox:kept\r\n"
        b"m=image 5000 udptl t38\r\nc=IN IP4 192.0.2.2\r\n"
    )
    sdp = Sdp.parse(offer)
    sdp.set_address("198.51.100.7")
    for media, port in zip(sdp.media, (30000, 0), strict=True):
        media.remove_attributes(*ICE_ATTRIBUTES)
        media.set_port(port)
    sdp.media[0].set_rtcp(30001)
    assert sdp.to_bytes() == (
        AUDIO.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4 198.51.100.7").replace(b"audio 20442", b"audio 30000")
        + b"a=rtcp:30001\r\na=x-icebox:kept\r\nm=image 0 udptl t38\r\nc=IN IP4 198.51.100.7\r\n"
    )


def test_edits_keep_the_line_endings_of_the_body() -> None:
    for data in (AUDIO, AUDIO.replace(b"\r\n", b"\n")):
        sdp = Sdp.parse(data)
        sdp.media[0].set_address("2001:db8::5")
        sdp.media[0].set_port(6000)
        sdp.media[0].set_formats(["8", "101"])
        sdp.media[0].set_direction("sendonly")
        sdp.media[0].add_attribute("label", "1")
        sdp.media[0].add_attribute("rtcp-mux")
        sdp.set_origin("- 7 2 IN IP4 198.51.100.7")
        end = b"\r\n" if data is AUDIO else b"\n"
        printed = sdp.to_bytes()
        assert printed.count(b"\r") == (printed.count(b"\n") if data is AUDIO else 0)
        assert printed.split(end)[1] == b"o=- 7 2 IN IP4 198.51.100.7"
        assert printed.split(end)[5:7] == [b"m=audio 6000 RTP/AVP 8 101", b"c=IN IP6 2001:db8::5"]
        assert printed.endswith(end.join([b"a=ptime:20", b"a=sendonly", b"a=label:1", b"a=rtcp-mux", b""]))


@pytest.mark.parametrize(("tail", "expected"), [
    (b"m=audio 9 RTP/AVP 0", b"m=audio 9 RTP/AVP 0\r\na=x"),
    (b"m=audio 9 RTP/AVP 0\r\n", b"m=audio 9 RTP/AVP 0\r\na=x\r\n"),
    (b"m=audio 9 RTP/AVP 0\r\n\r\n", b"m=audio 9 RTP/AVP 0\r\na=x\r\n\r\n"),
])
def test_a_line_is_added_before_the_end_however_the_body_ends(tail: bytes, expected: bytes) -> None:
    sdp = Sdp.parse(HEAD + tail)
    sdp.media[0].add_attribute("x")
    assert sdp.to_bytes() == HEAD + expected


def test_a_body_without_an_address_or_an_origin_gets_one_in_its_place() -> None:
    sdp = Sdp.parse(b"v=0\r\ns=-\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\ni=title\r\n")
    sdp.set_address("192.0.2.9")
    sdp.set_origin("x")
    assert sdp.to_bytes() == b"v=0\r\no=x\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\ni=title\r\n"
    sdp.media[0].set_address("192.0.2.10")
    assert sdp.to_bytes().endswith(b"i=title\r\nc=IN IP4 192.0.2.10\r\n")


def test_rtcp_is_written_where_it_says_something() -> None:
    media = audio(port="4000")
    media.set_rtcp(4001)
    assert media.attribute("rtcp") is None
    media.set_rtcp(5000, "2001:db8::1")
    assert media.attribute("rtcp") == "5000 IN IP6 2001:db8::1"
    media.set_rtcp(4001)
    assert media.attribute("rtcp") == "4001"


def test_nothing_of_ours_can_break_out_of_its_line() -> None:
    media = audio()
    sdp = Sdp.parse(AUDIO)
    for evil in ("x\r\nm=audio 1 RTP/AVP 0", "x\ny", "x\0", "x\r"):
        for edit in (lambda: media.add_attribute("a", evil), lambda: media.add_attribute(evil),  # noqa: B023
                     lambda: media.set_address(evil), lambda: sdp.set_origin(evil),   # noqa: B023
                     lambda: media.set_formats([evil]), lambda: media.set_direction(evil),   # noqa: B023
                     lambda: media.set_rtcp(1, evil)):   # noqa: B023
            with pytest.raises(SdpError):
                edit()
    for host in ("", " ", "a b", " a"):
        with pytest.raises(SdpError):
            sdp.set_address(host)
    for port in (-1, 65536):
        with pytest.raises(SdpError):
            media.set_port(port)
    with pytest.raises(SdpError):
        media.set_formats([])
    media.add_attribute("x", "\u20ac")
    sdp.media.append(media)
    with pytest.raises(SdpError):
        sdp.to_bytes()


# ---- hostile bodies

@pytest.mark.parametrize("data", [
    b"", b"\r\n" + AUDIO, b"o=x\r\n" + AUDIO, b"V=0\r\n", b"v=1\r\n", b"m=audio 9 RTP/AVP 0\r\n",
    AUDIO.replace(b"PCMU", b"PC\0U"), AUDIO.replace(b"a=ptime", b"a=x\rm=evil"), b"v=0\r\r\n",
    *(HEAD + b"m=audio %s RTP/AVP 0\r\n" % port for port in (b"65536", b"-1", b"+5", b"x", b"1e3", b"0x10", b"/2",
                                                                b"\xb2", b"9" * 6000)),
    HEAD + b"m=\r\n", HEAD + b"m=audio\r\n", HEAD + b"m=audio 9\r\n", HEAD + b"m=audio 9 RTP/AVP\r\n",
    HEAD + b"m=audio 9 RTP/AVP 0\r\n" * (MAX_MEDIA + 1), HEAD + b"m=audio 9 RTP/AVP 0\r\n" * 10_000,
    HEAD + b"m=audio 9 RTP/AVP" + b" 0" * (MAX_FORMATS + 1), HEAD + b"a=x\r\n" * MAX_LINES, HEAD + b"x" * MAX_SIZE,
])
def test_hostile_bodies_are_refused(data: bytes) -> None:
    with pytest.raises(SdpError):
        Sdp.parse(data)


@pytest.mark.parametrize("data", [
    HEAD + b"m=audio 0 RTP/AVP 0\r\n", HEAD + b"m=audio 65535 RTP/AVP 0\r\n",
    HEAD + b"m=audio 9 RTP/AVP 0\r\n" * MAX_MEDIA, HEAD + b"m=a 7 c d\r\n", HEAD + b"=\r\n\xff\r\n   \r\n",
    HEAD + b"c=\r\nc=IN\r\nc=IN IP4\r\no=\r\nt=\r\nm=audio 9 RTP/AVP 0\r\na=\r\na=:\r\na\r\na=rtcp:\r\na=fmtp:\r\n",
    HEAD + b"a=x\r\n" * (MAX_LINES - 10),
])
def test_odd_bodies_are_read_and_every_view_answers(data: bytes) -> None:
    sdp = Sdp.parse(data)
    assert sdp.version >= 0
    for media in sdp.media:
        for view in ("is_rtp", "address", "direction", "is_held", "rtcp_mux", "rtcp_port", "rtcp_address", "ptime"):
            getattr(media, view)
        media.rtpmap()
        media.fmtp("0")
    assert sdp.to_bytes() == data


def test_the_worst_body_takes_no_longer_than_its_size_asks_for() -> None:
    """Views are linear: the limits' worst body is read within a generous bound, a hundredth of what squares take."""
    rows = b"".join(b"a=rtpmap:%d X/8000\r\n" % (number % 128) for number in range(MAX_LINES - 30))
    data = (HEAD + b"m=audio 9 RTP/AVP " + b" ".join(b"%d" % n for n in range(MAX_FORMATS)) + b"\r\n" + rows)[:MAX_SIZE]
    started = time.process_time()
    media = Sdp.parse(data).media[0]
    media.rtpmap()
    media.remove_attributes("rtpmap")
    assert time.process_time() - started < 0.25
    assert len(media.lines) == 1


def test_seeded_mutations_raise_sdp_error_or_parse() -> None:
    noise = random.Random(3)
    outcomes = {"read": 0, "refused": 0}
    pieces = [b"m=", b"\r", b"\n", b"\0", b"65536", b"-1", b" ", b"a=rtcp:", b"c=IN IP4 ", b"/", b":", b"\xff", b""]
    for _ in range(3000):
        data = bytearray(AUDIO)
        for _ in range(noise.randrange(1, 8)):
            place = noise.randrange(len(data))
            data[place:place + noise.randrange(3)] = noise.choice(pieces)
        try:
            sdp = Sdp.parse(bytes(data))
        except SdpError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        for media in sdp.media:
            assert media.rtpmap() is not None
            assert media.rtcp_port >= 0
            assert media.direction
    assert min(outcomes.values()) > 100


def test_a_description_is_freed_without_the_garbage_collector() -> None:
    """Automatic collection is off in the signalling process."""
    gc.disable()
    try:
        sdp = Sdp.parse(AUDIO)
        class Watched(Media):
            __slots__ = ("__weakref__",)
        watched = Watched(list(sdp.media[0].lines), sdp.session)
        sdp.media[0] = watched
        gone = weakref.ref(watched)
        del sdp, watched
        assert gone() is None
    finally:
        gc.enable()
