"""Several phones at one extension."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Disposition, Ring
from pbxcore.net.flow import NoFlow
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party
from tests.scenario.world import VirtualFlow


def two_phones(office: Office) -> tuple[Party, Party]:
    return office.phone("101", 10101), office.phone("101", 10201)


def test_all_ring_one_answers_the_others_stop() -> None:
    office = Office()
    quick, slow = two_phones(office)
    slow.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert office.world.until(lambda: slow.last.state == "cancelled"), office.world.ladder()
    [cancel] = [request for request in slow.seen if request.method == "CANCEL"]
    assert "Call completed elsewhere" in (cancel.first("reason") or "")
    assert talk.provisionals.count(180) == 1
    carrier.bye(talk)
    office.assert_nothing_left()
    assert quick.last.state == "ended"


def test_both_answer_at_once() -> None:
    office = Office()
    one, two = two_phones(office)
    for phone in (one, two):
        phone.manners.answer_after = 0.5
        phone.manners.holds_200_after_cancel = True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.world.run(2.0)
    assert sorted((one.last.state, two.last.state)) == ["ended", "up"], office.world.ladder()
    assert one.last.acked
    assert two.last.acked
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (486, 480, 486), (404, 486, 486), (503, 486, 486), (603, 486, 603), (415, 486, 415), (500, 503, 500),
        (302, 486, 302),
    ],
)
def test_the_best_refusal_wins(first: int, second: int, expected: int) -> None:
    office = Office(follow_redirects=False)
    one, two = two_phones(office)
    one.manners.refuse_with, two.manners.refuse_with = first, second
    one.manners.answer_after, two.manners.answer_after = 0.1, 0.05
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == expected, office.world.ladder()
    office.assert_nothing_left()


def test_nobody_answers() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None, 90.0), office.world.ladder()
    assert talk.status == 480
    assert desk.last.state == "cancelled"
    office.assert_nothing_left()
    assert office.records()[0].disposition is Disposition.NO_ANSWER


def test_a_dead_phone_does_not_hold_up_the_living() -> None:
    office = Office()
    dead, alive = two_phones(office)
    dead.alive = False
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()
    assert alive.last.state == "ended"


def test_nobody_is_registered() -> None:
    office = Office()
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 480
    office.assert_nothing_left()


def test_unknown_number() -> None:
    office = Office()
    carrier = office.carrier()
    talk = carrier.call("+15559999", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 404
    office.assert_nothing_left()
    assert len(office.records()) == 1


def test_one_of_a_group_declines_and_the_others_ring_on() -> None:
    """603 is said for the extension it comes from: its other phones stop (RFC 3261 16.7), its colleagues' do not."""
    office = Office()
    one, two = two_phones(office)
    colleague = office.phone("102")
    office.hooks.decide = lambda call: Ring(("101", "102"))
    one.manners.refuse_with, one.manners.answer_after = 603, 0.1
    two.manners.answer_after = None
    colleague.manners.answer_after = 1.0
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.state == "up"
    assert two.last.state == "cancelled"
    carrier.bye(talk)
    office.assert_nothing_left()
    assert office.records()[0].answered_by == "102"


def test_all_of_a_group_decline() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    office.hooks.decide = lambda call: Ring(("101", "102"))
    one.manners.refuse_with = two.manners.refuse_with = 603
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 603
    office.assert_nothing_left()


def test_two_lines_of_one_telephone_call_each_other() -> None:
    """A telephone with two lines has one address for both; only its own extension does not ring it."""
    office = Office()
    telephone = office.phone("101")
    request = telephone._request("REGISTER", "sip:127.0.0.1", "<sip:102@127.0.0.1>", [("Expires", "600")])
    telephone.user = "102"
    telephone.layer.request(request, telephone.flow_to("UDP", *EXCHANGE), telephone)
    office.world.run(1.0)
    telephone.user = "101"
    assert [len(office.exchange.registrar.bindings(number)) for number in ("101", "102")] == [1, 1]
    talk = telephone.call("102", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    telephone.bye(talk)
    office.world.run(1.0)
    own = telephone.call("101", EXCHANGE)
    assert office.world.until(lambda: own.status is not None), office.world.ladder()
    assert own.status == 480
    office.assert_nothing_left()


def unreachable(office: Office, phone: Party, *, raises: bool) -> None:
    """There is no way to this phone any more: its connection is gone, or so is the route."""
    flow_to = office.node.flow_to

    def broken(transport: str, host: str, port: int) -> VirtualFlow:
        if (host, port) == phone.address:
            if raises:
                raise NoFlow("no route")
            flow = VirtualFlow(office.world, transport, EXCHANGE, phone.address)
            flow.closed = True
            return flow
        return flow_to(transport, host, port)

    for binding in office.exchange.registrar.bindings(phone.user):
        if binding.remote == phone.address:
            binding.flow = None
    office.node.flow_to = office.exchange.flow_to = broken  # type: ignore[method-assign]
    office.exchange.registrar._flow_to = broken


@pytest.mark.parametrize("raises", [True, False])
def test_a_phone_without_a_way_to_it_does_not_hold_up_the_others(raises: bool) -> None:
    office = Office()
    other, gone = two_phones(office)
    unreachable(office, gone, raises=raises)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.state == "up", office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()
    assert other.last.state == "ended"


@pytest.mark.parametrize("raises", [True, False])
def test_nobody_can_be_reached(raises: bool) -> None:
    """That is a matter of the phones: 503 would say that this exchange takes no calls."""
    office = Office()
    desk = office.phone("101", transport="TCP")
    unreachable(office, desk, raises=raises)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 480
    office.assert_nothing_left()
    assert office.records()[0].disposition is Disposition.NO_ANSWER
