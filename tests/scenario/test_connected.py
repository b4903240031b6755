"""Whom a phone speaks to, told when the CRM is late or the other side has become somebody else: connected identity."""

from __future__ import annotations

import re

import pytest

from pbxcore import profiles
from pbxcore.hooks import Proceed, Ring
from pbxcore.profiles import PhoneProfile
from pbxcore.sip import build
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import EXCHANGE, PASSWORD, Office
from tests.scenario.party import Party, Talk
from tests.scenario.transfers import Switchboard, refer

ANNA = Proceed(display_name="Anna Ivanova", contact_id="c1", instructions="Ask about the printer")
CALLER = "+15557777"
SHOWN = '"Anna Ivanova" <sip:+15557777@127.0.0.1>'


class Phone(Party):
    """A phone that says in its 180 and its 200 what it can; `update` is what it answers to UPDATE."""

    allow = "INVITE, ACK, BYE, CANCEL, UPDATE"
    says_early = True
    knows = ""
    update = 200
    extras: tuple[tuple[str, str], ...] = ()

    def _progress(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if talk.state == "ringing" and talk.dialog is not None:
            headers = [("Contact", self.contact)] + ([("Allow", self.allow)] if self.says_early else [])
            tag = talk.dialog.local_tag
            self.layer.respond(tx, build.response(request, 180, to_tag=tag, headers=headers))

    def _accept(self, talk: Talk, tx: ServerTransaction, request: Request) -> None:
        if talk.dialog is None or talk.state in ("ended", "cancelled"):
            return
        talk.state, tx.owner = "up", self
        headers = [("Contact", self.contact), ("Allow", self.allow), ("Content-Type", "application/sdp")]
        if self.knows:
            headers += [("Supported", self.knows), ("Session-Expires", "1800;refresher=uac")]
        tag = talk.dialog.local_tag
        self.layer.respond(tx, build.response(request, 200, to_tag=tag, headers=headers, body=self.sdp()))

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.method == "UPDATE" and self.update != 200:
            self.seen.append(request)
            self.layer.respond(tx, build.response(request, self.update))
        elif request.method == "UPDATE":
            self.seen.append(request)
            headers = [("Contact", self.contact)]
            if self.knows:
                headers.append(("Session-Expires", "1800;refresher=uac"))
            self.layer.respond(tx, build.response(request, 200, headers=headers))
        else:
            super().on_request(tx, request)

    def got(self, method: str) -> list[Request]:
        return [request for request in self.seen if request.method == method]


class Desk:
    """An office whose extension 101 is one such phone, and a carrier that calls it."""

    def __init__(self, **switches: object) -> None:
        self.office = Office()
        self.world = self.office.world
        self.phone = Phone(self.world, ("127.0.0.1", 10_101), "101")
        self.phone.password = PASSWORD
        self.phone.manners.answer_after = 5.0
        if switches:
            profile = PhoneProfile.model_validate(profiles.phone("generic").model_dump() | switches)
            self.office.exchange.registrar.profiles = {"101": profile}
        self.phone.register(EXCHANGE)
        assert self.world.until(lambda: self.phone.registered), self.world.ladder()
        self.carrier = self.office.carrier(CALLER)
        self.talk: Talk

    def rings(self, seconds: float = 1.0) -> None:
        self.talk = self.carrier.call("+15550100", EXCHANGE)
        self.world.run(seconds)

    def late(self, decision: Proceed = ANNA) -> None:
        [call_id] = self.office.exchange.live
        self.office.exchange.found_late(call_id, decision)

    def ends(self) -> None:
        self.carrier.bye(self.talk)
        self.world.run(1.0)
        self.office.assert_nothing_left()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_name_that_comes_while_it_rings_goes_out_in_an_update(desk: Desk) -> None:
    desk.rings()
    desk.late()
    desk.world.run(1.0)
    [update] = desk.phone.got("UPDATE")
    assert update.first("p-asserted-identity") == SHOWN
    assert update.body == b""
    assert "content-type" not in update
    desk.world.run(5.0)
    assert desk.talk.state == "up", desk.world.ladder()
    assert len(desk.phone.got("UPDATE")) == 1   # it has been told
    desk.ends()
    [bye] = desk.phone.got("BYE")
    assert bye.cseq.number == update.cseq.number + 1   # the early dialog's numbers went on
    [record] = desk.office.records()
    assert record.display_name == "Anna Ivanova"


def test_a_name_that_comes_after_the_answer_goes_out_in_an_update(desk: Desk) -> None:
    desk.rings(8.0)
    desk.late()
    desk.world.run(1.0)
    assert desk.phone.got("UPDATE")[0].first("p-asserted-identity") == SHOWN
    desk.ends()


def test_a_phone_that_says_only_with_its_answer_that_it_takes_updates_is_told_then(desk: Desk) -> None:
    desk.phone.says_early = False
    desk.rings()
    desk.late()
    desk.world.run(1.0)
    assert not desk.phone.got("UPDATE")
    desk.world.run(5.0)
    assert desk.phone.got("UPDATE")[0].first("p-asserted-identity") == SHOWN
    desk.ends()


def test_nothing_breaks_on_a_phone_without_update(desk: Desk) -> None:
    """It learns the name when the other side puts it on hold, with that re-INVITE."""
    desk.phone.allow = "INVITE, ACK, BYE, CANCEL"
    desk.rings()
    desk.late()
    desk.world.run(7.0)
    assert desk.talk.state == "up", desk.world.ladder()
    assert not desk.phone.got("UPDATE")
    assert len(desk.phone.got("INVITE")) == 1   # none for the name's sake
    desk.carrier.hold(desk.talk)
    desk.world.run(1.0)
    assert desk.phone.got("INVITE")[-1].first("p-asserted-identity") == SHOWN
    desk.ends()


@pytest.mark.parametrize("status", [401, 405, 481, 488, 491, 500])
def test_nothing_breaks_on_a_phone_that_refuses_the_update(desk: Desk, status: int) -> None:
    desk.phone.update = status
    desk.rings()
    desk.late()
    desk.world.run(8.0)
    assert desk.talk.state == "up", desk.world.ladder()
    assert len(desk.phone.got("UPDATE")) == 1
    assert "authorization" not in desk.phone.got("UPDATE")[0]
    desk.ends()


def test_a_phone_that_never_answers_the_update_still_talks(desk: Desk) -> None:
    desk.rings(8.0)
    desk.phone.update = 100
    desk.late()
    desk.world.run(40.0)
    assert desk.talk.state == "up", desk.world.ladder()
    desk.ends()


def test_the_session_timer_goes_on_after_an_update_of_the_name(desk: Desk) -> None:
    """What refreshes a session must say so (RFC 4028), or the timer is over."""
    desk.phone.knows = "timer"
    desk.rings(8.0)
    desk.late()
    desk.world.run(1.0)
    [update] = desk.phone.got("UPDATE")
    assert update.first("session-expires") == "1800;refresher=uac"
    before = len(desk.phone.seen)
    desk.world.run(1000.0)
    assert len(desk.phone.seen) > before   # and we still refresh it
    desk.ends()


def test_every_phone_that_rings_is_told_and_those_that_lose_leave_nothing(desk: Desk) -> None:
    second = Phone(desk.world, ("127.0.0.1", 10_201), "101")
    second.password, second.manners.answer_after = PASSWORD, None
    second.register(EXCHANGE)
    assert desk.world.until(lambda: second.registered)
    desk.rings()
    desk.late()
    desk.world.run(1.0)
    assert [len(phone.got("UPDATE")) for phone in (desk.phone, second)] == [1, 1]
    desk.world.run(5.0)
    assert (desk.phone.last.state, second.last.state) == ("up", "cancelled")
    desk.late(Proceed(display_name="Anna I."))
    desk.world.run(1.0)
    assert [len(phone.got("UPDATE")) for phone in (desk.phone, second)] == [2, 1]
    desk.ends()


def test_a_name_for_a_call_that_is_over_is_for_nobody(desk: Desk) -> None:
    desk.rings(6.0)
    [call_id] = desk.office.exchange.live
    desk.ends()
    desk.office.exchange.found_late(call_id, ANNA)
    desk.world.run(1.0)
    assert not desk.phone.got("UPDATE")


def test_connected(desk: Desk) -> None:
    other = Desk(connected="remote-party")
    other.rings()
    other.late()
    other.world.run(1.0)
    [update] = other.phone.got("UPDATE")
    assert update.first("remote-party-id") == f"{SHOWN};party=calling;privacy=off;screen=yes"
    assert "p-asserted-identity" not in update
    other.world.run(5.0)
    other.ends()
    silent = Desk(connected="none")
    silent.rings()
    silent.late()
    silent.world.run(6.0)
    assert not silent.phone.got("UPDATE")
    silent.ends()


def test_a_phone_that_knows_from_change_is_told_by_from_too(desk: Desk) -> None:
    desk.phone.knows = "timer, from-change"
    desk.rings(8.0)
    desk.late()
    desk.world.run(1.0)
    [update], [invite] = desk.phone.got("UPDATE"), desk.phone.got("INVITE")
    assert update.from_.display == "Anna Ivanova"
    assert update.from_tag == invite.from_tag
    desk.ends()


def test_a_name_that_is_known_already_is_not_told_again(desk: Desk) -> None:
    desk.office.hooks.decide = lambda call: Ring(("101",), display_name="Anna Ivanova")
    desk.rings()
    desk.late()
    desk.world.run(6.0)
    assert not desk.phone.got("UPDATE")
    desk.ends()


def test_a_carrier_is_told_nothing() -> None:
    desk = Desk()
    desk.office.hooks.decide = lambda call: None
    talk = desk.phone.call("9123456789", EXCHANGE)
    desk.world.run(1.0)
    assert talk.state == "up", desk.world.ladder()
    desk.late()
    desk.world.run(1.0)
    assert not [request for request in desk.carrier.seen if request.method == "UPDATE"]
    first = desk.carrier.seen[0]
    assert not {"alert-info", "call-info", "x-hookline-call", "p-asserted-identity"} & set(first.first_lines)
    desk.phone.bye(talk)
    desk.world.run(1.0)
    desk.office.assert_nothing_left()


@pytest.mark.parametrize("name", ['x"\r\nVia: SIP/2.0/UDP evil', "\n\nbody", '">;tag=evil', "\u202eevil"])
def test_a_name_that_smuggles_makes_no_header(desk: Desk, name: str) -> None:
    desk.rings()
    desk.late(Proceed(display_name=name))
    desk.world.run(1.0)
    [update] = desk.phone.got("UPDATE")
    assert len(update.values("via")) == 1
    assert update.body == b""
    assert len(update.values("p-asserted-identity")) == 1
    assert update.first("p-asserted-identity").endswith(f"<sip:{CALLER}@127.0.0.1>")   # type: ignore[union-attr]
    desk.world.run(5.0)
    desk.ends()


# ---- transfers


def test_who_stays_is_told_whom_he_speaks_to_after_a_transfer() -> None:
    office = Switchboard()
    talk, other = office.call(office.desk, office.second)
    refer(office.desk, talk, "103")
    office.world.run(2.0)
    assert office.talk_together((office.second, other), (office.third, office.third.last)), office.world.ladder()
    offer = [request for request in office.second.seen if request.method == "INVITE"][-1]
    assert offer.first("p-asserted-identity") == '"Desk 103" <sip:103@127.0.0.1>'
    assert offer.to_tag is not None   # in the re-INVITE that brings the media
    office.second.bye(other)
    office.assert_nothing_left()


def test_a_caller_outside_is_told_nothing_of_a_transfer() -> None:
    office = Switchboard()
    caller, mine = office.inbound()
    refer(office.desk, mine, "102")
    office.world.run(2.0)
    offers = [request for request in office.outside.seen if request.method == "INVITE"]
    assert offers
    assert all("p-asserted-identity" not in offer for offer in offers)
    office.outside.bye(caller)
    office.assert_nothing_left()


def test_a_transfer_that_fails_leaves_the_first_name_on_the_display() -> None:
    office = Switchboard()
    _, other = office.call(office.desk, office.second)
    office.third.manners.refuse_with = 486
    refer(office.desk, office.desk.last, "103")
    office.world.run(3.0)
    told = [request.first("p-asserted-identity") for request in office.second.seen if request.method == "INVITE"]
    assert '"Desk 103" <sip:103@127.0.0.1>' not in told
    office.second.bye(other)
    office.assert_nothing_left()


# ---- Call-Info


def test_caller_card() -> None:
    desk = Desk(caller_card="data", call_reason=True)
    desk.office.hooks.decide = lambda call: Ring(("101",), display_name="Anna", instructions="Ask about the printer")
    desk.rings(6.0)
    [invite] = desk.phone.got("INVITE")
    assert re.fullmatch(
        r'<data:application/vcard\+json;base64,\S+>;purpose=jcard;call-reason="Ask about the printer"',
        invite.first("call-info") or "",
    )  # fmt: skip
    desk.ends()


def test_caller_card_of_the_panel_comes_again_with_the_late_name() -> None:
    desk = Desk(caller_card="url")
    cards = desk.office.exchange.cards
    cards.base = "https://pbx.example.net"
    desk.rings()
    desk.late()
    desk.world.run(1.0)
    urls = [
        re.fullmatch(r"<https://pbx\.example\.net/cards/(\w{24})>;purpose=jcard", request.first("call-info") or "")
        for request in (*desk.phone.got("INVITE"), *desk.phone.got("UPDATE"))
    ]
    first, second = (cards.get(url[1]) for url in urls if url is not None)
    assert first is not None
    assert b"Anna" not in first
    assert second is not None
    assert b"Anna Ivanova" in second
    desk.world.run(5.0)
    desk.ends()


def test_call_reason_goes_only_where_the_profile_shows_it() -> None:
    said = Ring(("101",), display_name="Anna", instructions="Ask about the printer")
    for switches in ({}, {"caller_card": "data"}):
        desk = Desk(**switches)
        desk.office.hooks.decide = lambda call: said
        desk.rings(6.0)
        desk.late(Proceed(display_name="Anna I.", instructions="the printer"))
        desk.world.run(1.0)
        assert not [request for request in desk.phone.seen if "printer" in str(request.fields)]
        desk.ends()


def test_x_hookline_call() -> None:
    desk = Desk(x_hookline_call=False)
    desk.rings(6.0)
    assert "x-hookline-call" not in desk.phone.got("INVITE")[0]
    desk.ends()
    plain = Desk()
    plain.rings(6.0)
    [call_id] = plain.office.exchange.live
    assert plain.phone.got("INVITE")[0].first("x-hookline-call") == call_id
    plain.ends()
