"""URIs: reading, writing, and the equality of RFC 3261 19.1.4 with the RFC's own examples."""

from __future__ import annotations

import pytest

from pbxcore.sip.errors import ParseError
from pbxcore.sip.uri import (
    Uri,
    escape_header,
    escape_param,
    escape_user,
    join_host,
    normalize,
    same_host,
    split_host,
    unescape,
)


@pytest.mark.parametrize(
    ("text", "scheme", "user", "password", "host", "port"),
    [
        ("sip:alice@atlanta.com", "sip", "alice", None, "atlanta.com", None),
        ("sip:alice:secretword@atlanta.com;transport=tcp", "sip", "alice", "secretword", "atlanta.com", None),
        ("sips:alice@atlanta.com?subject=project%20x&priority=urgent", "sips", "alice", None, "atlanta.com", None),
        ("sip:+1-212-555-1212:1234@gateway.com;user=phone", "sip", "+1-212-555-1212", "1234", "gateway.com", None),
        ("sips:1212@gateway.com", "sips", "1212", None, "gateway.com", None),
        ("sip:alice@192.0.2.4", "sip", "alice", None, "192.0.2.4", None),
        ("sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com", "sip", None, None, "atlanta.com", None),
        ("sip:alice;day=tuesday@atlanta.com", "sip", "alice;day=tuesday", None, "atlanta.com", None),
        ("SIP:bob@Example.COM:5061", "sip", "bob", None, "Example.COM", 5061),
        ("sip:[2001:db8::1]:5070", "sip", None, None, "2001:db8::1", 5070),
        ("sip:a@my_host.local", "sip", "a", None, "my_host.local", None),
        ("sip:bob@example.org@proxy.example.net", "sip", "bob@example.org", None, "proxy.example.net", None),
        ("sip:@example.org", "sip", "", None, "example.org", None),
        ("sip:a@h:", "sip", "a", None, "h", None),
        ("sip:müller@example.org", "sip", "müller", None, "example.org", None),
        ("tel:+1-201-555-0123", "tel", "+1-201-555-0123", None, "", None),
        ("urn:service:sos", "urn", None, None, "service:sos", None),
    ],
)
def test_parts(text: str, scheme: str, user: str | None, password: str | None, host: str, port: int | None) -> None:
    uri = Uri.parse(text)
    assert (uri.scheme, uri.user, uri.password, uri.host, uri.port) == (scheme, user, password, host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip:",
        "sip",
        "alice@atlanta.com",
        "sip:alice@",
        "sip:a b@c",
        "sip:a@b\r\nc",
        "sip:a@b\x00",
        "<sip:a@b>",
        'sip:"a"@b',
        "sip:a@b:port",
        "sip:a@b:65536",
        "sip:a@b:-1",
        "sip:a@b:٣",
        "sip:a@b:123456",
        "sip:2001:db8::10",
        "sip:a@[2001:db8::1",
        "sip:a@[2001:db8::1]5060",
        "sip:a@[example.org]",
        "sip:a@b/c",
        "sip:a@bücher.example",
        "tel:",
        "tel:alice",
        "1sip:a@b",
        ":a",
    ],
)
def test_no_uri(text: str) -> None:
    with pytest.raises(ParseError) as caught:
        Uri.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "text",
    [
        "sip:alice@atlanta.com",
        "sip:alice:pw@atlanta.com:5060;transport=tcp;lr",
        "sips:alice@[2001:db8::1]:5061;maddr=239.255.255.1;ttl=15",
        "sip:%61lice@atlanta.com;x=%20y",
        "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com&subject=x",
        "sip:alice;day=tuesday@atlanta.com",
        "tel:7042;phone-context=example.com",
        "isbn:2983792873",
        "sip:@example.org",
        "sip:a@b;empty=",
    ],
)
def test_written_as_read(text: str) -> None:
    assert str(Uri.parse(text)) == text


def test_parameters_are_lower_case_names_in_order_and_the_first_counts() -> None:
    uri = Uri.parse("sip:a@b;Transport=TCP;lr;;transport=udp;x=1=2")
    assert list(uri.params.items()) == [("transport", "TCP"), ("lr", None), ("x", "1=2")]


def test_escaped_parameter_names_are_the_names_they_escape() -> None:
    assert Uri.parse("sip:a@b;%6C%72;n%61me=v%61lue").params == {"lr": None, "name": "v%61lue"}


def test_headers_are_unescaped_once_and_two_of_a_name_are_one_list() -> None:
    uri = Uri.parse("sip:a@b?Replaces=c1%40h%3Bto-tag%3D1%2541&Route=%3Csip:x%3E&Route=%3Csip:y%3E")
    assert uri.header("replaces") == "c1@h;to-tag=1%41"
    assert uri.header("Route") == "<sip:x>,<sip:y>"
    assert uri.header("subject") is None


def test_username_is_unescaped_once_and_without_its_own_parameters() -> None:
    assert Uri.parse("sip:%2530;phone-context=x@b").username == "%30"
    assert Uri.parse("sip:b").username == ""


def test_unescape_keeps_what_is_no_escape_and_no_utf8() -> None:
    assert unescape("%Z%45%") == "%ZE%"
    assert unescape("%ff").encode("utf-8", "surrogateescape") == b"\xff"


def test_escapes_for_each_place() -> None:
    assert escape_user("a b@c;d") == "a%20b%40c;d"
    assert escape_param("a;b=c") == "a%3Bb%3Dc"
    assert escape_header("1@h;to-tag=2") == "1%40h%3Bto-tag%3D2"


def test_normalize_undoes_escapes_of_unreserved_characters_alone() -> None:
    assert normalize("%61%40%2f%00") == "a%40%2F%00"


# 19.1.4, its lists of equal and unequal URIs word by word.
EQUAL = [
    ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
    ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
    (
        "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
        "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ),
    (
        "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
        "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
    ("sip:a@[2001:db8:::192.0.2.1]", "sip:a@[2001:db8::192.0.2.1]"),
    ("tel:+1-201-555-0123", "tel:+1(201)555.0123"),
    ("tel:7042;phone-context=Example.com", "tel:70-42;phone-context=example.COM"),
    ("urn:service:sos", "URN:service:sos"),
]
UNEQUAL = [
    ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
    ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
    ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
    ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
    ("sip:alice@atlanta.com", "sips:alice@atlanta.com"),
    ("sip:atlanta.com", "sip:@atlanta.com"),
    ("sip:a@h;maddr=1.2.3.4", "sip:a@h"),
    ("sip:a@h;ttl=1", "sip:a@h"),
    ("sip:a@h;user=ip", "sip:a@h"),
    ("sip:a@h;method=INVITE", "sip:a@h"),
    ("sip:a:pw@h", "sip:a@h"),
    ("sip:a%40b@h", "sip:a@b@h"),
    ("sip:a@[2001:db8::1]", "sip:a@[2001:db8::2]"),
    ("sip:a@[::12345]", "sip:a@[::1]"),
    ("tel:+12015550123", "tel:+12015550124"),
    ("tel:7042;phone-context=a.com", "tel:7042"),
    ("tel:+12015550123", "sip:+12015550123@h"),
    ("urn:service:sos", "urn:service:sos.fire"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equivalent(one: str, other: str) -> None:
    assert Uri.parse(one).equivalent(Uri.parse(other))
    assert Uri.parse(other).equivalent(Uri.parse(one))


@pytest.mark.parametrize(("one", "other"), UNEQUAL)
def test_not_equivalent(one: str, other: str) -> None:
    assert not Uri.parse(one).equivalent(Uri.parse(other))
    assert not Uri.parse(other).equivalent(Uri.parse(one))


@pytest.mark.parametrize(
    ("text", "aor"),
    [
        ("sip:%61lice:pw@Atlanta.COM:5060;transport=tcp?x=y", "sip:alice@atlanta.com"),
        ("sip:example.org;lr", "sip:example.org"),
        ("sip:a@[2001:DB8::1]:5060", "sip:a@[2001:db8::1]"),
        ("sip:null-%00-null@example.com", "sip:null-%00-null@example.com"),
        ("tel:+1-201-555-0123;x=y", "tel:+12015550123"),
    ],
)
def test_address_of_record(text: str, aor: str) -> None:
    assert Uri.parse(text).aor() == aor


def test_equality_is_letter_by_letter_and_there_is_no_hash() -> None:
    assert Uri.parse("sip:a@b") == Uri.parse("sip:a@b")
    assert Uri.parse("sip:a@b") != Uri.parse("sip:a@B")
    assert Uri.parse("sip:a@b") != "sip:a@b"
    with pytest.raises(TypeError):
        hash(Uri.parse("sip:a@b"))


def test_edited_parameters_are_written() -> None:
    uri = Uri.parse("sip:a@b;lr")
    uri.params["transport"] = "tcp"
    uri.port = 5080
    assert str(uri) == "sip:a@b:5080;lr;transport=tcp"
    assert repr(uri) == "Uri('sip:a@b:5080;lr;transport=tcp')"


def test_host_and_port_apart_and_together() -> None:
    assert split_host("[::1]:5060") == ("::1", 5060)
    assert split_host("h:0") == ("h", 0)
    assert join_host("::1", 5060) == "[::1]:5060"
    assert join_host("h", None) == "h"
    assert same_host("A.example", "a.EXAMPLE")
    assert not same_host("::1", "localhost")
    assert same_host("::g", "::G")
