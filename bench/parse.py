"""`python -m bench parse [--json]`: what reading and writing one SIP message costs, in microseconds of one core.

Each figure is the best of many short runs: on a shared machine the lowest one is the one that nobody disturbed. Clock
rates differ between machines and from minute to minute, so `ratio` puts every figure against a fixed piece of Python
(`reference`) measured in between; compare ratios across machines, microseconds only within one run.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sysconfig
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from pbxcore.sip import build
from pbxcore.sip.framing import StreamFramer
from pbxcore.sip.headers import NameAddr, Via
from pbxcore.sip.message import Request, check, parse
from pbxcore.sip.uri import Uri

SDP = (
    b"v=0\r\no=- 3910000000 3910000000 IN IP4 192.0.2.10\r\ns=phone\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
INVITE = (
    b"INVITE sip:102@192.0.2.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---8f1c2a;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice Example" <sip:101@192.0.2.1>;tag=6f2d8a41\r\n'
    b"To: <sip:102@192.0.2.1>\r\n"
    b"Contact: <sip:101@192.0.2.10:5060;transport=udp>\r\n"
    b"Call-ID: 81094ZjM2NzQ5MTU4ZmE1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, REFER\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(SDP), SDP)
)
"""Ten headers and an offer: the message that the targets speak of."""

TARGETS = {"parse": 25.0, "views": 20.0, "response": 8.0}
"""Microseconds at most, on the machine that bench/RESULTS.md names."""

ROUNDS = 120
CALLS = 100
PEER = "sipmessage"


_ROWS = "a: b\r\nc: d\r\ne: f\r\ng: h"


def _reference() -> None:
    """A fixed piece of Python made of what a parser is made of: splitting, slicing, a dict, objects."""
    table: dict[str, str] = {}
    for row in _ROWS.split("\r\n"):
        name, _, value = row.partition(": ")
        table[name.lower()] = value[0:]


def _six(message: Any) -> None:
    message.via  # noqa: B018
    message.from_  # noqa: B018
    message.to  # noqa: B018
    message.cseq  # noqa: B018
    message.call_id  # noqa: B018
    message.contact  # noqa: B018


def _cases() -> dict[str, Callable[[], object]]:
    request = parse(INVITE)
    assert isinstance(request, Request)
    check(request)
    ringing = build.response(request, 180, to_tag="9a8b7c", headers=[("Contact", "<sip:102@192.0.2.1>")])
    stream = INVITE * 2

    def views() -> None:
        _six(parse(INVITE))

    def checked() -> None:
        check(parse(INVITE))

    def marked() -> None:
        message = parse(INVITE)
        message.mark_source("198.51.100.7", 40000)  # type: ignore[union-attr]  # an INVITE is a Request

    return {
        "parse": lambda: parse(INVITE),
        "parse and six views": views,
        "parse and check": checked,
        "parse and mark_source": marked,
        "response": lambda: build.response(request, 180, to_tag="9a8b7c", headers=[("Contact", "<sip:102@192.0.2.1>")]),
        "response to bytes": ringing.to_bytes,
        "request to bytes": request.to_bytes,
        "frame (one of two in a stream)": lambda: StreamFramer().feed(stream),
        "Uri": lambda: Uri.parse("sip:101@192.0.2.10:5060;transport=udp"),
        "NameAddr": lambda: NameAddr.parse('"Alice Example" <sip:101@192.0.2.1>;tag=6f2d8a41'),
        "Via": lambda: Via.parse("SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---8f1c2a;rport"),
    }


def _peer() -> Callable[[], object] | None:
    """The same six values read by sipmessage, where it is installed (it comes with the tests)."""
    try:
        import sipmessage
    except ImportError:
        return None

    def read() -> None:
        message = sipmessage.Message.parse(INVITE)
        _ = message.via, message.from_address, message.to_address, message.cseq, message.call_id, message.contact

    return read


def measure(rounds: int = ROUNDS, calls: int = CALLS) -> dict[str, float]:
    """Microseconds of each case and of `reference`, best of `rounds` runs of `calls`, the cases taking turns."""
    cases = {"reference": _reference, **_cases()}
    peer = _peer()
    if peer is not None:
        cases[PEER] = peer
    best = dict.fromkeys(cases, float("inf"))
    turns = range(calls)
    collecting = gc.isenabled()
    gc.disable()  # as in the signalling process
    for _ in range(rounds):
        for name, case in cases.items():
            start = perf_counter()
            for _ in turns:
                case()
            best[name] = min(best[name], perf_counter() - start)
    if collecting:
        gc.enable()
    figures = {name: seconds / calls * 1e6 for name, seconds in best.items()}
    figures["views"] = figures["parse and six views"] - figures["parse"]
    figures["check"] = figures["parse and check"] - figures["parse"]
    figures["frame (one of two in a stream)"] /= 2
    return figures


def report(figures: dict[str, float]) -> dict[str, Any]:
    """The figures as JSON: microseconds, ratios, targets and what Python this is."""
    unit = figures["reference"]
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return {
        "message": {"octets": len(INVITE), "headers": INVITE.partition(b"\r\n\r\n")[0].count(b"\r\n")},
        "microseconds": {name: round(value, 3) for name, value in figures.items()},
        "ratio": {name: round(value / unit, 2) for name, value in figures.items()},
        "targets": {name: {"at_most": limit, "met": figures[name] <= limit} for name, limit in TARGETS.items()},
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "profile_guided": "--enable-optimizations" in arguments,
        "machine": platform.machine(),
    }


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench parse", description="Costs of reading and writing one SIP message.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each case; the best counts")
    options = parser.parse_args(argv)
    result = report(measure(max(1, options.rounds)))
    if options.json:
        print(json.dumps(result, indent=2))
        return 0
    guided = "with" if result["profile_guided"] else "without"
    print(f"{result['implementation']} {result['python']} {guided} profile-guided optimisation, {result['machine']}")
    print(f"an INVITE of {result['message']['headers']} headers, {result['message']['octets']} octets")
    for name, value in result["microseconds"].items():
        target = result["targets"].get(name)
        note = f"  (at most {target['at_most']:g}: {'met' if target['met'] else 'MISSED'})" if target else ""
        print(f"  {name:32} {value:8.2f} us  {result['ratio'][name]:7.2f} x reference{note}")
    return 0
