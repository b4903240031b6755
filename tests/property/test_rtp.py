"""Laws of the media rooms: statistics against a plain count, the latch against every stranger, codecs and formats."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from pbxcore.media import bencode, dtmf, g711, rtp, wav
from pbxcore.media.backend import MediaError
from pbxcore.media.latch import Latch, Phase
from pbxcore.media.rewrite import read
from pbxcore.media.rtp import Reception

STRANGERS = st.tuples(st.sampled_from(["203.0.113.1", "203.0.113.2", "192.0.2.10"]), st.integers(1, 65535))
SDP_HOST, SIGNALLING_HOST = "192.0.2.1", "198.51.100.1"


@given(st.integers(0, 65535), st.lists(st.booleans(), min_size=1, max_size=400), st.randoms(use_true_random=False))
def test_loss_is_what_was_lost_whatever_the_order_nearby(start: int, arrives: list[bool], random: object) -> None:
    """Packets are lost anywhere, and swapped with their neighbours; only loss at either end cannot be known."""
    sequences = [n for n, arrived in enumerate(arrives) if arrived]
    shuffle = getattr(random, "shuffle")  # noqa: B009 - hypothesis' Random has no type of its own
    swapped: list[int] = []
    for at in range(0, len(sequences), 4):
        few = sequences[at : at + 4]
        if at:
            shuffle(few)
        swapped += few
    reception = Reception()
    for n in swapped:
        reception.update(rtp.build(0, start + n, 160 * n, 1, b""), 0.02 * n)
    assert reception.packets == len(sequences)
    if sequences:
        assert reception.lost == sequences[-1] - sequences[0] + 1 - len(sequences)


@given(st.lists(st.binary(max_size=64), max_size=50))
def test_nothing_that_arrives_raises_or_is_lost_from_the_count(datagrams: list[bytes]) -> None:
    reception = Reception()
    for n, data in enumerate(datagrams):
        reception.update(data, n * 0.02)
        rtp.classify(data)
        rtp.parse(data)
        rtp.rtcp_types(data)
    assert reception.packets + reception.other == len(datagrams)
    assert reception.packets == sum(rtp.classify(data) is rtp.Kind.RTP for data in datagrams)
    assert reception.lost >= 0
    assert reception.jitter >= 0.0


@given(st.integers(0, 127), st.integers(0, 65535), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1),
       st.binary(max_size=200), st.booleans())  # fmt: skip
def test_rtp_goes_there_and_back(
    kind: int, sequence: int, timestamp: int, ssrc: int, payload: bytes, marker: bool
) -> None:
    data = rtp.build(kind, sequence, timestamp, ssrc, payload, marker=marker)
    if marker and 64 <= kind <= 95:
        assert rtp.parse(data) is None      # RTCP's, on a shared port
    else:
        assert rtp.parse(data) == rtp.Packet(kind, marker, sequence, timestamp, ssrc, payload)


@given(st.lists(st.one_of(
    st.tuples(st.just("packet"), STRANGERS, st.booleans()),
    st.tuples(st.just("packet"), st.tuples(st.sampled_from([SDP_HOST, SIGNALLING_HOST]), st.integers(4000, 4003)),
              st.booleans()),
    st.tuples(st.just("expect"), st.tuples(st.just(SDP_HOST), st.sampled_from([4000, 4002])), st.booleans()),
    st.tuples(st.just("close"), st.just(("", 0)), st.booleans()),
), max_size=40), st.lists(st.floats(0, 3), min_size=40, max_size=40))  # fmt: skip
def test_stranger_is_never_taken_and_a_lock_holds_until_the_address_changes(
    events: list[tuple[str, tuple[str, int], bool]], waits: list[float]
) -> None:
    latch, now, expected = Latch(), 0.0, None
    for (what, address, plausible), wait in zip(events, waits, strict=False):
        now += wait
        before = latch.remote if latch.phase is Phase.LOCKED else None
        if what == "expect":
            changed = address != expected
            latch.expect(address, (SDP_HOST, SIGNALLING_HOST), now)
            expected = address
            assert changed or before is None or latch.remote == before
        elif what == "close":
            latch.close()
            expected = None
        else:
            accepted = latch.accept(address, plausible, now)
            if address[0] not in (SDP_HOST, SIGNALLING_HOST):
                assert not accepted
            if accepted:
                assert address == latch.remote
            if before is not None:
                assert latch.remote == before
        assert latch.remote is None or latch.remote[0] in (SDP_HOST, SIGNALLING_HOST)


@given(st.lists(st.tuples(st.sampled_from(dtmf.DIGITS), st.integers(1, 200_000), st.data()), max_size=4),
       st.integers(0, 2**32 - 1))  # fmt: skip
def test_every_press_is_reported_once_whatever_is_lost_or_doubled(
    presses: list[tuple[str, int, st.DataObject]], start: int
) -> None:
    receiver = dtmf.Receiver()
    heard = ""
    at = start
    for digit, duration, data in presses:
        step = max(160, duration // 20)
        for n, frame in enumerate(dtmf.press(digit, duration, step=min(step, 8000))):
            copies = 1 if n == 0 else data.draw(st.integers(0, 2), label="copies")
            if frame.offset and step >= 8000:
                copies = max(1, copies)     # so few packets, and long segments: their chain must not break
            for _ in range(copies):
                heard += receiver.receive(1, at + frame.offset & 0xFFFFFFFF, frame.payload) or ""
        at += duration + 8000 * 20
    assert heard == "".join(digit for digit, _, _ in presses)


@given(st.binary(max_size=400))
def test_g711_decoding_is_the_inverse_of_encoding(data: bytes) -> None:
    assert g711.alaw_encode(g711.alaw_decode(data)) == data
    assert g711.ulaw_decode(g711.ulaw_encode(g711.ulaw_decode(data))) == g711.ulaw_decode(data)


VALUES = st.recursive(
    st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_bencode_goes_there_and_back(value: bencode.Value) -> None:
    assert bencode.decode(bencode.encode(value)) == value


@given(st.binary(max_size=200))
def test_bencode_of_garbage_is_an_error_or_a_value(data: bytes) -> None:
    with contextlib.suppress(bencode.BencodeError):
        bencode.decode(data)


@given(st.binary(max_size=300))
def test_wav_of_garbage_is_an_error_or_sound(data: bytes) -> None:
    for wrapped in (data, b"RIFF\0\0\0\0WAVE" + data, b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + data):
        with contextlib.suppress(wav.WavError):
            assert len(wav.decode(wrapped)) % 2 == 0


SDP_LINES = st.lists(
    st.sampled_from([
        "c=IN IP4 192.0.2.1", "c=IN IP4 0.0.0.0", "c=IN IP6 ::1", "c=", "m=audio 4000 RTP/AVP 0", "m=audio 0 RTP/AVP 0",
        "m=video 4002 RTP/AVP 96", "m=image 4004 udptl t38", "m=", "m=audio", "a=sendonly", "a=rtcp-mux", "a=rtcp:4009",
        "a=rtcp:x", "a=rtpmap:0 PCMU/8000", "a=rtpmap:96 VP8/90000", "a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host",
        "o=x 1 1 IN IP4 192.0.2.1", "", "a=\u00ff\u0141",
    ]),
    max_size=12,
)  # fmt: skip


@given(SDP_LINES, st.sampled_from(["\r\n", "\n", "\r\n\r"]), st.binary(max_size=20))
def test_whatever_the_sdp_its_address_does_not_get_through(lines: list[str], end: str, tail: bytes) -> None:
    head = ["v=0", "o=x 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0"]
    try:
        body = read(end.join([*head, *lines, ""]).encode("latin-1", "replace") + tail)
    except MediaError:
        return
    ports = [20000 + 2 * n if port else 0 for n, port in enumerate(body.ports)]
    again = read(body.render("198.51.100.9", ports, 1, 1))
    assert again.ports == ports
    hosts = {part.host for part, port in zip(again.parts, again.ports, strict=True) if port}
    assert hosts <= {"198.51.100.9", "0.0.0.0"}
