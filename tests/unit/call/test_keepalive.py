"""Phones behind a NAT are sent a CRLF in turn; phones that can be reached where they say are left alone."""

from __future__ import annotations

import pytest

from pbxcore.call.keepalive import CRLF, KeepAlive, behind_nat
from pbxcore.call.registrar import CONNECTED
from pbxcore.sip.errors import SipError
from pbxcore.sip.uri import Uri
from tests.unit.call.fakes import FakeFlow
from tests.unit.call.test_registrar import Desk


@pytest.mark.parametrize(
    ("contact", "remote", "behind"),
    [
        ("sip:101@192.168.1.5", ("203.0.113.9", 5060), True),
        ("sip:101@203.0.113.9", ("203.0.113.9", 5060), False),
        ("sip:101@203.0.113.9:5060", ("203.0.113.9", 31_000), True),      # the NAT has changed the port alone
        ("sip:101@phone.local", ("192.168.1.5", 5060), True),
        ("sip:101@[2001:DB8:0::5]:5070", ("2001:db8::5", 5070), False),
        ("sip:101@df7jal23ls0d.invalid", ("203.0.113.9", 5060), True),
    ],
)
def test_who_is_behind_a_nat(contact: str, remote: tuple[str, int], behind: bool) -> None:
    assert behind_nat(Uri.parse(contact), remote) is behind


def desk(*flows: FakeFlow) -> Desk:
    made = Desk()
    for number, flow in enumerate(flows):
        made.send(f"<sip:101@192.168.1.{number}:5070>", expires=600, call_id=f"c{number}", flow=flow)
    return made


def test_all_of_them_in_each_round_and_never_at_once() -> None:
    flows = [FakeFlow("UDP", ("203.0.113.9", 30_000 + number)) for number in range(9)]
    made = desk(*flows)
    keeper = KeepAlive(made.registrar, made.timers, lambda: made.now, 5.0)
    made.pass_time(5.5)
    assert keeper.sent < 9
    made.pass_time(4.0)
    assert [flow.sent for flow in flows] == [[CRLF]] * 9
    made.pass_time(60.0)
    assert {len(flow.sent) for flow in flows} <= {11, 12, 13, 14}


def test_only_udp_and_only_behind_a_nat() -> None:
    tcp, open_phone = FakeFlow("TCP", ("203.0.113.9", 30_000)), FakeFlow("UDP", ("192.168.1.1", 5070))
    made = desk(tcp, open_phone)
    KeepAlive(made.registrar, made.timers, lambda: made.now, 5.0)
    made.pass_time(60.0)
    assert (tcp.sent, open_phone.sent) == ([], [])


def test_a_phone_that_has_gone_gets_no_more_and_a_network_that_is_away_stops_nothing() -> None:
    gone, there = FakeFlow("UDP", ("203.0.113.9", 1)), FakeFlow("UDP", ("203.0.113.9", 2))
    made = desk(gone, there)
    gone.closed = True

    def no_way(*_: object) -> FakeFlow:
        raise SipError(503, "Service Unavailable")

    made.registrar._flow_to = no_way
    keeper = KeepAlive(made.registrar, made.timers, lambda: made.now, 5.0)
    made.pass_time(20.0)
    assert len(there.sent) in (2, 3)
    made.pass_time(600.0)     # nobody has refreshed
    sent = keeper.sent
    made.pass_time(60.0)
    assert keeper.sent == sent


def test_zero_is_never() -> None:
    flow = FakeFlow("UDP", ("203.0.113.9", 1))
    made = desk(flow)
    before = len(made.timers)
    KeepAlive(made.registrar, made.timers, lambda: made.now, 0.0)
    assert len(made.timers) == before


# ---- bindings and the connections they came over

@pytest.mark.parametrize("transport", CONNECTED)
def test_a_binding_ends_with_the_connection_that_only_the_phone_can_open(transport: str) -> None:
    page, desk_phone = FakeFlow(transport, ("203.0.113.9", 40_000)), FakeFlow("UDP", ("203.0.113.9", 5060))
    made = desk(page, desk_phone)
    made.registrar.flow_lost(page)
    assert [binding.transport for binding in made.registrar.bindings("101")] == ["UDP"]
    assert made.changes[-1] == ("101", 1)
    assert len(made.kept) == 1
    made.registrar.flow_lost(page)      # twice is nothing
    assert made.changes.count(("101", 1)) == 2


def test_a_tcp_phone_may_be_reached_anew() -> None:
    flow = FakeFlow("TCP", ("203.0.113.9", 40_000))
    made = desk(flow)
    made.registrar.flow_lost(flow)
    assert len(made.registrar.bindings("101")) == 1


def test_a_phone_that_has_registered_anew_keeps_its_binding_when_the_old_connection_goes() -> None:
    old, new = FakeFlow("WSS", ("203.0.113.9", 40_000)), FakeFlow("WSS", ("203.0.113.9", 40_001))
    made = Desk()
    made.send("<sip:101@df7jal23ls0d.invalid;transport=ws>", expires=600, flow=old)
    made.send("<sip:101@df7jal23ls0d.invalid;transport=ws>", expires=600, flow=new)
    made.registrar.flow_lost(old)
    [binding] = made.registrar.bindings("101")
    assert made.registrar.flow(binding) is new


def test_after_a_restart_only_phones_that_can_be_reached_are_registered() -> None:
    made = desk(*(FakeFlow(kind, ("203.0.113.9", 5060)) for kind in ("UDP", "TCP", "TLS", "WS", "WSS")))
    kept = list(made.kept.values())
    again = Desk()
    again.now, again.kept = made.now, dict(made.kept)
    assert again.registrar.restore(kept) == 2
    assert {binding.transport for binding in again.kept.values()} == {"UDP", "TCP"}


def test_a_sips_contact_is_registered_over_tls_or_not_at_all() -> None:
    made = Desk()
    for kind in ("UDP", "TCP", "WS"):
        with pytest.raises(SipError) as refused:
            made.send("<sips:101@203.0.113.9>", flow=FakeFlow(kind))
        assert refused.value.status == 403
    made.send("<sips:101@203.0.113.9>", flow=FakeFlow("TLS"))
    assert len(made.registrar.bindings("101")) == 1


def test_a_phone_behind_a_nat_is_not_asked_for_tcp() -> None:
    class Narrow(FakeFlow):
        seconds = 0.0

        def keep_narrow(self, seconds: float) -> None:
            self.seconds = seconds

    behind, plain = Narrow("UDP", ("203.0.113.9", 5070)), Narrow("UDP", ("192.168.1.1", 5070))
    desk(behind, plain)
    assert (behind.seconds, plain.seconds) == (600, 0.0)
