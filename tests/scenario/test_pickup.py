"""An INVITE with Replaces (RFC 3891): phones of the office take a call that rings at another, or that another has."""

from __future__ import annotations

import pytest

from pbxcore.hooks import CallState, Disposition
from tests.scenario.office import EXCHANGE
from tests.scenario.party import Party, Talk
from tests.scenario.transfers import Switchboard, replaces


def seen_by(office: Switchboard, number: str) -> tuple[str, str, str]:
    """The dialog of this extension's leg, as its lamp tells it to colleagues (RFC 4235): Call-ID, our tag, its own."""
    [leg] = [leg for leg in office.exchange.dialogs.values() if leg.party == number and leg.call is not None]
    call_id, ours = leg.key
    return call_id, ours, leg.dialog.remote_tag if leg.dialog is not None else office.desk.last.dialog.local_tag  # type: ignore[union-attr]


def pick_up(office: Switchboard, party: Party, words: str, **how: bool) -> Talk:
    talk = party.call("101", EXCHANGE, headers=[("Replaces", words), ("Require", "replaces")], **how)
    office.world.run(1.0)
    return talk


def test_a_call_that_rings_at_a_colleague() -> None:
    office = Switchboard()
    office.desk.manners.answer_after = None
    caller = office.outside.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in caller.provisionals)
    call_id, ours, theirs = seen_by(office, "101")
    taken = pick_up(office, office.second, f"{call_id};to-tag={ours};from-tag={theirs};early-only")
    assert (taken.state, caller.state) == ("up", "up"), office.world.ladder()
    assert office.desk.last.state == "cancelled"
    cancel = next(request for request in office.desk.seen if request.method == "CANCEL")
    assert "elsewhere" in (cancel.first("reason") or "")
    assert b"m=audio 2" in caller.remote_sdp
    assert b"m=audio 2" in taken.remote_sdp
    assert b" 101" in taken.remote_sdp
    [live] = office.exchange.live.values()
    assert live.call.state is CallState.ANSWERED
    assert len(office.hooks.answered) == 1
    office.second.hold(taken)
    office.world.run(1.0)
    assert b"a=sendonly" in caller.remote_sdp, office.world.ladder()
    office.outside.bye(caller)
    office.assert_nothing_left()
    assert taken.state == "ended"
    [record] = office.records()
    assert (record.answered_by, record.disposition, record.hung_up_by) == ("102", Disposition.ANSWERED, "caller")
    assert [(leg.party, leg.transferred_by) for leg in record.legs] == [
        ("trunk:carrier", None), ("101", None), ("102", "102"),
    ]  # fmt: skip


def test_a_call_that_a_colleague_has_answered() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    taken = pick_up(office, office.second, replaces(mine))
    assert taken.status == 200, office.world.ladder()
    office.world.run(2.0)
    assert mine.state == "ended"
    assert office.talk_together((office.outside, caller), (office.second, taken)), office.world.ladder()
    office.second.bye(taken)
    office.assert_nothing_left()
    assert caller.state == "ended"
    [record] = office.records()
    assert (record.answered_by, record.hung_up_by) == ("102", "callee")


def test_the_one_who_stays_refuses() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    office.outside.manners.refuse_reinvite = 488
    taken = pick_up(office, office.second, replaces(mine))
    assert taken.status == 488, office.world.ladder()
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_whoever_picks_up_gives_up_again() -> None:
    """CANCEL while the other side is asked: the call stays where it was, with its media."""
    for delay in (0.0005, 0.0015, 0.0025, 0.0035, 0.0045):
        office = Switchboard()
        caller, mine = office.inbound()
        taken = office.second.call("101", EXCHANGE, headers=[("Replaces", replaces(mine))])
        office.world.run(0.002 + delay)
        office.second.cancel(taken)
        office.world.run(5.0)
        assert caller.state == "up", office.world.ladder()
        assert (mine.state == "up") != (taken.state == "up"), office.world.ladder()
        office.outside.bye(caller)
        office.assert_nothing_left()


def test_whoever_picks_up_gives_up_while_the_relay_works() -> None:
    """Nobody has taken the call then: it rings on where it rang, and is answered there."""
    office = Switchboard()
    office.desk.manners.answer_after = 5.0
    caller = office.outside.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in caller.provisionals)
    call_id, ours, theirs = seen_by(office, "101")
    office.relay.delay = 0.4
    words = f"{call_id};to-tag={ours};from-tag={theirs}"
    taken = office.second.call("101", EXCHANGE, headers=[("Replaces", words)])
    office.world.run(0.1)
    office.second.cancel(taken)
    office.world.run(2.0)
    assert (taken.status, caller.state, office.desk.last.state) == (487, "calling", "ringing"), office.world.ladder()
    office.relay.delay = 0.0
    assert office.world.until(lambda: caller.state == "up"), office.world.ladder()
    assert office.desk.last.state == "up"
    office.outside.bye(caller)
    office.assert_nothing_left()
    [record] = office.records()
    assert (record.answered_by, record.disposition) == ("101", Disposition.ANSWERED)


def test_a_stranger_picks_up_nothing() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    stranger = Party(office.world, ("127.0.0.9", 5060), "666")
    taken = stranger.call("101", EXCHANGE, headers=[("Replaces", replaces(mine))])
    office.world.run(1.0)
    assert taken.status == 401, office.world.ladder()
    through_trunk = pick_up(office, office.outside, replaces(mine))
    assert through_trunk.status == 403, office.world.ladder()
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("nobody;to-tag=a;from-tag=b", 481),
        ("nonsense", 400),
        ("a;to-tag=b", 400),
        ("a;to-tag=b;from-tag=c;to-tag=d", 400),
        ("a;to-tag=b;from-tag=c, d;to-tag=e;from-tag=f", 400),
    ],
)
def test_words_that_name_no_dialog(words: str, status: int) -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    assert pick_up(office, office.second, words).status == status, office.world.ladder()
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_early_only_of_an_answered_call() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    assert pick_up(office, office.second, replaces(mine, early_only=True)).status == 486
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_a_call_that_is_over() -> None:
    office = Switchboard()
    _, mine = office.inbound()
    words = replaces(mine)
    office.desk.bye(mine)
    office.world.run(1.0)
    assert pick_up(office, office.second, words).status == 481
    office.assert_nothing_left()


def test_the_place_of_one_who_still_calls() -> None:
    """RFC 3891 section 3: an early dialog that was not begun by the one who gets the Replaces: 481."""
    office = Switchboard()
    office.second.manners.answer_after = None
    talk = office.desk.call("102", EXCHANGE)
    office.world.run(0.5)
    [ours] = [tag for (call_id, tag), leg in office.exchange.dialogs.items() if leg.party == "101"]
    assert talk.invite is not None
    words = f"{talk.invite.call_id};to-tag={ours};from-tag={talk.invite.from_tag}"
    assert pick_up(office, office.third, words).status == 481, office.world.ladder()
    office.desk.cancel(talk)
    office.assert_nothing_left()


def test_without_an_offer() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    assert pick_up(office, office.second, replaces(mine), late_offer=True).status == 488
    assert mine.state == caller.state == "up"
    office.desk.bye(mine)
    office.assert_nothing_left()


def test_two_at_once() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    words = replaces(mine)
    one = office.second.call("101", EXCHANGE, headers=[("Replaces", words)])
    two = office.third.call("101", EXCHANGE, headers=[("Replaces", words)])
    office.world.run(3.0)
    assert sorted([one.status or 0, two.status or 0])[0] == 200, office.world.ladder()
    assert sorted([one.status or 0, two.status or 0])[1] in (481, 491), office.world.ladder()
    assert mine.state == "ended"
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_the_caller_gives_up_just_then() -> None:
    for delay in (0.0, 0.001, 0.002, 0.003):
        office = Switchboard()
        office.desk.manners.answer_after = None
        caller = office.outside.call("+15550100", EXCHANGE)
        assert office.world.until(lambda caller=caller: 180 in caller.provisionals)  # type: ignore[misc]
        call_id, ours, theirs = seen_by(office, "101")
        office.second.call("101", EXCHANGE, headers=[("Replaces", f"{call_id};to-tag={ours};from-tag={theirs}")])
        office.world.run(delay)
        office.outside.cancel(caller)
        office.world.run(2.0)
        if caller.state == "up":
            office.outside.bye(caller)
        office.assert_nothing_left()
        assert not office.second.up()
