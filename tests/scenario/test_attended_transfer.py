"""Attended transfer: the transferor asks the target first, and then makes one call of his two (RFC 5589 section 7)."""

from __future__ import annotations

import pytest

from pbxcore.hooks import CallState
from tests.scenario.transfers import Switchboard, answer_to_refer, refer, referred_to, replaces, told


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("holds", [False, True])
def test_two_calls_become_one(holds: bool, swapped: bool) -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    if holds:
        office.desk.hold(mine)
        office.world.run(0.5)
    asking, asked = office.call(office.desk, office.second)
    if holds:
        office.desk.hold(asking)
        office.world.run(0.5)
    first = next(iter(office.exchange.live))
    refer(office.desk, mine, referred_to(asking, "102", swapped=swapped))
    office.world.run(2.0)
    assert answer_to_refer(office.desk).status == 202, office.world.ladder()
    assert told(office.desk) == ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]
    assert (mine.state, asking.state) == ("ended", "ended")
    assert office.talk_together((office.outside, caller), (office.second, asked)), office.world.ladder()
    [live] = office.exchange.live.values()
    assert (live.call.offered.call_id, live.call.state) == (first, CallState.ANSWERED)
    assert office.relay.ports_in_use() == 2
    office.world.run(3.0)
    office.second.bye(asked)
    office.assert_nothing_left()
    assert caller.state == "ended"
    [record] = office.records()
    assert record.call_id == first
    assert [leg.party for leg in record.legs] == ["trunk:carrier", "101", "102"]
    assert record.legs[2].transferred_by == "101"
    assert record.legs[2].answered_at < record.legs[2].transferred_at  # type: ignore[operator]
    assert (record.answered_by, record.hung_up_by) == ("102", "callee")
    [merged] = office.journal.merged
    assert merged.merged_into == first
    assert [call.call_id for call in office.hooks.ended] == [merged.call_id, first]


def test_the_call_with_somebody_outside_goes_on() -> None:
    """Whichever dialog the REFER is sent in, and whichever call is older."""
    office = Switchboard()
    asking, asked = office.call(office.desk, office.second)
    caller, mine = office.inbound()
    outside = list(office.exchange.live)[1]
    refer(office.desk, asking, referred_to(mine, "101"))
    office.world.run(2.0)
    assert told(office.desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert office.talk_together((office.outside, caller), (office.second, asked)), office.world.ladder()
    assert list(office.exchange.live) == [outside]
    assert (mine.state, asking.state) == ("ended", "ended")
    office.outside.bye(caller)
    office.assert_nothing_left()
    assert asked.state == "ended"
    [record] = office.records()
    assert record.call_id == outside


def test_both_had_called_the_transferor() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    calling, called = office.call(office.second, office.desk)
    refer(office.desk, mine, referred_to(called, "102"))
    office.world.run(2.0)
    assert office.talk_together((office.outside, caller), (office.second, calling)), office.world.ladder()
    office.second.bye(calling)
    office.assert_nothing_left()
    assert caller.state == "ended"
    [record] = office.records()
    assert [leg.party for leg in record.legs] == ["trunk:carrier", "101", "102"]


def test_the_target_still_rings() -> None:
    """The transferor does not wait for the answer: the phone rings on, for the one who stays."""
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.answer_after = 3.0
    asking = office.desk.call("102", ("127.0.0.1", 5060))
    assert office.world.until(lambda: 180 in asking.provisionals)
    refer(office.desk, mine, referred_to(asking, "102", early_only=True))
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 202, office.world.ladder()
    assert asking.status == 487
    [live] = office.exchange.live.values()
    assert [leg.state for leg in live.call.legs.values()] == ["answered", "answered", "ringing"]
    assert mine.state == "up"
    office.world.run(4.0)
    assert told(office.desk)[-1] == "SIP/2.0 200 OK", office.world.ladder()
    assert mine.state == "ended"
    assert office.talk_together((office.outside, caller), (office.second, office.second.last)), office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()
    [record] = office.records()
    assert [leg.party for leg in record.legs] == ["trunk:carrier", "101", "102"]


def test_the_target_that_rings_declines() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.second.manners.refuse_with, office.second.manners.answer_after = 603, 2.0
    asking = office.desk.call("102", ("127.0.0.1", 5060))
    office.world.run(1.0)
    dialog_of = f"{asking.invite.call_id};to-tag=%s;from-tag={asking.invite.from_tag}" if asking.invite else ""
    [ours] = [tag for call_id, tag in office.exchange.dialogs if asking.invite and call_id == asking.invite.call_id]
    target = (dialog_of % ours).replace(";", "%3B").replace("=", "%3D")
    refer(office.desk, mine, f"<sip:102@127.0.0.1?Replaces={target}>")
    office.world.run(4.0)
    assert told(office.desk)[-1] == "SIP/2.0 603 Decline", office.world.ladder()
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()
    assert len(office.records()) == 1


def test_the_target_answers_while_the_transferor_hangs_up_both() -> None:
    for delay in (0.0, 0.001, 0.002, 0.003, 0.004):
        office = Switchboard()
        caller, mine = office.inbound()
        asking, asked = office.call(office.desk, office.second)
        refer(office.desk, mine, referred_to(asking, "102"))
        office.world.run(delay)
        office.desk.bye(asking)
        office.desk.bye(mine)
        office.world.run(3.0)
        assert office.talk_together((office.outside, caller), (office.second, asked)), office.world.ladder()
        office.outside.bye(caller)
        office.assert_nothing_left()
        assert len(office.records()) == 1


def test_either_of_the_others_hangs_up_meanwhile() -> None:
    for who in ("caller", "target"):
        for delay in (0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006):
            office = Switchboard()
            caller, mine = office.inbound()
            asking, asked = office.call(office.desk, office.second)
            refer(office.desk, mine, referred_to(asking, "102"))
            office.world.run(delay)
            if who == "caller":
                office.outside.bye(caller)
            else:
                office.second.bye(asked)
            office.world.run(3.0)
            for party, talk in ((office.desk, mine), (office.desk, asking)):
                party.bye(talk)
            office.world.run(3.0)
            office.outside.bye(caller)
            office.second.bye(asked)
            office.assert_nothing_left()


def test_the_one_who_stays_refuses_the_newcomer() -> None:
    """Nothing is given up before he agrees: both calls are as they were."""
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.outside.manners.refuse_reinvite = 488
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(3.0)
    assert told(office.desk)[-1] == "SIP/2.0 488 Not Acceptable Here", office.world.ladder()
    assert [talk.state for talk in (caller, mine, asking, asked)] == ["up"] * 4
    office.second.bye(asked)
    office.world.run(1.0)
    assert (asking.state, mine.state) == ("ended", "up")
    office.desk.bye(mine)
    office.assert_nothing_left()
    assert len(office.records()) == 2


def test_the_newcomer_refuses() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.second.manners.refuse_reinvite = 488
    refer(office.desk, mine, referred_to(asking, "102"))
    office.world.run(3.0)
    assert told(office.desk)[-1] == "SIP/2.0 488 Not Acceptable Here", office.world.ladder()
    assert [talk.state for talk in (caller, mine, asking, asked)] == ["up"] * 4
    office.desk.bye(asking)
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_replaces_of_a_dialog_that_is_none() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    gone = referred_to(asking, "102")
    office.desk.bye(asking)
    office.world.run(40.0)
    for target in (gone, "<sip:102@h?Replaces=nobody%3Bto-tag%3Da%3Bfrom-tag%3Db>"):
        refer(office.desk, mine, target)
        office.world.run(1.0)
        assert answer_to_refer(office.desk).status == 481, office.world.ladder()
    assert mine.state == caller.state == "up"
    assert asked.state == "ended"
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_replaces_with_a_wrong_tag() -> None:
    """Who knows one tag and not the other knows nothing."""
    office = Switchboard()
    _, mine = office.inbound()
    asking, _ = office.call(office.desk, office.second)
    words = replaces(asking).partition(";from-tag=")[0] + ";from-tag=guess"
    refer(office.desk, mine, f"<sip:102@h?Replaces={words.replace(';', '%3B').replace('=', '%3D')}>")
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 481, office.world.ladder()
    office.desk.bye(mine)
    office.desk.bye(asking)
    office.assert_nothing_left()


def test_early_only_of_an_answered_call() -> None:
    office = Switchboard()
    _, mine = office.inbound()
    asking, _ = office.call(office.desk, office.second)
    refer(office.desk, mine, referred_to(asking, "102", early_only=True))
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 486, office.world.ladder()
    office.desk.bye(mine)
    office.desk.bye(asking)
    office.assert_nothing_left()


def test_replaces_of_somebody_elses_dialog() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.second, office.third)
    refer(office.desk, mine, referred_to(asking, "103"))
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 403, office.world.ladder()
    assert [talk.state for talk in (caller, mine, asking, asked)] == ["up"] * 4
    office.desk.bye(mine)
    office.second.bye(asking)
    office.assert_nothing_left()


def test_replaces_of_the_very_call() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, referred_to(mine, "101"))
    office.world.run(1.0)
    assert answer_to_refer(office.desk).status == 482, office.world.ladder()
    office.desk.bye(mine)
    office.assert_nothing_left()
    assert caller.state == "ended"


def test_both_calls_are_transferred_to_each_other_at_once() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    refer(office.desk, mine, referred_to(asking, "102"))
    refer(office.desk, asking, referred_to(mine, "101"))
    office.world.run(3.0)
    statuses = sorted(r.status for r in office.desk.answers if r.cseq.method == "REFER")
    assert statuses == [202, 491], office.world.ladder()
    assert office.talk_together((office.outside, caller), (office.second, asked)), office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_a_consultation_that_is_being_transferred_itself_becomes_no_part_of_another_call() -> None:
    """The caller's call waits for the relay when 101 puts the two together; meanwhile 102 transfers 101."""
    office = Switchboard()
    caller, mine = office.inbound()
    asking, asked = office.call(office.desk, office.second)
    office.third.manners.answer_after = 3.0
    office.relay.delay = 0.5
    office.outside.hold(caller)
    office.world.run(0.1)
    refer(office.desk, asking, referred_to(mine, "101"))
    office.world.run(0.1)
    refer(office.second, asked, "103")
    office.world.run(10.0)
    assert answer_to_refer(office.second).status == 202, office.world.ladder()
    assert told(office.desk)[-1] == "SIP/2.0 491 Request Pending"
    assert told(office.second)[-1] == "SIP/2.0 200 OK"
    assert (caller.state, mine.state, asking.state, asked.state) == ("up", "up", "up", "ended")
    office.desk.bye(mine)
    office.desk.bye(asking)
    office.assert_nothing_left()
