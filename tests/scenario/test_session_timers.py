"""Session timers (RFC 4028), each leg by itself: who refreshes, how, and what becomes of a party that says nothing."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.modern import ALLOW, Modern, modern_carrier, modern_phone
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party, Talk
from tests.scenario.test_makes_of_phone import with_profile
from tests.scenario.world import Network

TIMER = ("Supported", "timer")


def up(office: Office, headers: list[tuple[str, str]]) -> tuple[Modern, Talk, Modern]:
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=headers)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    office.world.run(0.5)
    return caller, talk, desk


def answer(talk: Talk) -> str:
    [final] = [r for r in talk.responses if r.status == 200]
    return final.first("session-expires") or ""


def refreshes(party: Party) -> list[str]:
    """The methods of what it got inside of the call."""
    return [request.method for request in party.seen if request.to_tag is not None]


# ---- the plain phone is let alone


def test_phones_without_it_have_none() -> None:
    office = Office()
    desk = office.phone("101")
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(5000.0)
    assert talk.state == "up"
    assert answer(talk) == ""
    assert refreshes(desk) == ["ACK"] or refreshes(desk) == []
    assert not caller.seen
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_office_asks_for_none() -> None:
    office = Office(session_seconds=0)
    caller, talk, desk = up(office, [TIMER, ALLOW])
    assert answer(talk) == ""
    assert "session-expires" not in desk.got("INVITE")[0]
    assert "timer" in desk.got("INVITE")[0].supported, "what a phone asks for is done all the same"
    office.world.run(4000.0)
    assert talk.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_phone_that_is_not_asked() -> None:
    office = Office()
    with_profile(office, session_timer="answer")
    caller, talk, desk = up(office, [])
    assert "session-expires" not in desk.got("INVITE")[0]
    assert "timer" in desk.got("INVITE")[0].supported
    caller.bye(talk)
    office.assert_nothing_left()


# ---- negotiation


@pytest.mark.parametrize(
    ("headers", "expected", "required"),
    [
        ([TIMER], "1800;refresher=uas", False),
        ([TIMER, ("Session-Expires", "600")], "600;refresher=uac", True),
        ([TIMER, ("Session-Expires", "600;refresher=uas")], "600;refresher=uas", False),
        ([TIMER, ("x", "600;refresher=uac")], "600;refresher=uac", True),
        ([("Session-Expires", "600")], "600;refresher=uas", False),      # a proxy wants it, its phone does not know it
        ([TIMER, ("Min-SE", "3600")], "3600;refresher=uas", False),
        ([TIMER, ("Session-Expires", "soon")], "1800;refresher=uas", False),
    ],
)
def test_what_the_caller_is_answered(headers: list[tuple[str, str]], expected: str, required: bool) -> None:
    office = Office()
    caller, talk, _ = up(office, headers)
    assert answer(talk) == expected, office.world.ladder()
    final = next(r for r in talk.responses if r.status == 200)
    assert (final.require == ("timer",)) is required
    assert "timer" in final.supported
    caller.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(("asked", "minimum", "status"), [("60", 90, 422), ("300", 600, 422), ("90", 90, 200)])
def test_an_interval_that_is_too_small(asked: str, minimum: int, status: int) -> None:
    office = Office(session_min_seconds=minimum)
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=[TIMER, ("Session-Expires", asked)])
    office.world.run(2.0)
    assert talk.status == status, office.world.ladder()
    if status == 422:
        assert talk.responses[-1].first("min-se") == str(minimum)
        assert not desk.seen
    caller.bye(talk)
    office.assert_nothing_left()


class Strict(Modern):
    """Refuses an INVITE whose interval is under an hour."""

    least = 3600

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        asked = int((request.first("session-expires") or "0").split(";")[0])
        if request.method == "INVITE" and 0 < asked < self.least:
            self.seen.append(request)
            headers = [("Min-SE", str(self.least))]
            self.layer.respond(tx, build.response(request, 422, to_tag=self.world.token(), headers=headers))
        else:
            super().on_request(tx, request)


def test_the_phone_wants_a_longer_one() -> None:
    office = Office()
    desk = Strict(office.world, ("127.0.0.1", 10_101), "101")
    desk.password = "correct horse"
    desk.register(EXCHANGE)
    assert office.world.until(lambda: desk.registered)
    desk.ways.answer_rows = [("Session-Expires", "3600;refresher=uac"), ("Require", "timer")]
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    office.world.run(2.0)
    assert talk.status == 200, office.world.ladder()
    first, second = desk.got("INVITE")
    assert (first.first("session-expires"), first.first("min-se")) == ("1800", None)
    assert (second.first("session-expires"), second.first("min-se")) == ("3600", "3600")
    assert second.call_id == first.call_id
    assert second.cseq.number == first.cseq.number + 1
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_phone_whose_minimum_is_absurd() -> None:
    """No call lasts so long; and it is asked no more than it says."""
    office = Office()
    desk = Strict(office.world, ("127.0.0.1", 10_101), "101")
    desk.least = 999_999_999
    desk.password = "correct horse"
    desk.register(EXCHANGE)
    assert office.world.until(lambda: desk.registered)
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    office.world.run(2.0)
    assert talk.status == 500
    assert len(desk.got("INVITE")) == 1
    office.assert_nothing_left()


# ---- refreshes of ours


@pytest.mark.parametrize("side", ["caller", "callee"])
@pytest.mark.parametrize("allows", [True, False])
def test_we_refresh_at_half_time(side: str, allows: bool) -> None:
    """By UPDATE where it is allowed, else by a re-INVITE that offers what it offered before."""
    office = Office()
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    one = caller if side == "caller" else desk
    one.ways.allows = ALLOW if allows else None
    headers = [TIMER, ("Session-Expires", "200;refresher=uas"), *([ALLOW] if allows else [])] if one is caller else []
    if one is desk:
        one.ways.answer_rows = [("Session-Expires", "200;refresher=uac"), ("Require", "timer")]
    else:
        one.ways.answer_rows = [("Session-Expires", "200;refresher=uac")]
    talk = caller.call("+15550100", EXCHANGE, headers=headers)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    mine = talk if one is caller else desk.last
    said = mine.remote_sdp
    office.world.run(1050.0)
    method = "UPDATE" if allows else "INVITE"
    got = [request for request in one.seen if request.to_tag and request.method != "ACK"]
    assert [request.method for request in got] == [method] * 10, office.world.ladder()
    assert {request.first("session-expires") for request in got} == {"200;refresher=uac"}
    assert {request.body for request in got} == ({b""} if allows else {said})
    assert all("timer" in request.supported for request in got)
    other = desk if one is caller else caller
    assert not [request for request in other.seen if request.to_tag and request.method in ("INVITE", "UPDATE")]
    assert talk.state == desk.last.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_they_refresh_and_the_other_side_hears_nothing() -> None:
    office = Office()
    caller, talk, desk = up(office, [TIMER, ALLOW, ("Session-Expires", "200;refresher=uac")])
    for _ in range(6):
        office.world.run(100.0)
        caller.send(talk, "UPDATE", headers=[TIMER, ("Session-Expires", "200;refresher=uac")])
    office.world.run(1.0)
    assert caller.said("UPDATE") == [200] * 6
    last = [r for r in caller.answers if r.cseq.method == "UPDATE"][-1]
    assert last.first("session-expires") == "200;refresher=uac"
    assert last.first("contact")
    assert talk.state == "up"
    assert not desk.got("UPDATE")
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_reinvite_refreshes_the_leg_that_it_came_on_and_the_one_it_goes_to() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.answer_rows = [("Session-Expires", "200;refresher=uas"), ("Require", "timer")]
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=[TIMER, ("Session-Expires", "200;refresher=uac")])
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    for _ in range(4):
        office.world.run(120.0)
        caller.send(talk, "INVITE", caller.sdp(), [TIMER, ("Session-Expires", "200;refresher=uac")])
    office.world.run(1.0)
    assert talk.responses[-1].first("session-expires") == "200;refresher=uac", office.world.ladder()
    passed_on = [r for r in desk.got("INVITE") if r.to_tag]
    assert {r.first("session-expires") for r in passed_on} == {"200;refresher=uas"}
    assert talk.state == desk.last.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_an_update_that_the_phone_does_not_know_after_all() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.answer_rows = [("Session-Expires", "200;refresher=uac"), ("Require", "timer")]
    desk.ways.update_status = 501
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(250.0)
    got = [request.method for request in desk.seen if request.to_tag and request.method != "ACK"]
    assert got == ["UPDATE", "INVITE", "INVITE"], office.world.ladder()
    assert talk.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_refresh_that_is_refused_for_now() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.answer_rows = [("Session-Expires", "200;refresher=uac"), ("Require", "timer")]
    desk.ways.update_status = 500
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(104.0)
    desk.ways.update_status = 200
    office.world.run(200.0)
    assert talk.state == "up", office.world.ladder()
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_refresh_crosses_an_offer() -> None:
    """491 to our re-INVITE: it is made again a little later (RFC 3261 section 14.1)."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.allows = None
    desk.ways.answer_rows = [("Session-Expires", "200;refresher=uac"), ("Require", "timer")]
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.ways.invite_status = 491
    office.world.run(100.5)
    desk.ways.invite_status = 200
    office.world.run(10.0)
    times = [at for at, _, to, data in office.world.wire if to == desk.address and data.startswith(b"INVITE")]
    assert 2.0 < times[-1] - times[-2] < 4.5, office.world.ladder()
    office.world.run(150.0)
    assert talk.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_held_call_stays_held_through_a_refresh() -> None:
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.allows = None
    desk.ways.answer_rows = [("Session-Expires", "200;refresher=uac"), ("Require", "timer")]
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    caller.hold(talk)
    office.world.run(150.0)
    refresh = desk.got("INVITE")[-1]
    assert b"a=sendonly" in refresh.body, office.world.ladder()
    live = next(iter(office.exchange.live.values()))
    assert live.call.state == "held"
    caller.bye(talk)
    office.assert_nothing_left()


# ---- the mute


@pytest.mark.parametrize("side", ["caller", "callee"])
@pytest.mark.parametrize(("refresher", "seconds"), [("uac", 300), ("uas", 300)])
def test_a_mute_party_is_torn_down(side: str, refresher: str, seconds: int) -> None:
    """Whoever was to refresh: a little before the session ends both sides get their BYE, and the record says why."""
    office = Office()
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    value = ("Session-Expires", f"{seconds};refresher={refresher}")
    headers = [TIMER, ALLOW, value] if side == "caller" else []
    if side == "callee":
        desk.ways.answer_rows = [value, ("Require", "timer")]
    talk = caller.call("+15550100", EXCHANGE, headers=headers)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    mute, other = (caller, desk) if side == "caller" else (desk, caller)
    mute.ways.mute = True
    began = office.world.now
    assert office.world.until(lambda: not office.exchange.live, 400), office.world.ladder()
    ours = refresher == ("uac" if side == "callee" else "uas")
    expected = seconds / 2 + 32 if ours else seconds - 32      # a refresh that is not answered says it earlier
    assert abs(office.world.now - began - expected) < 2, office.world.ladder()
    office.world.run(40.0)
    assert other.got("BYE")
    assert mute.got("BYE")
    office.assert_nothing_left()
    [record] = office.records()
    reason = "The other side is gone" if ours else "Session Timer Expired"
    assert (record.status, record.reason, record.hung_up_by) == (408, reason, "exchange")


def test_a_short_session_ends_a_third_before_its_time() -> None:
    """The margin is 32 seconds, but no more than a third (section 10)."""
    office = Office()
    caller, talk, _ = up(office, [TIMER, ("Session-Expires", "90;refresher=uac")])
    began = office.world.now
    assert office.world.until(lambda: talk.state == "ended", 100)
    assert 59 < office.world.now - began < 61
    office.assert_nothing_left()
    del caller


@pytest.mark.parametrize("seed", range(1, 6))
def test_refreshes_through_loss_and_disorder(seed: int) -> None:
    office = Office(seed=seed)
    desk = modern_phone(office, "101")
    desk.ways.allows = None if seed % 2 else ALLOW
    desk.ways.answer_rows = [("Session-Expires", "120;refresher=uac"), ("Require", "timer")]
    caller = modern_carrier(office)
    caller.ways.answer_rows = [("Session-Expires", "120;refresher=uac")]
    talk = caller.call("+15550100", EXCHANGE, headers=[TIMER, ALLOW, ("Session-Expires", "120;refresher=uas")])
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.network = Network(loss=0.25, doubled=0.2, delay=0.02, jitter=0.4)
    office.world.run(1500.0)
    assert talk.state == desk.last.state == "up", office.world.ladder()
    office.world.network = Network()
    caller.bye(talk)
    office.assert_nothing_left()


def test_an_update_with_an_interval_that_is_too_small() -> None:
    office = Office()
    caller, talk, _ = up(office, [TIMER, ALLOW])
    caller.send(talk, "UPDATE", headers=[TIMER, ("Session-Expires", "30")])
    caller.send(talk, "INVITE", caller.sdp(), headers=[TIMER, ("Session-Expires", "30")])
    office.world.run(1.0)
    assert caller.said("UPDATE") == [422], office.world.ladder()
    assert talk.responses[-1].status == 422
    assert talk.responses[-1].first("min-se") == "90"
    assert talk.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_timer_that_begins_in_the_middle_of_a_call() -> None:
    office = Office()
    caller, talk, _ = up(office, [])
    caller.send(talk, "UPDATE", headers=[TIMER, ("Session-Expires", "100;refresher=uac")])
    office.world.run(1.0)
    assert caller.said("UPDATE") == [200]
    assert office.world.until(lambda: talk.state == "ended", 120), "and nobody refreshes it"
    office.assert_nothing_left()


def test_a_colleague_who_takes_over_is_watched_too() -> None:
    """The timer of a leg that comes into a call by a transfer is kept like the others."""
    office = Office()
    caller, talk, desk = up(office, [])
    other = modern_phone(office, "102")
    other.ways.answer_rows = [("Session-Expires", "300;refresher=uac"), ("Require", "timer")]
    desk.send(desk.last, "REFER", headers=[("Refer-To", "<sip:102@127.0.0.1>")])
    assert office.world.until(lambda: desk.last.state == "ended"), office.world.ladder()
    office.world.run(400.0)
    assert other.got("UPDATE"), office.world.ladder()
    other.ways.mute = True
    assert office.world.until(lambda: talk.state == "ended", 400), office.world.ladder()
    office.assert_nothing_left()
    del caller
