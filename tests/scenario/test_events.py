"""What the bus is told of a call, in order: what the panel and the programs behind the API see."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pbxcore import events
from pbxcore.bus import Subscription
from pbxcore.events import CallEvent, ConnectionCleared
from pbxcore.hooks import CallState, Disposition, Proceed, Ring
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk


def told(subscription: Subscription) -> list[str]:
    """The events so far as words: the name, and the party and status where it has them."""
    words = []
    while subscription._queue:
        event = subscription._queue.popleft()
        assert isinstance(event, CallEvent)
        parts = [type(event).__name__, getattr(event, "party", ""), str(getattr(event, "status", ""))]
        words.append(" ".join(part for part in parts if part))
    return words


def call_in(office: Office) -> tuple[Party, Talk]:
    carrier = office.carrier()
    return carrier, carrier.call("+15550100", EXCHANGE)


def test_an_answered_call() -> None:
    office = Office()
    office.phone("101")
    bus = office.bus.subscribe()
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    assert told(bus) == ["Originated", "Routed", "Delivered 101", "Established 101"]
    carrier.bye(talk)
    office.world.run(1.0)
    assert told(bus) == ["ConnectionCleared"]


def test_the_last_event_brings_the_record() -> None:
    office = Office()
    office.phone("101")
    office.hooks.decide = lambda call: Proceed(display_name="Anna", contact_id="7", tags=("vip",))
    bus = office.bus.subscribe()
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    office.world.run(5.0)
    carrier.bye(talk)
    office.world.run(1.0)
    seen = list(bus._queue)
    first, last = seen[0], seen[-1]
    assert isinstance(first, events.Originated)
    assert (first.caller, first.called) == ("+15557777", "+15550100")
    assert isinstance(last, ConnectionCleared)
    ended = office.hooks.ended[0]
    assert last.call == replace(ended, from_a=None, from_b=None)  # what the relay counted comes after it
    assert last.call.state is CallState.ENDED
    assert last.call.disposition is Disposition.ANSWERED
    assert (last.call.display_name, last.call.contact_id, last.call.tags) == ("Anna", "7", ("vip",))
    assert [event.at for event in seen] == sorted(event.at for event in seen)
    assert len({event.call_id for event in seen if isinstance(event, CallEvent)}) == 1


@pytest.mark.parametrize("holder", ["carrier", "desk"])
def test_a_held_call(holder: str) -> None:
    office = Office()
    desk = office.phone("101")
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    bus = office.bus.subscribe()
    one, mine, party = (carrier, talk, "trunk:carrier") if holder == "carrier" else (desk, desk.last, "101")
    for direction in ("sendrecv", "sendonly", "sendonly", "sendrecv", "sendrecv"):
        one.hold(mine, direction)
        office.world.run(1.0)
    assert told(bus) == [f"Held {party}", f"Retrieved {party}"]
    carrier.bye(talk)
    office.world.run(1.0)
    assert told(bus) == ["ConnectionCleared"]


def test_both_hold_and_one_resumes() -> None:
    office = Office()
    desk = office.phone("101")
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    bus = office.bus.subscribe()
    carrier.hold(talk)
    office.world.run(1.0)
    desk.hold(desk.last)
    office.world.run(1.0)
    carrier.hold(talk, "sendrecv")
    office.world.run(1.0)
    [live] = office.exchange.live.values()
    assert live.call.state is CallState.HELD
    assert told(bus) == ["Held trunk:carrier", "Held 101", "Retrieved trunk:carrier"]
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_hold_that_is_refused_is_none() -> None:
    office = Office()
    desk = office.phone("101")
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    desk.manners.refuse_reinvite = 488
    bus = office.bus.subscribe()
    carrier.hold(talk)
    office.world.run(1.0)
    assert told(bus) == []
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_failed_call() -> None:
    office = Office()
    office.phone("101").manners.refuse_with = 486
    bus = office.bus.subscribe()
    call_in(office)
    office.world.run(2.0)
    last = bus._queue[-1]
    assert isinstance(last, ConnectionCleared)
    assert last.call.disposition is Disposition.BUSY
    assert told(bus) == ["Originated", "Routed", "Failed 101 486", "ConnectionCleared"]


def test_a_call_to_nobody() -> None:
    office = Office()
    bus = office.bus.subscribe()
    office.carrier().call("404", EXCHANGE)
    office.world.run(2.0)
    assert told(bus) == ["Originated", "Routed", "ConnectionCleared"]


def test_a_cancelled_call() -> None:
    office = Office()
    office.phone("101").manners.answer_after = None
    bus = office.bus.subscribe()
    carrier, talk = call_in(office)
    assert office.world.until(lambda: 180 in talk.provisionals)
    assert told(bus) == ["Originated", "Routed", "Delivered 101"]
    carrier.cancel(talk)
    office.world.run(1.0)
    last = bus._queue[-1]
    assert isinstance(last, ConnectionCleared)
    assert last.call.disposition is Disposition.CANCELLED
    assert last.call.hung_up_by == "caller"
    assert told(bus) == ["ConnectionCleared"]


def test_one_after_the_other() -> None:
    office = Office()
    office.phone("101")
    office.phone("102").manners.answer_after = None
    office.hooks.decide = lambda call: Ring(("102", "101"), strategy="in_order", timeout=2.0)
    bus = office.bus.subscribe()
    _, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    assert told(bus) == ["Originated", "Routed", "Delivered 102", "Failed 102 487", "Delivered 101", "Established 101"]


def test_a_call_across_two_phones_of_one_extension() -> None:
    office = Office()
    office.phone("101", 10101)
    office.phone("101", 10201).manners.answer_after = None
    bus = office.bus.subscribe()
    _, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    words = told(bus)
    assert words[:2] == ["Originated", "Routed"]
    assert sorted(words[2:]) == ["Delivered 101", "Delivered 101", "Established 101", "Failed 101 487"]


def test_nobody_listens() -> None:
    """No event is made when there is nobody to read it."""
    office = Office()
    office.phone("101")
    office.bus.subscribe().close()
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    carrier.bye(talk)
    office.world.run(1.0)
    assert office.bus.published == 0


def test_a_slow_reader_holds_up_no_call() -> None:
    office = Office()
    office.phone("101")
    office.bus.subscribe(limit=2)
    carrier, talk = call_in(office)
    assert office.world.until(lambda: talk.state == "up")
    assert office.bus.dropped_readers == 1
    carrier.bye(talk)
    office.assert_nothing_left()
