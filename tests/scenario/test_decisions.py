"""What the CRM decides, and what happens when that does not work out."""

from __future__ import annotations

import dataclasses

from pbxcore.call.router import ExtensionEntry
from pbxcore.hooks import Dial, Disposition, IncomingCall, Ivr, Proceed, Queue, Redirect, Reject, Ring, Voicemail
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk


def ring_in(office: Office, seconds: float = 1.0) -> tuple[Party, Talk]:
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(seconds)
    return carrier, talk


def rang(phone: Party) -> bool:
    return any(request.method == "INVITE" for request in phone.seen)


def test_one_after_the_other() -> None:
    office = Office()
    one, two = office.phone("102"), office.phone("103")
    one.manners.answer_after = None
    office.hooks.decide = lambda call: Ring(("102", "103"), strategy="in_order", timeout=5.0)
    carrier, talk = ring_in(office, 4.0)
    assert rang(one)
    assert not rang(two)
    office.world.run(2.0)
    assert talk.state == "up", office.world.ladder()
    assert one.last.state == "cancelled"
    carrier.bye(talk)
    office.assert_nothing_left()
    assert office.records()[0].answered_by == "103"


def test_otherwise_after_nobody_answered() -> None:
    office = Office()
    owner, desk = office.phone("102"), office.phone("101")
    owner.manners.answer_after = None
    office.hooks.decide = lambda call: Ring(("102",), timeout=3.0, otherwise=Proceed())
    carrier, talk = ring_in(office, 4.0)
    assert talk.state == "up", office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()
    assert desk.last.state == "ended"


def test_a_busy_owner_falls_to_the_plan() -> None:
    office = Office()
    owner, desk = office.phone("102"), office.phone("101")
    owner.manners.refuse_with = 486
    office.hooks.decide = lambda call: Ring(("102",), otherwise=Proceed())
    carrier, talk = ring_in(office)
    assert talk.state == "up", office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()
    assert desk.last.state == "ended"


def test_a_target_that_does_not_exist_is_passed_over() -> None:
    office = Office()
    desk = office.phone("101")
    for decision in (Ring(("999",)), Queue("sales"), Ivr("main"), Voicemail("101"), Dial("5", trunk="none")):
        desk.seen.clear()
        office.hooks.decide = lambda call, decision=decision: decision
        carrier, talk = ring_in(office)
        assert talk.state == "up", (decision, office.world.ladder())
        assert rang(desk)
        carrier.bye(talk)
        office.world.run(1.0)
    office.assert_nothing_left()


def test_reject() -> None:
    office = Office()
    desk = office.phone("101")
    office.hooks.decide = lambda call: Reject(603, "Not today")
    _, talk = ring_in(office)
    assert (talk.status, talk.reason) == (603, "Not today")
    assert not rang(desk)
    office.assert_nothing_left()
    assert office.records()[0].disposition is Disposition.REJECTED


def test_redirect() -> None:
    office = Office()
    office.hooks.decide = lambda call: Redirect("sip:shop@example.net")
    _, talk = ring_in(office)
    assert talk.status == 302
    assert str(talk.responses[-1].contacts[0].uri) == "sip:shop@example.net"
    office.assert_nothing_left()


def test_dial_out() -> None:
    office = Office()
    office.phone("101")
    mobile = office.carrier()
    mobile.manners.ring_after = None
    office.hooks.decide = lambda call: Dial("9+15553333")
    caller = office.phone("104")
    office.exchange.dial_plan = dataclasses.replace(office.exchange.dial_plan, inbound={})
    talk = caller.call("101", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert mobile.last.invite is not None
    assert mobile.last.invite.request_uri.user == "+15553333"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_crm_that_never_answers_holds_the_call_for_its_budget_only() -> None:
    office = Office()
    desk = office.phone("101")
    office.hooks.delay = 30.0
    office.hooks.decide = lambda call: Reject()
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    began = office.world.now
    assert office.world.until(lambda: 180 in talk.provisionals), office.world.ladder()
    assert office.world.now - began < 0.35
    assert office.world.until(lambda: talk.state == "up")
    office.world.run(40.0)
    assert talk.state == desk.last.state == "up"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_first_party_control_asks_nobody() -> None:
    office = Office()
    desk = office.phone("101")
    plan = office.exchange.dial_plan
    extensions = {**plan.extensions, "101": ExtensionEntry("101", "Desk 101", "first-party")}
    office.exchange.dial_plan = dataclasses.replace(plan, extensions=extensions)
    office.hooks.decide = lambda call: Reject()
    carrier, talk = ring_in(office)
    assert talk.state == "up"
    assert office.hooks.asked == []
    carrier.bye(talk)
    office.assert_nothing_left()
    assert rang(desk)
    assert len(office.records()) == 1


def test_the_name_is_shown_inside_and_never_to_the_carrier() -> None:
    office = Office()
    desk = office.phone("101")
    mobile = office.carrier()

    def decide(call: IncomingCall) -> Proceed:
        return Proceed(display_name="Key account", alert_info="<urn:alert:tone:vip>")

    office.hooks.decide = decide
    inside = office.phone("102").call("101", EXCHANGE)
    assert office.world.until(lambda: inside.state == "up")
    [invite] = [request for request in desk.seen if request.method == "INVITE"]
    assert invite.from_.display == "Key account"
    assert invite.first("alert-info") == "<urn:alert:tone:vip>"
    assert invite.first("x-hookline-call")
    out = desk.call("9+15553333", EXCHANGE)
    assert office.world.until(lambda: out.state == "up"), office.world.ladder()
    [invite] = [request for request in mobile.seen if request.method == "INVITE"]
    assert b"Key account" not in invite.to_bytes()
    assert "alert-info" not in invite
    assert "x-hookline-call" not in invite
    for live in list(office.exchange.live):
        office.exchange.hang_up(live)
    office.assert_nothing_left()
