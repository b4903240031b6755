"""The caller gives up: before anything rings, while it rings, while the CRM thinks, and at the moment of the answer."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Disposition, Proceed
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.world import Network


def test_cancel_while_ringing() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status == 487), office.world.ladder()
    assert office.world.until(lambda: desk.last.state == "cancelled"), office.world.ladder()
    office.assert_nothing_left()
    [record] = office.records()
    assert record.disposition is Disposition.CANCELLED
    assert record.hung_up_by == "caller"


def test_cancel_while_the_crm_thinks() -> None:
    office = Office()
    desk = office.phone("101")
    office.hooks.delay = 0.25
    office.hooks.decide = lambda call: Proceed(display_name="too late")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 100 in talk.provisionals)
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status == 487), office.world.ladder()
    office.world.run(1.0)
    assert not [request for request in desk.seen if request.method == "INVITE"]
    office.assert_nothing_left()
    assert [record.disposition for record in office.records()] == [Disposition.CANCELLED]


def test_cancel_crosses_200() -> None:
    """The phone answers a call that was cancelled: it gets its ACK and a BYE, the caller his 487."""
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = 1.0
    desk.manners.holds_200_after_cancel = True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    office.world.run(0.98)
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status == 487), office.world.ladder()
    assert office.world.until(lambda: desk.last.state == "ended"), office.world.ladder()
    assert desk.last.acked
    office.assert_nothing_left()


def test_cancel_while_the_answer_waits_for_the_journal() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after, desk.manners.answer_after = None, 0.001
    office.journal.tick = 0.2
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: desk.talks != {} and desk.last.acked), office.world.ladder()
    assert talk.status is None
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 487 or talk.state == "up"
    if talk.state == "up":
        carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("seed", range(40))
def test_cancel_at_any_moment_on_any_network(seed: int) -> None:
    """Wherever the CANCEL falls, both ends agree in the end and nothing is left."""
    office = Office(seed, Network(loss=0.1, doubled=0.1, delay=0.005, jitter=0.05))
    rng = office.world.random
    desk = office.phone("101")
    desk.manners.answer_after = rng.random() * 0.6
    desk.manners.holds_200_after_cancel = rng.random() < 0.5
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(rng.random() * 0.8)
    carrier.cancel(talk)
    office.world.run(35.0)
    assert talk.status is not None, office.world.ladder()
    if talk.state == "up":
        assert len(desk.up()) == 1, office.world.ladder()
        carrier.bye(talk)
    else:
        assert not desk.up(), office.world.ladder()
    office.world.run(35.0)
    assert not desk.up(), office.world.ladder()
    office.assert_nothing_left()
    assert len(office.records()) == len({request.call_id for request in desk.seen if request.method == "INVITE"}) or (
        len(office.records()) == 1
    )
