"""Who calls, through the whole exchange: what a phone shows of a caller, what a carrier gets of us, and which of two
trunks a call belongs to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pbxcore.hooks import Dial
from tests.scenario.carrier import FIRST, SECOND, Carrier, TrunkOffice
from tests.scenario.office import EXCHANGE
from tests.scenario.party import Party, Talk

ASSERTED = ("P-Asserted-Identity", '"Anna" <sip:+4940111@carrier.example>')


def office_with(**switches: Any) -> tuple[TrunkOffice, Carrier, Party]:
    office = TrunkOffice(registers=False, options_seconds=0, **switches)
    carrier = Carrier(office.world)
    office.start()
    return office, carrier, office.phone("101")


def calls_in(office: TrunkOffice, carrier: Carrier, *headers: tuple[str, str], number: str = "+15550100") -> Talk:
    talk = carrier.call(number, EXCHANGE, headers=list(headers))
    office.world.run(1.0)
    return talk


def from_of(phone: Party) -> tuple[str, str | None]:
    invite = next(request for request in reversed(phone.seen) if request.method == "INVITE")
    return invite.from_.uri.username, invite.from_.display


@pytest.mark.parametrize(("trusted", "shown"), [(True, ("+4940111", "Anna")), (False, ("+1555", "Party +1555"))])
def test_what_the_phone_shows_of_an_asserted_identity(trusted: bool, shown: tuple[str, str]) -> None:
    office, carrier, desk = office_with()
    office.trunk.trusted = trusted
    calls_in(office, carrier, ASSERTED)
    assert from_of(desk) == shown
    assert office.hooks.asked[0].caller == shown[0]
    assert "p-asserted-identity" not in desk.seen[-1]


def test_what_the_phone_shows_of_who_hides() -> None:
    """Neither the phone nor the CRM learns the number."""
    office, carrier, desk = office_with()
    office.trunk.trusted = True
    calls_in(office, carrier, ASSERTED, ("Privacy", "id"))
    assert from_of(desk) == ("anonymous", "Anonymous")
    [asked] = office.hooks.asked
    assert (asked.caller, asked.caller_name) == ("anonymous", "Anonymous")
    invite = next(request for request in desk.seen if request.method == "INVITE")
    assert b"4940111" not in invite.to_bytes()


WAY = (("Diversion", "<sip:+4922@x>;reason=user-busy"), ("History-Info", "<sip:+4922@x>;index=1"))


@pytest.mark.parametrize("trusted", [True, False])
def test_the_way_of_a_forwarded_call_is_kept(trusted: bool) -> None:
    """To our phones, as it came, of a carrier that is believed."""
    office, carrier, desk = office_with()
    office.trunk.trusted = trusted
    calls_in(office, carrier, *WAY)
    invite = next(request for request in desk.seen if request.method == "INVITE")
    expected = [value for _, value in WAY] if trusted else []
    assert [*invite.values("diversion"), *invite.values("history-info")] == expected


@pytest.mark.parametrize("number", ["+493012345678", "00493012345678", "03012345678", "493012345678"])
def test_a_call_to_our_number_in_any_spelling(number: str) -> None:
    office, carrier, desk = office_with()
    office.trunk.country = "DE"
    plan = office.exchange.dial_plan
    office.exchange.dial_plan = dataclasses.replace(plan, inbound={"493012345678": "101"})
    assert calls_in(office, carrier, number=number).state == "up", office.world.ladder()
    assert desk.last.state == "up"


def test_a_call_to_our_registered_contact() -> None:
    """The number is in To (RFC 3261 section 16.5)."""
    office = TrunkOffice(options_seconds=0)
    carrier = Carrier(office.world)
    office.start()
    desk = office.phone("101")
    carrier.calls_contact("office", "+15550100", EXCHANGE)
    office.world.run(1.0)
    assert len(desk.up()) == 1, office.world.ladder()
    assert office.hooks.asked[0].called == "+15550100"


def test_two_trunks_of_one_carrier() -> None:
    """Told apart by the user that is called, then by our number; each has its own limit."""
    office = TrunkOffice(options_seconds=0, registers=False)
    other = office.add("other", "127.0.0.2", options_seconds=0)
    other.username, other.numbers = "branch", frozenset({"15550200"})
    carrier = Carrier(office.world)
    office.start()
    plan = office.exchange.dial_plan
    office.exchange.dial_plan = dataclasses.replace(plan, inbound={**plan.inbound, "15550200": "101"})
    office.phone("101")
    for number, to, name in (
        ("+15550100", "+15550100", "carrier"), ("+15550200", "+15550200", "other"), ("branch", "+15550100", "other"),
        ("office", "+15550200", "carrier"), ("+15559999", "+15559999", "carrier"),
    ):  # fmt: skip
        talk = carrier.calls_contact(number, to, EXCHANGE)
        office.world.run(1.0)
        assert office.hooks.asked[-1].trunk == name, number
        carrier.bye(talk)
        office.world.run(1.0)


def invite_at(carrier: Carrier) -> Any:
    return carrier.asked("INVITE")[-1]


def test_an_extension_with_a_number_of_its_own() -> None:
    office, carrier, desk = office_with(identity="asserted", from_host="server")
    plan = office.exchange.dial_plan
    entry = dataclasses.replace(plan.extensions["101"], caller_id="+15550101")
    extensions = {**plan.extensions, "101": entry}
    office.exchange.dial_plan = dataclasses.replace(plan, extensions=extensions)
    desk.call("9+15558888", EXCHANGE)
    office.world.run(1.0)
    assert str(invite_at(carrier).from_.uri) == "sip:+15550101@127.0.0.2"
    assert invite_at(carrier).values("p-asserted-identity") == ["<sip:+15550101@127.0.0.2>"]


def test_a_phone_asserts_nothing() -> None:
    """What it says of itself in P-Asserted-Identity never reaches a carrier; that it wants to hide does."""
    office, carrier, desk = office_with(identity="asserted")
    desk.call("9+15558888", EXCHANGE, headers=[("P-Asserted-Identity", "<sip:+1911@x>"), ("Privacy", "id")])
    office.world.run(1.0)
    invite = invite_at(carrier)
    assert b"+1911" not in invite.to_bytes()
    assert invite.values("p-asserted-identity") == ["<sip:+15550100@127.0.0.1>"]
    assert str(invite.from_.uri) == "sip:anonymous@anonymous.invalid"
    assert invite.values("privacy") == ["id"]


def test_a_call_that_comes_in_and_goes_out_again() -> None:
    """The CRM sends it to a mobile: the caller's number in From, ours asserted, and Diversion says why."""
    office, carrier, _ = office_with(identity="asserted", diversion="diversion")
    office.trunk.trusted = True
    mobile = office.add("mobile", "127.0.0.3", options_seconds=0, identity="asserted", diversion="diversion")
    second = Carrier(office.world, SECOND)
    office.start()
    office.hooks.decide = lambda call: Dial("+15557777", mobile.name)
    calls_in(office, carrier, ASSERTED, *WAY)
    invite = invite_at(second)
    assert str(invite.from_.uri) == "sip:+4940111@127.0.0.1"
    assert invite.values("p-asserted-identity") == ["<sip:+15550100@127.0.0.1>"]
    assert invite.values("diversion") == ["<sip:+15550100@127.0.0.1>;reason=unconditional", WAY[0][1]]


def test_numbers_go_out_as_the_carrier_wants_them() -> None:
    office, carrier, desk = office_with(dial="00")
    office.trunk.country = "DE"
    desk.call("903099999", EXCHANGE)
    office.world.run(1.0)
    assert invite_at(carrier).uri == "sip:00493099999@127.0.0.2"
    assert invite_at(carrier).to.uri.username == "00493099999"
    assert FIRST in office.world.nodes
