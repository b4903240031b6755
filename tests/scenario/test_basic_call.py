"""A call from the carrier to a desk, and what it leaves behind."""

from __future__ import annotations

from pbxcore.call import originate
from pbxcore.hooks import Disposition, Proceed, Ring
from tests.scenario.office import EXCHANGE, Office


def test_trunk_to_extension_and_back() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert 180 in talk.provisionals
    assert desk.last.state == "up"
    office.world.run(5.0)
    carrier.bye(talk)
    assert office.world.until(lambda: desk.last.state == "ended"), office.world.ladder()
    office.assert_nothing_left()
    [record] = office.records()
    assert record.disposition is Disposition.ANSWERED
    assert record.answered_by == "101"
    assert record.hung_up_by == "caller"
    assert record.answered_at is not None
    assert record.ended_at is not None
    assert 4.9 < record.ended_at - record.answered_at < 5.1


def test_the_crm_decides_where_it_rings() -> None:
    office = Office()
    desk, other = office.phone("101"), office.phone("102")
    office.hooks.decide = lambda call: Ring(("102",), display_name="Anna Ivanova", otherwise=Proceed())
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    invite = next(request for request in other.seen if request.method == "INVITE")
    assert invite.from_.display == "Anna Ivanova"
    assert not [request for request in desk.seen if request.method == "INVITE"]
    other.bye(other.last)
    office.assert_nothing_left()
    [record] = office.records()
    assert record.hung_up_by == "callee"
    assert record.display_name == "Anna Ivanova"


def test_extension_to_extension_and_out() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    talk = one.call("102", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    one.bye(talk)
    office.world.run(1.0)
    assert two.last.state == "ended"
    carrier = office.carrier()
    out = one.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: out.state == "up"), office.world.ladder()
    assert carrier.last.invite is not None
    assert carrier.last.invite.request_uri.user == "+15558888"
    assert carrier.last.invite.from_.uri.user == "+15550100"
    carrier.bye(carrier.last)
    office.assert_nothing_left()
    assert [record.direction for record in office.records()] == ["internal", "outbound"]


def test_identifiers_of_calls_are_in_order_of_time() -> None:
    """Whoever calls, and a call that was ordered too: their rows lie side by side in the indexes."""
    office = Office()
    desk = office.phone("101")
    office.phone("102")
    carrier = office.carrier()
    begun: list[str] = []
    for second in range(12):
        if second % 3 == 2:
            originate.order(office.exchange, "101", "102")
        elif second % 3 == 1:
            desk.call("102", EXCHANGE)
        else:
            carrier.call("+15550100", EXCHANGE)
        office.world.run(1.0)
        begun.extend(sorted(office.exchange.live.keys() - set(begun)))
        assert len(begun) == second + 1
    assert begun == sorted(begun)
    assert len({name[8:] for name in begun}) == len(begun)
