"""RFC 4475, RFC 5118 and captured device messages through parse and check: the outcome, then what was understood."""

from __future__ import annotations

import contextlib
import gc

import pytest

from pbxcore.sip import build
from pbxcore.sip.framing import FramingError, StreamFramer
from pbxcore.sip.message import ParseError, Request, Response, check, parse
from tests.torture.corpus import DATA, DEVICES, EVERYTHING, RFC4475, RFC5118, Sample, named

# What this parser decides where the indexes leave it a choice, and where they do not.
REFUSED = {
    "badinv01": "400",
    "badvers": "505",
    "bigcode": "drop",
    "clerr": "400",
    "escruri": "400",
    "insuf": "drop",
    "ipv6-bad": "400",
    "ltgtruri": "400",
    "lwsruri": "400",
    "mcl01": "400",
    "mismatch01": "400",
    "mismatch02": "400",
    "multi01": "400",
    "ncl": "400",
    "novelsc": "416",
    "quotbal": "400",
    "regbadct": "400",
    "scalar02": "400",
    "scalarlg": "drop",
    "test": "drop",
    "unkscm": "416",
}


def read(sample: Sample) -> Request | Response:
    message = parse(sample.raw)
    check(message)
    return message


def request(name: str) -> Request:
    message = read(named(name))
    assert isinstance(message, Request)
    return message


def outcome(sample: Sample) -> str:
    try:
        read(sample)
    except ParseError as error:
        return "drop" if error.partial is None else str(error.status)
    return "read"


def test_the_indexes_cover_every_file() -> None:
    listed = {sample.name for sample in EVERYTHING}
    on_disk = {
        str(path.relative_to(DATA))
        for path in DATA.rglob("*")
        if path.suffix in (".dat", ".sip") and "raw_lf" not in path.parts
    }
    assert listed == on_disk
    assert (len(RFC4475), len(RFC5118), len(DEVICES)) == (51, 12, 20)


@pytest.mark.parametrize("sample", [*RFC4475, *RFC5118], ids=str)
def test_outcome_is_one_that_the_index_accepts(sample: Sample) -> None:
    assert outcome(sample) in sample.outcomes()


@pytest.mark.parametrize("sample", EVERYTHING, ids=str)
def test_outcome_is_the_one_we_chose(sample: Sample) -> None:
    stem = sample.name.rpartition("/")[2].partition(".")[0]
    assert outcome(sample) == REFUSED.get(stem, "read")


@pytest.mark.parametrize("sample", [sample for sample in EVERYTHING if outcome(sample).isdigit()], ids=str)
def test_what_is_refused_can_be_answered_with_readable_bytes(sample: Sample) -> None:
    with pytest.raises(ParseError) as caught:
        read(sample)
    status, partial = caught.value.status, caught.value.partial
    assert partial is not None
    answer = parse(build.response(partial, status, to_tag="torture").to_bytes())
    assert isinstance(answer, Response)
    assert answer.status == status
    assert answer.lines("via") == partial.lines("via")
    assert [len(answer.lines(key)) for key in ("from", "to", "call-id", "cseq")] == [1, 1, 1, 1]


@pytest.mark.parametrize("sample", EVERYTHING, ids=str)
def test_rows_are_kept_byte_for_byte(sample: Sample) -> None:
    if outcome(sample) != "read":
        return
    message = parse(sample.raw)
    head = sample.raw.partition(b"\r\n\r\n")[0]
    for _, row in message.fields:
        assert row.encode("utf-8", "surrogateescape") in head
    again = parse(message.to_bytes())
    added = [("content-length", f"Content-Length: {len(message.body)}")] if "content-length" not in message else []
    assert again.fields == message.fields + added
    assert again.body == message.body


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "rfc5118" / "raw_lf").iterdir()))
def test_bare_line_feeds_read_like_the_wire_form(name: str) -> None:
    def rows(raw: bytes) -> list[tuple[str, str]]:
        try:
            message: Request | Response | None = parse(raw)
        except ParseError as error:  # Content-Length counts the CRLFs that this form has not
            message = error.partial
        assert message is not None
        return [row for row in message.fields if row[0] != "content-length"]

    folder = DATA / "rfc5118"
    assert rows((folder / "raw_lf" / name).read_bytes()) == rows((folder / name).read_bytes()) != []


# ---- what was understood: RFC 4475 3.1.1


def test_wsinv_white_space_everywhere() -> None:
    message = request("wsinv")
    assert message.to_tag == "1918181833n"
    assert message.from_.display == 'J Rosenberg \\"'
    assert message.from_tag == "98asjd8"
    assert message.max_forwards == 68
    assert message.cseq == (9, "INVITE")
    assert [(via.transport, via.host, via.branch) for via in message.vias] == [
        ("UDP", "192.0.2.2", "390skdjuw"),
        ("TCP", "spindle.example.com", "z9hG4bK9ikj8"),
        ("UDP", "192.168.255.111", "z9hG4bK30239"),
    ]
    assert message.first("subject") == ""
    assert message.first("newfangledheader") == "newfangled value continued newfangled value"
    assert message.contact is not None
    assert message.contact.display == 'Quoted string ""'
    assert message.contact.params == {"newparam": "newvalue", "secondparam": None, "q": "0.33"}
    assert message.routes[0].uri.params == {"lr": None, "unknownwith": "value", "unknown-no-value": None}
    assert len(message.body) == 150


def test_intmeth_every_character_that_the_grammar_allows() -> None:
    message = request("intmeth")
    assert message.method == message.cseq.method == "!interesting-Method0123456789_*+`.%indeed'~"
    uri = message.request_uri
    assert uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert uri.host == "example.com"
    assert str(uri) == message.uri
    assert message.to.display == "BEL:\x07 NUL:\x00 DEL:\x7f"
    assert message.from_.display == "token1~` token2'+_ token3*%!.-"
    assert message.from_.params["fromparam''~+*_!.-%"] == '"работающий"'
    assert message.from_tag == "_token~1'+`*%!-."
    assert message.first("extensionheader-!.%*+_`'~") == "\ufeff大停電"


def test_esc01_escapes_are_equal_and_never_undone_twice() -> None:
    message = request("esc01")
    assert message.request_uri.user == "sips%3Auser%40example.com"
    assert message.request_uri.username == "sips:user@example.com"
    assert message.to.uri.username == "user"
    assert message.from_.uri.username == "I have spaces"
    assert message.contact is not None
    assert message.contact.uri.params == {"lr": None, "name": "v%61lue%25%34%31"}


def test_escnull_two_contacts_that_differ() -> None:
    message = request("escnull")
    assert message.to.uri.username == "null-\x00-null"
    one, other = message.contacts
    assert not one.uri.equivalent(other.uri)
    assert one.uri.aor() == "sip:%00@host5.example.com"


def test_esc02_no_escape_makes_a_header_or_a_method() -> None:
    message = request("esc02")
    assert message.method == "RE%47IST%45R"
    assert [str(contact.uri) for contact in message.contacts] == [
        "sip:alias1@host1.example.com",
        "sip:alias3@host3.example.com",
    ]
    assert message.from_.display == "%Z%45"


def test_lwsdisp_no_blank_before_the_bracket() -> None:
    assert request("lwsdisp").from_.display == "caller"


def test_longreq_long_values_and_34_vias() -> None:
    message = request("longreq")
    assert len(message.vias) == 34
    assert message.via.host == "sip33.example.com"
    assert message.vias[-1].received == "192.0.2.5"
    assert len(message.to.uri.params) == 3
    assert len(message.body) == 150


def test_dblreq_what_follows_the_message_is_not_read() -> None:
    message = request("dblreq")
    assert (message.method, message.body) == ("REGISTER", b"")


def test_semiuri_semicolons_in_the_user() -> None:
    uri = request("semiuri").request_uri
    assert (uri.user, uri.host, uri.params) == ("user;par=u%40example.net", "example.com", {})


def test_transports_lower_vias_may_be_anything() -> None:
    assert [via.transport for via in request("transports").vias] == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_mpart01_binary_body_is_framed_by_its_length() -> None:
    message = request("mpart01")
    assert len(message.body) == 553
    assert b"\x00" in message.body


def test_unreason_and_noreason() -> None:
    odd, none = read(named("unreason")), read(named("noreason"))
    assert isinstance(odd, Response)
    assert isinstance(none, Response)
    assert (odd.status, odd.reason) == (200, "= 2**3 * 5**2 но сто девяносто девять - простое")
    assert (none.status, none.reason) == (100, "")


# ---- 3.1.2 and later


def test_lwsstart_and_trws_blanks_are_not_passed_on() -> None:
    assert request("lwsstart").to_bytes().startswith(b"INVITE sip:user@example.com SIP/2.0\r\n")
    assert request("trws").to_bytes().startswith(b"OPTIONS sip:remote-target@example.com SIP/2.0\r\n")


def test_badaspec_and_baddn_are_inferred() -> None:
    assert str(request("badaspec").to.uri) == "sip:t.watson@example.org"
    message = request("baddn")
    assert str(message.from_) == '"Bell, Alexander" <sip:a.g.bell@example.com>;tag=43'
    assert message.to.uri.user == "t.watson"


def test_escaped_headers_of_the_request_uri_never_become_headers() -> None:
    with pytest.raises(ParseError) as caught:
        read(named("escruri"))
    assert caught.value.partial is not None
    assert "route" not in caught.value.partial


def test_badbranch_an_empty_cookie_is_a_branch_like_any_other() -> None:
    assert request("badbranch").branch == "z9hG4bK"


def test_bext01_require_lists() -> None:
    message = request("bext01")
    assert message.require == ("nothingSupportsThis", "nothingSupportsThisEither")
    assert message.proxy_require == ("noProxiesSupportThis", "norDoAnyProxiesSupportThis")


def test_cparam_a_parameter_outside_of_brackets_is_the_headers_own() -> None:
    outside, inside = request("cparam01").contact, request("cparam02").contact
    assert outside is not None
    assert inside is not None
    assert (outside.uri.params, outside.params) == ({}, {"unknownparam": None})
    assert (inside.uri.params, inside.params) == ({"unknownparam": None}, {})


def test_regescrt_the_route_stays_in_the_contact() -> None:
    message = request("regescrt")
    assert message.contact is not None
    assert message.contact.uri.header("Route") == "<sip:sip.example.com>"
    assert str(message.contact.uri) == "sip:user@example.com?route=%3Csip:sip.example.com%3E"
    assert message.routes == []


def test_unksm2_foreign_schemes_outside_of_the_request_uri_are_read() -> None:
    message = request("unksm2")
    assert message.contact is not None
    assert [address.uri.scheme for address in (message.to, message.from_, message.contact)] == ["isbn", "http", "name"]


def test_inv2543_neither_branch_nor_length_nor_hops() -> None:
    message = request("inv2543")
    assert (message.branch, message.max_forwards, message.content_length, message.to_tag) == (None, None, None, None)
    assert len(message.body) == 105


# ---- RFC 5118


def test_ipv6_port_inside_and_outside_of_the_brackets() -> None:
    inside, outside = request("port-ambiguous").request_uri, request("port-unambiguous").request_uri
    assert (inside.host, inside.port) == ("2001:db8::10:5070", None)
    assert (outside.host, outside.port) == ("2001:db8::10", 5070)


def test_ipv6_received_with_and_without_brackets() -> None:
    assert request("via-received-param-with-delim").via.received == "2001:db8::9:255"
    assert request("via-received-param-no-delim").via.received == "2001:db8::9:255"


def test_ipv6_three_colons_are_read_as_two() -> None:
    three, two = request("ipv6-bug-abnf-3-colons").request_uri, request("ipv6-correct-abnf-2-colons").request_uri
    assert three.equivalent(two)


def test_ipv6_mapped_and_mixed_vias() -> None:
    assert [(via.host, via.port) for via in request("ipv4-mapped-ipv6").vias] == [
        ("::ffff:192.0.2.10", 19823),
        ("::ffff:192.0.2.2", None),
    ]
    assert [via.host for via in request("mult-ip-in-header").vias] == ["2001:db8::9:1", "192.0.2.1", "2001:db8::9:255"]


# ---- devices


@pytest.mark.parametrize("sample", DEVICES, ids=str)
def test_device_message_comes_out_as_it_came_in(sample: Sample) -> None:
    message = read(sample)
    assert isinstance(message, Request)
    assert message.method == sample.method_or_code
    assert message.to_bytes() == sample.raw
    assert message.from_tag
    assert message.branch
    assert message.contact is not None


def test_reading_and_refusing_leave_no_reference_cycles() -> None:
    """The signalling process runs without the collector: what is read must go away by itself."""
    gc.collect()
    gc.disable()
    try:
        for sample in EVERYTHING:
            assert outcome(sample)
            with contextlib.suppress(FramingError):
                StreamFramer().feed(sample.raw)
            with contextlib.suppress(ParseError):
                message = read(sample)
                if isinstance(message, Request):
                    message.mark_source("192.0.2.1", 5060)
                    build.response(message, 180, to_tag="x").to_bytes()
        del message
        assert gc.collect() == 0
    finally:
        gc.enable()


# ---- on a stream


def test_everything_readable_in_one_stream_is_cut_where_it_was_joined() -> None:
    parts = [sample.raw for sample in EVERYTHING if outcome(sample) == "read" and _comes_out_as_it_is(sample.raw)]
    assert len(parts) > 50
    framer = StreamFramer()
    stream = b"".join(parts)
    found = [part for at in range(0, len(stream), 7) for part in framer.feed(stream[at : at + 7])]
    assert found == parts


def _comes_out_as_it_is(raw: bytes) -> bool:
    message = parse(raw)
    return message.content_length is not None and message.to_bytes() == raw


@pytest.mark.parametrize("name", ["ncl", "mcl01"])
def test_unusable_length_ends_the_stream_with_something_to_answer(name: str) -> None:
    with pytest.raises(FramingError) as caught:
        StreamFramer().feed(named(name).raw)
    assert caught.value.status == 400
    assert caught.value.partial is not None


def test_clerr_waits_on_a_stream() -> None:
    framer = StreamFramer()
    raw = named("clerr").raw
    assert framer.feed(raw) == []
    assert framer.pending == len(raw)
