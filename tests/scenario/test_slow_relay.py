"""A relay that takes its time: what arrives while the call waits for it is dealt with afterwards, not lost."""

from __future__ import annotations

import pytest

from pbxcore.hooks import Disposition, Proceed, Ring
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk


def ringing(office: Office, *, delay: float = 0.4) -> tuple[Party, Talk, Party, Party]:
    """A call that rings at both phones of 101, and from now on a slow relay."""
    one, two = office.phone("101", 10101), office.phone("101", 10201)
    one.manners.answer_after = two.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: bool(one.talks and two.talks) and 180 in talk.provisionals)
    office.world.run(0.1)
    office.relay.delay = delay
    return carrier, talk, one, two


def answer(phone: Party) -> None:
    talk = phone.last
    assert talk.server is not None
    assert talk.invite is not None
    phone._accept(talk, talk.server, talk.invite)


def early_media(phone: Party) -> None:
    talk = phone.last
    assert talk.server is not None
    assert talk.invite is not None
    phone.manners.early_media = True
    phone._progress(talk, talk.server, talk.invite)


def test_both_answer_while_the_relay_works_on_early_media() -> None:
    """The second 200 waits in the queue behind the first: it gets its ACK and a BYE all the same."""
    office = Office()
    carrier, talk, one, two = ringing(office)
    early_media(one)
    office.world.run(0.05)
    answer(one)
    answer(two)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.world.run(2.0)
    assert sorted((one.last.state, two.last.state)) == ["ended", "up"], office.world.ladder()
    assert one.last.acked
    assert two.last.acked
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("status", [486, 603])
def test_one_refuses_and_one_answers_while_the_relay_works(status: int) -> None:
    office = Office()
    carrier, talk, one, two = ringing(office)
    early_media(one)
    office.world.run(0.05)
    answer(one)
    office.world.run(0.01)
    assert two.last.server is not None
    assert two.last.invite is not None
    two._refuse(two.last, two.last.server, two.last.invite, status)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_dead_phone_is_given_up_while_the_relay_works() -> None:
    """Timer B fires while the call waits for the relay, and the call ends before it reads of it."""
    office = Office()
    dead, alive = office.phone("101", 10101), office.phone("101", 10201)
    dead.alive = False
    alive.manners.answer_after = 32.05
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(31.5)
    office.relay.delay = 1.0
    early_media(alive)
    office.world.run(0.8)
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    office.assert_nothing_left()
    assert len(office.records()) == 1


def test_cancel_while_the_relay_works_on_the_answer() -> None:
    office = Office()
    carrier, talk, one, two = ringing(office)
    answer(one)
    office.world.run(0.1)
    carrier.cancel(talk)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 487, office.world.ladder()
    office.world.run(2.0)
    assert one.last.state == "ended", office.world.ladder()
    assert one.last.acked
    assert two.last.state == "cancelled"
    office.assert_nothing_left()
    assert [record.disposition for record in office.records()] == [Disposition.CANCELLED]


def test_the_caller_s_connection_breaks_while_the_relay_works_on_the_answer() -> None:
    """Nobody is left who could acknowledge a 200: the phone that answered is not left alone in the call."""
    office = Office()
    desk, caller = office.phone("102"), office.phone("101", transport="TCP")
    desk.manners.answer_after = 0.5
    talk = caller.call("102", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals), office.world.ladder()
    office.relay.delay = 0.4
    office.world.run(0.6)
    flow = office.node.flow_to("TCP", *caller.address)
    flow.closed = True
    office.exchange.layer.flow_lost(flow)
    caller.alive = False
    office.world.run(3.0)
    assert desk.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()
    assert office.records()[0].hung_up_by == "caller"


def test_the_phone_hangs_up_while_the_relay_works_on_its_answer() -> None:
    office = Office()
    _, talk, one, _ = ringing(office)
    one.talks[next(iter(one.talks))].dialog.remote_target = f"sip:{EXCHANGE[0]}:{EXCHANGE[1]}"  # type: ignore[union-attr]
    answer(one)
    office.world.run(0.1)
    one.bye(one.last)
    office.world.run(3.0)
    assert talk.state == "ended", office.world.ladder()
    office.assert_nothing_left()
    assert office.records()[0].hung_up_by == "callee"


@pytest.mark.parametrize("hanger", ["carrier", "desk"])
def test_bye_while_the_relay_works_on_a_reinvite(hanger: str) -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    office.relay.delay = 0.3
    carrier.hold(talk)
    office.world.run(0.1)
    if hanger == "carrier":
        carrier.bye(talk)
    else:
        desk.bye(desk.last)
    office.world.run(3.0)
    assert talk.state == desk.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()


def test_the_relay_refuses_the_offer() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    office.relay.refuses = "offer"
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 488
    assert not desk.seen
    office.assert_nothing_left()


def test_the_relay_refuses_the_answer() -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    office.relay.refuses = "answer"
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 488
    office.world.run(1.0)
    assert desk.last.acked
    assert desk.last.state == "ended"
    office.assert_nothing_left()


def test_a_trunk_takes_no_more_calls_than_it_may_while_the_relay_works() -> None:
    office = Office()
    one, two, carrier = office.phone("101"), office.phone("102"), office.carrier()
    office.trunk.max_calls = 1
    office.relay.delay = 0.2
    first, second = one.call("9+15551", EXCHANGE), two.call("9+15552", EXCHANGE)
    office.world.run(2.0)
    assert sorted((first.status or 0, second.status or 0)) == [200, 503], office.world.ladder()
    assert len(carrier.talks) == 1
    for phone, talk in ((one, first), (two, second)):
        phone.bye(talk)
    office.assert_nothing_left()


def test_the_next_round_is_not_rung_for_a_caller_who_gave_up_while_the_relay_refused() -> None:
    office = Office()
    owner, desk, carrier = office.phone("102"), office.phone("101"), office.carrier()
    office.hooks.decide = lambda call: Ring(("102",), otherwise=Proceed())
    office.relay.delay, office.relay.refuses = 0.5, "offer"
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(0.3)
    carrier.cancel(talk)
    office.world.run(0.25)
    office.relay.refuses = ""
    office.world.run(2.0)
    assert talk.status == 487, office.world.ladder()
    assert not [request for request in owner.seen + desk.seen if request.method == "INVITE"]
    office.assert_nothing_left()
