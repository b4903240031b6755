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


def test_the_phone_offers_before_the_caller_has_acknowledged() -> None:
    """One INVITE transaction with a peer at a time (RFC 3261 section 14.1): the caller's is not over before his ACK."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.acknowledges = False
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.hold(desk.last)
    office.world.run(1.0)
    assert not [request for request in carrier.seen if request.method == "INVITE"], office.world.ladder()
    assert [r.status for r in desk.answers if r.cseq.method == "INVITE"][-1] == 491
    office.world.run(35.0)
    office.assert_nothing_left()


@pytest.mark.parametrize("who", ["carrier", "desk", "office"])
def test_hung_up_while_the_answer_to_a_reinvite_without_sdp_is_awaited(who: str) -> None:
    """The 200 of the other side waits for an ACK with the answer: it gets an ACK before its BYE."""
    office = Office()
    carrier, talk, desk, other = up(office)
    carrier.manners.acknowledges = False
    carrier.send(talk, "INVITE")
    office.world.run(0.2)
    assert not other.acked
    if who == "carrier":
        carrier.bye(talk)
    elif who == "desk":
        desk.bye(other)
    else:
        office.exchange.hang_up(next(iter(office.exchange.live)))
    office.world.run(1.0)
    assert other.acked, office.world.ladder()
    office.world.run(35.0)
    office.assert_nothing_left()


def test_an_ack_without_the_answer_it_owes() -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    carrier.manners.answers_without_sdp = True
    carrier.send(talk, "INVITE")
    office.world.run(2.0)
    wire = [data.split(b" ", 1)[0] for _, _, to, data in office.world.wire if to == desk.address]
    assert wire[-2:] == [b"ACK", b"BYE"], office.world.ladder()
    assert talk.state == other.state == "ended"
    office.assert_nothing_left()
    assert office.records()[0].status == 488


@pytest.mark.parametrize("sender", ["carrier", "desk"])
def test_a_reinvite_whose_body_is_no_sdp(sender: str) -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    one, mine, peer = (carrier, talk, desk) if sender == "carrier" else (desk, other, carrier)
    one.send(mine, "INVITE", b"<xml/>", [("Content-Type", "application/unknown")])
    office.world.run(1.0)
    answer = one.answers[-1]
    assert (answer.status, answer.first("accept")) == (415, "application/sdp"), office.world.ladder()
    assert sum(request.method == "INVITE" for request in peer.seen) == (1 if peer is desk else 0)
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("method", ["INVITE", "INFO", "OPTIONS"])
def test_an_extension_that_is_required_inside_of_a_call(method: str) -> None:
    office = Office()
    carrier, talk, desk, _ = up(office)
    before = len(desk.seen)
    carrier.send(talk, method, carrier.sdp() if method == "INVITE" else b"", [("Require", "timer, gruu")])
    office.world.run(1.0)
    answer = carrier.answers[-1]
    assert (answer.status, answer.first("unsupported")) == (420, "gruu"), office.world.ladder()
    assert len(desk.seen) == before
    carrier.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(("theirs", "ours"), [(407, 502), (401, 502), (503, 500), (488, 488), (606, 606)])
def test_a_reinvite_that_is_refused(theirs: int, ours: int) -> None:
    """The refusal goes back; a challenge is never passed on, and a 503 would be about this exchange (16.7)."""
    office = Office()
    carrier, talk, desk, other = up(office)
    desk.manners.refuse_reinvite = theirs
    carrier.hold(talk)
    office.world.run(1.0)
    assert talk.responses[-1].status == ours, office.world.ladder()
    assert talk.state == other.state == "up"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_cancel_of_a_reinvite() -> None:
    office = Office()
    carrier, talk, desk, other = up(office)
    desk.manners.answer_reinvite = False
    client = carrier.hold(talk)
    office.world.run(0.5)
    carrier.layer.cancel(client)
    office.world.run(1.0)
    assert talk.responses[-1].status == 487, office.world.ladder()
    assert any(to == desk.address and data.startswith(b"CANCEL") for _, _, to, data in office.world.wire)
    assert talk.state == other.state == "up"
    carrier.bye(talk)
    office.assert_nothing_left()
