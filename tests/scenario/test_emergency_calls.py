"""Somebody of the office calls for help: whatever is down, full or slow, the call goes out."""

from __future__ import annotations

import dataclasses

import pytest

from pbxcore.call.router import emergency_numbers
from pbxcore.hooks import Reject
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.test_trunks import two_trunks


def prepare(office: Office) -> None:
    plan = office.exchange.dial_plan
    office.exchange.dial_plan = dataclasses.replace(plan, emergency=emergency_numbers(("112", "911"), plan))


@pytest.mark.parametrize("dialed", ["112", "9112"])
def test_the_crm_is_not_asked(dialed: str) -> None:
    office = Office()
    prepare(office)
    desk, carrier = office.phone("101"), office.carrier()
    office.hooks.delay = 3600.0
    office.hooks.decide = lambda call: Reject(603, "Decline")
    called_at = office.world.now
    talk = desk.call(dialed, EXCHANGE)
    assert office.world.until(lambda: carrier.talks), office.world.ladder()
    assert office.world.now - called_at < 0.1
    assert carrier.seen[-1].request_uri.username == "112"   # without the digit that gets a line
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert office.hooks.asked == []
    desk.bye(talk)
    office.assert_nothing_left()
    assert office.records()[0].decided_by == "dial plan"


def test_no_limit_stands_in_the_way() -> None:
    office = Office(max_calls=1, max_calls_per_second=1)
    prepare(office)
    office.trunk.max_calls = 1
    first, second, carrier = office.phone("101"), office.phone("102"), office.carrier()
    busy = first.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: busy.state == "up"), office.world.ladder()
    refused = second.call("9+15559999", EXCHANGE)
    assert office.world.until(lambda: refused.status == 503), office.world.ladder()
    office.exchange.draining = True
    talk = second.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    second.bye(talk)
    first.bye(busy)
    office.assert_nothing_left()
    assert carrier.last.state == "ended"


@pytest.mark.parametrize("status", [404, 486, 503, 603])
def test_whatever_one_trunk_says_the_next_is_tried(status: int) -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    carrier.manners.refuse_with = status
    second = two_trunks(office)
    prepare(office)
    talk = desk.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert second.last.state == "up"
    desk.bye(talk)
    office.assert_nothing_left()


def test_an_extension_of_that_number_stays_one() -> None:
    office = Office()
    plan = office.exchange.dial_plan
    office.exchange.dial_plan = dataclasses.replace(plan, emergency=emergency_numbers(("101", "112"), plan))
    desk, colleague = office.phone("102"), office.phone("101")
    talk = desk.call("101", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert colleague.last.state == "up"
    desk.bye(talk)
    office.assert_nothing_left()


def test_a_stranger_who_dials_it_gets_no_further_than_before() -> None:
    """A trunk's call to 112 goes by the dial plan, and one without credentials is challenged."""
    office = Office()
    prepare(office)
    carrier = office.carrier()
    talk = carrier.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.status == 404), office.world.ladder()
    stranger = office.phone("103", registered=False)
    stranger.password = "guessed"
    call = stranger.call("112", EXCHANGE)
    assert office.world.until(lambda: call.status is not None and call.state != "calling"), office.world.ladder()
    assert call.status in (401, 403)
    office.assert_nothing_left()


@pytest.mark.parametrize("refuses", ["offer", "answer"])
def test_without_the_relay_the_two_are_told_each_others_address(refuses: str) -> None:
    office = Office()
    prepare(office)
    desk, carrier = office.phone("101"), office.carrier()
    office.relay.refuses = refuses
    talk = desk.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.relay.refuses = ""
    office.world.run(6.0)
    assert carrier.last.remote_sdp == desk.sdp(), office.world.ladder()   # by a re-INVITE when it had the relay's port
    assert talk.remote_sdp == carrier.sdp()
    call_id = next(iter(office.exchange.live))
    office.exchange.media_timed_out(call_id)
    office.exchange.media_lost(call_id)
    carrier.hold(carrier.last)
    office.world.run(1.0)
    assert talk.state == "up"
    assert talk.remote_sdp == carrier.sdp("sendonly")
    desk.bye(talk)
    office.assert_nothing_left()
    assert office.exchange.counters.media_refused == 1


def test_a_call_for_help_past_the_relay_is_recorded_at_once() -> None:
    """The relay has nothing to count."""
    office = Office()
    prepare(office)
    desk = office.phone("101")
    office.carrier()
    office.relay.refuses = "offer"
    talk = desk.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.relay._listener = None
    desk.bye(talk)
    office.assert_nothing_left()
    assert not office.exchange.endings.counting
    assert not office.exchange.endings._late


def test_other_calls_need_the_relay() -> None:
    office = Office()
    prepare(office)
    desk = office.phone("101")
    office.carrier()
    office.relay.refuses = "offer"
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.status == 488), office.world.ladder()
    office.assert_nothing_left()
