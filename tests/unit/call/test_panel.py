"""The exchange as a panel sees it."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from pbxcore import profiles
from pbxcore.call.panel import Control
from pbxcore.control import ExtensionState, Invalid, NotFound, TrunkState
from pbxcore.hooks import CallState, Ring
from pbxcore.profiles import PhoneProfile
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.transfers import Switchboard


def test_an_idle_office() -> None:
    office = Office()
    control = Control(office.exchange)
    assert control.calls() == []
    assert control.trunks() == [TrunkState("carrier", "udp:127.0.0.2:5060", 0)]
    assert control.extensions()[0] == ExtensionState("101", "Desk 101", "third-party", (), False)
    with pytest.raises(NotFound):
        control.call("none")
    with pytest.raises(NotFound):
        control.hang_up("none")


def test_a_live_call() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    control = Control(office.exchange)
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    [call] = control.calls()
    assert call.state is CallState.ANSWERED
    assert control.call(call.call_id) == call
    assert control.trunks()[0].calls == 1
    busy = {state.number: (state.busy, len(state.phones)) for state in control.extensions()}
    assert busy == {"101": (True, 1), "102": (False, 0), "103": (False, 0), "104": (False, 0)}
    [step] = asyncio.run(control.explain(call))
    assert (step.source, step.outcome) == ("embedded CRM", "knows nobody")
    office.world.run(0.1)
    control.hang_up(call.call_id)
    office.world.run(1.0)
    assert talk.state == "ended"
    assert control.calls() == []
    assert not any(state.busy for state in control.extensions())


def test_the_office_transfers_a_call() -> None:
    """Whose phone cannot: by the panel, the party that leaves being the office's own."""
    office = Switchboard()
    control = Control(office.exchange)
    caller, mine = office.inbound()
    [call] = control.calls()
    faults = ("", None, "to"), ("555", None, "to"), ("102", "103", "party"), ("102", "carrier", "party")
    for to, party, field in faults:
        with pytest.raises(Invalid) as caught:
            control.transfer(call.call_id, to, party)
        assert caught.value.field == field
    control.transfer(call.call_id, "102")
    with pytest.raises(Invalid):
        control.transfer(call.call_id, "103")
    office.world.run(2.0)
    assert mine.state == "ended"
    assert office.talk_together((office.outside, caller), (office.second, office.second.last)), office.world.ladder()
    assert control.call(call.call_id).legs[2].transferred_by == "exchange"
    assert {state.number for state in control.extensions() if state.busy} == {"102"}
    control.transfer(call.call_id, "103", "102")
    office.world.run(2.0)
    assert office.third.last.state == "up"
    control.hang_up(call.call_id)
    office.assert_nothing_left()
    with pytest.raises(NotFound):
        control.transfer(call.call_id, "102")


def test_whom_a_transfer_would_ring_is_known_before() -> None:
    office = Switchboard()
    control = Control(office.exchange)
    caller, _ = office.inbound()
    [call] = control.calls()
    assert control.rung_by(call.call_id, "102") == ("102",)
    for to, party, field in (("", None, "to"), ("555", None, "to"), ("102", "103", "party")):
        with pytest.raises(Invalid) as caught:
            control.rung_by(call.call_id, to, party)
        assert caught.value.field == field
    office.outside.bye(caller)
    office.assert_nothing_left()
    with pytest.raises(NotFound):
        control.rung_by(call.call_id, "102")


def test_the_phone_that_shows_it_is_told_what_was_noted() -> None:
    office = Switchboard()
    shows = PhoneProfile.model_validate(profiles.phone("rfc9796").model_dump())
    office.exchange.registrar.makes = {
        (binding.extension, binding.contact): shows for binding in office.exchange.registrar.bindings("102")
    }  # fmt: skip
    control = Control(office.exchange)
    office.hooks.decide = lambda call: Ring(("101",), display_name="Anna", instructions="Ask about the printer.")
    caller, _ = office.inbound()
    [call] = control.calls()
    control.transfer(call.call_id, "102", notes="Wants a refund,\r\nhas the receipt.")
    office.world.run(2.0)
    invite = next(seen for seen in office.second.seen if seen.method == "INVITE")
    card, _, reason = (invite.first("call-info") or "").partition(";purpose=jcard;call-reason=")
    assert reason == '"Wants a refund, has the receipt."'
    held = json.loads(base64.b64decode(card.partition("base64,")[2].rstrip(">")))
    assert ["fn", {}, "text", "Anna"] in held[1]
    assert not any("refund" in str(seen.fields) for seen in (*office.outside.seen, *office.desk.seen))
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_a_call_that_rings_is_not_transferred() -> None:
    office = Switchboard()
    office.desk.manners.answer_after = None
    caller = office.outside.call("+15550100", EXCHANGE)
    office.world.run(0.5)
    control = Control(office.exchange)
    with pytest.raises(Invalid):
        control.transfer(control.calls()[0].call_id, "102")
    office.outside.cancel(caller)
    office.assert_nothing_left()


def test_who_calls_is_busy_before_anybody_answers() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    two.manners.answer_after = None
    one.call("102", EXCHANGE)
    office.world.run(0.5)
    busy = {state.number for state in Control(office.exchange).extensions() if state.busy}
    assert busy == {"101"}
