"""Carriers: challenges, limits, trouble, and phones that ask for what is not theirs."""

from __future__ import annotations

import dataclasses

import pytest

from pbxcore.call.router import OutboundRule
from pbxcore.call.trunks import Trunk, Trunks
from pbxcore.hooks import Dial, Ring
from pbxcore.sip import build
from pbxcore.sip.digest import Authenticator, Granted, Secret
from pbxcore.sip.message import Request
from pbxcore.sip.transaction import ServerTransaction
from tests.scenario.office import CARRIER, EXCHANGE, Office
from tests.scenario.party import Party

SECOND = ("127.0.0.3", 5060)


class Challenger(Party):
    """A carrier that wants credentials for every INVITE and BYE."""

    def arm(self, realm: str = "carrier.example", *, methods: tuple[str, ...] = ("INVITE", "BYE")) -> None:
        self.realm = realm
        self.methods = methods
        self.granted = 0
        self.authenticator = Authenticator(b"c" * 32, self.world.clock)
        self.secret = Secret.from_password("office", realm, "trunk password")

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.method in self.methods:
            source = tx.flow.remote[0]
            outcome = self.authenticator.check(
                request, source, self.realm, lambda user: self.secret if user == "office" else None, proxy=True
            )
            if not isinstance(outcome, Granted):
                self.seen.append(request)
                headers = self.authenticator.challenge(request, source, self.realm, proxy=True)
                response = build.response(request, 407, to_tag=self.world.token(), headers=headers)
                self.layer.respond(tx, response)
                return
            self.granted += 1
        super().on_request(tx, request)


def test_a_challenge_is_answered() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = Challenger(office.world, ("127.0.0.2", 5060), "+1555")
    carrier.arm()
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    desk.bye(talk)
    office.world.run(2.0)
    assert carrier.granted == 2, office.world.ladder()
    assert carrier.last.state == "ended"
    office.assert_nothing_left()


def test_a_wrong_trunk_password_is_tried_once() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = Challenger(office.world, ("127.0.0.2", 5060), "+1555")
    carrier.arm()
    office.trunk.password = "wrong"
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 502
    assert len([request for request in carrier.seen if request.method == "INVITE"]) == 2
    office.assert_nothing_left()


def test_a_phone_that_asks_for_credentials_gets_none() -> None:
    """Nothing is signed for anybody but the trunk."""
    office = Office()
    phone = Challenger(office.world, ("127.0.0.1", 10101), "101")
    phone.password = "correct horse"
    phone.arm(methods=("INVITE",))
    phone.register(EXCHANGE)
    assert office.world.until(lambda: phone.registered)
    carrier = office.carrier()
    talk = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.status == 502
    assert not [r for r in phone.seen if "authorization" in r or "proxy-authorization" in r]
    assert "proxy-authenticate" not in talk.responses[-1]
    office.assert_nothing_left()


def test_two_requests_are_challenged_at_once() -> None:
    """Each gets its credentials; neither is taken for the other's second try."""
    office = Office()
    desk = office.phone("101")
    carrier = Challenger(office.world, ("127.0.0.2", 5060), "+1555")
    carrier.arm(methods=("INVITE", "INFO", "BYE"))
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    desk.send(talk, "INFO", b"Signal=5\r\n", [("Content-Type", "application/dtmf-relay")])
    desk.send(talk, "INFO", b"Signal=6\r\n", [("Content-Type", "application/dtmf-relay")])
    office.world.run(1.0)
    assert [r.status for r in desk.answers if r.cseq.method == "INFO"] == [200, 200], office.world.ladder()
    desk.bye(talk)
    office.world.run(1.0)
    assert carrier.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()


class TwiceChallenger(Challenger):
    """A carrier behind a proxy: the proxy wants credentials (407), and so does the server behind it (401)."""

    def on_request(self, tx: ServerTransaction, request: Request) -> None:
        if request.method in self.methods and "proxy-authorization" in request and "authorization" not in request:
            headers = self.authenticator.challenge(request, tx.flow.remote[0], self.realm)
            self.layer.respond(tx, build.response(request, 401, to_tag=self.world.token(), headers=headers))
            return
        super().on_request(tx, request)


def test_a_proxy_and_a_server_both_challenge() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = TwiceChallenger(office.world, ("127.0.0.2", 5060), "+1555")
    carrier.arm()
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), (talk.status, office.world.ladder())
    desk.bye(talk)
    office.world.run(2.0)
    assert carrier.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()


@pytest.mark.parametrize("contact", ["<sip:gw@0.0.0.0>", "<sip:gw@224.0.0.1:5060>", "<sip:gw@gw.invalid>"])
def test_a_contact_that_is_no_address_of_a_machine(contact: str) -> None:
    """What belongs to the dialog goes where the call went."""
    office = Office()
    desk = office.phone("101")

    class Odd(Party):
        @property
        def contact(self) -> str:
            return contact

    carrier = Odd(office.world, CARRIER, "gw")
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    desk.bye(talk)
    office.world.run(1.0)
    assert carrier.last.state == "ended", office.world.ladder()
    office.assert_nothing_left()


def two_trunks(office: Office) -> Party:
    second = Trunk(
        "second", "UDP", SECOND[0], SECOND[0], SECOND[1], office.node.flow_to, office.world.token, caller_id="+15550100"
    )
    office.exchange.trunks = Trunks([office.trunk, second])
    rule = OutboundRule("9", 1, "", ("carrier", "second"))
    trunks = frozenset({"carrier", "second"})
    office.exchange.dial_plan = dataclasses.replace(office.exchange.dial_plan, outbound=(rule,), trunks=trunks)
    return Party(office.world, SECOND, "second")


@pytest.mark.parametrize("status", [503, 500, 408])
def test_trouble_goes_to_the_next_trunk(status: int) -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.refuse_with = status
    second = two_trunks(office)
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    desk.bye(talk)
    office.assert_nothing_left()
    assert second.last.state == "ended"


def test_trouble_is_that_of_the_trunk_before() -> None:
    """Somebody was busy in an earlier round: that says nothing of whether the first trunk could deliver the call."""
    office = Office()
    owner, caller = office.phone("102"), office.phone("104")
    owner.manners.refuse_with = 486
    carrier = office.carrier()
    carrier.manners.refuse_with = 503
    second = two_trunks(office)
    office.hooks.decide = lambda call: Ring(("102",), otherwise=Dial("9+15558888"))
    talk = caller.call("101", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None), office.world.ladder()
    assert talk.state == "up", office.world.ladder()
    caller.bye(talk)
    office.assert_nothing_left()
    assert second.last.state == "ended"


def test_a_dead_trunk_goes_to_the_next() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.alive = False
    two_trunks(office)
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up", 40.0), office.world.ladder()
    desk.bye(talk)
    office.assert_nothing_left()


def test_a_busy_person_is_not_tried_through_the_next_trunk() -> None:
    office = Office()
    desk = office.phone("101")
    carrier = office.carrier()
    carrier.manners.refuse_with = 486
    second = two_trunks(office)
    talk = desk.call("9+15558888", EXCHANGE)
    assert office.world.until(lambda: talk.status is not None)
    assert talk.status == 486
    assert not second.seen
    office.assert_nothing_left()


def test_a_full_trunk_takes_no_more() -> None:
    office = Office()
    office.phone("101")
    office.trunk.max_calls = 1
    carrier = office.carrier()
    first = carrier.call("+15550100", EXCHANGE)
    assert office.world.until(lambda: first.state == "up")
    second = carrier.call("+15550100", EXCHANGE)
    office.world.run(1.0)
    assert second.status == 503
    carrier.bye(first)
    office.assert_nothing_left()
    assert office.trunk.calls == 0


def test_record_route_of_the_carrier_is_followed() -> None:
    """Requests inside of the dialog go to the carrier's proxy, with its route on them."""
    office = Office()
    office.phone("101")
    proxy = Party(office.world, ("127.0.0.4", 5060), "proxy")
    carrier = office.carrier()
    talk = carrier.call(
        "+15550100", EXCHANGE, headers=[("Record-Route", "<sip:127.0.0.4:5060;lr>")],
    )
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.world.run(0.5)
    carrier.send(talk, "INFO")   # from the carrier itself: that moves nothing
    office.world.run(0.5)
    office.exchange.hang_up(next(iter(office.exchange.live)))
    office.world.run(1.0)
    [bye] = [request for request in proxy.seen if request.method == "BYE"]
    assert "<sip:127.0.0.4:5060;lr>" in bye.lines("route")[0]
    assert not [request for request in carrier.seen if request.method == "BYE"]
    office.world.run(40.0)


def test_a_carrier_that_wants_its_requests_elsewhere() -> None:
    """Its Contact names another address than its INVITE came from, and a re-INVITE moves it once more."""
    office = Office()
    desk = office.phone("101")
    hosts = [Party(office.world, (f"127.0.0.{host}", 5060), "gw") for host in (2, 5, 6)]
    source, first, second = hosts
    first.talks = second.talks = source.talks
    talk = source.call("+15550100", EXCHANGE, headers=[("Contact", first.contact)])
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    office.world.run(0.1)
    desk.send(desk.last, "INFO")
    office.world.run(0.1)
    assert [request.method for request in first.seen] == ["INFO"]
    source.send(talk, "INVITE", source.sdp(), [("Contact", second.contact)])
    office.world.run(0.1)
    desk.bye(desk.last)
    office.world.run(1.0)
    assert [request.method for request in second.seen] == ["BYE"], office.world.ladder()
    office.world.run(40.0)
