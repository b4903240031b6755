"""What the office has, from the file and from the database."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from pbxcore import office
from pbxcore.call.router import OutboundRule
from pbxcore.office import TrunkUnresolved, server_of
from pbxcore.settings import Settings
from pbxcore.sip.digest import Secret
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
    assert set(made.profiles) == {"101", "102"}


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
        ("sip.example.net", ("UDP", "sip.example.net", 5060)),
        ("192.0.2.1:5070", ("UDP", "192.0.2.1", 5070)),
        ("tcp:sip.example.net:5070", ("TCP", "sip.example.net", 5070)),
        ("TCP:192.0.2.1", ("TCP", "192.0.2.1", 5060)),
        ("udp:[2001:db8::1]:5062", ("UDP", "2001:db8::1", 5062)),
        ("[2001:db8::1]", ("UDP", "2001:db8::1", 5060)),
        ("2001:db8::1", ("UDP", "2001:db8::1", 5060)),
    ],
)
def test_the_server_of_a_trunk(server: str, expected: tuple[str, str, int]) -> None:
    assert server_of(server, 5060) == expected


async def test_trunks() -> None:
    made = settings(
        trunk=[
            {
                "name": "carrier", "server": "localhost:5070", "username": "office", "password": "secret",
                "accept_from": ["192.0.2.0/24", "127.0.0.2"], "caller_id": "+15550100", "max_calls": 3,
            }
        ]
    )  # fmt: skip
    [trunk] = await office.trunks(made.trunk, lambda *way: FakeFlow(way[0], (way[1], way[2])), Counting())
    assert trunk.host == "localhost"
    assert ipaddress.ip_address(trunk.address).is_loopback
    assert (trunk.port, trunk.username, trunk.password, trunk.caller_id, trunk.max_calls) == (
        5070, "office", "secret", "+15550100", 3,
    )  # fmt: skip
    assert trunk.owns("192.0.2.200")
    assert trunk.owns("127.0.0.2")
    assert not trunk.owns("192.0.3.1")


async def test_a_server_that_cannot_be_found() -> None:
    made = settings(trunk=[{"name": "carrier", "server": "no-such-host.invalid"}])
    with pytest.raises(TrunkUnresolved, match=r"trunk carrier: the server no-such-host\.invalid cannot be found"):
        await office.trunks(made.trunk, lambda *_: FakeFlow(), Counting())
