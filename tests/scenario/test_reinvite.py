"""Offers inside of a call: hold and resume from either side, glare, refusals, offers without SDP."""

from __future__ import annotations

import pytest

from pbxcore.hooks import CallState
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk


def up(office: Office) -> tuple[Party, Talk, Party, Talk]:
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    office.world.run(0.1)
    return carrier, talk, desk, desk.last


@pytest.mark.parametrize("holder", ["carrier", "desk"])
def test_hold_and_resume(holder: str) -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    one, mine, theirs = (carrier, talk, other) if holder == "carrier" else (desk, other, talk)
    live = next(iter(office.exchange.live.values()))
    one.hold(mine)
    office.world.run(1.0)
    assert b"a=sendonly" in theirs.remote_sdp, office.world.ladder()
    assert live.call.state is CallState.HELD
    one.hold(mine, "sendrecv")
    office.world.run(1.0)
    assert b"a=sendrecv" in theirs.remote_sdp
    assert live.call.state is CallState.ANSWERED
    carrier.bye(talk)
    office.assert_nothing_left()
    assert other.state == "ended"


def test_glare_is_answered_491() -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    carrier.hold(talk)
    desk.hold(other)
    office.world.run(2.0)
    statuses = [r.status for r in carrier.answers + desk.answers if r.cseq.method == "INVITE" and r.status >= 200]
    assert 491 in statuses, office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_two_offers_of_one_side_at_once() -> None:
    office = Office()
    carrier, talk, _, _ = up(office)
    carrier.hold(talk)
    carrier.hold(talk)
    office.world.run(2.0)
    statuses = [r.status for r in carrier.answers if r.cseq.method == "INVITE" and r.status >= 200]
    assert 500 in statuses, office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_reinvite_without_sdp() -> None:
    office = Office()
    carrier, talk, _, other = up(office)
    talk.responses.clear()
    carrier.send(talk, "INVITE")
    office.world.run(2.0)
    assert talk.responses[-1].status == 200, office.world.ladder()
    assert talk.responses[-1].body
    assert other.acked, office.world.ladder()
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_other_side_is_gone() -> None:
    """A re-INVITE that is answered 481 shows that the call is over (RFC 5057): both sides are released."""
    office = Office()
    carrier, talk, desk, other = up(office)
    desk.talks.clear()
    carrier.hold(talk)
    office.world.run(3.0)
    assert talk.responses[-1].status == 481, office.world.ladder()
    assert talk.state == "ended"
    del other
    office.assert_nothing_left()


def test_bye_while_a_reinvite_is_under_way() -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    desk.hold(other)
    carrier.bye(talk)
    office.world.run(3.0)
    office.assert_nothing_left()
    assert other.state == "ended"


def test_the_caller_moves_to_another_address() -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    carrier.send(talk, "INVITE", carrier.sdp(port=33333))
    office.world.run(1.0)
    assert talk.responses[-1].status == 200
    desk.bye(other)
    office.world.run(1.0)
    assert talk.state == "ended", office.world.ladder()
    office.assert_nothing_left()
