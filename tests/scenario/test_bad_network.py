"""Whole calls on a network that loses, doubles, delays and reorders, a seed each."""

from __future__ import annotations

import pytest

from tests.scenario.office import EXCHANGE, Office
from tests.scenario.world import Network


@pytest.mark.parametrize("seed", range(60))
def test_calls_end_in_agreement(seed: int) -> None:
    office = Office(seed, Network(loss=0.15, doubled=0.1, delay=0.002, jitter=0.08))
    rng = office.world.random
    desk = office.phone("101")
    second = office.phone("101", 10201)
    for phone in (desk, second):
        phone.manners.answer_after = rng.choice([0.05, 0.3, 1.0, None])
        phone.manners.refuse_with = rng.choice([None, None, None, 486])
    carrier = office.carrier()
    talks = []
    for _ in range(5):
        talk = carrier.call("+15550100", EXCHANGE, late_offer=rng.random() < 0.2)
        talks.append(talk)
        office.world.run(rng.random() * 3.0)
        if talk.state == "up" and rng.random() < 0.5:
            carrier.hold(talk)
        if rng.random() < 0.3:
            carrier.cancel(talk)
        office.world.run(rng.random() * 2.0)
        if rng.random() < 0.7:
            carrier.bye(talk)
        else:
            for phone in (desk, second):
                for other in phone.up():
                    phone.bye(other)
    office.world.run(100.0)
    for talk in talks:
        assert talk.status is not None, office.world.ladder()
        carrier.bye(talk)
    office.world.run(40.0)
    assert not desk.up(), office.world.ladder()
    assert not second.up(), office.world.ladder()
    office.assert_nothing_left()
    assert len(office.records()) == office.exchange.counters.calls
