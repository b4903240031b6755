"""Session descriptions: what is read is printed, edits touch what they name, and answers keep RFC 3264 section 6."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pbxcore.sip.offer import EVENT, G711, PROFILES, Agreement, Codec, Here, agreed, make_offer, negotiate
from pbxcore.sip.sdp import DIRECTIONS, RECVONLY, SENDONLY, SENDRECV, Sdp, SdpError

FEW = settings(max_examples=60, deadline=None)

hosts = st.sampled_from(["192.0.2.1", "0.0.0.0", "2001:db8::1", "127.0.0.1", "::"])
ports = st.integers(0, 65535)
codecs = st.sampled_from([
    ("0", None), ("8", None), ("9", None), ("18", None), ("13", None), ("96", "opus/48000/2"), ("97", "pcmu/8000"),
    ("98", "telephone-event/8000"), ("99", "telephone-event/48000"), ("100", "PCMA/16000"), ("127", None),
    ("200", "PCMU/8000"), ("x", "PCMU/8000"), ("0", "PCMA/8000"),
])
junk = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=12)


@st.composite
def media_lines(draw: st.DrawFn) -> list[str]:
    kind = draw(st.sampled_from(["audio", "audio", "audio", "video", "image", "application"]))
    proto = draw(st.sampled_from(["RTP/AVP", "RTP/AVP", "RTP/AVPF", "RTP/SAVP", "udptl", "UDP/TLS/RTP/SAVPF"]))
    formats = draw(st.lists(codecs, min_size=1, max_size=6))
    lines = [f"m={kind} {draw(ports)} {proto} {' '.join(payload for payload, _ in formats)}"]
    if draw(st.booleans()):
        host = draw(hosts)
        lines.append(f"c=IN {'IP6' if ':' in host else 'IP4'} {host}")
    lines += [f"a=rtpmap:{payload} {text}" for payload, text in formats if text]
    if draw(st.booleans()):
        lines.append(f"a={draw(st.sampled_from(DIRECTIONS))}")
    if draw(st.booleans()):
        lines.append("a=rtcp-mux")
    lines += [f"a={text}" for text in draw(st.lists(junk, max_size=2))]
    return lines


@st.composite
def descriptions(draw: st.DrawFn) -> bytes:
    lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-"]
    if draw(st.booleans()):
        lines.append("c=IN IP4 192.0.2.1")
    lines.append(f"t={draw(st.sampled_from(['0 0', '3034423619 3042462419']))}")
    if draw(st.booleans()):
        lines.append(f"a={draw(st.sampled_from(DIRECTIONS))}")
    for media in draw(st.lists(media_lines(), max_size=5)):
        lines += media
    ending = draw(st.sampled_from(["\r\n", "\n"]))
    return (ending.join(lines) + draw(st.sampled_from([ending, ""]))).encode("latin-1")


heres = st.builds(
    Here, address=st.sampled_from(["127.0.0.1", "::1"]), port=st.integers(1, 65534), session=st.integers(0, 2**62),
    version=st.integers(0, 2**62), direction=st.sampled_from(DIRECTIONS), rtcp_mux=st.booleans(),
)
supports = st.lists(
    st.sampled_from([*G711, Codec("opus", 111, 48000, 2), Codec(EVENT, 110, 48000)]),
    min_size=1, max_size=5, unique=True,
)


@FEW
@given(st.one_of(descriptions(), st.binary(max_size=200).map(lambda data: b"v=0\r\n" + data), st.binary(max_size=50)))
def test_what_is_read_is_printed_as_it_came(data: bytes) -> None:
    try:
        sdp = Sdp.parse(data)
    except SdpError:
        return
    for media in sdp.media:
        assert set(media.rtpmap()) <= set(media.formats)
        assert media.direction in DIRECTIONS
        assert 0 <= media.port <= 65535
        assert 0 <= media.rtcp_port <= 65535
    assert sdp.to_bytes() == data


@FEW
@given(descriptions(), hosts, ports)
def test_an_edit_is_read_back_and_the_other_lines_stay(data: bytes, host: str, port: int) -> None:
    sdp = Sdp.parse(data)
    assume(sdp.media)
    sdp.set_address(host)
    for media in sdp.media:
        media.set_port(port)
        media.remove_attributes("rtcp-mux")
    again = Sdp.parse(sdp.to_bytes())
    for media in again.media:
        assert (media.port, media.rtcp_mux) == (port, False)
        assert media.address in (host, "")
    before = [line for line in data.split(b"\n") if line[:2] not in (b"m=", b"c=") and b"rtcp-mux" not in line]
    after = [line for line in sdp.to_bytes().split(b"\n") if line[:2] not in (b"m=", b"c=")]
    assert [line.rstrip(b"\r") for line in before] == [line.rstrip(b"\r") for line in after]


@FEW
@given(descriptions(), supports, heres)
def test_an_answer_keeps_the_rules(data: bytes, known: list[Codec], here: Here) -> None:
    offer = Sdp.parse(data)
    answer = negotiate(offer, known, here)
    assert len(answer.media) == len(offer.media)
    assert answer.times == offer.times
    assert sum(media.port != 0 for media in answer.media) <= 1
    keys = {codec.rtpmap.key for codec in known}
    for asked, said in zip(offer.media, answer.media, strict=True):
        assert (said.kind, said.proto) == (asked.kind, asked.proto)
        assert set(said.formats) <= set(asked.formats)
        if said.port == 0:
            continue
        assert asked.port
        assert asked.kind == "audio"
        assert asked.proto in PROFILES
        assert {entry.key for entry in said.rtpmap().values()} <= keys
        assert said.address == here.address
        assert not said.rtcp_mux or (asked.rtcp_mux and here.rtcp_mux)
        if said.direction in (SENDRECV, SENDONLY):
            assert asked.direction in (SENDRECV, RECVONLY)
            assert here.direction in (SENDRECV, SENDONLY)
        if said.direction in (SENDRECV, RECVONLY):
            assert asked.direction in (SENDRECV, SENDONLY)
            assert here.direction in (SENDRECV, RECVONLY)


def _heard(found: Agreement, other: Agreement) -> None:
    assert found.codec.key == other.codec.key
    assert found.payload in other.receive_payloads
    assert found.event_payload == other.receive_event_payload
    assert found.sends <= other.receives
    assert found.ptime == other.ptime


@FEW
@given(supports, supports, heres, heres)
def test_two_of_us_agree_on_one_thing(ours: list[Codec], theirs: list[Codec], here: Here, there: Here) -> None:
    offer = make_offer(ours, here)
    answer = negotiate(offer, theirs, there)
    caller, callee = agreed(offer, answer, answerer=False), agreed(answer, offer, answerer=True)
    voices = {codec for codec in ours if codec.name != EVENT} & {codec for codec in theirs if codec.name != EVENT}
    assert (caller is None) == (callee is None) == (not voices)
    if caller is not None and callee is not None:
        _heard(caller, callee)
        _heard(callee, caller)


@FEW
@given(descriptions(), descriptions(), st.booleans())
def test_any_two_descriptions_agree_or_not_but_never_fail(one: bytes, other: bytes, answerer: bool) -> None:
    found = agreed(Sdp.parse(one), Sdp.parse(other), answerer=answerer)
    assert found is None or (found.port > 0 and 0 <= found.payload < 128)
