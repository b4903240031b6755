"""The process cannot keep up: who calls anew is turned away, whoever has a call keeps it, and copies cost little."""

from __future__ import annotations

import pytest

from pbxcore.sip.layer import Layer
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.test_admission import ask
from tests.scenario.test_emergency_calls import prepare
from tests.scenario.test_storms import Storm
from tests.scenario.transfers import Switchboard, replaces


def test_new_calls_are_refused_and_live_ones_go_on() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.exchange.pressure.behind = True
    refused = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: refused.status is not None), office.world.ladder()
    assert (refused.status, refused.responses[-1].first("retry-after")) == (503, "1")
    assert ask(office, carrier, "OPTIONS").first("retry-after") == "1"
    carrier.hold(talk)
    office.world.run(1.0)
    assert [request.method for request in desk.seen if request.method != "ACK"] == ["INVITE", "INVITE"]
    carrier.bye(talk)
    office.world.run(1.0)
    assert desk.last.state == "ended"
    counters = office.exchange.counters
    assert (counters.calls, counters.refused_overload, counters.refused_behind) == (1, 1, 1)
    office.exchange.pressure.behind = False
    again = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: again.state == "up"), office.world.ladder()
    carrier.bye(again)
    office.assert_nothing_left()


def test_phones_may_register_and_a_call_that_was_begun_is_answered() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    desk.manners.answer_after = 2.0
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    office.exchange.pressure.behind = True
    office.phone("102")
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_call_for_help_goes_out() -> None:
    office = Office()
    prepare(office)
    desk, carrier = office.phone("101"), office.carrier()
    office.exchange.pressure.behind = True
    refused = desk.call("9+15558888", EXCHANGE)
    talk = desk.call("112", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert refused.status == 503
    assert carrier.last.state == "up"
    desk.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("why", ["behind", "draining"])
def test_a_colleague_may_take_over_a_call(why: str) -> None:
    """An INVITE with Replaces (RFC 3891) begins no call: it goes on with one."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.exchange.pressure.behind, office.exchange.draining = why == "behind", why == "draining"
    refused = office.third.call("102", EXCHANGE)
    taken = office.second.call("101", EXCHANGE, headers=[("Replaces", replaces(mine))])
    office.world.run(2.0)
    assert (refused.status, taken.status, mine.state) == (503, 200, "ended"), office.world.ladder()
    assert office.talk_together((office.outside, caller), (office.second, taken)), office.world.ladder()
    office.second.bye(taken)
    office.assert_nothing_left()


def test_who_is_going_away_says_come_back_later_all_the_same() -> None:
    office = Office()
    carrier = office.carrier()
    office.exchange.pressure.behind = office.exchange.draining = True
    assert ask(office, carrier, "OPTIONS").first("retry-after") == "5"


def test_storms_are_the_same_with_copies_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octet by octet, at the same moments: whether a copy is read or known by its first two rows."""
    known = 0
    copied = Layer.copied

    def counting(layer: Layer, data: bytes) -> ServerTransaction | None:
        nonlocal known
        tx = copied(layer, data)
        known += tx is not None
        return tx

    monkeypatch.setattr(Layer, "copied", counting)
    taken = 0
    for seed in range(12):
        wires, counters = [], []
        for late in (False, True):
            storm = Storm(seed)
            storm.office.world.network.loss = storm.office.world.network.doubled = 0.2
            storm.office.node.late = late
            storm.blow()
            wires.append(storm.office.world.wire)
            counters.append(storm.office.exchange.layer.counters)
        assert wires[0] == wires[1]
        assert counters[0] == counters[1]
        taken += counters[1].retransmissions_in
    assert 20 < known <= taken
