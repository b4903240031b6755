"""Where a call rings: the dial plan, and decisions about it."""

from __future__ import annotations

import pytest

from pbxcore.call.router import (
    DECLINE,
    NOT_FOUND,
    RING_SECONDS,
    DialPlan,
    ExtensionEntry,
    OutboundRule,
    Redirection,
    Refusal,
    Round,
    Step,
    Target,
    asks_crm,
    default_target,
    digits,
    owner_may_ring,
    plan,
)
from pbxcore.hooks import (
    Decision,
    Dial,
    Direction,
    IncomingCall,
    Ivr,
    Play,
    Proceed,
    Queue,
    Redirect,
    Reject,
    Ring,
    Voicemail,
)

PLAN = DialPlan(
    extensions={n: ExtensionEntry(n) for n in ("101", "102", "103")},
    inbound={"15550100": "101", "15550999": "999"},
    outbound=(
        OutboundRule("9", 1, "", ("carrier", "second")),
        OutboundRule("90", 2, "+1555", ("second",)),
        OutboundRule("112", 0, "", ("carrier",)),
    ),
    trunks=frozenset({"carrier", "second"}),
)
DESK = Round((Target("101"),))
THROUGH_BOTH = (Round((Target("123", "carrier"),)), Round((Target("123", "second"),), only_on_trouble=True))


def call(called: str = "+15550100", direction: Direction = "inbound") -> IncomingCall:
    inside = None if direction == "inbound" else "104"
    return IncomingCall("c", "+15557777", called, direction, 0.0, extension=inside)


def routed(
    decision: Decision | None = None, called: str = "+15550100", direction: Direction = "inbound"
) -> tuple[Step, ...]:
    return plan(call(called, direction), decision, PLAN)


@pytest.mark.parametrize(
    ("number", "expected"),
    [("+1 (555) 010-0", "15550100"), ("101", "101"), ("alice", "alice"), ("", ""), ("+", "+"), ("sip", "sip")],
)
def test_digits(number: str, expected: str) -> None:
    assert digits(number) == expected


@pytest.mark.parametrize(
    ("called", "direction", "expected"),
    [
        ("+15550100", "inbound", (DESK,)),
        ("1-555-0100", "inbound", (DESK,)),
        ("+15550000", "inbound", (NOT_FOUND,)),
        ("101", "inbound", (NOT_FOUND,)),                     # a carrier does not dial extensions
        ("9+15553333", "inbound", (NOT_FOUND,)),              # nor out of the office again
        ("+15550999", "inbound", (NOT_FOUND,)),               # an inbound rule for an extension that there is not
        ("102", "internal", (Round((Target("102"),)),)),
        ("404", "internal", (NOT_FOUND,)),
        ("", "outbound", (NOT_FOUND,)),
        ("9", "outbound", (NOT_FOUND,)),                      # nothing is left to be dialed
        ("112", "outbound", (Round((Target("112", "carrier"),)),)),
        ("9055", "outbound", (Round((Target("+155555", "second"),)),)),   # the longest prefix
        ("9123", "outbound", THROUGH_BOTH),
    ],
)  # fmt: skip
def test_the_dial_plan_alone(called: str, direction: Direction, expected: tuple[Step, ...]) -> None:
    assert routed(None, called, direction) == expected


def test_a_number_that_is_stripped_whole_and_replaced() -> None:
    operator = DialPlan(outbound=(OutboundRule("0", 1, "+15551000", ("carrier",)),))
    assert plan(call("0", "outbound"), None, operator) == (Round((Target("+15551000", "carrier"),)),)


def test_the_rest_of_the_inbound_numbers() -> None:
    rest = DialPlan(extensions=PLAN.extensions, inbound={"*": "102", "15550100": "101"})
    assert plan(call("+1555"), None, rest) == (Round((Target("102"),)),)
    assert plan(call("+15550100"), None, rest) == (DESK,)
    assert plan(call(""), None, rest) == (Round((Target("102"),)),)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Proceed(), (DESK,)),
        (Ring(("102", "103"), timeout=20.0), (Round((Target("102"), Target("103")), 20.0),)),
        (
            Ring(("102", "103"), strategy="in_order", timeout=20.0),
            (Round((Target("102"),), 20.0), Round((Target("103"),), 20.0)),
        ),
        (Ring(("102", "102")), (Round((Target("102"),), 30.0),)),
        (Ring(("102",), otherwise=Proceed()), (Round((Target("102"),), 30.0), DESK)),
        (Ring(("101",), timeout=20.0, otherwise=Proceed()), (Round((Target("101"),), 20.0 + RING_SECONDS),)),
        (Ring(("102",), timeout=9.0, otherwise=Ring(("102",), timeout=1.0)), (Round((Target("102"),), 10.0),)),
        (Ring(("999",)), (DESK,)),
        (Ring((), otherwise=Reject(486, "Busy")), (Refusal(486, "Busy"),)),
        (Ring(("102",), otherwise=Reject(486, "Busy")), (Round((Target("102"),), 30.0), Refusal(486, "Busy"))),
        (Ring(("999",), otherwise=Ring(("103",))), (Round((Target("103"),), 30.0),)),
        (Dial("+15553333", trunk="second"), (Round((Target("+15553333", "second"),)),)),
        (Dial("+15553333", trunk="none"), (DESK,)),
        (Dial("5"), (DESK,)), (Dial(""), (DESK,)), (Dial("", trunk="carrier"), (DESK,)),
        (Dial("9123", otherwise=Redirect("sip:a@b")), (*THROUGH_BOTH, Redirection("sip:a@b"))),
        (Redirect("tel:+15553333"), (Redirection("tel:+15553333"),)),
        (Reject(404, "No"), (Refusal(404, "No"),)),
        (Queue("sales"), (DESK,)), (Ivr("main"), (DESK,)), (Voicemail("101"), (DESK,)), (Play("closed"), (DESK,)),
        (Queue("sales", otherwise=Ring(("102",))), (Round((Target("102"),), 30.0),)),
        (Ring(("102",), otherwise=Queue("sales")), (Round((Target("102"),), 30.0), DESK)),
    ],
)  # fmt: skip
def test_decisions(decision: Decision, expected: tuple[Step, ...]) -> None:
    assert routed(decision) == expected


@pytest.mark.parametrize("status", [0, 200, 302, 399, 401, 407, 700])
def test_a_refusal_with_an_impossible_status(status: int) -> None:
    assert routed(Reject(status, "x")) == (DECLINE,)


@pytest.mark.parametrize("uri", ["", "x", "mailto:a@b", "sip:a b@c", "sip:a@b>", "sip:a@b\r\nX: y", "http://a/"])
def test_a_redirection_to_no_address(uri: str) -> None:
    assert routed(Redirect(uri)) == (DESK,)
    assert routed(Redirect(uri, otherwise=Ring(("102",)))) == (Round((Target("102"),), 30.0),)


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_an_impossible_ringing_time(timeout: float) -> None:
    assert routed(Ring(("102",), timeout=timeout)) == (Round((Target("102"),), RING_SECONDS),)


def test_a_chain_without_end_is_cut() -> None:
    decision: Decision = Proceed()
    for _ in range(100):
        decision = Ring(("102",), timeout=1.0, otherwise=decision)
    steps = routed(decision)
    assert steps[-1] == DESK
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("called", "direction", "control", "asks"),
    [
        ("101", "internal", "third-party", True), ("101", "internal", "first-party", False),
        ("+15550100", "inbound", "first-party", False), ("+15550100", "inbound", "third-party", True),
        ("+15550000", "inbound", "first-party", True), ("9123", "outbound", "first-party", True),
    ],
)  # fmt: skip
def test_whose_own_workstation_asks(called: str, direction: Direction, control: str, asks: bool) -> None:
    entry = ExtensionEntry("101", "Desk", "first-party" if control == "first-party" else "third-party")
    one = DialPlan(extensions={"101": entry}, inbound={"15550100": "101"}, outbound=PLAN.outbound)
    assert asks_crm(call(called, direction), one) is asks


def test_whom_the_plan_rings() -> None:
    assert default_target(call("+15550100"), PLAN) == "101"
    assert default_target(call("+1"), PLAN) is None
    assert default_target(call("102", "internal"), PLAN) == "102"
    assert default_target(call("9123", "outbound"), PLAN) is None


def test_a_party_by_name() -> None:
    assert (Target("101").party, Target("+1555", "carrier").party) == ("101", "trunk:carrier")


def test_the_owner_of_a_customer_rings_first_only_where_nobody_else_was_called() -> None:
    known = {"101": ExtensionEntry("101"), "102": ExtensionEntry("102", caller_id="+1 555 0102")}
    inbound = {"15550100": "101", "15550101": "102", "15550102": "102", "15550103": "queue:sales",
               "15550104": "ivr:menu", "15550105": "group:all", "15550106": "voicemail:101", "15550107": "600"}
    dial_plan = DialPlan(extensions=known, inbound=inbound, numbers={"600": "queue:sales"})
    may = {
        number[-1]: owner_may_ring(IncomingCall("c", "+15557777", f"+{number}", "inbound", 0.0), dial_plan)
        for number in [*inbound, "15550108"]
    }
    assert [last for last, rings in may.items() if rings] == ["0", "1", "8"]
