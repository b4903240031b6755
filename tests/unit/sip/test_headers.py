"""Header names and structured values, fast path and careful path."""

from __future__ import annotations

import pytest

from pbxcore.sip.errors import ParseError
from pbxcore.sip.headers import (
    CSeq,
    NameAddr,
    Via,
    digits,
    is_token,
    key_of,
    one_line,
    parse_params,
    quote,
    split,
    unfold,
    unquote,
)
from pbxcore.sip.uri import Uri


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Via", "via"),
        ("v", "via"),
        ("V", "via"),
        ("vIa", "via"),
        ("Call-ID", "call-id"),
        ("CALL-ID", "call-id"),
        ("i", "call-id"),
        ("x", "session-expires"),
        ("Via  ", "via"),
        ("X-Thing", "x-thing"),
        ("extensionHeader-!.%*+_`'~", "extensionheader-!.%*+_`'~"),
    ],
)
def test_names(name: str, key: str) -> None:
    assert key_of(name) == key


@pytest.mark.parametrize("name", ["", " ", "Vi a", "Via\x00", "Vía", "Via/", "\u212a"])
def test_no_name(name: str) -> None:
    """The last one is the Kelvin sign, whose lower case is k."""
    with pytest.raises(ParseError):
        key_of(name)


def test_digits_are_plain_and_bounded() -> None:
    assert digits("0068", 255) == 68
    for text in ("", "-1", "+1", "1 ", "1_0", "٣", "²", "256", "9" * 41, "0x1"):
        assert digits(text, 255) is None


def test_unfold_makes_every_fold_one_blank() -> None:
    assert unfold("  a \r\n\t b\r\n c ") == "a b c"


def test_one_line_lets_no_value_become_a_header() -> None:
    assert one_line("a\r\nVia: x\n") == "a  Via: x "
    assert one_line("plain") == "plain"


def test_quote_and_unquote() -> None:
    assert quote('a "b" \\ c\r\nd') == '"a \\"b\\" \\\\ c  d"'
    assert unquote('"a \\"b\\" \\\\"') == 'a "b" \\'
    for text in ("token", '"', "", '"open'):
        assert unquote(text) == text


@pytest.mark.parametrize(
    ("text", "separator", "parts"),
    [
        ("a, b ,c", ",", ["a", "b", "c"]),
        ('"a,b" <sip:x,y@z>;p="q,r", <sip:w>', ",", ['"a,b" <sip:x,y@z>;p="q,r"', "<sip:w>"]),
        ('"a\\",b", c', ",", ['"a\\",b"', "c"]),
        ('"a\\\\", c', ",", ['"a\\\\"', "c"]),
        ("<a;b>;c", ";", ["<a;b>", "c"]),
        ('"open, b', ",", ['"open, b']),
        ("<open, b", ",", ["<open, b"]),
        ('<sip:"@x>, c', ",", ['<sip:"@x>', "c"]),
        (",,", ",", ["", "", ""]),
        ("", ",", [""]),
    ],
)
def test_split(text: str, separator: str, parts: list[str]) -> None:
    assert split(text, separator) == parts


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("", {}),
        (";tag=1", {"tag": "1"}),
        (";Tag=1;TAG=2", {"tag": "1"}),
        ("; tag = 1 ; lr", {"tag": "1", "lr": None}),
        (";;;", {}),
        (";a=;b", {"a": "", "b": None}),
        (';m="INVITE, ACK;x"; q=0.5', {"m": '"INVITE, ACK;x"', "q": "0.5"}),
        (';x="\\"";y=1', {"x": '"\\""', "y": "1"}),
        (";x=a=b", {"x": "a=b"}),
        (";received=[2001:db8::1]", {"received": "[2001:db8::1]"}),
    ],
)
def test_params(text: str, params: dict[str, str | None]) -> None:
    assert parse_params(text) == params


@pytest.mark.parametrize(
    "text", ["tag=1", ';x="open', ';x="a"b', ";x=a b", ";a b=1", ";x=<y>", ";=1 ", ";x=1, <sip:a>"]
)
def test_no_params(text: str) -> None:
    with pytest.raises(ParseError):
        parse_params(text)


# ---- CSeq


@pytest.mark.parametrize("text", ["1 INVITE", "0001 INVITE", "1   INVITE", "1\tINVITE"])
def test_cseq(text: str) -> None:
    assert CSeq.parse(text) == (1, "INVITE")


def test_cseq_is_written() -> None:
    assert str(CSeq(7, "BYE")) == "7 BYE"


@pytest.mark.parametrize(
    "text", ["", "1", "INVITE", "1 INVITE x", "-1 INVITE", "1.0 BYE", "4294967296 ACK", "1 IN/V", "a BYE"]
)
def test_no_cseq(text: str) -> None:
    with pytest.raises(ParseError):
        CSeq.parse(text)


def test_cseq_up_to_32_bits() -> None:
    assert CSeq.parse("4294967295 INVITE").number == 2**32 - 1


# ---- name-addr


@pytest.mark.parametrize(
    ("text", "display", "uri", "params"),
    [
        ("<sip:a@b>", None, "sip:a@b", {}),
        ("<sip:a@b;lr>;tag=x", None, "sip:a@b;lr", {"tag": "x"}),
        ('"Alice" <sip:a@b>;tag=x', "Alice", "sip:a@b", {"tag": "x"}),
        ('"Alice"<sip:a@b>', "Alice", "sip:a@b", {}),
        ('"<sip:evil@x>" <sip:a@b>', "<sip:evil@x>", "sip:a@b", {}),
        ('"a \\"b\\" \\\\" <sip:a@b>', 'a "b" \\', "sip:a@b", {}),
        ('"" <sip:a@b>', "", "sip:a@b", {}),
        ("Alice Müller <sip:a@b>", "Alice Müller", "sip:a@b", {}),
        ('"Müller" <sip:a@b>', "Müller", "sip:a@b", {}),
        ("caller<sip:a@b>", "caller", "sip:a@b", {}),
        ("Bell, Alexander <sip:a@b>", "Bell, Alexander", "sip:a@b", {}),
        ("< sip:a@b >", None, "sip:a@b", {}),
        ("sip:a@b", None, "sip:a@b", {}),
        ("sip:a@b;tag=x", None, "sip:a@b", {"tag": "x"}),
        ("sip:a@b ; tag = x", None, "sip:a@b", {"tag": "x"}),
        ("<tel:+1555>;tag=x", None, "tel:+1555", {"tag": "x"}),
        ("<sip:a@[2001:db8::1]:5060>", None, "sip:a@[2001:db8::1]:5060", {}),
        ("<sip:a@b> ;;; q=0.1;", None, "sip:a@b", {"q": "0.1"}),
        ("<sip:a@b?Route=%3Csip:x%3E>", None, "sip:a@b?route=%3Csip:x%3E", {}),
    ],
)
def test_name_addr(text: str, display: str | None, uri: str, params: dict[str, str | None]) -> None:
    address = NameAddr.parse(text)
    assert (address.display, str(address.uri), address.params) == (display, uri, params)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "<>",
        "<sip:a@b",
        "sip:a@b>",
        '"Mr. J. User <sip:j.user@example.com>',
        '"a" b <sip:a@b>',
        '"a"',
        'x "a" <sip:a@b>',
        "<sip:a@b>tag=x",
        "<sip:a@b>;tag=a b",
        "<sip:a@b>, <sip:c@d>",
        "<sip:a@b:99999>",
        "sip:a@b?Route=%3Csip:x%3E",
        "sip:a,b@c",
        "<sip:a@b>;x=\x00",
    ],
)
def test_no_name_addr(text: str) -> None:
    with pytest.raises(ParseError):
        NameAddr.parse(text)


def test_tag() -> None:
    assert NameAddr.parse("<sip:a@b>;Tag=x").tag == "x"
    for text in ("<sip:a@b>", "<sip:a@b>;tag", "<sip:a@b>;tag="):
        assert NameAddr.parse(text).tag is None


def test_name_addr_is_written_so_that_a_name_cannot_break_out() -> None:
    address = NameAddr(Uri.parse("sip:a@b"), 'x" <sip:evil@x>\r\nVia: y', {"tag": "1", "lr": None})
    assert str(address) == '"x\\" <sip:evil@x>  Via: y" <sip:a@b>;tag=1;lr'
    assert NameAddr.parse(str(address)).uri == address.uri
    assert repr(NameAddr(Uri.parse("sip:a@b"))) == "NameAddr('<sip:a@b>')"
    assert address == NameAddr(Uri.parse("sip:a@b"), address.display, {"tag": "1", "lr": None})
    assert address != NameAddr(Uri.parse("sip:a@b"), "x")
    assert address != "x"


# ---- Via


@pytest.mark.parametrize(
    ("text", "transport", "host", "port", "branch"),
    [
        ("SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx;rport", "UDP", "192.0.2.1", 5060, "z9hG4bKx"),
        ("SIP/2.0/TCP host.example", "TCP", "host.example", None, None),
        ("SIP/2.0/tcp host.example;branch=", "TCP", "host.example", None, None),
        ("SIP / 2.0 / UDP first.example : 4000 ;ttl=16 ; branch = z9hG4bKa", "UDP", "first.example", 4000, "z9hG4bKa"),
        ("SIP/2.0/UDP   h;branch=b", "UDP", "h", None, "b"),
        ("SIP/2.0/WS df7jal23ls0d.invalid;branch=b", "WS", "df7jal23ls0d.invalid", None, "b"),
        ("SIP/2.0/UDP [2001:db8::9:1]:6050;branch=b", "UDP", "2001:db8::9:1", 6050, "b"),
        ("SIP/2.0/UDP h;;branch=b;", "UDP", "h", None, "b"),
        ("SIP/2.0/TLS-SCTP h", "TLS-SCTP", "h", None, None),
    ],
)
def test_via(text: str, transport: str, host: str, port: int | None, branch: str | None) -> None:
    via = Via.parse(text)
    assert (via.protocol, via.transport, via.host, via.port, via.branch) == ("SIP/2.0", transport, host, port, branch)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ;branch=b",
        "SIP/2.0 h",
        "SIP/2.0/UDP h:70000",
        "SIP/2.0/UDP h:5060port;branch=b",
        "SIP/2.0/UDP h1 h2",
        "SIP/2.0/ h",
        "/2.0/UDP h",
        "SIP/2.0/UDP h;branch=a b",
        "SIP/2.0/U P/ h",
    ],
)
def test_no_via(text: str) -> None:
    with pytest.raises(ParseError):
        Via.parse(text)


def test_via_of_another_version_is_read() -> None:
    assert Via.parse("SIP/7.0/UDP h").protocol == "SIP/7.0"


def test_received_and_rport() -> None:
    via = Via.parse("SIP/2.0/UDP h;received=[2001:db8::1];rport=5070")
    assert (via.received, via.rport) == ("2001:db8::1", 5070)
    asked = Via.parse("SIP/2.0/UDP h;rport")
    assert asked.rport is None
    assert "rport" in asked.params
    assert asked.received is None
    assert Via.parse("SIP/2.0/UDP h;rport=70000;received=").rport is None


def test_via_is_written() -> None:
    via = Via("UDP", "::1", 5060, {"branch": "z9hG4bKx", "rport": None})
    assert str(via) == "SIP/2.0/UDP [::1]:5060;branch=z9hG4bKx;rport"
    assert Via.parse(str(via)) == via
    assert repr(Via("TCP", "h")) == "Via('SIP/2.0/TCP h')"
    assert via != "x"


def test_tokens() -> None:
    assert is_token("INVITE")
    assert not is_token("INV ITE")
    assert not is_token("")
