"""Which rows go through the exchange, and which are each leg's own."""

from __future__ import annotations

import pytest

from pbxcore.call.passing import OWNED, passed, passed_back
from pbxcore.sip import build
from pbxcore.sip.headers import known_key
from pbxcore.sip.message import parse


def invite(*headers: tuple[str, str]) -> bytes:
    rows = [
        ("Via", "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"), ("From", "<sip:a@127.0.0.1>;tag=a"),
        ("To", "<sip:101@127.0.0.1>"), ("Call-ID", "x"), ("CSeq", "1 INVITE"), ("Contact", "<sip:a@127.0.0.1>"),
        ("Max-Forwards", "70"), *headers,
    ]  # fmt: skip
    return build.request("INVITE", "sip:101@127.0.0.1", rows).to_bytes()


def test_what_makes_a_dialog_and_a_hop_stays() -> None:
    assert passed(parse(invite())) == []


@pytest.mark.parametrize(
    "name",
    ["Subject", "X-Account", "Priority", "Reply-To", "Geolocation", "User-to-User", "Accept-Language", "Reason"],
)
def test_what_people_say_goes_through_byte_for_byte(name: str) -> None:
    value = "  odd   spacing\t;and=things  "
    rows = passed(parse(invite((name, value))))
    assert [line for _, line in rows] == [f"{name}: {value}"]


@pytest.mark.parametrize(
    "name",
    [
        "P-Asserted-Identity", "p-asserted-identity", "Remote-Party-ID", "P-Preferred-Identity", "Privacy", "Diversion",
        "History-Info", "Alert-Info", "Call-Info", "Answer-Mode", "X-Hookline-Call", "Authorization",
        "Proxy-Authorization", "Identity", "Supported", "k", "Require", "Session-Expires", "x", "Min-SE", "Replaces",
        "Refer-To", "r", "Referred-By", "b", "Event", "o", "Route", "Record-Route", "Path", "User-Agent", "Server",
        "Date", "Join", "P-Served-User", "P-Early-Media", "Security-Client", "Max-Breadth", "Recv-Info",
        "Content-Encoding",
    ],
)  # fmt: skip
def test_what_each_leg_says_for_itself_stays(name: str) -> None:
    assert passed(parse(invite((name, "<sip:boss@127.0.0.1>;evil=1")))) == []


def test_a_response_says_why() -> None:
    request = parse(invite())
    assert not isinstance(request, type(None))
    response = build.response(
        request,  # type: ignore[arg-type]  # parse gives either; this one is a request
        486,
        to_tag="b",
        headers=[("Warning", '399 x "y"'), ("Retry-After", "5"), ("Contact", "<sip:b@127.0.0.1>"), ("X-Note", "z")],
    )
    assert [key for key, _ in passed_back(response)] == ["warning", "retry-after", "x-note"]
    assert [key for key, _ in passed(response)] == ["x-note"]


def test_owned_names_are_the_parser_s_own() -> None:
    """A name that is misspelt here would let through what it was to hold back."""
    assert not [name for name in OWNED if name != name.lower()]
    rare = {name for name in OWNED if known_key(name) is None}
    assert not [name for name in rare if passed(parse(invite((name, "x")))) != []]
