"""A copy of a request is known by its first two rows: whatever the message, that says what reading all of it says."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pbxcore.sip import build
from pbxcore.sip.errors import ParseError
from pbxcore.sip.message import Request, check, glance, parse
from tests.unit.sip.joined import Bench

SENT_BY = "Via: SIP/2.0/UDP 127.0.0.2:5062"
VIAS = st.sampled_from([
    f"{SENT_BY};branch=z9hG4bKone;rport", f"{SENT_BY};rport;branch=z9hG4bKone", f"{SENT_BY};branch=z9hG4bKone\r\n two",
    f"{SENT_BY};branch=z9hG4bKone\r\n ;rport", f"{SENT_BY}\r\n ;branch=z9hG4bKone", f'{SENT_BY};branch="z9hG4bKone"',
    f"{SENT_BY};branch=z9hG4bKone, SIP/2.0/UDP 127.0.0.3;branch=z9hG4bKtwo", f"{SENT_BY};branch=one", SENT_BY,
    f'{SENT_BY};x=";branch=z9hG4bKtwo";branch=z9hG4bKone', f"{SENT_BY};Branch=z9hG4bKone", f"{SENT_BY};branch=z9hG4bK",
    f"{SENT_BY};branch=z9hG4bKone\n", f"{SENT_BY};branch=z9hG4bKone\r", f"{SENT_BY}9999;branch=z9hG4bKone",
    "Via: SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKone", "Via: SIP/2.0/UDP [::1]:5062;branch=z9hG4bKone",
    "v: SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bKone", "Via:SIP/2.0/UDP\t127.0.0.2 : 5062;branch=z9hG4bKone",
    "Via: SIP/2.0/UDP Example.COM:5062;branch=z9hG4bKone", "Via: SIP/3.0/UDP 127.0.0.2;branch=z9hG4bKone",
    "From: <sip:peer@example.com>;tag=first", "Via: \udcff;branch=z9hG4bKone",
])  # fmt: skip
METHODS = st.sampled_from(["INVITE", "BYE", "OPTIONS", "CANCEL", "ACK", "DANCE", "invite", ""])
BREAKS = st.sampled_from(["\r\n", "\r\n", "\n"])


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    method = draw(METHODS)
    starts = [f"{method} sip:us@127.0.0.1 SIP/2.0", f"{method}  sip:us@127.0.0.1 SIP/2.0", "SIP/2.0 200 OK"]
    rows = [
        draw(st.sampled_from(starts)), *draw(st.lists(VIAS, min_size=1, max_size=2)),
        "From: <sip:peer@example.com>;tag=theirs", "To: <sip:us@example.com>", "Call-ID: one", f"CSeq: 1 {method}",
    ]  # fmt: skip
    end = draw(BREAKS)
    return (draw(st.sampled_from(["", "", "\r\n"])) + end.join(rows) + 2 * end).encode("utf-8", "surrogateescape")


@settings(max_examples=600, deadline=None)
@given(messages())
def test_a_glance_says_what_reading_says(data: bytes) -> None:
    seen = glance(data)
    if seen is None:
        return
    try:
        message = parse(data)
        check(message)
    except ParseError:
        return      # what cannot be read is nobody's copy: a glance does not see that
    assert isinstance(message, Request)
    assert seen == (message.method, message.branch, message.sent_by.text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=60))
def test_noise_is_nothing(start: bytes, via: bytes) -> None:
    glance(start)
    glance(b"INVITE sip:us@127.0.0.1 SIP/2.0\r\nVia: " + via + b"\r\n" + start)


steps = st.lists(
    st.sampled_from(["copy", "180", "200", "486", "refuse", "ack", "cancel", "0.2", "0.5", "5", "32"]), max_size=25
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["INVITE", "BYE"]), steps)
@example("INVITE", ["copy", "180", "copy", "200", "copy", "ack", "copy", "32", "copy"])
@example("INVITE", ["486", "copy", "ack", "copy", "5", "copy"])
@example("BYE", ["copy", "200", "copy", "32", "copy"])
def test_both_ways_of_taking_a_copy_have_the_same_effects(method: str, steps: list[str]) -> None:
    read, known = _play(method, steps, glancing=False), _play(method, steps, glancing=True)
    assert read.flow.sent == known.flow.sent
    assert read.user.heard == known.user.heard
    assert read.layer.counters == known.layer.counters
    assert [tx.state for tx in read.user.servers] == [tx.state for tx in known.user.servers]
    assert len(read.timers) == len(known.timers)


def _play(method: str, steps: list[str], *, glancing: bool) -> Bench:
    bench = Bench()
    data = _request(method)
    bench.receive(data)
    for step in steps:
        tx = bench.user.servers[-1]
        if step == "copy":
            copied = bench.layer.copied(data) if glancing else None
            if glancing:
                assert (copied is None) == (tx.key not in bench.layer._servers)
            if copied is None:
                bench.receive(data)
            else:
                copied.again(bench.now)
        elif step == "ack":
            bench.receive(_request("ACK", to_tag=";tag=ours"))
        elif step == "cancel":
            bench.receive(_request("CANCEL"))
        elif step == "refuse":
            bench.layer.refuse(tx, build.response(tx.request, 503, to_tag="ours"))
        elif step.isdigit() and len(step) == 3:
            bench.layer.respond(tx, build.response(tx.request, int(step), to_tag="ours"))
        else:
            bench.run(float(step))
    return bench


def _request(method: str, to_tag: str = "") -> bytes:
    return (
        f"{method} sip:us@127.0.0.1:5061 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.2:5062;branch=z9hG4bKone\r\n"
        f"From: <sip:peer@example.com>;tag=theirs\r\nTo: <sip:us@example.com>{to_tag}\r\nCall-ID: one\r\n"
        f"CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    ).encode()
