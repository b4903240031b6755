"""Where a 3xx may lead, and what is told of it."""

from __future__ import annotations

import pytest

from pbxcore.call.redirect import Hop, hop, marks, targets
from pbxcore.call.router import DialPlan, ExtensionEntry, OutboundRule, Target
from pbxcore.sip import build
from pbxcore.sip.message import Response
from tests.unit.call.fakes import request

HOSTS = ["pbx.example.net", "127.0.0.1", "127.0.0.9", "2001:db8::1"]
PLAN = DialPlan(
    extensions={n: ExtensionEntry(n) for n in ("101", "102")},
    outbound=(OutboundRule("0", 1, "+49", ("one", "two")), OutboundRule("00", 2, "+", ("two",))),
    trunks=frozenset({"one", "two"}),
)
PHONE, CARRIER = Target("101"), Target("+49301234", "one")


def moved(*contacts: str, **rows: str) -> Response:
    headers = [("Contact", contact) for contact in contacts] + list(rows.items())
    return build.response(request(), 302, headers=headers)


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("<sip:102@pbx.example.net>", [Target("102")]),
        ("<sip:102@PBX.example.net:5070>", [Target("102")]),
        ("<sip:102@[2001:DB8::1]>", [Target("102")]),
        ("<sips:102@127.0.0.1>", [Target("102")]),
        ("sip:102@127.0.0.9", [Target("102")]),
        ("<tel:102>", [Target("102")]),
        ("<sip:030555;phone-context=x@127.0.0.1>", [Target("+4930555", "one"), Target("+4930555", "two")]),
        ("<sip:0044207946@127.0.0.1>", [Target("+44207946", "two")]),
        ("<sip:102@127.0.0.1>, <sip:101@127.0.0.1>;q=0.1", [Target("102"), Target("101")]),
        ("<sip:101@127.0.0.1>;q=0.1, <sip:102@127.0.0.1>;q=0.5", [Target("102"), Target("101")]),
        ("<sip:101@127.0.0.1>;q=loud, <sip:102@127.0.0.1>;q=7", [Target("101"), Target("102")]),
        ("<sip:102@127.0.0.1>, <sip:102@127.0.0.9>", [Target("102")]),
        ("<sip:102@elsewhere.example.com>", []),
        ("<sip:999@127.0.0.1>", []),
        ("<sip:@127.0.0.1>", []),
        ("<mailto:102@127.0.0.1>", []),
        ("*", []),
    ],
)
def test_of_a_phone(contact: str, expected: list[Target]) -> None:
    assert targets(moved(contact), PHONE, HOSTS, PLAN) == expected


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ("<sip:+4930999@127.0.0.9>", [Target("+4930999", "one")]),
        ("<sip:102@127.0.0.9>", [Target("102")]),
        ("<sip:+44207946@127.0.0.9>", []),    # the rule for other countries is the other carrier's
        ("<sip:0900123@127.0.0.9>", []),
    ],
)
def test_of_a_carrier(contact: str, expected: list[Target]) -> None:
    assert targets(moved(contact), CARRIER, HOSTS, PLAN) == expected


def test_many_contacts_are_cut() -> None:
    found = targets(moved(*[f"<tel:00{n}>" for n in range(100)]), PHONE, HOSTS, PLAN)
    assert len(found) == 8


@pytest.mark.parametrize(
    ("said", "rang", "expected"),
    [
        ("<sip:101@x>;reason=user-busy", True, "user-busy"), ('<sip:101@x>;reason="NO-ANSWER"', True, "no-answer"),
        ("<sip:101@x>;reason=<script>", False, "unconditional"), ("<<<", True, "deflection"),
        ("<sip:101@x>", True, "deflection"),
    ],
)  # fmt: skip
def test_why(said: str, rang: bool, expected: str) -> None:
    assert hop(moved("<tel:102>", Diversion=said), "101", "", rang=rang).reason == expected


def test_the_way_of_a_call() -> None:
    hops = [Hop("101", 'An "A"', 302, "unconditional"), Hop("102", "", 301, "user-busy")]
    rows = [line for _, line in marks(hops, "103", "pbx.example.net", ("diversion", "history-info"), "1.2")]
    assert rows == [
        "Diversion: <sip:102@pbx.example.net>;reason=user-busy",
        'Diversion: "An \\"A\\"" <sip:101@pbx.example.net>;reason=unconditional',
        "History-Info: <sip:101@pbx.example.net>;index=1.2.1",
        "History-Info: <sip:102@pbx.example.net;cause=302>;index=1.2.1.1;mp=1.2.1",
        "History-Info: <sip:103@pbx.example.net;cause=301>;index=1.2.1.1.1;mp=1.2.1.1",
    ]
    assert marks(hops, "103", "pbx.example.net", ("none",)) == []
