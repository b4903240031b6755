"""Carriers: whose packets they are, where theirs go, and what is signed for them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pbxcore.call.servers import Servers
from pbxcore.call.trunks import Trunk, Trunks, retry_after
from pbxcore.net.flow import NoFlow
from pbxcore.sip import build
from pbxcore.sip.digest import Authenticator, Granted, Secret
from pbxcore.sip.errors import SipError
from pbxcore.sip.location import Server
from tests.unit.call.fakes import Counting, FakeFlow, request


def trunk(name: str = "carrier", address: str = "127.0.0.2", **more: Any) -> Trunk:
    def flow_to(transport: str, host: str, port: int, **_: str) -> FakeFlow:
        if host == "0.0.0.0":
            raise NoFlow("no address of one machine")
        return FakeFlow(transport, (host, port))

    transport, host, port = more.pop("transport", "UDP"), more.pop("host", address), more.pop("port", 5060)
    return Trunk(name, transport, host, address, port, flow_to, Counting(), **more)


def networks(*texts: str) -> list[Any]:
    return [ipaddress.ip_network(text) for text in texts]


@pytest.mark.parametrize(
    ("source", "is_theirs"),
    [
        ("127.0.0.2", True), ("127.0.0.3", False), ("10.1.2.3", True), ("10.2.0.0", False), ("192.0.2.7", True),
        ("2001:db8::7", True), ("2001:db9::7", False), ("::ffff:10.1.2.3", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_whose_packet_it_is(source: str, is_theirs: bool) -> None:
    one = trunk(accept_from=networks("10.1.0.0/16", "192.0.2.7/32", "2001:db8::/32"))
    assert one.owns(source) is is_theirs
    assert Trunks([one]).by_source(source) is (one if is_theirs else None)


def test_the_first_of_two_that_claim_an_address() -> None:
    one, other = trunk("one", "127.0.0.2"), trunk("other", "127.0.0.3", accept_from=networks("127.0.0.2/32"))
    assert Trunks([one, other]).by_source("127.0.0.2") is one


def test_what_is_remembered_of_strangers_is_bounded() -> None:
    trunks = Trunks([trunk()])
    for host in range(10_000):
        assert trunks.by_source(str(ipaddress.ip_address(0x0A000000 + host))) is None
    assert len(trunks._sources) <= 4096
    assert trunks.by_source("127.0.0.2") is not None


def test_names() -> None:
    one = trunk()
    trunks = Trunks([one])
    assert trunks.get("carrier") is one
    assert trunks.get("none") is None
    assert list(trunks) == [one]


@pytest.mark.parametrize(
    ("known", "uri"),
    [
        ({}, "sip:+15553333@127.0.0.2"),
        ({"host": "sip.carrier.example", "port": 5070}, "sip:+15553333@sip.carrier.example:5070"),
        ({"transport": "TCP"}, "sip:+15553333@127.0.0.2;transport=tcp"),
        ({"host": "2001:db8::1"}, "sip:+15553333@[2001:db8::1]"),
    ],
)
def test_the_request_uri(known: dict[str, Any], uri: str) -> None:
    assert trunk(**known).uri("+15553333") == uri


def test_nothing_breaks_out_of_the_number() -> None:
    assert trunk().uri("1@evil.example>\r\nX: y") == "sip:1%40evil.example%3E%0D%0AX%3A%20y@127.0.0.2"


@pytest.mark.parametrize(("limit", "calls", "full"), [(0, 99, False), (2, 1, False), (2, 2, True), (2, 3, True)])
def test_how_many_calls(limit: int, calls: int, full: bool) -> None:
    assert trunk(max_calls=limit, calls=calls).full() is full


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("sip:gw@127.0.0.4:5080", ("127.0.0.4", 5080)),
        ("sip:gw@127.0.0.4;lr", ("127.0.0.4", 5060)),
        ("sip:gw@[2001:db8::1]:5062", ("2001:db8::1", 5062)),
        ("sip:gw@127.0.0.2:5060", None),
        ("sip:gw@gw.carrier.example", None),
        ("sip:gw@0.0.0.0", None),
        ("tel:+15553333", None),
    ],
)  # fmt: skip
def test_where_the_dialog_goes(hop: str, expected: tuple[str, int] | None) -> None:
    began = FakeFlow("UDP", ("127.0.0.2", 5060))
    flow = trunk().flow_for(hop, began)
    assert (flow is began) if expected is None else (flow.remote == expected)


@pytest.mark.parametrize(
    ("contact", "seen", "there"),
    [
        ("10.0.0.5", "8.8.8.8", False),     # behind a NAT: what it calls itself is of no use to us
        ("10.0.0.5", "10.0.0.6", True), ("8.8.4.4", "8.8.8.8", True), ("8.8.4.4", "10.0.0.6", True),
        ("[fd00::5]", "2600::1", False),
    ],
)  # fmt: skip
def test_a_private_address_behind_a_public_one(contact: str, seen: str, there: bool) -> None:
    began = FakeFlow("UDP", (seen, 5060))
    assert (trunk().flow_for(f"sip:gw@{contact}:5061", began) is not began) is there


def challenged(status: int) -> Any:
    """A request of ours, and the refusal that wants credentials for it."""
    authenticator = Authenticator(b"k" * 32, lambda: 0.0)
    invite = request("INVITE", "sip:5@127.0.0.2")
    headers = authenticator.challenge(invite, "127.0.0.1", "carrier.example", proxy=status == 407)
    return authenticator, invite, build.response(invite, status, to_tag="b", headers=headers)


@pytest.mark.parametrize(("status", "name"), [(401, "authorization"), (407, "proxy-authorization")])
def test_a_challenge_is_answered(status: int, name: str) -> None:
    authenticator, invite, refusal = challenged(status)
    row = trunk(username="office", password="secret").authorize(invite, refusal)
    assert row is not None
    assert row[0] == name
    invite.add_lines(row[0], [row[1]])
    secret = Secret.from_password("office", "carrier.example", "secret")
    outcome = authenticator.check(invite, "127.0.0.1", "carrier.example", lambda _: secret, proxy=status == 407)
    assert isinstance(outcome, Granted)


def test_without_credentials_nothing_is_signed() -> None:
    _, invite, refusal = challenged(401)
    assert trunk().authorize(invite, refusal) is None


def test_a_scheme_that_nobody_knows() -> None:
    invite = request()
    refusal = build.response(invite, 401, headers=[("WWW-Authenticate", 'NTLM realm="x"'), ("WWW-Authenticate", "?")])
    assert trunk(username="office", password="secret").authorize(invite, refusal) is None


# ---- several servers


def test_the_first_server_that_there_is_a_way_to() -> None:
    one = trunk(address="0.0.0.0")
    one.servers = Servers.of(Server("UDP", "0.0.0.0", 5060), Server("UDP", "127.0.0.3", 5060))
    assert one.flow().remote == ("127.0.0.3", 5060)
    assert one.has_other({("UDP", ("0.0.0.0", 5060))})
    assert not one.has_other({("UDP", ("127.0.0.3", 5060))})
    with pytest.raises(SipError, match="503"):
        one.flow({("UDP", ("127.0.0.3", 5060))})


def test_a_trunk_whose_servers_are_not_known() -> None:
    one = trunk(address="")
    with pytest.raises(SipError, match="503"):
        one.flow()
    assert not one.owns("127.0.0.2")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("18000;duration=3600", 18000.0), ("60 (busy)", 60.0), ("", 0.0), ("soon", 0.0), ("-1", 0.0),
     ("\u0663", 0.0), ("9" * 40, 0.0)],
)  # fmt: skip
def test_retry_after(value: str, seconds: float) -> None:
    refusal = build.response(request(), 503, headers=[("Retry-After", value)] if value else [])
    assert retry_after(refusal) == seconds
    assert retry_after(None) == 0.0


def test_the_name_that_the_password_belongs_to() -> None:
    _, invite, refusal = challenged(401)
    row = trunk(username="office", auth_username="office-auth", password="secret").authorize(invite, refusal)
    assert row is not None
    assert 'username="office-auth"' in row[1]


def test_a_tls_connection_is_made_to_the_name_of_the_settings() -> None:
    """Inside of a dialog, too, whatever address the carrier's Contact names."""
    asked: list[dict[str, str]] = []

    def flow_to(transport: str, host: str, port: int, **more: str) -> FakeFlow:
        asked.append({"host": host, "port": str(port), **more})
        return FakeFlow(transport, (host, port))

    one = Trunk("c", "TLS", "carrier.example", "192.0.2.1", 5061, flow_to, Counting())
    one.flow()
    one.flow_for("sip:gw@192.0.2.9", FakeFlow("TLS", ("192.0.2.1", 5061)))
    assert asked == [
        {"host": "192.0.2.1", "port": "5061", "domain": "carrier.example", "authorities": ""},
        {"host": "192.0.2.9", "port": "5061", "domain": "carrier.example", "authorities": ""},
    ]


def test_trunks_that_share_servers_know_it() -> None:
    one, other = trunk("one"), trunk("other")
    third = trunk("third", "127.0.0.9")
    Trunks([one, other, third])
    assert (one.twins, other.twins, third.twins) == (True, True, False)
    third.accept_from = networks("127.0.0.0/24")
    trunks = Trunks([one, third])
    assert (one.twins, third.twins) == (True, True)
    third.accept_from = networks("10.0.0.0/8", "2001:db8::/32")
    trunks.moved()
    assert not one.twins
