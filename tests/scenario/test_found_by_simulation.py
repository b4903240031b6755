"""Troubles that the simulator found first, each as small as it gets. CHANGELOG has the seeds."""

from __future__ import annotations

import pytest

from tests.scenario.modern import ALLOW, modern_carrier, modern_phone
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.transfers import Switchboard, answer_to_refer, refer, referred_to, replaces, told
from tests.scenario.watcher import Watcher


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


def _waits_for_quiet() -> Switchboard:
    """102 has answered, and the transfer to it waits until the re-INVITE of 101 has come to something."""
    office = Switchboard()
    _, mine = office.inbound()
    office.outside.manners.answer_reinvite = False
    office.desk.hold(mine)
    office.world.run(0.1)
    refer(office.desk, mine, "102")
    assert office.world.until(lambda: office.second.up() != []), office.world.ladder()
    office.world.run(1.0)
    return office


def test_who_answers_a_transfer_and_hangs_up_while_it_waits_is_answered() -> None:
    office = _waits_for_quiet()
    office.second.bye(office.second.last)
    office.world.run(0.2)
    byes = [answer.status for answer in office.second.answers if answer.cseq.method == "BYE"]
    assert byes == [200], office.world.ladder()
    assert told(office.desk)[-1] == "SIP/2.0 480 Temporarily Unavailable"
    office.world.run(40.0)
    office.outside.bye(office.outside.last)
    office.assert_nothing_left()
    assert len(office.records()) == 1


@pytest.mark.parametrize(("method", "status"), [("INVITE", 491), ("INFO", 480)])
def test_what_a_newcomer_asks_while_a_transfer_waits_is_answered(method: str, status: int) -> None:
    office = _waits_for_quiet()
    office.second.send(office.second.last, method, office.second.sdp() if method == "INVITE" else b"")
    office.world.run(0.2)
    assert [answer.status for answer in office.second.answers if answer.cseq.method == method] == [status]
    office.world.run(40.0)
    office.outside.bye(office.outside.last)
    office.assert_nothing_left()


def test_the_second_transfer_of_a_dialog_is_reported_by_its_number_when_the_first_was_refused() -> None:
    """RFC 3515 section 2.4.6 counts the requests, whatever became of them."""
    office = Switchboard()
    _, mine = office.inbound()
    refer(office.desk, mine, "<http://example.com>")
    office.world.run(0.5)
    assert answer_to_refer(office.desk).status == 416
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    notices = [request for request in office.desk.seen if request.method == "NOTIFY"]
    assert {notice.first("event") for notice in notices} == {f"refer;id={answer_to_refer(office.desk).cseq.number}"}
    office.second.bye(office.second.last)
    office.assert_nothing_left()


def test_a_transfer_that_overtakes_another_is_reported_by_its_number() -> None:
    """The first REFER is lost, and sent again behind the second: its sender knows of two, we of one that we took."""
    office = Switchboard()
    _, mine = office.inbound()
    office.second.manners.answer_after = 3.0
    office.world.network.loss = 1.0
    refer(office.desk, mine, "103")
    office.world.run(0.1)
    office.world.network.loss = 0.0
    refer(office.desk, mine, "102")
    office.world.run(5.0)
    refused, taken = sorted(
        (one for one in office.desk.answers if one.cseq.method == "REFER"), key=lambda one: one.cseq
    )
    assert (refused.status, taken.status) == (500, 202), office.world.ladder()
    notices = [request for request in office.desk.seen if request.method == "NOTIFY"]
    assert {notice.first("event") for notice in notices} == {f"refer;id={taken.cseq.number}"}
    assert told(office.desk)[-1] == "SIP/2.0 200 OK"
    office.second.bye(office.second.last)
    office.assert_nothing_left()


def test_a_transfer_is_reported_on_a_connection_that_was_made_anew() -> None:
    office = Switchboard()
    desk = office.phone("104", transport="TCP")
    talk, _ = office.call(desk, office.second)
    office.third.manners.answer_after = 3.0
    refer(desk, talk, "103")
    office.world.run(1.0)
    assert told(desk)[-1] == "SIP/2.0 180 Ringing"
    flow = office.node.flows["TCP", desk.address]
    flow.closed = True
    office.exchange.layer.flow_lost(flow)
    office.world.run(5.0)
    assert told(desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    office.third.bye(office.third.last)
    office.assert_nothing_left()


def test_a_call_is_taken_over_while_one_of_its_phones_waits_for_a_port() -> None:
    """102 has two phones; one rings, and one forwards to 103, for which the relay is still busy with an offer."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = 5.0
    other = office.phone("102", 20_102)
    other.manners.refuse_with, other.manners.answer_after = 302, 1.0
    other.manners.refuse_headers = [("Contact", "<sip:103@127.0.0.1>")]
    office.relay.delay = 0.5
    asking = office.desk.call("102", EXCHANGE)
    assert office.world.until(lambda: other.talks != {} and other.last.state == "ended"), office.world.ladder()
    office.world.run(0.1)
    assert 180 in asking.provisionals
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(8.0)
    assert told(office.desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert asking.status == 487
    assert caller.state == "up"
    assert office.third.talks == {}
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_an_offer_to_who_hangs_up_in_a_transfer_does_not_stay_for_ever() -> None:
    """101 says 100 to the re-INVITE of the other side, and no more; then it refers him to 102, and is gone."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.manners.answer_reinvite = False
    office.outside.hold(caller)
    office.world.run(0.1)
    refer(office.desk, mine, "102")
    office.world.run(0.01)
    office.desk.bye(mine)
    office.world.run(3.0)
    office.outside.bye(caller)
    office.world.run(60.0)
    office.assert_nothing_left()


def test_who_hangs_up_while_the_caller_owes_a_prack_is_answered() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    caller = modern_carrier(office)
    caller.ways.pracks = False
    talk = caller.call("+15550100", EXCHANGE, headers=[("Supported", "100rel"), ALLOW])
    assert office.world.until(lambda: bool(desk.up()) and desk.last.acked), office.world.ladder()
    desk.bye(desk.last)
    office.world.run(1.0)
    assert [answer.status for answer in desk.answers if answer.cseq.method == "BYE"] == [200], office.world.ladder()
    assert talk.status == 480
    office.assert_nothing_left()


def test_who_picks_up_a_call_in_the_moment_of_its_answer_is_answered() -> None:
    """101 has two phones: while the relay works at the early media of one, the other is picked up, and 102 asks for the
    place of the first."""
    office = Switchboard()
    desk, other = office.desk, office.phone("101", 20_101)
    desk.manners.answer_after = other.manners.answer_after = None
    other.manners.early_media, other.manners.ring_after = True, 1.5
    office.relay.delay = 0.5
    caller = office.outside.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: other.talks != {}), office.world.ladder()
    office.world.run(1.6)
    talk = desk.last
    assert talk.server is not None
    assert talk.invite is not None
    desk._accept(talk, talk.server, talk.invite)
    office.world.run(0.01)
    late = office.second.call("101", EXCHANGE, headers=[("Replaces", replaces(other.last)), ("Require", "replaces")])
    office.world.run(3.0)
    assert caller.state == "up"
    assert late.status == 491, office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_what_happens_behind_the_end_of_a_subscription_is_not_told() -> None:
    """Who looks once takes his time with the answer, and meanwhile a call comes and goes."""
    office = Office()
    office.phone("101")
    watcher = Watcher(office, "102")
    watcher.register(EXCHANGE)
    office.world.run(0.5)
    watcher.delay = 0.4
    watch = watcher.subscribe("101", expires=0, wait=False)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.world.run(1.0)
    carrier.bye(talk)
    office.world.run(3.0)
    assert watch.states == ["terminated"], office.world.ladder()
    office.assert_nothing_left()


def test_what_is_under_way_in_a_consultation_that_becomes_part_of_another_call_is_answered() -> None:
    """The INFO goes on to a phone that is taken over before it has said anything to it."""
    office = Switchboard()
    _, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.desk.send(asking, "INFO")
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(3.0)
    assert told(office.desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert [answer.status for answer in office.desk.answers if answer.cseq.method == "INFO"] == [481]
    office.second.bye(asked)
    office.assert_nothing_left()


def test_who_answers_a_transfer_and_cancels_an_offer_has_not_hung_up() -> None:
    """102 has two phones; while the relay is asked for a port for the other, the first answers, offers anew and takes
    that back."""
    office = Switchboard()
    office.phone("102", 20_102).manners.answer_after = None
    _, mine = office.inbound()
    office.relay.delay = 0.5
    refer(office.desk, mine, "102")
    assert office.world.until(lambda: office.second.up() != []), office.world.ladder()
    client = office.second.hold(office.second.last)
    office.world.run(0.01)
    office.second.layer.cancel(client)
    office.world.run(5.0)
    assert told(office.desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert office.second.last.state == "up"
    office.second.bye(office.second.last)
    office.assert_nothing_left()


def test_who_cancels_a_pickup_is_told_so_at_once() -> None:
    """The one who stays in the call takes his time over the newcomer's offer."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.outside.manners.answer_reinvite = False
    late = office.second.call("101", EXCHANGE, headers=[("Replaces", replaces(mine)), ("Require", "replaces")])
    office.world.run(1.0)
    office.second.cancel(late)
    office.world.run(1.0)
    assert late.status == 487, office.world.ladder()
    assert caller.state == "up"
    office.world.run(60.0)
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_who_picks_up_a_call_that_becomes_part_of_another_is_answered() -> None:
    """103 wants the place of the phone that rings for 101, and while the relay works at that, 101 transfers."""
    office = Switchboard()
    _, mine = office.inbound()
    office.second.manners.answer_after = None
    asking = office.desk.call("102", EXCHANGE)
    assert office.world.until(lambda: 180 in asking.provisionals), office.world.ladder()
    office.relay.delay = 0.5
    words = replaces(office.second.last)
    late = office.third.call("102", EXCHANGE, headers=[("Replaces", words), ("Require", "replaces")])
    office.world.run(0.1)
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(3.0)
    assert late.status == 487, office.world.ladder()
    office.outside.bye(office.outside.last)
    office.assert_nothing_left()


def test_who_hangs_up_while_the_call_is_given_back_to_the_one_who_transferred_it_is_answered() -> None:
    """102 will not take the offer, so the caller is offered 101 again; meanwhile 102 hangs up."""
    office = Switchboard()
    _, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.second.manners.refuse_reinvite = 488
    refer(office.desk, mine, referred_to(asking, "102"))
    assert office.world.until(lambda: office.second.seen[-1].to_tag is not None), office.world.ladder()
    office.outside.manners.answer_reinvite = False
    office.world.run(0.1)
    office.second.bye(asked)
    office.world.run(3.0)
    assert [answer.status for answer in office.second.answers if answer.cseq.method == "BYE"] == [200]
    office.world.run(60.0)
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_who_transfers_in_a_consultation_that_becomes_part_of_another_call_is_told_to_wait() -> None:
    """The caller has an offer under way, so the two calls are not one yet when 102 transfers 101, too."""
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.desk.manners.answer_reinvite = False
    office.outside.hold(caller)
    office.world.run(0.1)
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(0.1)
    refer(office.second, asked, "103")
    office.world.run(0.1)
    assert answer_to_refer(office.second).status == 491, office.world.ladder()
    assert told(office.second) == []
    office.world.run(60.0)
    office.desk.bye(mine)
    office.desk.bye(asking)
    office.assert_nothing_left()
