"""Messages: reading, views and their caches, edits, what is refused and whether that can be answered."""

from __future__ import annotations

import pytest

from pbxcore.sip.message import MAX_SIZE, UNREADABLE, Checked, Message, ParseError, Request, Response, check, parse

INVITE = (
    b"INVITE sip:bob@example.org SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport\r\n"
    b"v: SIP/2.0/TCP lower.example;branch=z9hG4bKb\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@example.org>;tag=1\r\n'
    b"To: <sip:bob@example.org>\r\n"
    b"Call-ID: abc@192.0.2.1\r\n"
    b"CSeq: 17 INVITE\r\n"
    b"m: <sip:alice@192.0.2.1:5060>;q=0.5, <sip:alice@192.0.2.2>\r\n"
    b"Route: <sip:p1.example;lr>,<sip:p2.example;lr>\r\n"
    b"Record-Route: <sip:rr.example;lr>\r\n"
    b"Supported: timer, 100rel\r\n"
    b"k: replaces\r\n"
    b"Require: 100rel\r\n"
    b"Expires: 180\r\n"
    b"X-Odd:  some\r\n  thing\r\n"
    b"Content-Type: Application/SDP ; charset=utf-8\r\n"
    b"Content-Length: 4\r\n"
    b"\r\n"
    b"body"
)
OK = (
    b"SIP/2.0 200 OK fine\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


def invite(old: bytes = b"", new: bytes = b"") -> Request:
    assert old in INVITE
    message = parse(INVITE.replace(old, new) if old else INVITE)
    assert isinstance(message, Request)
    return message


def refused(raw: bytes) -> ParseError:
    with pytest.raises(ParseError) as caught:
        check(parse(raw))
    return caught.value


def test_request_line_and_views() -> None:
    message = invite()
    check(message)
    assert (message.method, message.uri, str(message.request_uri)) == ("INVITE",) + ("sip:bob@example.org",) * 2
    assert [via.host for via in message.vias] == ["192.0.2.1", "lower.example"]
    assert message.vias[0] is message.via
    assert (message.branch, message.from_tag, message.to_tag) == ("z9hG4bKa", "1", None)
    assert (message.from_.display, message.to.uri.user) == ("Alice", "bob")
    assert (message.cseq.number, message.cseq.method, message.call_id) == (17, "INVITE", "abc@192.0.2.1")
    assert [contact.uri.host for contact in message.contacts] == ["192.0.2.1", "192.0.2.2"]
    assert message.contact is message.contacts[0]
    assert not message.contact_star
    assert [route.uri.host for route in message.routes] == ["p1.example", "p2.example"]
    assert [route.uri.host for route in message.record_routes] == ["rr.example"]
    assert (message.max_forwards, message.expires, message.content_length) == (70, 180, 4)
    assert message.content_type == "application/sdp"
    assert message.supported == ("timer", "100rel", "replaces")
    assert (message.require, message.proxy_require) == (("100rel",), ())
    assert message.body == b"body"
    assert repr(message) == "<Request INVITE sip:bob@example.org>"


def test_views_are_made_once() -> None:
    message = invite()
    assert message.from_ is message.from_
    assert message.contacts is message.contacts


def test_status_line() -> None:
    message = parse(OK)
    check(message)
    assert isinstance(message, Response)
    assert (message.status, message.reason, message.to_tag) == (200, "OK fine", "2")
    assert repr(message) == "<Response 200 OK fine>"
    assert message.to_bytes() == OK


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        getattr(invite(), "request_uri_")  # noqa: B009


def test_optional_views_of_a_bare_message() -> None:
    message = Message([])
    assert message.contacts == message.routes == message.record_routes == []
    assert (message.contact, message.contact_star) == (None, False)
    assert (message.max_forwards, message.expires, message.content_type, message.content_length) == (None,) * 4
    assert message.supported == ()
    for view in ("via", "from_", "to", "cseq", "call_id"):
        with pytest.raises(ParseError, match="Missing"):
            getattr(message, view)


def test_rows_keep_their_bytes_and_order() -> None:
    message = invite()
    assert message.fields[1] == ("via", "v: SIP/2.0/TCP lower.example;branch=z9hG4bKb")
    assert message.lines("x-odd") == ["X-Odd:  some\r\n  thing"]
    assert message.first("x-odd") == "some thing"
    assert message.to_bytes() == INVITE


def test_octets_that_are_no_utf8_survive() -> None:
    raw = INVITE.replace(b"Alice", b"M\xfcller").replace(b"some", "Müller".encode())
    message = parse(raw)
    check(message)
    assert message.from_.display == "M\udcfcller"
    assert message.first("x-odd") == "Müller thing"
    assert message.to_bytes() == raw


def test_first_values_and_lines() -> None:
    message = invite()
    assert message.first("route") == "<sip:p1.example;lr>"
    assert message.values("supported") == ["timer", "100rel", "replaces"]
    assert message.first("absent") is None
    assert message.values("absent") == message.lines("absent") == []
    assert "route" in message
    assert "absent" not in message


def test_authorization_is_no_list() -> None:
    message = parse(OK.replace(b"Call-ID", b'WWW-Authenticate: Digest realm="a", nonce="b"\r\nCall-ID'))
    assert message.values("www-authenticate") == ['Digest realm="a", nonce="b"']


def test_empty_list_elements_are_left_out() -> None:
    assert invite(b"Supported: timer, 100rel", b"Supported: ,timer,,").supported == ("timer", "replaces")
    assert invite(b"Supported: timer, 100rel", b"Supported:").supported == ("replaces",)


# ---- edits


def test_add_prepend_replace_remove() -> None:
    message = invite()
    message.add("Reason", "SIP;cause=200")
    message.prepend("Via", "SIP/2.0/UDP top.example;branch=z9hG4bKtop")
    message.replace("Supported", "gruu")
    message.replace("Subject", "new")
    message.remove("route")
    again = parse(message.to_bytes())
    assert again.via.host == message.via.host == "top.example"
    assert len(message.vias) == 3
    assert again.lines("supported") == ["Supported: gruu"]
    assert again.first("reason") == "SIP;cause=200"
    assert again.first("subject") == "new"
    assert "route" not in again


def test_an_edit_makes_views_stale() -> None:
    message = invite()
    seen = (message.via, message.from_tag, message.to_tag, message.contact, message.cseq, message.routes)
    assert seen[1:3] == ("1", None)
    message.replace("From", "<sip:x@y>;tag=9")
    message.replace("t", "<sip:x@y>;tag=8")
    message.replace("CSeq", "18 INVITE")
    message.replace("Contact", "<sip:n@n>")
    message.remove("route")
    message.remove("via")
    assert (message.from_tag, message.to_tag, message.cseq.number) == ("9", "8", 18)
    assert [str(contact) for contact in message.contacts] == ["<sip:n@n>"]
    assert message.routes == []
    with pytest.raises(ParseError):
        message.via  # noqa: B018


def test_an_edit_of_a_checked_message_reads_it_again() -> None:
    message = parse(OK)
    assert isinstance(message, Checked)
    message.replace("To", "<sip:b@b>;tag=3")
    message.replace("Via", "SIP/2.0/UDP 192.0.2.9:5080;branch=z9hG4bKb")
    message.add("Subject", "x")
    assert (message.to_tag, message.from_tag, message.branch) == ("3", "1", "z9hG4bKb")
    assert (message.sent_by.host, message.sent_by.port, message.via.port) == ("192.0.2.9", 5080, 5080)
    assert message.first("subject") == "x"
    with pytest.raises(ParseError, match="Missing CSeq"):
        message.remove("cseq")


def test_replace_keeps_the_place_and_drops_the_others() -> None:
    message = invite()
    message.replace("Via", "SIP/2.0/UDP only.example")
    assert [key for key, _ in message.fields[:2]] == ["via", "max-forwards"]
    assert len(message.lines("via")) == 1


def test_rows_are_passed_on_as_they_came() -> None:
    source, target = invite(), parse(OK)
    assert "x-odd" not in target
    target.add_lines("x-odd", source.lines("x-odd"))
    assert target.lines("x-odd") == source.lines("x-odd")
    assert b"X-Odd:  some\r\n  thing\r\n" in target.to_bytes()


def test_no_value_becomes_a_header() -> None:
    message = invite()
    message.add("Subject", "x\r\nEvil: 1\r\n\r\nbody")
    again = parse(message.to_bytes())
    assert "evil" not in again
    assert again.first("subject") == "x  Evil: 1    body"


@pytest.mark.parametrize("name", ["Bad Name", "", "Evil:", "A\r\nB"])
def test_no_name_becomes_a_header(name: str) -> None:
    with pytest.raises(ParseError):
        invite().add(name, "x")


def test_content_length_is_set_right() -> None:
    message = invite()
    message.body = b"longer body"
    assert b"Content-Length: 11\r\n\r\nlonger body" in message.to_bytes()
    assert message.to_bytes().count(b"Content-Length") == 1
    message.remove("content-length")
    assert message.to_bytes().endswith(b"Content-Length: 11\r\n\r\nlonger body")


def test_one_content_length_is_written() -> None:
    message = invite(b"Content-Length: 4", b"Content-Length: 4\r\nl: 4")
    assert message.to_bytes() == INVITE
    message.body = b"x"
    assert message.to_bytes().endswith(b"charset=utf-8\r\nContent-Length: 1\r\n\r\nx")


@pytest.mark.parametrize("row", [b"Content-Length: 0004", b"l:4", b"L  :   4", b"CONTENT-LENGTH:\r\n 4"])
def test_a_right_content_length_is_kept_as_it_came(row: bytes) -> None:
    raw = INVITE.replace(b"Content-Length: 4", row)
    assert parse(raw).to_bytes() == raw


# ---- source


@pytest.mark.parametrize(
    ("row", "marked"),
    [
        ("Via: SIP/2.0/UDP 192.0.2.1;branch=b", "Via: SIP/2.0/UDP 192.0.2.1;branch=b"),
        ("Via: SIP/2.0/UDP host;branch=b ", "Via: SIP/2.0/UDP host;branch=b;received=192.0.2.1"),
        ("v:SIP/2.0/UDP 192.0.2.1;rport;branch=b", "v:SIP/2.0/UDP 192.0.2.1;rport=7;branch=b;received=192.0.2.1"),
        ("Via: SIP/2.0/UDP h;branch=b;rport", "Via: SIP/2.0/UDP h;branch=b;rport=7;received=192.0.2.1"),
        ("Via: SIP/2.0/UDP h;RPORT;branch=b", "Via: SIP/2.0/UDP h;rport=7;branch=b;received=192.0.2.1"),
        ("Via: SIP/2.0/UDP h;rportx;rport", "Via: SIP/2.0/UDP h;rportx;rport=7;received=192.0.2.1"),
        ("Via: SIP/2.0/UDP h;received=6.6.6.6;rport=1", "Via: SIP/2.0/UDP h;received=192.0.2.1;rport=7"),
        ("Via: SIP/2.0/UDP h, SIP/2.0/TCP i;x", "Via: SIP/2.0/UDP h;received=192.0.2.1, SIP/2.0/TCP i;x"),
    ],
)
def test_where_a_request_came_from(row: str, marked: str) -> None:
    message = Request("OPTIONS", "sip:a", [("to", "To: x"), ("via", row), ("via", "Via: SIP/2.0/TCP lower")])
    message.mark_source("192.0.2.1", 7)
    assert message.fields == [("to", "To: x"), ("via", marked), ("via", "Via: SIP/2.0/TCP lower")]
    again = Request("OPTIONS", "sip:a", message.fields)
    assert again.via == message.via
    assert message.vias[-1].host == "lower"


# ---- line ends and start lines


@pytest.mark.parametrize("lead", [b"\r\n", b"\r\n\r\n", b"\n"])
def test_empty_lines_before_the_start_line_are_skipped(lead: bytes) -> None:
    assert parse(lead + INVITE).to_bytes() == INVITE


def test_bare_line_feeds() -> None:
    message = parse(INVITE.replace(b"\r\n", b"\n"))
    check(message)
    assert message.to_bytes() == INVITE
    mixed = parse(INVITE.replace(b"SIP/2.0\r\nVia", b"SIP/2.0\nVia"))
    assert mixed.to_bytes() == INVITE
    early = parse(INVITE.replace(b"Content-Length: 4\r\n\r\n", b"Content-Length: 4\n\n"))
    assert early.to_bytes() == INVITE


def test_no_empty_line_behind_the_headers() -> None:
    assert parse(OK[:-2]).to_bytes() == OK
    assert parse(OK[:-4]).to_bytes() == OK


def test_a_bare_carriage_return_is_refused_and_never_passed_on() -> None:
    error = refused(INVITE.replace(b"some", b"so\rme"))
    assert error.partial is not None
    assert b"so me" in error.partial.to_bytes()


@pytest.mark.parametrize(
    "line",
    [
        b"INVITE  sip:bob@example.org  SIP/2.0",
        b"INVITE sip:bob@example.org sip/2.0 ",
        b"INVITE\tsip:bob@example.org SIP/2.0",
    ],
)
def test_blanks_in_the_request_line_are_read_and_not_passed_on(line: bytes) -> None:
    message = parse(INVITE.replace(b"INVITE sip:bob@example.org SIP/2.0", line))
    assert message.to_bytes() == INVITE


@pytest.mark.parametrize(
    ("line", "status", "answered"),
    [
        (b"INVITE sip:bob@example.org SIP/3.0", 505, True),
        (b"INVITE sip:bob@example.org;x y SIP/2.0", 400, True),
        (b"INVITE sip:bob@example.org", 400, False),
        (b"INVITE SIP/2.0", 400, False),
        (b"GET / HTTP/1.1", 400, False),
        (b"IN<VITE sip:bob@example.org SIP/2.0", 400, False),
        (b"INVITE <sip:bob@example.org> SIP/2.0", 400, True),
        (b"INVITE sip:bob@exa<mple SIP/2.0", 400, True),
        (b"INVITE mailto:bob@example.org SIP/2.0", 416, True),
        (b"INVITE sip:bob@example.org?Subject=x SIP/2.0", 400, True),
        (b"", 400, False),
        (b"SIP/2.0", 400, False),
        (b"SIP/2.0 2000 OK", 400, False),
        (b"SIP/2.0 099 OK", 400, False),
        (b"SIP/2.0 7\xd9\xa30 OK", 400, False),
        (b"SIP/3.0 200 OK", 505, False),
    ],
)
def test_start_lines_that_are_refused(line: bytes, status: int, answered: bool) -> None:
    error = refused(INVITE.replace(b"INVITE sip:bob@example.org SIP/2.0", line))
    assert (error.status, error.partial is not None) == (status, answered)


@pytest.mark.parametrize("line", [b"SIP/2.0 200", b"SIP/2.0 200 ", b"sip/2.0 200  ", b"SIP/2.0  200"])
def test_status_lines_that_are_read(line: bytes) -> None:
    message = parse(OK.replace(b"SIP/2.0 200 OK fine", line))
    assert isinstance(message, Response)
    assert (message.status, message.reason) == (200, "")


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\x00", b"hello", b"\xff" * 100, b":\r\n\r\n"])
def test_noise_is_dropped(data: bytes) -> None:
    assert refused(data).partial is None


# ---- header rows


@pytest.mark.parametrize("row", [b"No colon here", b"Bad name: x", b": x", b"B\xc3\xa4d: x", b"\xe2\x84\xaa: 100rel"])
def test_a_malformed_row_is_refused(row: bytes) -> None:
    error = refused(INVITE.replace(b"Max-Forwards: 70", row))
    assert error.status == 400
    assert error.partial is not None
    assert error.partial.call_id == "abc@192.0.2.1"


@pytest.mark.parametrize(
    "row", [b"Max-Forwards  : 70", b"MAX-FORWARDS\t:70", b"max-forwards:\r\n\t70", b"Max-Forwards: 070"]
)
def test_spellings_of_a_row(row: bytes) -> None:
    message = parse(INVITE.replace(b"Max-Forwards: 70", row))
    check(message)
    assert message.max_forwards == 70


def test_a_fold_with_a_colon_is_no_header() -> None:
    message = invite(b"X-Odd:  some\r\n  thing", b"X-Odd: some\r\n Route: <sip:evil>")
    assert message.first("x-odd") == "some Route: <sip:evil>"
    assert len(message.routes) == 2


def test_a_fold_without_a_header_is_refused() -> None:
    assert refused(INVITE.replace(b"Via:", b" fold\r\nVia:", 1)).partial is not None


def test_256_headers_and_no_more() -> None:
    room = 256 - len(invite().fields)
    check(parse(INVITE.replace(b"X-Odd", b"X-A: 1\r\n" * room + b"X-Odd")))
    assert refused(INVITE.replace(b"X-Odd", b"X-A: 1\r\n" * (room + 1) + b"X-Odd")).status == 400
    assert refused(INVITE.replace(b"Expires", b"X-A: 1\r\n" * (room + 1) + b"Expires")).partial is not None
    assert refused(INVITE.replace(b"rr.example;lr>", b"rr.example;lr>" + b",<sip:a>" * 300)).partial is not None


def test_256_headers_without_folds() -> None:
    room = 256 - len(parse(OK).fields)
    check(parse(OK.replace(b"Call-ID", b"X-A: 1\r\n" * room + b"Call-ID")))
    assert refused(OK.replace(b"Call-ID", b"X-A: 1\r\n" * (room + 1) + b"Call-ID")).reason == "Too many headers"


def test_64_kilobytes_and_no_more() -> None:
    head = INVITE.replace(b"Content-Length: 4", b"Content-Length: 60000")
    assert len(parse(head + b"x" * 60_000).body) == 60_000
    assert refused(INVITE + b"x" * MAX_SIZE).status == 513


# ---- Content-Length


def test_octets_behind_the_body_are_ignored() -> None:
    assert parse(INVITE + b"more").body == b"body"


def test_without_a_length_the_datagram_ends_the_body() -> None:
    assert invite(b"Content-Length: 4\r\n", b"").body == b"body"


@pytest.mark.parametrize(
    "row",
    [
        b"Content-Length: 5",
        b"Content-Length: -4",
        b"Content-Length: +4",
        b"Content-Length: 4x",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999999999",
        b"Content-Length: 4\r\nl: 3",
        b"Content-Length: 4, 4",
    ],
)
def test_lengths_that_are_refused(row: bytes) -> None:
    error = refused(INVITE.replace(b"Content-Length: 4", row))
    assert error.status == 400
    assert error.partial is not None


def test_the_same_length_twice_is_read() -> None:
    assert invite(b"Content-Length: 4", b"Content-Length: 4\r\nl: 04").body == b"body"


# ---- check


@pytest.mark.parametrize("key", [b"From", b"To", b"Call-ID", b"CSeq"])
def test_a_missing_mandatory_header_cannot_be_answered(key: bytes) -> None:
    error = refused(INVITE.replace(b"\r\n" + key + b":", b"\r\nX-Gone:"))
    assert (error.status, error.partial) == (400, None)
    assert key.decode() in error.reason


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CSeq: 17 INVITE", b"CSeq: 17 BYE"),
        (b"CSeq: 17 INVITE", b"CSeq: 17 invite"),
        (b"CSeq: 17 INVITE", b"CSeq: x INVITE"),
        (b"CSeq: 17 INVITE", b"CSeq: 17 INVITE\r\nCSeq: 17 INVITE"),
        (b"Call-ID: abc@192.0.2.1", b"Call-ID: a\r\ni: b"),
        (b"Call-ID: abc@192.0.2.1", b"Call-ID:"),
        (b"To: <sip:bob@example.org>", b"To: <sip:bob@example.org>\r\nt: <sip:x@y>"),
        (b"To: <sip:bob@example.org>", b"To: bob"),
        (b"To: <sip:bob@example.org>", b'To: "Bob <sip:bob@example.org>'),
        (b"<sip:alice@example.org>;tag=1", b"<sip:alice@example.org;tag=1"),
        (b"Max-Forwards: 70", b"Max-Forwards: many"),
        (b"Max-Forwards: 70", b"Max-Forwards: -1"),
        (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nMax-Forwards: 70"),
        (b"Content-Type: A", b"c: text/plain\r\nContent-Type: A"),
        (b", <sip:alice@192.0.2.2>", b", *"),
        (b", <sip:alice@192.0.2.2>", b", alice"),
        (b"<sip:p1.example;lr>", b"p1"),
        (b"<sip:rr.example;lr>", b"<sip:rr.example;lr"),
        (b"Via: SIP/2.0/UDP", b"Via: SIP/3.0/UDP"),
        (b";rport\r\n", b";rport, ;\r\n"),
    ],
)
def test_what_check_refuses_and_can_answer(old: bytes, new: bytes) -> None:
    assert old in INVITE
    error = refused(INVITE.replace(old, new))
    assert (error.status, error.partial is not None) == (400, True)


def test_an_unreadable_via_leads_back_to_the_source() -> None:
    error = refused(INVITE.replace(b"192.0.2.1:5060", b"192.0.2.1:5060port"))
    assert error.partial is not None
    assert (error.partial.via.host, "rport" in error.partial.via.params) == (UNREADABLE, True)
    error.partial.mark_source("192.0.2.9", 5099)
    row = error.partial.fields[0][1]
    assert row == "Via: SIP/2.0/UDP 192.0.2.1:5060port;branch=z9hG4bKa;rport=5099;received=192.0.2.9"


def test_an_ack_and_a_response_are_never_answered() -> None:
    assert refused(INVITE.replace(b"INVITE", b"ACK").replace(b"17", b"x")).partial is None
    assert refused(OK.replace(b"1 INVITE", b"x")).partial is None
    assert refused(OK.replace(b"Content-Length: 0", b"Content-Length: 1")).partial is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Max-Forwards: 70\r\n", b""),
        (b";tag=1", b""),
        (b";branch=z9hG4bKa", b""),
        (b"Content-Length: 4\r\n", b""),
        (b"Expires: 180", b"Expires: soon"),
        (b"Expires: 180", b"Date: Fri, 01 Jan 2010 16:00:00 EST"),
        (b"v: SIP/2.0/TCP lower.example;branch=z9hG4bKb", b"v: garbage"),
        (b"Max-Forwards: 70", b"Max-Forwards: 300"),
        (b"Content-Type: Application/SDP ; charset=utf-8", b"Content-Type: ,"),
        (b"sip:bob@example.org SIP", b"tel:+15550100 SIP"),
    ],
)
def test_what_check_tolerates(old: bytes, new: bytes) -> None:
    message = invite(old, new)
    check(message)
    assert message.vias


def test_expires_that_cannot_be_read_is_none_and_a_huge_one_is_cut() -> None:
    assert invite(b"Expires: 180", b"Expires: -1").expires is None
    assert invite(b"Expires: 180", b"Expires: 99999999999").expires == 2**32 - 1
    assert invite(b"Expires: 180", b"Expires: " + b"9" * 5000).expires == 2**32 - 1


def test_contact_star() -> None:
    message = invite(b"m: <sip:alice@192.0.2.1:5060>;q=0.5, <sip:alice@192.0.2.2>", b"m: *")
    check(message)
    assert (message.contact_star, message.contacts, message.contact) == (True, [], None)


def test_a_refusal_counts_whatever_its_contact_says() -> None:
    broken = OK.replace(b"Call-ID", b"Contact: bob\r\nCall-ID")
    assert refused(broken).partial is None
    busy = parse(broken.replace(b"200 OK fine", b"486 Busy Here"))
    check(busy)
    assert busy.contacts == []
    assert busy.contact is None


def test_responses_of_methods_with_routes_are_checked() -> None:
    assert refused(OK.replace(b"Call-ID", b"Record-Route: x\r\nCall-ID")).status == 400


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        ((b"Contact: <sip:a@b>",), ["contact"]),  # the last row has no line break that `parse` would see
        ((b"Contact: sip:a@b",), ["contact"]),
        ((b"Max-Forwards: 70", b"Contact: sip:a@b"), ["contact", "max-forwards"]),
        ((b"Max-Forwards: 70", b"Max-Forwards: 7:1"), ["max-forwards"]),
    ],
)
def test_no_part_of_a_row_is_a_row(rows: tuple[bytes, ...], keys: list[str]) -> None:
    head = (
        b"BYE sip:b@192.0.2.7 SIP/2.0",
        b"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1",
        b"From: <sip:a@b>;tag=1",
        b"To: <sip:c@d>;tag=2",
        b"Call-ID: 1",
        b"CSeq: 2 BYE",
    )
    message = parse(b"\r\n".join((*head, *rows, b"\r\n")))
    assert sorted(set(message.first_lines) - {"via", "from", "to", "call-id", "cseq"}) == keys
