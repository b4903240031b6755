"""Offices and phones behind NAT routers: everybody is told the address that leads from him to us, and reached where he
was last heard from."""

from __future__ import annotations

import pytest

from tests.scenario.nat import Router, forwarded
from tests.scenario.office import EXCHANGE, PASSWORD, Office
from tests.scenario.party import Party

EXTERNAL = "203.0.113.7"
HOME, PRIVATE = "198.51.100.20", ("192.168.1.50", 5070)


class Nat:
    """An office behind its router, a phone at a desk, and one at home behind another router."""

    def __init__(self) -> None:
        self.office = Office()
        self.world = self.office.world
        forwarded(self.office.node, EXTERNAL)
        self.office.exchange.registrar._flow_to = self.office.node.flow_to
        self.office.exchange.flow_to = self.office.node.flow_to
        self.desk = self.office.phone("101")
        self.home = Party(self.world, PRIVATE, "102")
        self.home.password = PASSWORD
        self.router = Router(self.world, HOME)
        self.router.take(self.home)
        self.register()

    def register(self) -> None:
        self.home.registered = False
        self.home.register((EXTERNAL, 5060))
        assert self.world.until(lambda: self.home.registered), self.world.ladder()

    def sent_to(self, *hosts: str) -> str:
        """All that the exchange has said to these addresses."""
        ours = (EXTERNAL, EXCHANGE[0])
        return "".join(
            data.decode() for _, source, to, data in self.world.wire
            if source[0] in ours and source[1] == 5060 and to[0] in hosts
        )  # fmt: skip


@pytest.fixture
def nat() -> Nat:
    return Nat()


def test_a_phone_at_home_is_reached_where_its_register_came_from(nat: Nat) -> None:
    nat.desk.call("102", EXCHANGE)
    nat.world.run(1.0)
    assert nat.home.up(), nat.world.ladder()
    invite = nat.home.last.invite
    assert invite is not None
    assert invite.uri.startswith("sip:102@192.168.1.50:5070")   # its own Contact: it knows itself by it
    nat.desk.bye(nat.desk.last)
    nat.world.run(1.0)
    assert nat.home.last.state == "ended"
    nat.office.assert_nothing_left()


def test_via_contact_and_sdp_have_the_external_address_outside_and_the_real_one_inside(nat: Nat) -> None:
    nat.desk.call("102", EXCHANGE)
    nat.world.run(1.0)
    nat.home.bye(nat.home.last)
    nat.world.run(1.0)
    invite, answer = nat.home.last.invite, nat.desk.last.remote_sdp
    assert invite is not None
    assert (invite.via.host, invite.contact.uri.host) == (EXTERNAL, EXTERNAL)   # type: ignore[union-attr]
    assert f"c=IN IP4 {EXTERNAL}" in invite.body.decode()
    assert f"c=IN IP4 {EXCHANGE[0]}" in answer.decode()
    assert EXCHANGE[0] not in nat.sent_to(HOME)
    assert EXTERNAL not in nat.sent_to(EXCHANGE[0])
    nat.office.assert_nothing_left()


def test_a_phone_at_home_calls_and_each_side_hangs_up(nat: Nat) -> None:
    for by_home in (True, False):
        talk = nat.home.call("101", (EXTERNAL, 5060))
        nat.world.run(1.0)
        assert talk.state == "up", nat.world.ladder()
        assert talk.dialog is not None
        assert EXTERNAL in talk.dialog.remote_target
        assert f"c=IN IP4 {EXTERNAL}" in talk.remote_sdp.decode()
        if by_home:
            nat.home.bye(talk)
        else:
            nat.desk.bye(nat.desk.last)
        nat.world.run(1.0)
        assert (talk.state, nat.desk.last.state) == ("ended", "ended")
    nat.office.assert_nothing_left()


def test_the_relay_is_told_where_a_phone_really_is(nat: Nat) -> None:
    """Its SDP names a private address: RTP is taken from where its signalling came from."""
    told: list[tuple[str, str]] = []
    relay = nat.office.relay
    offer, answer = relay.offer, relay.answer

    async def noted_offer(*arguments: str, local: str, source: str = "") -> bytes:
        told.append((local, source))
        return await offer(*arguments, local=local, source=source)  # type: ignore[arg-type]

    async def noted_answer(*arguments: str, local: str, source: str = "") -> bytes:
        told.append((local, source))
        return await answer(*arguments, local=local, source=source)  # type: ignore[arg-type]

    relay.offer = noted_offer  # type: ignore[method-assign, assignment]
    relay.answer = noted_answer  # type: ignore[method-assign, assignment]
    talk = nat.home.call("101", (EXTERNAL, 5060))
    nat.world.run(1.0)
    assert talk.state == "up"
    assert told == [(EXCHANGE[0], HOME), (EXTERNAL, EXCHANGE[0])]


def test_a_router_that_was_restarted_is_met_at_its_new_port_after_the_next_register(nat: Nat) -> None:
    nat.router.forgets()
    nat.register()
    nat.desk.call("102", EXCHANGE)
    nat.world.run(1.0)
    assert nat.home.up(), nat.world.ladder()


def test_in_a_call_the_last_request_says_where_the_phone_is(nat: Nat) -> None:
    nat.desk.call("102", EXCHANGE)
    nat.world.run(1.0)
    nat.router.forgets()
    nat.home.hold(nat.home.last)
    nat.world.run(1.0)
    nat.desk.bye(nat.desk.last)
    nat.world.run(1.0)
    assert nat.home.last.state == "ended", nat.world.ladder()
    nat.office.assert_nothing_left()


def test_a_phone_that_leaves_the_office_in_a_call_is_told_the_external_address_from_then_on(nat: Nat) -> None:
    talk = nat.desk.call("102", EXCHANGE)
    nat.world.run(1.0)
    assert talk.state == "up"
    away = Router(nat.world, "198.51.100.99")
    away.take(nat.desk)
    talk.flow = nat.desk.flow_to("UDP", EXTERNAL, 5060)
    nat.desk.hold(talk)
    nat.world.run(1.0)
    last = nat.desk.answers[-1]
    assert last.contact is not None
    assert last.contact.uri.host == EXTERNAL, nat.world.ladder()
    nat.home.bye(nat.home.last)
    nat.world.run(1.0)
    assert talk.state == "ended", nat.world.ladder()
    nat.office.assert_nothing_left()


def test_a_phone_without_rport_is_answered_through_its_router_all_the_same(nat: Nat) -> None:
    """RFC 3261 section 18.2.2 has the port of its Via, at which no router lets anything in."""
    from pbxcore.sip import layer

    row, nat.home.registered = layer.via_row, False

    def without_rport(flow, branch):  # type: ignore[no-untyped-def]
        return row(flow, branch).removesuffix(";rport" if flow.local == PRIVATE else "")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer, "via_row", without_rport)
        nat.register()
        nat.desk.call("102", EXCHANGE)
        nat.world.run(1.0)
        assert nat.home.up(), nat.world.ladder()
