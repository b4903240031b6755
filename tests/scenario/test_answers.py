"""Answers that come without ACK, without SDP, with early media, with the offer, and before the journal."""

from __future__ import annotations

from pbxcore.hooks import CallSnapshot, CallState, Disposition
from pbxcore.sip.dialog import Dialog
from tests.scenario.office import EXCHANGE, Office


def test_late_offer() -> None:
    """The caller sends no SDP: the phone's offer goes to him in the 200, his answer to the phone in the ACK."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE, late_offer=True)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    assert b"m=audio" in talk.remote_sdp
    assert b"m=audio" in desk.last.remote_sdp
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_caller_never_acknowledges() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.acknowledges = False
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up")
    assert office.world.until(lambda: desk.last.state == "ended", 40.0), office.world.ladder()
    assert talk.state == "ended", office.world.ladder()
    office.assert_nothing_left()
    [record] = office.records()
    assert record.hung_up_by == "exchange"


def test_the_caller_of_a_late_offer_never_acknowledges() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.acknowledges = False
    carrier.call("+15550100", EXCHANGE, late_offer=True)
    assert office.world.until(lambda: bool(desk.talks) and desk.last.state == "ended", 45.0), office.world.ladder()
    office.assert_nothing_left()


def test_the_phone_hangs_up_before_the_caller_acknowledged() -> None:
    """No BYE to the caller before his ACK or its time-out (RFC 3261 section 15)."""
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.acknowledges = False
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.bye(desk.last)
    office.world.run(5.0)
    assert not [request for request in carrier.seen if request.method == "BYE"]
    office.world.run(35.0)
    assert [request for request in carrier.seen if request.method == "BYE"], office.world.ladder()
    office.assert_nothing_left()


def test_early_media_reaches_the_caller() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.early_media = True
    desk.manners.answer_after = 1.0
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 183 in talk.provisionals), office.world.ladder()
    assert b"m=audio 2000" in talk.remote_sdp
    assert office.world.until(lambda: talk.state == "up")
    carrier.bye(talk)
    office.assert_nothing_left()


def test_an_answer_without_sdp_after_early_media_keeps_it() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.early_media = True
    desk.manners.answers_without_sdp = True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert b"m=audio 2000" in talk.remote_sdp
    carrier.bye(talk)
    office.assert_nothing_left()


def test_an_answer_without_any_sdp_is_no_answer() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.answers_without_sdp = True
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 488
    assert office.world.until(lambda: desk.last.state == "ended"), office.world.ladder()
    office.assert_nothing_left()
    assert office.records()[0].disposition is Disposition.FAILED


def test_the_answer_waits_for_the_record() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after, desk.manners.answer_after = None, 0.001
    office.journal.tick = 0.1
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert office.journal.committed, "the caller was answered before the call was written down"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_phone_does_not_wait_for_the_record_which_is_made_all_the_same() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after = desk.manners.answer_after = None
    sent: list[list[bytes]] = []
    write = office.journal.write

    def writes(call: CallSnapshot) -> None:
        sent.append([data for _, source, _, data in office.world.wire if source == EXCHANGE])
        write(call)

    office.journal.write = writes  # type: ignore[method-assign]  # of this one
    office.carrier().call("+15550100", EXCHANGE)
    office.world.run(1.0)
    [before] = sent
    assert [data[:16] for data in before if data.startswith(b"INVITE")] == [b"INVITE sip:101@1"], office.world.ladder()
    [record] = office.journal.committed.values()
    assert (record.state, record.decided_by) == (CallState.DIALING, "dial plan")


def _sent(office: Office) -> list[str]:
    """What the exchange has sent so far, by the first words of its start lines."""
    starts = [data.split(b"\r\n", 1)[0].decode() for _, source, _, data in office.world.wire if source == EXCHANGE]
    return [start[:11] if start.startswith("SIP/") else start.split()[0] for start in starts]


def test_the_caller_is_answered_before_the_phone_and_before_anybody_is_told() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after, desk.manners.answer_after = 0.01, 0.02
    before: dict[CallState, list[str]] = {}
    write = office.journal.write

    def writes(call: CallSnapshot) -> None:
        before[call.state] = _sent(office)
        write(call)

    office.journal.write = writes  # type: ignore[method-assign]  # of this one
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    assert before[CallState.ANSWERED][-4:] == ["INVITE", "SIP/2.0 180", "SIP/2.0 200", "ACK"], office.world.ladder()


def test_the_phone_is_acknowledged_at_once_while_the_caller_waits_for_the_record() -> None:
    office = Office()
    desk = office.phone("101")
    office.journal.tick = 0.1
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: bool(desk.talks) and desk.last.acked), office.world.ladder()
    assert talk.state != "up"
    assert _sent(office)[-2:] == ["SIP/2.0 180", "ACK"], office.world.ladder()
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert _sent(office).count("ACK") == 1


def test_a_stuck_journal_holds_the_answer_a_quarter_second_at_most() -> None:
    office = Office()
    desk = office.phone("101")
    desk.manners.ring_after, desk.manners.answer_after = None, 0.001
    office.journal.tick = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    began = office.world.now
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert office.world.now - began < 0.3
    assert office.exchange.counters.journal_late == 1
    office.journal.commit()
    office.journal.tick = 0.003
    carrier.bye(talk)
    office.assert_nothing_left()


def test_no_rtp_ends_the_call() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(1.0)
    [call_id] = office.exchange.live
    office.exchange.media_timed_out(call_id)
    office.world.run(1.0)
    assert talk.state == desk.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()
    [record] = office.records()
    assert record.hung_up_by == "exchange"
    assert record.reason == "No RTP"


def test_somebody_in_the_office_ends_the_call() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(0.1)
    assert office.exchange.hang_up(next(iter(office.exchange.live)))
    office.world.run(1.0)
    assert talk.state == desk.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()


def test_the_caller_dies_while_it_rings() -> None:
    """His BYE on the early dialog ends the call (RFC 3261 section 15)."""
    office = Office()
    desk = office.phone("101")
    desk.manners.answer_after = None
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: 180 in talk.provisionals)
    assert talk.invite is not None
    talk.dialog = Dialog.uac(talk.invite, talk.responses[-1])
    carrier.send(talk, "BYE")
    office.world.run(1.0)
    assert talk.status == 487, office.world.ladder()
    assert desk.last.state == "cancelled"
    office.assert_nothing_left()
