"""Who calls and who is called: every spelling of a number, every carrier's way to say it, and what is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from pbxcore import profiles
from pbxcore.call.identity import arriving, called_in, caller_hides, caller_in, dialed, e164, leaving, way_so_far
from pbxcore.call.router import DialPlan
from pbxcore.call.trunks import Trunk
from pbxcore.hooks import Direction, IncomingCall
from pbxcore.sip.message import Request, parse
from tests.unit.call.fakes import Counting, FakeFlow, request

PLAN = DialPlan(inbound={"493012345678": "101", "4711": "102", "*": "103"})


def trunk(*, country: str = "DE", trusted: bool = False, username: str = "office", caller_id: str = "+493012345678",
          **switches: Any) -> Trunk:
    return Trunk(
        "carrier", "UDP", "sip.carrier.example", "127.0.0.2", 5060, lambda *way: FakeFlow(way[0], (way[1], way[2])),
        Counting(), username, "secret", caller_id, profile=profiles.trunk("generic").model_copy(update=switches),
        trusted=trusted, country=country,
    )  # fmt: skip


def invite(*headers: tuple[str, str], uri: str = "sip:+493012345678@127.0.0.1") -> Request:
    """As the wire has it."""
    message = parse(request("INVITE", uri, *headers).to_bytes())
    assert isinstance(message, Request)
    return message


# ---- From


@pytest.mark.parametrize(
    "said",
    [
        "<sip:anna@a.example>;tag=1",
        '"Anna" <sip:anna@a.example>;tag=1',
        "Anna <sip:anna@a.example;user=phone>;tag=1;epid=x",
        "<sip:anna@a.example>;epid=x;tag=1",
        "sip:anna@a.example;tag=1",
        "<sip:anna@a.example>",
        '"a>;tag=b" <sip:anna@a.example>;tag=1',
        '"a>;tag=b <sip:eve@e.example>;tag=2" <sip:anna@a.example>;tag=1',
        '<sip:anna@a.example>;x=">;tag=b";tag=1',
        '"<sip:eve@e.example" <sip:anna@a.example>;tag=1',
        "<sip:anna@a.example>;TAG=1",
        "<tel:+15550100>;tag=1",
    ],
)
def test_the_caller_is_whom_from_names_whatever_stands_around_it(said: str) -> None:
    """Read twice: the second time it is remembered."""
    for _ in range(2):
        message = invite(("From", said))
        found, meant = caller_in(message), message.from_
        assert (str(found.uri), found.display) == (str(meant.uri), meant.display)


# ---- numbers


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        ("+493012345678", "", "+493012345678"),
        ("+49 (30) 123-456.78", "", "+493012345678"),
        ("00493012345678", "DE", "+493012345678"),
        ("00493012345678", "", "+493012345678"),
        ("03012345678", "DE", "+493012345678"),
        ("03012345678", "", "03012345678"),
        ("011493012345678", "US", "+493012345678"),
        ("2025550123", "US", "+12025550123"),
        ("12025550123", "US", "+12025550123"),
        ("84951234567", "RU", "+74951234567"),
        ("0039061234567", "GB", "+39061234567"),
        ("112", "DE", "112"),
        ("4711", "DE", "4711"),
        ("*21#", "DE", "*21#"),
        ("anna", "DE", "anna"),
        ("", "DE", ""),
        ("+0", "DE", "+0"),
    ],
)
def test_numbers_in_every_spelling(number: str, country: str, expected: str) -> None:
    assert e164(number, country) == expected


@pytest.mark.parametrize(
    ("style", "expected"),
    [("as-dialed", "03012345678"), ("+", "+493012345678"), ("00", "00493012345678"), ("digits", "493012345678")],
)
def test_numbers_as_a_carrier_wants_them(style: str, expected: str) -> None:
    assert dialed(trunk(dial=style), "03012345678") == expected


@pytest.mark.parametrize("style", ["+", "00", "digits"])
@pytest.mark.parametrize("number", ["110", "112", "116117", "*31#"])
def test_short_numbers_stay_as_they_are(style: str, number: str) -> None:
    """Emergency numbers above all."""
    assert dialed(trunk(dial=style), number) == number


# ---- in


@pytest.mark.parametrize(
    ("user", "called"),
    [
        ("+493012345678", "+493012345678"), ("493012345678", "493012345678"), ("00493012345678", "+493012345678"),
        ("03012345678", "+493012345678"), ("4711", "4711"), ("03099999999", "03099999999"),
        ("+493012345678;npdi=yes", "+493012345678"),
    ],
)  # fmt: skip
def test_the_called_number_is_found_in_every_spelling(user: str, called: str) -> None:
    one = trunk()
    assert arriving(one, invite(uri=f"sip:{user}@127.0.0.1"), PLAN)[2] == called
    assert arriving(one, invite(uri=f"sip:{user}@127.0.0.1"), PLAN)[2] == called   # remembered


@pytest.mark.parametrize(
    ("place", "expected"),
    [("request-uri", "4711"), ("to", "+493012345678"), ("p-called-party-id", "+493087654321")],
)
def test_where_the_called_number_is(place: str, expected: str) -> None:
    headers = (
        ("To", "<sip:+493012345678@carrier.example;user=phone>"),
        ("P-Called-Party-ID", '"Office" <sip:+493087654321@carrier.example>'),
    )
    assert called_in(trunk(called_in=place), invite(*headers, uri="sip:4711@127.0.0.1"), PLAN) == expected


@pytest.mark.parametrize("value", [None, "<sip:", ""])
def test_a_called_party_that_cannot_be_read(value: str | None) -> None:
    headers = () if value is None else (("P-Called-Party-ID", value),)
    assert called_in(trunk(called_in="p-called-party-id"), invite(*headers, uri="sip:4711@127.0.0.1"), PLAN) == "4711"


def test_a_request_uri_that_is_our_own_contact() -> None:
    """Registered trunks are called at it (RFC 3261 section 16.5): the number is in To."""
    call = invite(("To", "<sip:03012345678@carrier.example>"), uri="sip:office@127.0.0.1")
    assert arriving(trunk(), call, PLAN)[2] == "+493012345678"
    numbered = invite(("To", "<sip:4711@carrier.example>"), uri="sip:493012345678@127.0.0.1")
    assert arriving(trunk(username="493012345678"), numbered, PLAN)[2] == "493012345678"   # user and number in one


ASSERTED = ("P-Asserted-Identity", '"Anna" <sip:+4940111@carrier.example>, <tel:+4940111>')


def test_an_asserted_identity_is_believed_of_a_trusted_trunk_only() -> None:
    call = invite(("From", '"Eve" <sip:+4999@evil.example>;tag=a'), ASSERTED)
    assert arriving(trunk(trusted=True), call, PLAN)[:2] == ("+4940111", "Anna")
    assert arriving(trunk(), call, PLAN)[:2] == ("+4999", "Eve")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("<tel:+4940111>", "+4940111"), ("sip:+4940111@x", "+4940111"), ("<mailto:a@b>, <tel:+4940111>", "+4940111"),
        ("<sip:carrier.example>", "eve"), ("garbage <", "eve"), ("", "eve"), ("<tel:>", "eve"),
    ],
)  # fmt: skip
def test_identities_of_all_sorts(value: str, number: str) -> None:
    assert arriving(trunk(trusted=True), invite(("P-Asserted-Identity", value)), PLAN)[0] == number


@pytest.mark.parametrize(
    "row",
    ["P-Asserted-Identity : <sip:boss@x>", "P-Asserted-Identity:\t<sip:boss@x>", "p-asserted-IDENTITY: <sip:boss@x>",
     "P-Asserted-Identity:\r\n <sip:boss@x>"],
)  # fmt: skip
def test_header_smuggling(row: str) -> None:
    """However it is written: an untrusted trunk's word on identity is none (ES2020-01)."""
    data = invite().to_bytes().replace(b"Call-ID", row.encode() + b"\r\nCall-ID", 1)
    message = parse(data)
    assert isinstance(message, Request)
    assert arriving(trunk(), message, PLAN)[:2] == ("eve", "Eve")


@pytest.mark.parametrize(
    "headers",
    [
        (("From", "<sip:anonymous@anonymous.invalid>;tag=a"),),
        (("From", '"Anonymous" <sip:Restricted@carrier.example>;tag=a'),),
        (("From", "<sip:carrier.example>;tag=a"),),
        (ASSERTED, ("Privacy", "id")),
        (ASSERTED, ("Privacy", "header;user;critical")),
        (ASSERTED, ("Privacy", "ID ; critical")),
    ],
)
def test_who_hides_stays_hidden(headers: tuple[tuple[str, str], ...]) -> None:
    assert arriving(trunk(trusted=len(headers) > 1), invite(*headers), PLAN)[:2] == ("anonymous", "Anonymous")


def test_who_hides_nothing() -> None:
    for privacy in ("none", "session", "history"):
        assert not caller_hides(invite(("Privacy", privacy)))


def test_a_hidden_from_with_an_identity_that_is_not_hidden() -> None:
    call = invite(("From", "<sip:anonymous@carrier.example>;tag=a"), ASSERTED)
    assert arriving(trunk(trusted=True), call, PLAN)[:2] == ("+4940111", "Anna")


# ---- out


def offered(direction: Direction = "outbound", caller: str = "101", name: str | None = "Desk 101") -> IncomingCall:
    extension = None if direction == "inbound" else "101"
    return IncomingCall("c1", caller, "+493012345678", direction, 0.0, caller_name=name, extension=extension)


def said(one: Trunk, call: IncomingCall, *headers: tuple[str, str], caller_id: str = "") -> list[str]:
    """From, then the rows."""
    sent = invite(*headers)
    found = leaving(one, call, sent, caller_id, "pbx.example", way_so_far(sent))
    name = f'"{found.name}" ' if found.name else ""
    return [f"{name}<sip:{found.user}@{found.host}>", *(line for _, line in found.rows)]


PLAIN = '"Desk 101" <sip:+493012345678@pbx.example>'


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, [PLAIN]),
        ({"from_host": "server"}, ['"Desk 101" <sip:+493012345678@sip.carrier.example>']),
        ({"from_user": "username"}, ['"Desk 101" <sip:office@pbx.example>']),
        ({"dial": "00"}, ['"Desk 101" <sip:00493012345678@pbx.example>']),
        ({"identity": "asserted"}, [PLAIN, "P-Asserted-Identity: <sip:+493012345678@pbx.example>"]),
        ({"identity": "preferred"}, [PLAIN, "P-Preferred-Identity: <sip:+493012345678@pbx.example>"]),
        ({"identity": "remote-party"},
         [PLAIN, "Remote-Party-ID: <sip:+493012345678@pbx.example>;party=calling;privacy=off;screen=no"]),
    ],
)  # fmt: skip
def test_who_calls(switches: dict[str, Any], expected: list[str]) -> None:
    assert said(trunk(**switches), offered()) == expected


def test_an_extension_with_a_number_of_its_own() -> None:
    one = trunk(identity="asserted")
    assert said(one, offered(), caller_id="+4930999") == [
        '"Desk 101" <sip:+4930999@pbx.example>', "P-Asserted-Identity: <sip:+4930999@pbx.example>",
    ]  # fmt: skip


def test_a_trunk_without_any_number() -> None:
    assert said(trunk(caller_id="", username=""), offered()) == ['"Desk 101" <sip:101@pbx.example>']
    assert said(trunk(caller_id=""), offered()) == ['"Desk 101" <sip:office@pbx.example>']


HIDDEN = '"Anonymous" <sip:anonymous@anonymous.invalid>'


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({}, [HIDDEN, "Privacy: id"]),
        ({"identity": "asserted"},
         [HIDDEN, "P-Asserted-Identity: <sip:+493012345678@pbx.example>", "Privacy: id"]),
        ({"anonymous": "from", "identity": "asserted"}, [HIDDEN]),
        ({"anonymous": "privacy"}, ["<sip:+493012345678@pbx.example>", "Privacy: user;id"]),
        ({"identity": "remote-party", "anonymous": "privacy"},
         ["<sip:+493012345678@pbx.example>",
          "Remote-Party-ID: <sip:+493012345678@pbx.example>;party=calling;privacy=full;screen=no",
          "Privacy: user;id"]),
    ],
)  # fmt: skip
def test_a_caller_who_hides(switches: dict[str, Any], expected: list[str]) -> None:
    """RFC 3323, and the identity that the carrier bills (RFC 3325 section 7)."""
    assert said(trunk(**switches), offered(), ("Privacy", "id")) == expected


def test_a_forwarded_call_shows_who_really_calls() -> None:
    """From is the caller's, what is asserted is ours: nothing else may be (RFC 3325 section 5)."""
    one = trunk(identity="asserted")
    assert said(one, offered("inbound", "+4940111", "Anna")) == [
        '"Anna" <sip:+4940111@pbx.example>', "P-Asserted-Identity: <sip:+493012345678@pbx.example>",
    ]  # fmt: skip
    assert said(trunk(from_user="username"), offered("inbound", "+4940111", None)) == ["<sip:office@pbx.example>"]


def test_a_forwarded_call_of_somebody_who_hides() -> None:
    found = said(trunk(identity="asserted"), offered("inbound", "anonymous", "Anonymous"))
    assert found[0] == HIDDEN
    assert "Privacy: id" in found
    assert any("+493012345678" in line for line in found)


WAY = (
    ("Diversion", "<sip:+4911@a.example>;reason=user-busy"), ("Diversion", "<sip:+4922@b.example>"),
    ("History-Info", "<sip:+4911@a.example>;index=1"), ("History-Info", "<sip:+4922@a.example>;index=1.1"),
)  # fmt: skip


def test_a_forwarded_call_says_so() -> None:
    call = offered("inbound", "+4940111", None)
    assert said(trunk(), call, *WAY)[1:] == []
    assert said(trunk(diversion="diversion"), call, *WAY)[1:] == [
        "Diversion: <sip:+493012345678@pbx.example>;reason=unconditional",
        "Diversion: <sip:+4911@a.example>;reason=user-busy",
        "Diversion: <sip:+4922@b.example>",
    ]
    assert said(trunk(diversion="history-info"), call, *WAY)[1:] == [
        "History-Info: <sip:+4911@a.example>;index=1",
        "History-Info: <sip:+4922@a.example>;index=1.1",
        "History-Info: <sip:+493012345678@pbx.example>;index=1.1.1",
    ]
    assert said(trunk(diversion="history-info"), call)[1:] == ["History-Info: <sip:+493012345678@pbx.example>;index=1"]
    assert said(trunk(diversion="diversion"), offered())[1:] == []     # our own calls come from nowhere else


@pytest.mark.parametrize("caller", ["a b", "eve@evil", 'x"y', "<sip:x>", "a;tag=b", "a>b\r\nX: y"])
def test_nothing_breaks_out_of_an_identity(caller: str) -> None:
    for line in said(trunk(identity="asserted", caller_id="", username=""), offered("inbound", caller, None)):
        assert "\n" not in line
        assert line.count("<") == line.count(">") == 1
        assert "@evil" not in line.replace("%40evil", "")
