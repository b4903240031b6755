"""A fault of ours in the middle of a call: the call ends, cleanly and for everybody, and is counted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from pbxcore.hooks import CallSnapshot, CallState
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party


class Fault(Exception):
    """What nobody expects."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


def break_relay(office: Office) -> None:
    async def broken(*_: object, **__: object) -> bytes:
        raise Fault

    office.relay.offer = office.relay.answer = broken  # type: ignore[method-assign]


def assert_ended(office: Office, *phones: Party, faults: int = 1) -> None:
    assert office.exchange.counters.faults == faults, office.world.ladder()
    office.exchange.counters.faults = 0
    for phone in phones:
        assert not phone.up(), office.world.ladder()
        assert not [talk for talk in phone.talks.values() if talk.state == "ringing"], office.world.ladder()
    office.assert_nothing_left()


def test_before_anything_rings() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    break_relay(office)
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    assert talk.status == 500
    assert_ended(office, desk)
    assert [record.status for record in office.records()] == [500]


def test_at_the_answer() -> None:
    office = Office()
    one, two, carrier = office.phone("101", 10101), office.phone("101", 10201), office.carrier()
    two.manners.answer_after = None
    one.manners.answer_after = 1.0
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    break_relay(office)
    office.world.run(3.0)
    assert talk.status == 500, office.world.ladder()
    assert one.last.acked
    assert_ended(office, one, two)


def test_while_they_talk() -> None:
    """The re-INVITE that set it off and the INFO that is on its way are answered too."""
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    desk.alive = False
    carrier.send(talk, "INFO")
    office.world.run(0.1)
    break_relay(office)
    carrier.hold(talk)
    office.world.run(0.05)
    desk.alive = True
    office.world.run(3.0)
    assert talk.responses[-1].status == 487, office.world.ladder()
    assert [r.status for r in carrier.answers if r.cseq.method == "INFO"] == [481]
    assert_ended(office, desk, carrier)


def test_before_the_caller_has_acknowledged() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()

    def broken(call: CallSnapshot) -> None:
        raise Fault

    office.hooks.on_answered = broken  # type: ignore[method-assign]
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(3.0)
    assert talk.status == 200
    assert_ended(office, desk, carrier)


def test_a_fault_in_dealing_with_the_fault() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    [live] = office.exchange.live.values()
    break_relay(office)

    def broken(fields: object = ()) -> None:
        raise Fault

    live.a.__class__ = type("Broken", (live.a.__class__,), {"__slots__": (), "bye": broken})
    carrier.hold(talk)
    with pytest.raises(Fault):
        office.world.run(1.0)
    office.world.run(1.0)
    assert not office.exchange.live
    assert office.records()[0].state is CallState.ENDED
    assert not desk.up()
