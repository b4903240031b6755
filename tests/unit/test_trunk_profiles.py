"""The profiles of carriers: each says where it comes from and what it does not know, every switch is read by code, and
what a carrier gets is what its document says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pbxcore import profiles
from pbxcore.call.identity import arriving, dialed, leaving
from pbxcore.call.router import DialPlan
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import Direction, IncomingCall
from pbxcore.office import server_of
from pbxcore.settings_file import loads
from pbxcore.sip.location import Question
from tests.unit.call.fakes import Counting, FakeFlow, request

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "sip_profiles" / "trunks").glob("*.toml"))
CARRIERS = [path.stem for path in FILES if not path.stem.startswith("generic")]
BASE = (ROOT / "sip_profiles" / "_base.toml").read_text("utf-8")


def trunk(profile: str, username: str = "office") -> Trunk:
    return Trunk(
        "carrier", "UDP", "sip.carrier.example", "127.0.0.2", 5060, lambda *way: FakeFlow(way[0], (way[1], way[2])),
        Counting(), username, "secret", "+493012345678", profile=profiles.trunk(profile), country="DE",
    )  # fmt: skip


def said(profile: str, *headers: tuple[str, str], direction: Direction = "outbound") -> list[str]:
    extension = "101" if direction == "outbound" else None
    call = IncomingCall("c", "101" if extension else "+4940111", "+493012345678", direction, 0.0, extension=extension)
    found = leaving(trunk(profile), call, request("INVITE", "sip:1@127.0.0.1", *headers), "", "pbx.example")
    return [f"{found.user}@{found.host}", *(line for _, line in found.rows)]


def test_there_are_enough_carriers() -> None:
    assert len(CARRIERS) >= 8
    sorts = {"generic", "generic-register", "generic-address", "generic-proxy", "generic-tls"}
    assert sorts <= set(profiles.names("trunks"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_says_what_it_follows_and_what_was_not_verified(path: Path) -> None:
    text = path.read_text("utf-8")
    if path.stem != "generic":
        assert "# Follows: " in text
        assert "# Not verified" in text
    if path.stem in CARRIERS:
        assert "http" in text or "1TR119" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    profiles.trunk(path.stem)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_says_only_what_differs(path: Path) -> None:
    base = profiles.trunk("generic").model_dump()
    own = dict(re.findall(r"^(\w+) = (\S+)", path.read_text("utf-8"), re.MULTILINE))
    for key, value in own.items():
        assert str(base[key]).lower() != value.strip('"').lower(), key


@pytest.mark.parametrize("switch", sorted(profiles.TrunkProfile.model_fields))
def test_every_switch_is_read_by_code_and_explained(switch: str) -> None:
    code = "\n".join(path.read_text("utf-8") for path in (ROOT / "pbxcore").rglob("*.py"))
    assert re.search(rf"profile\.{switch}\b", code), f"nothing reads {switch}"
    assert re.search(rf"^{switch} = \S+ +# \S", BASE, re.MULTILINE), f"_base.toml does not say what {switch} does"


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("generic-register", ["+493012345678@sip.carrier.example"]),
        ("telnyx", ["+493012345678@sip.carrier.example",
                    "P-Preferred-Identity: <sip:+493012345678@sip.carrier.example>"]),
        ("flowroute", ["+493012345678@pbx.example", "P-Asserted-Identity: <sip:+493012345678@pbx.example>"]),
        ("foncloud", ["493012345678@sip.carrier.example",
                      "P-Preferred-Identity: <sip:493012345678@sip.carrier.example>"]),
        ("sipgate", ["office@sip.carrier.example", "P-Asserted-Identity: <sip:+493012345678@sip.carrier.example>"]),
    ],
)  # fmt: skip
def test_who_calls_as_the_carrier_wants_it(profile: str, expected: list[str]) -> None:
    assert said(profile) == expected


def test_a_caller_who_hides_from_a_carrier_that_bills_by_identity() -> None:
    assert said("cm", ("Privacy", "id")) == [
        "anonymous@anonymous.invalid", "P-Asserted-Identity: <sip:+493012345678@pbx.example>", "Privacy: id",
    ]  # fmt: skip


def test_a_forwarded_call_to_a_carrier_that_wants_to_know() -> None:
    row = "Diversion: <sip:493012345678@pbx.example>;reason=unconditional"
    assert said("telematica", direction="inbound")[-1] == row


@pytest.mark.parametrize(
    ("profile", "number"),
    [("twilio", "+493099999"), ("foncloud", "493099999"), ("generic", "03099999"), ("autphone", "03099999")],
)
def test_the_number_as_the_carrier_wants_it(profile: str, number: str) -> None:
    assert dialed(trunk(profile), "03099999") == number
    assert dialed(trunk(profile), "112") == "112"


def test_a_tech_prefix_goes_before_the_number() -> None:
    assert dialed(trunk("flowroute"), "12345678*12065551234") == "12345678*12065551234"


def test_where_the_carrier_is() -> None:
    assert server_of("voip.autphone.com", profiles.trunk("autphone")) == Question(
        "voip.autphone.com", None, "UDP", 55060
    )
    assert server_of("sip.example.net", profiles.trunk("generic-tls")) == Question("sip.example.net", None, "TLS")


def test_calls_in_of_a_carrier_that_writes_00() -> None:
    """NFON always does."""
    plan = DialPlan(inbound={"493012345678": "101"})
    call = request("INVITE", "sip:00493012345678@127.0.0.1")
    assert arriving(trunk("nfon"), call, plan)[2] == "+493012345678"


@pytest.mark.parametrize("profile", profiles.names("trunks"))
def test_a_settings_file_may_name_it(profile: str) -> None:
    text = f'[[trunk]]\nname = "c"\nprofile = "{profile}"\nserver = "sip.example.net"\n'
    assert loads(text).trunk[0].profile == profile
