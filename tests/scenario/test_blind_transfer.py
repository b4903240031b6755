"""Blind transfer: a phone refers the party it talks to to another number, and the exchange does it."""

from __future__ import annotations

import pytest

from pbxcore.hooks import CallState, Disposition
from tests.scenario.office import EXCHANGE
from tests.scenario.transfers import Switchboard, answer_to_refer, invites, refer, told


def test_a_caller_from_outside_is_transferred_to_a_colleague() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.hold(mine)
    office.world.run(0.5)
    assert b"a=sendonly" in caller.remote_sdp
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    answer = answer_to_refer(office.desk)
    assert answer.status == 202, office.world.ladder()
    assert answer.contact is not None
    assert told(office.desk) == ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
    notices = [request for request in office.desk.seen if request.method == "NOTIFY"]
    assert {notice.first("event") for notice in notices} == {f"refer;id={answer.cseq.number}"}
    assert {notice.first("content-type") for notice in notices} == {"message/sipfrag;version=2.0"}
    assert [(notice.first("subscription-state") or "").split(";")[0] for notice in notices] == [
        "active", "active", "terminated",
    ]  # fmt: skip
    assert mine.state == "ended"
    assert office.talk_together((office.outside, caller), (office.second, office.second.last)), office.world.ladder()
    invite = office.second.last.invite
    assert invite is not None
    assert invite.from_.uri.user == "+15557777"
    assert invite.first("referred-by") == "<sip:101@127.0.0.1>"
    [live] = office.exchange.live.values()
    assert live.call.state is CallState.ANSWERED
    office.world.run(3.0)
    office.second.bye(office.second.last)
    office.assert_nothing_left()
    assert caller.state == "ended"
    [record] = office.records()
    assert (record.disposition, record.answered_by, record.hung_up_by) == (Disposition.ANSWERED, "102", "callee")
    assert [(leg.party, leg.side) for leg in record.legs] == [("trunk:carrier", "a"), ("101", "b"), ("102", "b")]
    first, second = record.legs[1:]
    assert (second.transferred_by, first.transferred_by) == ("101", None)
    assert second.transferred_at == second.answered_at == first.ended_at
    assert invite.first("x-hookline-call") == record.call_id


def test_the_caller_transfers() -> None:
    """Whoever called may transfer as well: 101 called 102, and gives it to 103."""
    office = Switchboard()
    talk, other = office.call(office.desk, office.second)
    refer(office.desk, talk, "103")
    office.world.run(2.0)
    assert talk.state == "ended"
    assert office.talk_together((office.second, other), (office.third, office.third.last)), office.world.ladder()
    invite = office.third.last.invite
    assert invite is not None
    assert (invite.from_.uri.user, invite.from_.display) == ("102", "Desk 102")
    office.third.bye(office.third.last)
    office.assert_nothing_left()
    assert other.state == "ended"
    [record] = office.records()
    assert [(leg.party, leg.side) for leg in record.legs] == [("101", "a"), ("102", "b"), ("103", "a")]
    assert record.hung_up_by == "caller"


def test_to_a_number_outside() -> None:
    office = Switchboard()
    _, other = office.call(office.desk, office.second)
    refer(office.desk, office.desk.last, "9+15558888")
    office.world.run(2.0)
    assert office.outside.last.state == "up", office.world.ladder()
    assert office.outside.last.invite is not None
    assert office.outside.last.invite.request_uri.user == "+15558888"
    office.second.bye(other)
    office.assert_nothing_left()
    assert office.outside.last.state == "ended"


def test_the_party_that_stays_has_put_the_other_on_hold() -> None:
    """It still holds afterwards: the newcomer is told so."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.outside.hold(caller)
    office.world.run(0.5)
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    assert b"a=sendonly" in office.second.last.remote_sdp, office.world.ladder()
    [live] = office.exchange.live.values()
    assert live.call.state is CallState.HELD
    office.outside.hold(caller, "sendrecv")
    office.world.run(1.0)
    assert live.call.state is CallState.ANSWERED
    assert b"a=sendrecv" in office.second.last.remote_sdp
    office.outside.bye(caller)
    office.assert_nothing_left()


@pytest.mark.parametrize("leaves", [True, False])
def test_without_notifications(leaves: bool) -> None:
    """RFC 4488: Refer-Sub false is honoured, and the transferor is hung up on when it has come to something."""
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, "102", ("Refer-Sub", "false"), ("Require", "norefersub"))
    office.world.run(0.02)
    answer = answer_to_refer(office.desk)
    assert (answer.status, answer.first("refer-sub")) == (202, "false"), office.world.ladder()
    if leaves:
        office.desk.bye(mine)
    office.world.run(2.0)
    assert told(office.desk) == []
    assert mine.state == "ended"
    assert office.talk_together((office.outside, caller), (office.second, office.second.last))
    office.outside.bye(caller)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    ("to", "refusal", "last"),
    [("102", 486, "486 Busy Here"), ("102", 603, "603 Decline"), ("555", None, "404 Not Found"),
     ("104", None, "480 Temporarily Unavailable")],
)  # fmt: skip
def test_a_transfer_that_fails_leaves_the_call_with_the_transferor(to: str, refusal: int | None, last: str) -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.hold(mine)
    office.world.run(0.5)
    office.second.manners.refuse_with = refusal
    refer(office.desk, mine, to)
    office.world.run(2.0)
    assert told(office.desk)[-1] == f"SIP/2.0 {last}", office.world.ladder()
    assert mine.state == caller.state == "up"
    office.desk.hold(mine, "sendrecv")
    office.world.run(0.5)
    assert b"a=sendrecv" in caller.remote_sdp
    office.desk.bye(mine)
    office.assert_nothing_left()
    [record] = office.records()
    assert record.answered_by == "101"


def test_nobody_answers_at_the_target() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = None
    refer(office.desk, mine, "102")
    office.world.run(65.0)
    assert told(office.desk)[-1] == "SIP/2.0 480 Temporarily Unavailable", office.world.ladder()
    assert mine.state == caller.state == "up"
    assert office.second.last.state == "cancelled"
    office.outside.bye(caller)
    office.assert_nothing_left()


@pytest.mark.parametrize("how", ["holds", "leaves", "talks on"])
def test_who_is_left_alone_hears_that_it_rings(how: str) -> None:
    """His call is answered already, so it is the relay that sounds; whoever still talks hears no tone over it."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = 2.0
    if how == "holds":
        office.desk.hold(mine)
        office.world.run(0.5)
    refer(office.desk, mine, "102")
    office.world.run(0.5)
    if how == "leaves":
        office.desk.bye(mine)
        office.world.run(0.1)
    assert list(office.relay.ringing.values()) == ([] if how == "talks on" else ["a"]), office.world.ladder()
    office.world.run(3.0)
    assert office.relay.ringing == {}
    assert office.talk_together((office.outside, caller), (office.second, office.second.last))
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_the_target_is_unreachable() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.alive = False
    refer(office.desk, mine, "102")
    office.world.run(40.0)
    assert told(office.desk)[-1] == "SIP/2.0 408 Request Timeout", office.world.ladder()
    assert mine.state == caller.state == "up"
    office.outside.bye(caller)
    office.assert_nothing_left()


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_transferor_has_hung_up_and_nobody_takes_the_call(comes_back: bool) -> None:
    """It comes back to him; where he does not take it either, the caller is hung up on."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.refuse_with = 486
    office.second.manners.answer_after = 1.0
    refer(office.desk, mine, "102")
    office.world.run(0.1)
    office.desk.bye(mine)
    office.desk.manners.refuse_with = None if comes_back else 486
    office.world.run(0.5)
    [live] = office.exchange.live.values()
    assert live.call.legs["b1"].state == "ended"
    office.world.run(3.0)
    assert invites(office.desk) == 2, office.world.ladder()
    if comes_back:
        assert office.talk_together((office.outside, caller), (office.desk, office.desk.last)), office.world.ladder()
        office.outside.bye(caller)
    office.assert_nothing_left()
    assert caller.state == "ended"
    [record] = office.records()
    assert record.answered_by == "101"
    assert record.status == (200 if comes_back else 486)


def test_the_target_answers_while_the_transferor_hangs_up() -> None:
    for delay in (0.0, 0.048, 0.050, 0.052, 0.054, 0.056):
        office = Switchboard()
        caller, mine = office.inbound()
        refer(office.desk, mine, "102")
        office.world.run(delay)
        office.desk.bye(mine)
        office.world.run(3.0)
        talks = (office.outside, caller), (office.second, office.second.last)
        assert office.talk_together(*talks), office.world.ladder()
        office.outside.bye(caller)
        office.assert_nothing_left()


def test_the_transferee_hangs_up_during_the_transfer() -> None:
    for delay in (0.0, 0.01, 0.05, 0.052, 0.054, 0.056, 0.058):
        office = Switchboard()
        caller, mine = office.inbound()
        refer(office.desk, mine, "102")
        office.world.run(delay)
        office.outside.bye(caller)
        office.world.run(3.0)
        assert mine.state == "ended", office.world.ladder()
        assert not office.second.up()
        office.assert_nothing_left()


def test_two_refers_at_once() -> None:
    """The first one counts; the second, of whichever side, is to come again."""
    office = Switchboard()
    talk, other = office.call(office.desk, office.second)
    office.phone("104")
    refer(office.desk, talk, "103")
    refer(office.second, other, "104")
    refer(office.desk, talk, "104")
    office.world.run(3.0)
    statuses = [r.status for r in office.desk.answers if r.cseq.method == "REFER"]
    assert statuses == [202, 491], office.world.ladder()
    assert answer_to_refer(office.second).status == 491
    assert office.talk_together((office.second, other), (office.third, office.third.last))
    office.second.bye(other)
    office.assert_nothing_left()


def test_refer_during_a_reinvite() -> None:
    """The transfer waits for the offer that is under way."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.hold(mine)
    refer(office.desk, mine, "102")
    office.world.run(3.0)
    assert office.talk_together((office.outside, caller), (office.second, office.second.last)), office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_the_party_that_stays_offers_at_the_same_time() -> None:
    """Glare with our re-INVITE: 491 on either side, and the transfer goes through."""
    for delay in (0.04, 0.048, 0.050, 0.052, 0.054):
        office = Switchboard()
        caller, mine = office.inbound()
        refer(office.desk, mine, "102")
        office.world.run(delay)
        office.outside.send(caller, "INVITE", office.outside.sdp())
        office.world.run(8.0)
        assert office.second.last.state == "up", office.world.ladder()
        assert caller.state == "up"
        office.outside.bye(caller)
        office.assert_nothing_left()


def test_refer_to_oneself() -> None:
    """Another phone of the same extension would ring; there is none."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.manners.refuse_with = 486
    refer(office.desk, mine, "101")
    office.world.run(3.0)
    assert told(office.desk)[-1].startswith("SIP/2.0 486"), office.world.ladder()
    assert mine.state == caller.state == "up"
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_refer_to_the_very_party_one_talks_to() -> None:
    office = Switchboard()
    talk, other = office.call(office.desk, office.second)
    refer(office.desk, talk, "102")
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 482, office.world.ladder()
    assert talk.state == other.state == "up"
    office.desk.bye(talk)
    office.assert_nothing_left()


def test_a_call_that_is_transferred_to_and_fro_for_ever_is_not() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.refuse_with = 486
    for _ in range(100):
        refer(office.desk, mine, "102")
        office.world.run(0.5)
    assert answer_to_refer(office.desk).status == 403
    assert invites(office.second) == 63, office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_a_thousand_refers_at_once() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    for _ in range(1000):
        refer(office.desk, mine, "102")
    office.world.run(5.0)
    assert invites(office.second) == 1
    assert office.second.last.state == "up"
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_a_number_that_no_rule_lets_out() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, "0015558888")
    office.world.run(1.0)
    assert told(office.desk)[-1] == "SIP/2.0 404 Not Found", office.world.ladder()
    assert invites(office.outside) == 0
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_refer_from_a_trunk_is_refused() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.outside, caller, "102")
    office.world.run(1.0)
    assert answer_to_refer(office.outside).status == 403, office.world.ladder()
    assert mine.state == caller.state == "up"
    office.outside.bye(caller)
    office.assert_nothing_left()


@pytest.mark.parametrize(("to", "reached"), [("102", True), ("9+15558888", False)])
def test_refer_from_a_trunk_whose_profile_allows_it(to: str, reached: bool) -> None:
    """To an extension, but never out again at the office's cost."""
    office = Switchboard()
    office.trunk.profile = office.trunk.profile.model_copy(update={"refer": True})
    caller, mine = office.inbound()
    refer(office.outside, caller, to)
    office.world.run(2.0)
    assert (office.second.up() != []) == reached, office.world.ladder()
    assert invites(office.outside) == 0
    assert mine.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Refer-To", "<sip:102@127.0.0.1"), ], 400),
        ([("Refer-To", "<sip:127.0.0.1>")], 400),
        ([("Refer-To", "<sip:102@127.0.0.1?Replaces=nonsense>")], 400),
        ([("Refer-To", "<http://127.0.0.1/>")], 416),
        ([("Refer-To", "<sip:102@127.0.0.1;method=BYE>")], 403),
        ([("Refer-To", "<sip:102@127.0.0.1>"), ("Refer-Sub", "perhaps")], 400),
        ([("Refer-To", "<sip:102@127.0.0.1>"), ("Require", "extra")], 420),
    ],
)  # fmt: skip
def test_a_refer_that_cannot_be_used(headers: list[tuple[str, str]], status: int) -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.desk.send(mine, "REFER", headers=headers)
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == status, office.world.ladder()
    assert mine.state == caller.state == "up"
    assert invites(office.second) == 0
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_headers_in_the_uri_do_not_become_headers_of_ours() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, "<sip:102@127.0.0.1?Alert-Info=boo&From=%3Csip:evil@x%3E&body=x>")
    office.world.run(1.0)
    invite = office.second.last.invite
    assert invite is not None, office.world.ladder()
    assert invite.from_.uri.user == "+15557777"
    assert invite.values("alert-info") == ["<urn:alert:source:external>"]
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_refer_outside_of_a_call() -> None:
    """Nobody is transferred by a stranger's word: there is no such method outside of a call."""
    office = Switchboard()
    stranger = office.carrier("+666")
    request = stranger._request("REFER", "sip:101@127.0.0.1", "<sip:101@127.0.0.1>", [("Refer-To", "<sip:102@h>")])
    stranger.layer.request(request, stranger.flow_to("UDP", *EXCHANGE), stranger)
    office.world.run(1.0)
    assert stranger.answers[-1].status == 405
    assert invites(office.second) == 0
    office.assert_nothing_left()


def test_the_subscriber_wants_to_hear_no_more() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = 1.0
    refer(office.desk, mine, "102")
    office.world.run(0.5)
    office.desk.send(mine, "SUBSCRIBE", headers=[("Event", "refer"), ("Expires", "0")])
    office.world.run(3.0)
    notices = [request for request in office.desk.seen if request.method == "NOTIFY"]
    assert notices[-1].first("subscription-state") == "terminated;reason=timeout", office.world.ladder()
    assert office.talk_together((office.outside, caller), (office.second, office.second.last))
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_the_second_phone_of_the_target_stops_ringing() -> None:
    office = Switchboard()
    slow = office.phone("102", 10_999)
    slow.manners.answer_after = None
    caller, mine = office.inbound()
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    assert slow.last.state == "cancelled", office.world.ladder()
    cancel = next(request for request in slow.seen if request.method == "CANCEL")
    assert "elsewhere" in (cancel.first("reason") or "")
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_transferred_twice() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    refer(office.second, office.second.last, "103")
    office.world.run(2.0)
    assert told(office.second)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert office.talk_together((office.outside, caller), (office.third, office.third.last))
    office.third.bye(office.third.last)
    office.assert_nothing_left()
    [record] = office.records()
    assert [leg.transferred_by for leg in record.legs] == [None, None, "101", "102"]
    assert record.answered_by == "103"
