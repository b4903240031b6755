"""The INVITE of a branch, row by row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pbxcore.call.branch import Branch
from pbxcore.call.invite import InviteMaker, display
from pbxcore.call.router import DialPlan, Target
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import Decision, Direction, IncomingCall, Proceed
from pbxcore.sip.message import Request, check, parse
from tests.unit.call.fakes import Counting, FakeFlow, request

DESK = Target("101")


class FakeOffice:
    def __init__(self, domain: str = "") -> None:
        self.domain = domain
        self.token: Callable[[], str] = Counting()
        self.dial_plan = DialPlan()


def offered(direction: Direction = "inbound", caller: str = "+15557777", name: str | None = "Eve") -> IncomingCall:
    return IncomingCall("call-1", caller, "+15550100", direction, 0.0, caller_name=name)


def trunk(**known: str) -> Trunk:
    return Trunk("carrier", "UDP", "sip.carrier.example", "127.0.0.2", 5060, FakeFlow, Counting(), **known)  # type: ignore[arg-type]


def made(
    call: IncomingCall, *headers: tuple[str, str], target: Target = DESK, through: Trunk | None = None,
    decision: Decision | None = None, office: FakeOffice | None = None, transport: str = "UDP", body: bytes = b"",
) -> Request:  # fmt: skip
    """The INVITE as the wire has it: written, read, and checked."""
    maker = InviteMaker(call, request("INVITE", "sip:+15550100@127.0.0.1", *headers))
    maker.decision = decision
    flow = FakeFlow(transport)
    branch = Branch(None, None, "b1", target, flow, through)  # type: ignore[arg-type]  # the maker looks at neither
    invite = maker.make(branch, "sip:101@127.0.0.9:5060", "our-tag", office or FakeOffice(), body)
    invite.prepend("Via", "SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKy")
    message = parse(invite.to_bytes())
    assert isinstance(message, Request)
    check(message)
    return message


def test_to_a_phone() -> None:
    invite = made(offered())
    assert invite.uri == "sip:101@127.0.0.9:5060"
    assert invite.first("from") == '"Eve" <sip:+15557777@127.0.0.1>;tag=our-tag'
    assert invite.first("to") == "<sip:101@127.0.0.1>"
    assert invite.first("contact") == "<sip:+15557777@127.0.0.1:5060>"
    assert (invite.cseq.number, invite.call_id, invite.from_tag) == (1, "t1", "our-tag")
    assert invite.first("x-hookline-call") == "call-1"
    assert invite.max_forwards == 70
    assert "content-type" not in invite


def test_through_a_trunk() -> None:
    carrier = trunk(caller_id="+15550100")
    invite = made(offered("outbound", "101"), target=Target("+15553333", "carrier"), through=carrier)
    assert invite.first("from") == '"Eve" <sip:+15550100@127.0.0.1>;tag=our-tag'
    assert invite.first("to") == "<sip:+15553333@sip.carrier.example>"
    assert "x-hookline-call" not in invite


@pytest.mark.parametrize(
    ("known", "direction", "user"),
    [
        ({"caller_id": "+15550100", "username": "office"}, "outbound", "+15550100"),
        ({"username": "office"}, "outbound", "office"),
        ({}, "outbound", "101"),
        ({"caller_id": "+15550100"}, "inbound", "101"),    # passed on to a mobile: the caller's own number
    ],
)  # fmt: skip
def test_who_calls_through_a_trunk(known: dict[str, str], direction: Direction, user: str) -> None:
    invite = made(offered(direction, "101"), target=Target("5", "carrier"), through=trunk(**known))
    assert invite.from_.uri.user == user


def test_the_crm_s_name_and_ring_tone_are_for_our_own_phones() -> None:
    decision = Proceed(display_name="Anna", alert_info="<urn:alert:tone:vip>")
    inside = made(offered(), decision=decision)
    assert (inside.from_.display, inside.first("alert-info")) == ("Anna", "<urn:alert:tone:vip>")
    outside = made(offered(), decision=decision, target=Target("5", "carrier"), through=trunk())
    assert outside.from_.display == "Eve"
    assert "alert-info" not in outside


def test_a_caller_without_a_name() -> None:
    assert made(offered(name=None)).from_.display is None


def test_a_caller_without_a_number() -> None:
    invite = made(offered(caller=""))
    assert (invite.from_.uri.user, invite.first("contact")) == ("anonymous", "<sip:anonymous@127.0.0.1:5060>")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Anna", "Anna"), ('An"na', 'An"na'), ("back\\slash", "back\\slash"), ("a\r\nb", "ab"), ("\x00\x1b[1m", "[1m"),
        ("  spaced  ", "spaced"), ("Анна", "Анна"), ('"; tag=evil', '"; tag=evil'), ("\u202egnp", "gnp"),
    ],
)  # fmt: skip
def test_nothing_breaks_out_of_a_name(name: str, shown: str) -> None:
    invite = made(offered(), decision=Proceed(display_name=name))
    assert invite.from_.display == shown
    assert invite.from_tag == "our-tag"
    assert "\n" not in display(name)


@pytest.mark.parametrize("caller", ["a b", "eve@evil", 'x"y', "<sip:x>", "a;tag=b", "é", "a>b", "%41"])
def test_nothing_breaks_out_of_a_number(caller: str) -> None:
    invite = made(offered("internal", caller))
    assert invite.from_tag == "our-tag"
    assert invite.from_.uri.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("theirs", "ours"), [("70", 69), ("1", 0), ("10", 9), ("255", 254), ("9999", None), (None, 70)]
)
def test_hops(theirs: str | None, ours: int | None) -> None:
    headers = [] if theirs is None else [("Max-Forwards", theirs)]
    row = InviteMaker(offered(), request("INVITE", "sip:1@127.0.0.1", *headers))._hops[1]
    if ours is not None:
        assert row == f"Max-Forwards: {ours}"
    assert int(row.partition(": ")[2]) <= 254


def test_the_caller_s_own_rows_go_along_and_the_exchange_s_do_not() -> None:
    forged = (("Alert-Info", "<http://evil/>"), ("X-Hookline-Call", "forged"))
    invite = made(offered(), ("Subject", "the printer"), *forged)
    assert invite.first("subject") == "the printer"
    assert invite.values("x-hookline-call") == ["call-1"]
    assert invite.values("alert-info") == ["<urn:alert:source:external>"]


def test_domain_and_transport() -> None:
    invite = made(offered(), office=FakeOffice("pbx.example.net"), transport="TCP", body=b"v=0\r\n")
    assert invite.from_.uri.host == "pbx.example.net"
    assert invite.first("to") == "<sip:101@pbx.example.net>"
    assert invite.first("contact") == "<sip:+15557777@127.0.0.1:5060;transport=tcp>"
    assert invite.content_type == "application/sdp"
    assert invite.body == b"v=0\r\n"
