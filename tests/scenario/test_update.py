"""UPDATE (RFC 3311) in early and in confirmed dialogs: where to, what it offers, and what it crosses."""

from __future__ import annotations

import pytest

from pbxcore.sip import build
from tests.scenario.modern import ALLOW, Modern, modern_carrier, modern_phone
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Talk
from tests.scenario.world import Network

KNOWS = [("Supported", "100rel"), ALLOW]


def up(office: Office, headers: list[tuple[str, str]] | None = None) -> tuple[Modern, Talk, Modern]:
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS if headers is None else headers)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    office.world.run(0.5)
    return caller, talk, desk


def early(office: Office, headers: list[tuple[str, str]] | None = None, allows: bool = True) -> tuple[
    Modern, Talk, Modern
]:
    """It rings, and both have each other's description."""
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.answer_sdp = False
    desk.ways.allows = ALLOW if allows else None
    desk.manners.answer_after = 3.0
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS if headers is None else headers)
    office.world.run(0.5)
    assert len(desk.pracked) == 1, office.world.ladder()
    return caller, talk, desk


def final(party: Modern, method: str = "UPDATE") -> int:
    return party.said(method)[-1]


# ---- when the call is up


@pytest.mark.parametrize("sender", ["caller", "callee"])
def test_an_offer_goes_through(sender: str) -> None:
    office = Office()
    caller, talk, desk = up(office)
    one, mine, other = (caller, talk, desk) if sender == "caller" else (desk, desk.last, caller)
    one.send(mine, "UPDATE", one.sdp("sendonly"))
    office.world.run(1.0)
    [got] = other.got("UPDATE")
    assert b"a=sendonly" in got.body
    assert b"m=audio 2000" in got.body, "the relay's port"
    answer = next(r for r in one.answers if r.cseq.method == "UPDATE")
    assert (answer.status, bool(answer.body), answer.first("contact") is not None) == (200, True, True)
    live = next(iter(office.exchange.live.values()))
    assert live.call.state == "held"
    one.send(mine, "UPDATE", one.sdp())
    office.world.run(1.0)
    assert live.call.state == "answered"
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_other_side_does_not_take_it() -> None:
    """Then it goes on as a re-INVITE."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.allows = None
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    caller.send(talk, "UPDATE", caller.sdp(port=33333))
    office.world.run(1.0)
    assert not desk.got("UPDATE")
    assert len(desk.got("INVITE")) == 2
    assert desk.last.acked
    assert final(caller) == 200
    caller.bye(talk)
    office.assert_nothing_left()


def test_one_without_an_offer_is_answered_by_us() -> None:
    office = Office()
    caller, talk, desk = up(office)
    caller.send(talk, "UPDATE")
    office.world.run(1.0)
    assert final(caller) == 200
    assert not desk.got("UPDATE")
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_caller_is_elsewhere_now() -> None:
    """A target refresh: what we send goes to its new Contact (section 5.1)."""
    office = Office()
    caller, talk, desk = up(office)
    caller.send(talk, "UPDATE", headers=[("Contact", "<sip:roof@127.0.0.2:5060>")])
    office.world.run(1.0)
    desk.bye(desk.last)
    office.world.run(1.0)
    assert caller.got("BYE")[0].uri == "sip:roof@127.0.0.2:5060", office.world.ladder()
    office.assert_nothing_left()
    del talk


@pytest.mark.parametrize(("theirs", "ours"), [(488, 488), (491, 491), (504, 504), (503, 500), (500, 500)])
def test_a_refusal_goes_back(theirs: int, ours: int) -> None:
    office = Office()
    caller, talk, desk = up(office)
    desk.ways.update_status = theirs
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(1.0)
    assert final(caller) == ours
    assert talk.state == desk.last.state == "up"
    caller.send(talk, "INVITE", caller.sdp())
    office.world.run(1.0)
    assert talk.responses[-1].status == 200, "and the next offer is not in its way"
    caller.bye(talk)
    office.assert_nothing_left()


def test_both_offer_at_once() -> None:
    office = Office()
    caller, talk, desk = up(office)
    caller.send(talk, "UPDATE", caller.sdp())
    desk.send(desk.last, "UPDATE", desk.sdp())
    office.world.run(1.0)
    assert 491 in (*caller.said("UPDATE"), *desk.said("UPDATE")), office.world.ladder()
    caller.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("second", ["UPDATE", "INVITE"])
def test_two_offers_of_one_side(second: str) -> None:
    office = Office()
    caller, talk, desk = up(office)
    caller.send(talk, "UPDATE", caller.sdp())
    caller.send(talk, second, caller.sdp())
    office.world.run(1.0)
    refused = [r for r in caller.answers if r.status == 500]
    assert len(refused) == 1, office.world.ladder()
    assert 0 <= int(refused[0].first("retry-after") or "-1") <= 10
    assert final(caller) in (200, 500)
    caller.bye(talk)
    office.assert_nothing_left()
    del desk


def test_an_update_before_the_call_is_acknowledged() -> None:
    """The callee takes UPDATE and need not wait for the ACK of its 200; a re-INVITE would be too early."""
    office = Office()
    desk = modern_phone(office, "101")
    caller = modern_carrier(office)
    caller.manners.acknowledges = False
    talk = caller.call("+15550100", EXCHANGE, headers=KNOWS)
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    desk.send(desk.last, "UPDATE", desk.sdp("sendonly"))
    office.world.run(1.0)
    assert final(desk) == 200, office.world.ladder()
    assert len(caller.got("UPDATE")) == 1
    office.world.run(40.0)
    office.assert_nothing_left()


def test_the_other_side_is_gone() -> None:
    office = Office()
    caller, talk, desk = up(office)
    desk.talks.clear()
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(2.0)
    assert final(caller) == 481
    assert talk.state == "ended", office.world.ladder()
    office.assert_nothing_left()


def test_hung_up_while_an_update_is_under_way() -> None:
    office = Office()
    caller, talk, desk = up(office)
    desk.ways.mute = True
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(0.2)
    caller.bye(talk)
    office.world.run(1.0)
    assert final(caller) == 487, office.world.ladder()
    office.world.run(40.0)
    office.assert_nothing_left()


@pytest.mark.parametrize("body", [b"<xml/>", b"v=0\r\n"])
def test_a_body_that_is_no_offer(body: bytes) -> None:
    office = Office()
    caller, talk, desk = up(office)
    caller.send(talk, "UPDATE", body, [("Content-Type", "application/xml" if body[:1] == b"<" else "application/sdp")])
    office.world.run(1.0)
    assert final(caller) in (415, 488, 200)
    assert talk.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()
    del desk


def test_a_stranger_sends_one() -> None:
    office = Office()
    caller, talk, desk = up(office)
    stranger = Modern(office.world, ("127.0.0.9", 5060), "eve")
    request = build.request(
        "UPDATE", "sip:101@127.0.0.1",
        [("Max-Forwards", "70"), ("From", "<sip:eve@127.0.0.9>;tag=e"), ("To", "<sip:101@127.0.0.1>;tag=x"),
         ("Call-ID", "guess"), ("CSeq", "1 UPDATE"), ("Contact", "<sip:eve@127.0.0.9>")],
    )  # fmt: skip
    stranger.layer.request(request, stranger.flow_to("UDP", *EXCHANGE), stranger)
    office.world.run(1.0)
    assert stranger.said("UPDATE") == [481]
    caller.bye(talk)
    office.assert_nothing_left()
    del desk


# ---- while it rings


def test_an_early_offer_of_the_caller_goes_through() -> None:
    office = Office()
    caller, talk, desk = early(office)
    caller.send(talk, "UPDATE", caller.sdp("inactive"))
    office.world.run(0.5)
    [got] = desk.got("UPDATE")
    assert b"a=inactive" in got.body, office.world.ladder()
    answer = next(r for r in caller.answers if r.cseq.method == "UPDATE")
    assert (answer.status, bool(answer.body)) == (200, True)
    assert got.first("contact")
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    numbers = [request.cseq.number for request in desk.seen if request.to_tag and request.method != "ACK"]
    assert numbers == sorted(set(numbers)), "one dialog, one row of numbers"
    caller.bye(talk)
    office.assert_nothing_left()


def test_an_early_offer_of_the_callee_goes_through() -> None:
    office = Office()
    caller, talk, desk = early(office)
    desk.send(desk.last, "UPDATE", desk.sdp("sendonly"))
    office.world.run(0.5)
    [got] = caller.got("UPDATE")
    assert b"a=sendonly" in got.body, office.world.ladder()
    assert final(desk) == 200
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_phone_that_does_not_take_it_hears_of_an_early_offer_when_it_has_answered() -> None:
    office = Office()
    caller, talk, desk = early(office, allows=False)
    caller.send(talk, "UPDATE", caller.sdp(port=33333))
    office.world.run(0.5)
    assert final(caller) == 200, "answered with what is known of the phone"
    assert not desk.got("UPDATE")
    assert len(desk.got("INVITE")) == 1
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    office.world.run(5.0)
    assert len(desk.got("INVITE")) == 2, office.world.ladder()
    assert talk.state == desk.last.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()


def test_a_caller_who_knows_nothing_of_it_gets_the_last_word_with_the_200() -> None:
    """The phone changes its mind while it rings; the caller has had nothing for certain yet."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.answer_sdp = False
    desk.manners.answer_after = 3.0
    caller = office.carrier()
    talk = caller.call("+15550100", EXCHANGE)
    office.world.run(0.5)
    desk.send(desk.last, "UPDATE", desk.sdp("sendonly"))
    office.world.run(0.5)
    assert final(desk) == 200, office.world.ladder()
    assert office.world.until(lambda: talk.state == "up")
    assert b"a=sendonly" in talk.remote_sdp
    caller.bye(talk)
    office.assert_nothing_left()


def test_an_early_offer_before_anything_is_agreed() -> None:
    """Section 5.2: an offer is still unanswered, so 500 and Retry-After."""
    office = Office()
    desk = modern_phone(office, "101")
    desk.ways.reliable = True
    desk.ways.statuses = (180,)
    desk.ways.sdp_in = -1
    desk.manners.answer_after = 3.0
    caller = modern_carrier(office)
    talk = caller.call("+15550100", EXCHANGE, headers=[("Require", "100rel"), ALLOW])
    office.world.run(0.5)
    caller.send(talk, "UPDATE", caller.sdp())
    caller.send(talk, "UPDATE")
    office.world.run(0.5)
    assert caller.said("UPDATE") == [500, 200], office.world.ladder()
    caller.cancel(talk)
    office.assert_nothing_left()


def test_both_offer_at_once_while_it_rings() -> None:
    office = Office()
    caller, talk, desk = early(office)
    caller.send(talk, "UPDATE", caller.sdp())
    desk.send(desk.last, "UPDATE", desk.sdp())
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(1.0)
    assert 491 in desk.said("UPDATE"), office.world.ladder()
    assert sorted(caller.said("UPDATE")) == [200, 500] or 491 in caller.said("UPDATE")
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked)
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_phone_answers_while_an_early_offer_is_under_way() -> None:
    """The 200 waits for the answer to the offer: two exchanges at a time are one too many (RFC 3261 section 13.2.1)."""
    office = Office()
    caller, talk, desk = early(office)
    office.world.run(2.35)
    office.world.network = Network(delay=0.1)
    caller.send(talk, "UPDATE", caller.sdp())
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked), office.world.ladder()
    assert final(caller) in (200, 500)
    office.world.run(2.0)
    caller.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("what", ["caller cancels", "phone declines"])
def test_the_call_ends_while_an_early_offer_is_under_way(what: str) -> None:
    office = Office()
    caller, talk, desk = early(office)
    desk.ways.mute = True
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(0.1)
    if what == "caller cancels":
        caller.cancel(talk)
    else:
        server, dialog = desk.last.server, desk.last.dialog
        assert server is not None
        assert dialog is not None
        desk.last.state = "ended"
        desk.layer.respond(server, build.response(server.request, 603, to_tag=dialog.local_tag))
    office.world.run(1.0)
    assert caller.said("UPDATE"), office.world.ladder()
    assert talk.status in (487, 603)
    office.world.run(40.0)
    office.assert_nothing_left()


@pytest.mark.parametrize("seed", range(1, 7))
def test_offers_through_loss_and_disorder(seed: int) -> None:
    """Early and later ones of both sides: every one is answered, and the call stays up."""
    office = Office(seed=seed)
    caller, talk, desk = early(office)
    office.world.network = Network(loss=0.2, doubled=0.2, delay=0.02, jitter=0.2)
    caller.send(talk, "UPDATE", caller.sdp())
    office.world.run(0.7)
    desk.send(desk.last, "UPDATE", desk.sdp())
    assert office.world.until(lambda: talk.state == "up" and desk.last.acked, 60), office.world.ladder()
    for _ in range(5):
        caller.send(talk, "UPDATE", caller.sdp())
        office.world.run(office.world.random.random())
        desk.send(desk.last, "UPDATE", desk.sdp())
        office.world.run(3.0)
    office.world.network = Network()
    office.world.run(35.0)
    assert len(caller.said("UPDATE")) == len(desk.said("UPDATE")) == 6, office.world.ladder()
    assert talk.state == desk.last.state == "up"
    caller.bye(talk)
    office.assert_nothing_left()
