"""Troubles that the simulator found first, each as small as it gets. CHANGELOG has the seeds."""

from __future__ import annotations

from tests.scenario.office import EXCHANGE, Office


def test_a_bye_overtakes_its_200() -> None:
    """The phone is picked up and put down at once; its 200 is lost and comes again behind the BYE."""
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = 1.0
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    office.world.run(0.9)
    office.world.network.loss = 1.0
    office.world.run(0.2)
    assert desk.last.state == "up"
    office.world.network.loss = 0.0
    desk.bye(desk.last)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    office.assert_nothing_left()
    assert talk.status == 480
    assert talk.state == "ended"
    assert desk.last.acked
