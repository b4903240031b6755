"""What the office has, from the file and from the database."""

from __future__ import annotations

from typing import Any

import pytest

from pbxcore import office, profiles
from pbxcore.call.router import OutboundRule
from pbxcore.call.trunks import Trunk
from pbxcore.office import server_of
from pbxcore.settings import Settings
from pbxcore.sip.digest import Secret
from pbxcore.sip.location import Question, Server
from pbxcore.store.repo import StoredExtension
from tests.unit.call.fakes import Counting, FakeFlow


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def test_the_file_wins_over_the_database() -> None:
    made = office.build(
        settings(extension=[{"number": "101", "name": "From the file", "password": "file"}]),
        [StoredExtension("101", "stored"), StoredExtension("102", "other", "Other", crm_control="first-party")],
        "pbx",
    )
    extensions = made.dial_plan.extensions
    assert {number: entry.name for number, entry in extensions.items()} == {"101": "From the file", "102": "Other"}
    assert extensions["102"].crm_control == "first-party"
    assert made.secrets["101"] == Secret.from_password("101", "pbx", "file")
    assert made.secrets["102"] == Secret.from_password("102", "pbx", "other")
    assert made.profiles == {}   # nothing was said of their make: they are told by their User-Agents


def test_a_profile_that_was_set() -> None:
    made = office.build(
        settings(extension=[{"number": "101", "password": "file", "profile": "snom"}]),
        [StoredExtension("102", "other", profile="yealink")],
        "pbx",
    )
    assert made.profiles == {"101": profiles.phone("snom"), "102": profiles.phone("yealink")}


def test_an_empty_office() -> None:
    made = office.build(settings(), [], "pbx")
    assert made.secrets == {}
    assert made.dial_plan.extensions == {}


def test_numbers_and_rules() -> None:
    made = office.build(
        settings(
            inbound=[{"number": "+1 (555) 010-0", "to": "101"}, {"number": "*", "to": "102"}],
            outbound=[{"prefix": "9", "strip": 1, "prepend": "+1", "trunks": ["a", "b"]}],
            trunk=[{"name": "a", "server": "127.0.0.2"}, {"name": "b", "server": "127.0.0.3"}],
        ),
        [],
        "pbx",
    )
    assert made.dial_plan.inbound == {"15550100": "101", "*": "102"}
    assert made.dial_plan.outbound == (OutboundRule("9", 1, "+1", ("a", "b")),)
    assert made.dial_plan.trunks == {"a", "b"}


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("sip.example.net", Question("sip.example.net")),
        ("192.0.2.1:5070", Question("192.0.2.1", 5070)),
        ("tcp:sip.example.net:5070", Question("sip.example.net", 5070, "TCP")),
        ("TCP:192.0.2.1", Question("192.0.2.1", None, "TCP")),
        ("tls:sip.example.net", Question("sip.example.net", None, "TLS")),
        ("udp:[2001:db8::1]:5062", Question("2001:db8::1", 5062, "UDP")),
        ("[2001:db8::1]", Question("2001:db8::1")),
        ("2001:db8::1", Question("2001:db8::1")),
    ],
)
def test_the_server_of_a_trunk(server: str, expected: Question) -> None:
    assert server_of(server, profiles.trunk("generic")) == expected


def test_what_the_profile_says_of_the_server() -> None:
    profile = profiles.trunk("generic").model_copy(update={"transport": "tls", "default_port": 6060})
    assert server_of("sip.example.net", profile) == Question("sip.example.net", None, "TLS", 6060)
    assert server_of("udp:sip.example.net", profile) == Question("sip.example.net", None, "UDP", 6060)


def trunks(made: Settings) -> list[Trunk]:
    def flow_to(transport: str, host: str, port: int, **more: str) -> FakeFlow:
        flow = FakeFlow(transport, (host, port))
        flow.asked_for = more
        return flow

    return office.trunks(made, flow_to, Counting(), lambda: 0.0, lambda: 0.0)


def test_trunks() -> None:
    made = settings(
        office={"country": "DE"},
        trunk=[
            {
                "name": "carrier", "server": "127.0.0.9:5070", "username": "office", "password": "secret",
                "accept_from": ["192.0.2.0/24", "127.0.0.2"], "caller_id": "+15550100", "max_calls": 3,
                "auth_username": "office-auth", "numbers": ["+49301234"], "trusted": True,
            },
            {"name": "named", "server": "sip.carrier.example", "backup_servers": ["tcp:192.0.2.7", "b.example:5080"]},
        ],
    )  # fmt: skip
    carrier, named = trunks(made)
    assert (carrier.host, carrier.port, carrier.username, carrier.auth_username, carrier.password) == (
        "127.0.0.9", 5070, "office", "office-auth", "secret",
    )  # fmt: skip
    assert (carrier.caller_id, carrier.max_calls, carrier.country, carrier.trusted) == ("+15550100", 3, "DE", True)
    assert "49301234" in carrier.numbers
    assert carrier.flow().remote == ("127.0.0.9", 5070)
    assert carrier.owns("192.0.2.200")
    assert carrier.owns("127.0.0.2")
    assert carrier.owns("127.0.0.9")
    assert not carrier.owns("192.0.3.1")
    assert (named.host, named.port, named.uri("5")) == ("sip.carrier.example", 0, "sip:5@sip.carrier.example")
    assert office.questions(made) == {
        "carrier": [Question("127.0.0.9", 5070)],
        "named": [Question("sip.carrier.example"), Question("192.0.2.7", None, "TCP"), Question("b.example", 5080)],
    }


def test_an_outbound_proxy_takes_the_place_of_the_server() -> None:
    made = settings(trunk=[{"name": "c", "server": "carrier.example", "outbound_proxy": "tcp:127.0.0.8:5065"}])
    [trunk] = trunks(made)
    assert trunk.uri("5") == "sip:5@carrier.example"
    assert (trunk.flow().transport, trunk.flow().remote) == ("TCP", ("127.0.0.8", 5065))
    assert trunk.route == ()


def test_an_outbound_proxy_that_wants_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.trunk("generic").model_copy(update={"proxy_in_route": True})
    monkeypatch.setattr(profiles, "trunk", lambda name: profile)
    made = settings(trunk=[{"name": "c", "server": "carrier.example", "outbound_proxy": "tcp:127.0.0.8:5065"}])
    assert trunks(made)[0].route == ("<sip:127.0.0.8:5065;transport=tcp;lr>",)


def test_a_certificate_must_name_what_the_settings_name() -> None:
    """Not the host that the DNS has made of it (RFC 5922 section 7.2)."""
    [trunk] = trunks(settings(trunk=[{"name": "c", "server": "tls:carrier.example", "tls_ca": "ca.pem"}]))
    server = Server("TLS", "192.0.2.1", 5061, "carrier.example")
    assert trunk.flow_of(server).asked_for == {"domain": "carrier.example", "authorities": "ca.pem"}  # type: ignore[attr-defined]
    assert trunk.uri("5") == "sip:5@carrier.example;transport=tls"


def test_the_number_of_an_extension() -> None:
    made = office.build(settings(extension=[{"number": "101", "password": "x", "caller_id": "+15550101"}]), [], "pbx")
    assert made.dial_plan.extensions["101"].caller_id == "+15550101"


def test_numbers_for_help_are_the_settings_or_the_country_s() -> None:
    rules = {"trunk": [{"name": "main", "server": "127.0.0.2"}], "outbound": [
        {"prefix": "0", "strip": 1, "prepend": "", "trunks": ["main"]}]}
    german = office.build(settings(office={"country": "DE"}, **rules), [], "pbx").dial_plan.emergency
    assert german == {"110": "110", "0110": "110", "112": "112", "0112": "112"}
    own = office.build(settings(office={"country": "DE", "emergency_numbers": ["19222"]}), [], "pbx")
    assert own.dial_plan.emergency == {"19222": "19222"}
    nowhere = office.build(settings(), [StoredExtension("112", "x")], "pbx").dial_plan.emergency
    assert nowhere == {"911": "911"}   # an extension of that number stays one
