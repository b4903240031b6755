"""Ways back to a phone: its flows (RFC 5626), proxies on the way (RFC 3327), the name of one phone (RFC 5627)."""

from __future__ import annotations

import pytest

from pbxcore.sip.errors import SipError
from pbxcore.sip.message import Request, Response
from tests.scenario.office import EXCHANGE, Office
from tests.scenario.party import Party

INSTANCE = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-000a95a0e128>"'
GRUU = "sip:101@127.0.0.1;gr=urn:uuid:00000000-0000-1000-8000-000a95a0e128"


def send(
    office: Office, phone: Party, contact: str, headers: list[tuple[str, str]], transport: str = "UDP"
) -> Response:
    request = phone._request("REGISTER", "sip:127.0.0.1", f"<sip:{phone.user}@127.0.0.1>", headers)
    request.replace("Contact", contact)
    phone.layer.request(request, phone.flow_to(transport, *EXCHANGE), phone)
    office.world.run(2.0)
    return phone.answers[-1]


def outbound(office: Office, phone: Party, reg_id: int, transport: str = "UDP") -> Response:
    contact = f"{phone.contact}{INSTANCE};reg-id={reg_id}"
    return send(office, phone, contact, [("Supported", "path, outbound, gruu")], transport)


def rung(phone: Party) -> list[Request]:
    return [request for request in phone.seen if request.method == "INVITE"]


def test_instance_and_flow_are_the_key() -> None:
    """A phone that comes back from another port has one binding, not two."""
    office = Office()
    for port in (10101, 10102, 10103):
        answer = outbound(office, office.phone("101", port, registered=False), 1)
        assert answer.status == 200
    (binding,) = office.exchange.registrar.bindings("101")
    assert binding.remote[1] == 10103
    assert list(office.bindings.kept) == [("101", binding.name)]


def test_what_a_phone_with_flows_is_told() -> None:
    office = Office()
    answer = outbound(office, office.phone("101", registered=False), 1)
    assert answer.values("require") == ["outbound"]
    assert answer.first("flow-timer") == "120"
    contact = answer.contacts[0]
    assert contact.params["reg-id"] == "1"
    assert contact.params["+sip.instance"] == INSTANCE.partition("=")[2]
    assert contact.params["pub-gruu"] == f'"{GRUU}"'


def test_without_outbound_a_reg_id_means_nothing() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    answer = send(office, desk, f"{desk.contact}{INSTANCE};reg-id=1", [])
    assert "require" not in answer
    assert "pub-gruu" not in (answer.first("contact") or "")
    (binding,) = office.exchange.registrar.bindings("101")
    assert binding.reg_id == 0
    assert binding.instance


def test_a_phone_with_two_flows_rings_once() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    outbound(office, desk, 1)
    outbound(office, desk, 2, "TCP")
    assert len(office.exchange.registrar.bindings("101")) == 2
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert [request.via.transport for request in rung(desk)] == ["TCP"]  # the newest


def test_a_flow_that_is_gone_leaves_the_other() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    outbound(office, desk, 1)
    outbound(office, desk, 2, "TCP")
    for flow in office.node.flows.values():
        flow.closed = flow.transport == "TCP"
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    assert [request.via.transport for request in rung(desk)] == ["UDP"]


def test_two_phones_with_flows_both_ring() -> None:
    office = Office()
    one, two = office.phone("101", 10101, registered=False), office.phone("101", 10102, registered=False)
    outbound(office, one, 1)
    send(office, two, two.contact + ';+sip.instance="<urn:uuid:2>";reg-id=1', [("Supported", "outbound")])
    one.manners.answer_after = two.manners.answer_after = None
    office.carrier().call("+15550100", EXCHANGE)
    office.world.run(2.0)
    assert len(rung(one)) == len(rung(two)) == 1


def test_removing_one_flow_and_all() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    outbound(office, desk, 1)
    outbound(office, desk, 2, "TCP")
    send(office, desk, f"{desk.contact}{INSTANCE};reg-id=1;expires=0", [("Supported", "outbound")])
    assert [binding.reg_id for binding in office.exchange.registrar.bindings("101")] == [2]
    outbound(office, desk, 1)
    send(office, desk, "*", [("Expires", "0")])
    assert office.exchange.registrar.bindings("101") == []
    assert not office.bindings.kept


def test_flows_survive_a_restart() -> None:
    office = Office()
    outbound(office, office.phone("101", registered=False), 1)
    (kept,) = office.bindings.kept.values()
    kept.flow = None
    again = Office(2)
    again.world.now = office.world.now
    again.exchange.registrar.restore([kept])
    outbound(again, again.phone("101", 10102, registered=False), 1)
    assert len(again.exchange.registrar.bindings("101")) == 1


# ---- Path


PATH = [("Path", "<sip:edge.example.net;lr;ob>, <sip:inner.example.net;lr>"), ("Supported", "path")]


def test_a_path_is_kept_and_becomes_the_route() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    answer = send(office, desk, desk.contact, PATH)
    assert answer.values("path") == ["<sip:edge.example.net;lr;ob>", "<sip:inner.example.net;lr>"]
    talk = office.carrier().call("+15550100", EXCHANGE)
    assert office.world.until(lambda: talk.state == "up"), office.world.ladder()
    (invite,) = rung(desk)
    assert invite.values("route") == ["<sip:edge.example.net;lr;ob>", "<sip:inner.example.net;lr>"]


def test_a_path_survives_in_the_store() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    send(office, desk, desk.contact, PATH)
    (kept,) = office.bindings.kept.values()
    assert kept.path == ("<sip:edge.example.net;lr;ob>", "<sip:inner.example.net;lr>")


def test_a_path_that_the_phone_knows_nothing_of() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    assert send(office, desk, desk.contact, PATH[:1]).status == 420
    assert office.exchange.registrar.bindings("101") == []


def test_hostile_paths() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    supported = ("Supported", "path")
    for path in ("<tel:+15551234>", "nonsense", ", ".join(["<sip:a.example;lr>"] * 5), f"<sip:{'a' * 300};lr>"):
        assert send(office, desk, desk.contact, [("Path", path), supported]).status == 400, path
    assert office.exchange.registrar.bindings("101") == []


def test_a_path_moves_no_datagram_to_a_third_party() -> None:
    """Whatever a phone writes into Path, it is reached where its REGISTER came from."""
    office = Office()
    victim = office.phone("104")
    desk = office.phone("101", registered=False)
    send(office, desk, desk.contact, [("Path", f"<sip:127.0.0.1:{victim.address[1]};lr>"), ("Supported", "path")])
    office.carrier().call("+15550100", EXCHANGE)
    office.world.run(2.0)
    assert not victim.seen
    assert len(rung(desk)) == 1


def test_what_a_register_may_require() -> None:
    office = Office()
    desk = office.phone("101", registered=False)
    assert send(office, desk, desk.contact, [("Require", "path, gruu, Outbound")]).status == 200
    answer = send(office, desk, desk.contact, [("Require", "path, telepathy")])
    assert answer.status == 420
    assert answer.first("unsupported") == "telepathy"


def test_a_proxy_that_knows_nothing_of_flows() -> None:
    """439: the phone would hold a flow open that ends at the proxy (RFC 5626 section 6)."""
    office = Office()
    desk = office.phone("101", registered=False)
    request = desk._request("REGISTER", "sip:127.0.0.1", "<sip:101@127.0.0.1>", [("Supported", "path, outbound")])
    request.replace("Contact", f"{desk.contact}{INSTANCE};reg-id=1")
    request.add("Via", "SIP/2.0/UDP 127.0.0.1:10101;branch=z9hG4bKphone")
    request.add("Via", "SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKedge")
    with pytest.raises(SipError) as refused:
        office.exchange.registrar.register(request, desk.flow_to("UDP", *EXCHANGE), "101", "tag")
    assert refused.value.status == 439
    assert office.exchange.registrar.bindings("101") == []


# ---- GRUU


def test_a_gruu_rings_one_phone() -> None:
    office = Office()
    one, two = office.phone("101", 10101, registered=False), office.phone("101", 10102, registered=False)
    outbound(office, one, 1)
    send(office, two, two.contact + ';+sip.instance="<urn:uuid:2>"', [])
    caller = office.phone("103")
    invite = caller._request("INVITE", GRUU, f"<{GRUU}>", [], caller.sdp())
    caller.layer.request(invite, caller.flow_to("UDP", *EXCHANGE), caller)
    office.world.run(2.0)
    assert len(rung(one)) == 1, office.world.ladder()
    assert not rung(two)


def test_the_gruu_of_a_phone_that_is_gone() -> None:
    office = Office()
    office.phone("101")
    caller = office.phone("103")
    invite = caller._request("INVITE", GRUU, f"<{GRUU}>", [], caller.sdp())
    caller.layer.request(invite, caller.flow_to("UDP", *EXCHANGE), caller)
    office.world.run(2.0)
    assert caller.answers[-1].status == 480
