"""3xx of phones and carriers: followed where the dial plan allows, no further, and never in a circle."""

from __future__ import annotations

import pytest

from pbxcore import profiles
from pbxcore.call.router import ExtensionEntry, OutboundRule
from pbxcore.hooks import Ring
from pbxcore.sip import build
from pbxcore.sip.digest import Secret
from pbxcore.sip.message import Request
from tests.scenario.office import CARRIER, EXCHANGE, Office
from tests.scenario.party import Party, Talk

OURS = "127.0.0.1"


def forwards(phone: Party, *contacts: str, status: int = 302, after: float = 0.05, **rows: str) -> None:
    phone.manners.refuse_with = status
    phone.manners.answer_after = after
    phone.manners.refuse_headers = [("Contact", contact) for contact in contacts]
    phone.manners.refuse_headers += [(name.replace("_", "-"), value) for name, value in rows.items()]


def invites(party: Party) -> list[Request]:
    return [request for request in party.seen if request.method == "INVITE"]


def called(office: Office, seconds: float = 3.0) -> tuple[Party, Talk]:
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    office.world.run(seconds)
    return carrier, talk


def test_a_phone_sends_its_calls_to_a_colleague() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>")
    carrier, talk = called(office)
    assert talk.state == "up", office.world.ladder()
    assert 181 in talk.provisionals
    [invite] = invites(two)
    assert invite.first("diversion") == f'"Desk 101" <sip:101@{OURS}>;reason=unconditional'
    assert invite.values("history-info") == [
        f"<sip:101@{OURS}>;index=1", f"<sip:102@{OURS};cause=302>;index=1.1;mp=1",
    ]  # fmt: skip
    carrier.bye(talk)
    office.assert_nothing_left()
    [record] = office.records()
    assert record.answered_by == "102"
    assert [(leg.party, leg.status) for leg in record.legs[1:]] == [("101", 302), ("102", 200)]


@pytest.mark.parametrize("status", [300, 301, 302])
@pytest.mark.parametrize("contact", ["tel:102", "<sip:102@127.0.0.1:5060;user=phone>", "<sip:102@127.0.0.1>;q=0.5"])
def test_ways_to_say_it(status: int, contact: str) -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, contact, status=status)
    carrier, talk = called(office)
    assert talk.state == "up", office.world.ladder()
    assert len(invites(two)) == 1
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_preferred_one_first_and_the_next_when_it_is_busy() -> None:
    office = Office()
    one, two, three = office.phone("101"), office.phone("102"), office.phone("103")
    forwards(one, f"<sip:103@{OURS}>;q=0.2", f"<sip:102@{OURS}>;q=0.9")
    two.manners.refuse_with = 486
    carrier, talk = called(office)
    assert talk.state == "up", office.world.ladder()
    assert len(invites(two)) == len(invites(three)) == 1
    assert "cause=302" in invites(three)[0].values("history-info")[-1]
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_next_contact_when_the_first_has_no_phone() -> None:
    office = Office()
    one, three = office.phone("101"), office.phone("103")
    forwards(one, f"<sip:102@{OURS}>", f"<sip:103@{OURS}>")
    carrier, talk = called(office)
    assert talk.state == "up", office.world.ladder()
    assert len(invites(three)) == 1
    carrier.bye(talk)
    office.assert_nothing_left()


def test_to_a_mobile_by_the_dial_plan() -> None:
    office = Office()
    office.trunk.profile = profiles.trunk("generic").model_copy(update={"diversion": "diversion"})
    one = office.phone("101")
    forwards(one, f"<sip:915557654@{OURS}>")
    caller = office.phone("102")
    carrier = office.carrier()
    talk = caller.call("101", EXCHANGE)
    office.world.run(3.0)
    assert talk.state == "up", office.world.ladder()
    [invite] = invites(carrier)
    assert invite.request_uri.user == "15557654", "by the rule: 9 is taken off"
    assert invite.first("diversion") == f"<sip:+15550100@{OURS}>;reason=unconditional"
    caller.bye(talk)
    office.assert_nothing_left()


def test_the_second_carrier_when_the_first_has_trouble() -> None:
    office = Office()
    plan = office.exchange.dial_plan
    rule = OutboundRule("9", 1, "", ("nowhere", "carrier"))
    office.exchange.dial_plan = type(plan)(plan.extensions, plan.inbound, (rule,), plan.trunks)
    one, caller = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:915557654@{OURS}>")
    carrier = office.carrier()
    talk = caller.call("101", EXCHANGE)
    office.world.run(3.0)
    assert talk.state == "up", office.world.ladder()
    assert len(invites(carrier)) == 1
    caller.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize(
    "contact",
    [
        "<sip:+882999@evil.example.com>", "<sip:102@evil.example.com>", "<sip:7777@127.0.0.1>", "<tel:+88299912345>",
        "<mailto:102@127.0.0.1>", "<sip:127.0.0.1>", "<sip:102@127.0.0.66>", "nonsense, <",
    ],
)  # fmt: skip
def test_where_the_dial_plan_does_not_lead(contact: str) -> None:
    """No fraud by a phone that says where to call: nothing is dialled but what its extension could dial."""
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, contact)
    carrier, talk = called(office)
    assert talk.status == 480, office.world.ladder()
    assert not invites(two)
    assert not invites(carrier)
    assert "contact" not in talk.responses[-1]
    office.assert_nothing_left()


def test_a_circle() -> None:
    office = Office()
    phones = [office.phone(number) for number in ("101", "102", "103")]
    for phone, to in zip(phones, ("102", "103", "101"), strict=True):
        forwards(phone, f"<sip:{to}@{OURS}>")
    _, talk = called(office)
    assert talk.status == 482, office.world.ladder()
    assert [len(invites(phone)) for phone in phones] == [1, 1, 1]
    office.assert_nothing_left()


def test_a_phone_that_sends_its_calls_to_itself() -> None:
    office = Office()
    one = office.phone("101")
    forwards(one, f"<sip:101@{OURS}>")
    _, talk = called(office)
    assert talk.status == 482
    assert len(invites(one)) == 1
    office.assert_nothing_left()


def test_a_chain_has_an_end() -> None:
    office = Office()
    numbers = [f"{n}" for n in range(201, 220)]
    plan = office.exchange.dial_plan
    extensions = {**plan.extensions, **{n: ExtensionEntry(n) for n in numbers}}
    office.exchange.dial_plan = type(plan)(extensions, {"15550100": "201"}, plan.outbound, plan.trunks)
    phones = []
    office.exchange.secrets = {n: Secret.from_password(n, office.exchange.realm, "correct horse") for n in numbers}
    for place, number in enumerate(numbers):
        phone = office.phone(number)
        phones.append(phone)
        if place + 1 < len(numbers):
            forwards(phone, f"<sip:{numbers[place + 1]}@{OURS}>")
    _, talk = called(office)
    assert talk.status == 482, office.world.ladder()
    assert sum(len(invites(phone)) for phone in phones) == 6
    office.assert_nothing_left()


def test_two_phones_of_an_extension_send_it_to_the_same_place() -> None:
    office = Office()
    one, again, two = office.phone("101"), office.phone("101", 10_401), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>")
    forwards(again, f"<sip:102@{OURS}>", after=0.07)
    two.manners.answer_after = 1.0
    carrier, talk = called(office)
    assert talk.state == "up", office.world.ladder()
    assert len(invites(two)) == 1
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_colleague_does_not_answer_either() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>")
    two.manners.refuse_with = 486
    _, talk = called(office)
    assert talk.status == 486, "his word, and not the 302"
    office.assert_nothing_left()


def test_the_caller_gives_up_at_the_second_phone() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>")
    two.manners.answer_after = None
    carrier, talk = called(office)
    carrier.cancel(talk)
    office.world.run(1.0)
    assert talk.status == 487
    assert two.last.state == "cancelled"
    office.assert_nothing_left()


def test_a_colleague_rings_his_full_time() -> None:
    office = Office()
    office.hooks.decide = lambda call: Ring(("101",), timeout=10.0)
    one, two = office.phone("101"), office.phone("102")
    one.manners.answer_after = None
    two.manners.answer_after = 8.0
    carrier, talk = called(office, 9.0)
    server, dialog = one.last.server, one.last.dialog
    assert server is not None
    assert dialog is not None
    one.last.state = "ended"
    headers = [("Contact", f"<sip:102@{OURS}>")]
    one.layer.respond(server, build.response(server.request, 302, to_tag=dialog.local_tag, headers=headers))
    office.world.run(9.0)
    assert talk.state == "up", office.world.ladder()
    [invite] = invites(two)
    assert ";reason=deflection" in (invite.first("diversion") or ""), "it rang before"
    carrier.bye(talk)
    office.assert_nothing_left()


def test_the_phone_says_why() -> None:
    office = Office()
    one, two = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>", Diversion=f"<sip:101@{OURS}>;reason=do-not-disturb")
    carrier, talk = called(office)
    assert ";reason=do-not-disturb" in (invites(two)[0].first("diversion") or "")
    carrier.bye(talk)
    office.assert_nothing_left()


def test_a_carrier_says_another_number() -> None:
    office = Office()
    desk = office.phone("101")

    class Moving(Party):
        def _rings(self, tx, request):  # type: ignore[no-untyped-def]
            moved = request.request_uri.user == "15551234"
            forwards(self, f"<sip:15559999@{CARRIER[0]}>") if moved else setattr(self.manners, "refuse_with", None)
            super()._rings(tx, request)

    carrier = Moving(office.world, CARRIER, "+15551234")
    talk = desk.call("915551234", EXCHANGE)
    office.world.run(3.0)
    assert talk.state == "up", office.world.ladder()
    assert [invite.request_uri.user for invite in invites(carrier)] == ["15551234", "15559999"]
    desk.bye(talk)
    office.assert_nothing_left()


@pytest.mark.parametrize("contact", ["<sip:15559999@127.0.0.77>", "<sip:@127.0.0.2>"])
def test_a_carrier_says_somebody_else(contact: str) -> None:
    office = Office()
    desk, carrier = office.phone("101"), office.carrier()
    forwards(carrier, contact)
    talk = desk.call("915551234", EXCHANGE)
    office.world.run(3.0)
    assert talk.status == 480, office.world.ladder()
    assert len(invites(carrier)) == 1
    office.assert_nothing_left()


def test_the_caller_gets_it_where_the_office_wants_that() -> None:
    office = Office(follow_redirects=False)
    one, two = office.phone("101"), office.phone("102")
    forwards(one, f"<sip:102@{OURS}>")
    _, talk = called(office)
    assert talk.status == 302
    assert talk.responses[-1].first("contact") == f"<sip:102@{OURS}>"
    assert not invites(two)
    office.assert_nothing_left()


def test_use_proxy_is_not_followed() -> None:
    office = Office()
    one = office.phone("101")
    forwards(one, f"<sip:102@{OURS}>", status=305)
    two = office.phone("102")
    _, talk = called(office)
    assert talk.status == 305
    assert not invites(two)
    office.assert_nothing_left()
