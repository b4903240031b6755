"""Whatever is written is read back, whatever is read is written back, and whatever is mutated is refused politely.

HOOKLINE_MUTATIONS sets how many mutated messages are tried (20,000 by default; some seconds a million).
"""

from __future__ import annotations

import os
import random
import string
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbxcore.sip import build
from pbxcore.sip.dialog import Dialog
from pbxcore.sip.framing import FramingError, KeepAlive, StreamFramer
from pbxcore.sip.headers import CSeq, NameAddr, Via, quote, split, unquote
from pbxcore.sip.message import (
    Checked,
    Message,
    ParseError,
    Request,
    Response,
    _as_usual,
    _read,
    _read_by_hand,
    check,
    parse,
)
from pbxcore.sip.rows import value_of
from pbxcore.sip.uri import Params, Uri, escape_param, escape_user, normalize, unescape
from pbxcore.sip.views import STALE
from tests.torture.corpus import EVERYTHING

FEW = settings(max_examples=60, deadline=None)

TOKEN = string.ascii_letters + string.digits + "-.!%*_+`'~"
tokens = st.text(TOKEN, min_size=1, max_size=12)
words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
hosts = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.lists(words, min_size=1, max_size=3).map(".".join),
)
ports = st.none() | st.integers(1, 65535)
param_values = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map(escape_param)
uri_params: st.SearchStrategy[Params] = st.dictionaries(words, param_values, max_size=3)
users = st.none() | texts.filter(bool).map(escape_user)
sip_uris = st.builds(
    Uri,
    st.sampled_from(["sip", "sips"]),
    users,
    hosts,
    ports,
    uri_params,
    st.dictionaries(words, words, max_size=2),
)
tel_uris = st.builds(Uri, st.just("tel"), st.from_regex(r"\+[0-9][0-9.-]{0,12}", fullmatch=True), st.just(""))
header_params: st.SearchStrategy[Params] = st.dictionaries(
    tokens.map(str.lower), st.none() | tokens | texts.map(quote), max_size=3
)
addresses = st.builds(NameAddr, sip_uris | tel_uris, st.none() | texts.map(str.strip).filter(bool), header_params)
vias = st.builds(Via, st.sampled_from(["UDP", "TCP", "TLS", "WS", "WSS", "SCTP"]), hosts, ports, header_params)
values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(lambda text: text.strip(" \t"))
rare_names = words.map(lambda word: f"X-{word}")


@st.composite
def requests(draw: st.DrawFn) -> Request:
    method = draw(st.sampled_from(["INVITE", "REGISTER", "BYE", "OPTIONS", "FOO"]))
    uri = draw(sip_uris.map(lambda uri: Uri(uri.scheme, uri.user, uri.host, uri.port, uri.params)) | tel_uris)
    rows = [
        *(("Via", str(via)) for via in draw(st.lists(vias, min_size=1, max_size=3))),
        ("From", str(draw(addresses))),
        ("To", str(draw(addresses))),
        ("Call-ID", draw(tokens)),
        ("CSeq", f"{draw(st.integers(0, 2**31 - 1))} {method}"),
        *(("Contact", str(contact)) for contact in draw(st.lists(addresses, max_size=2))),
        *draw(st.lists(st.tuples(rare_names, values), max_size=3)),
    ]
    return build.request(method, str(uri), draw(st.permutations(rows)), draw(st.binary(max_size=40)))


# ---- round trips


@FEW
@given(sip_uris | tel_uris)
def test_uri_round_trip(uri: Uri) -> None:
    again = Uri.parse(str(uri))
    assert again == uri
    assert str(again) == str(uri)
    assert again.equivalent(uri)


@FEW
@given(addresses)
def test_name_addr_round_trip(address: NameAddr) -> None:
    assert NameAddr.parse(str(address)) == address


@FEW
@given(vias)
def test_via_round_trip(via: Via) -> None:
    assert Via.parse(str(via)) == via


@FEW
@given(st.lists(addresses, min_size=1, max_size=4))
def test_lists_are_split_where_they_were_joined(many: list[NameAddr]) -> None:
    texts_of = [str(address) for address in many]
    assert split(", ".join(texts_of), ",") == texts_of


@FEW
@given(texts)
def test_quoting_round_trip(text: str) -> None:
    assert unquote(quote(text)) == text


@FEW
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_escaping_round_trip(text: str) -> None:
    for escape in (escape_user, escape_param):
        assert unescape(escape(text)) == text
        assert normalize(normalize(escape(text))) == normalize(escape(text))


@FEW
@given(requests())
def test_request_round_trip(request: Request) -> None:
    raw = request.to_bytes()
    again = parse(raw)
    assert isinstance(again, Request)
    check(again)
    length = ("content-length", f"Content-Length: {len(request.body)}")
    assert (again.method, again.uri, again.body) == (request.method, request.uri, request.body)
    assert again.fields == [*request.fields, length]
    assert again.to_bytes() == raw
    for view in ("vias", "from_", "to", "cseq", "call_id", "contacts"):
        assert getattr(again, view) == getattr(request, view)


@FEW
@given(requests(), st.sampled_from(sorted(build.REASONS)), tokens, st.binary(max_size=20))
def test_response_round_trip(request: Request, status: int, tag: str, body: bytes) -> None:
    response = build.response(request, status, to_tag=tag, headers=[("Contact", "<sip:me@192.0.2.1>")], body=body)
    again = parse(response.to_bytes())
    assert isinstance(again, Response)
    check(again)
    assert (again.status, again.reason, again.body) == (status, build.REASONS[status], body)
    assert again.to_tag == (request.to_tag or tag)
    assert (again.vias, again.from_, again.cseq) == (request.vias, request.from_, request.cseq)


@FEW
@given(requests(), st.sampled_from(sorted(build.REASONS)), st.none() | tokens, st.lists(values, max_size=3))
def test_a_response_is_the_same_whether_its_rows_are_listed_or_not(
    request: Request, status: int, tag: str | None, extra: list[str]
) -> None:
    rows = build.rows_of([("X-Extra", value) for value in extra])
    unseen, seen = (build.response(request, status, to_tag=tag, rows=rows, body=b"v=0") for _ in range(2))
    listed = Response(status, seen.reason, list(seen.fields), b"v=0")
    assert unseen.to_bytes() == seen.to_bytes() == listed.to_bytes()
    seen.fields.append(("x-more", "X-More: 1"))
    assert seen.to_bytes() == listed.to_bytes().replace(b"\r\nContent-Length", b"\r\nX-More: 1\r\nContent-Length")


@given(st.lists(requests(), min_size=1, max_size=4), st.integers(1, 50), st.lists(st.booleans(), max_size=4))
def test_stream_is_cut_where_it_was_joined(many: list[Request], step: int, pings: list[bool]) -> None:
    parts: list[bytes | KeepAlive] = []
    stream = b""
    for at, request in enumerate(many):
        if at < len(pings) and pings[at]:
            parts.append(KeepAlive.PING)
            stream += b"\r\n\r\n"
        parts.append(request.to_bytes())
        stream += request.to_bytes()
    framer = StreamFramer()
    found = [part for at in range(0, len(stream), step) for part in framer.feed(stream[at : at + step])]
    # Where a ping was cut in two, its first half is told as a pong.
    assert [part for part in found if part is not KeepAlive.PONG] == parts
    assert framer.pending == 0


# ---- the fast paths say what the careful ones say


@FEW
@given(addresses, vias)
def test_fast_paths_agree_with_the_careful_ones(address: NameAddr, via: Via) -> None:
    assert NameAddr._by_hand(str(address)) == NameAddr.parse(str(address))
    assert Via._by_hand(str(via)) == Via.parse(str(via))


# ---- mutations

SPLICES = [
    b"\r\n", b"\n", b"\r", b"\r\n ", b"\x00", b"\xff", b"\xc3\xa9", b'"', b"\\", b"<", b">", b";", b",", b":", b"@",
    b"%", b"%00", b"=", b"?", b"[", b"]", b"*", b" ", b"\t", b"SIP/2.0", b"-1", b"99999999999999999999",
    b"\xe2\x84\xaa",    b"Via: ", b"l: 5\r\n", b"\r\n\r\n", b"\xd9\xa3", b"sip:", b";tag=", b"\x85", b"\x1c",
]  # fmt: skip


def mutants(seed: int, count: int, corpus: list[bytes]) -> Iterator[bytes]:
    """Corpus messages with a few octets changed, cut, doubled or spliced. The same seed gives the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        data = bytearray(rng.choice(corpus))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data) + 1)
            end = min(len(data), at + rng.choice((1, 1, 2, 5, 30)))
            match rng.randrange(5):
                case 0:
                    data[at:end] = rng.choice(SPLICES)
                case 1:
                    data[at:at] = rng.choice(SPLICES)
                case 2:
                    del data[at:end]
                case 3:
                    data[at:at] = data[at:end]
                case _:
                    data[at:end] = rng.randbytes(end - at)
        yield bytes(data)


def exercise(data: bytes) -> bool:
    """Everything that the stack does with a message before it trusts it: only ParseError may come out; True if none."""
    for feed in (data, data + data):
        try:
            StreamFramer().feed(feed)
        except FramingError as error:
            if error.partial is not None:
                build.response(error.partial, error.status, to_tag="x").to_bytes()
    try:
        message = parse(data)
        check(message)
    except ParseError as error:
        partial = error.partial
        if partial is not None:
            partial.mark_source("192.0.2.1", 5060)
            parse(build.response(partial, error.status, to_tag="x").to_bytes())
        return False
    after_check(message)
    return True


def after_check(message: Message) -> None:
    """What passed the check raises nothing, and what is made of it can be read."""
    for views in STALE.values():
        for view in views:
            getattr(message, view)
    for key, _ in message.fields:
        message.first(key)
        message.values(key)
    if isinstance(message, Request):
        assert message.request_uri.scheme in ("sip", "sips", "tel")
        Uri.parse(str(message.request_uri))
        message.mark_source("2001:db8::7", 5061)
        answer = build.response(message, 180, to_tag="x")
        assert parse(answer.to_bytes()).via.received == "2001:db8::7"
        check(answer)
    for address in (message.from_, message.to, *message.contacts):
        assert "\n" not in str(address)
        assert "\r" not in str(address)
        NameAddr.parse(str(address))
    raw = message.to_bytes()
    assert without_length(parse(raw)) == without_length(message)
    assert b"\r" not in raw.partition(b"\r\n\r\n")[0].replace(b"\r\n", b"")


def without_length(message: Message) -> list[tuple[str, str]]:
    return [field for field in message.fields if field[0] != "content-length"]


def test_mutated_messages_raise_parse_error_and_nothing_else() -> None:
    count = int(os.environ.get("HOOKLINE_MUTATIONS", "20000"))
    read = sum(exercise(data) for data in mutants(4475, count, [sample.raw for sample in EVERYTHING]))
    assert count * 0.1 < read < count * 0.9  # else the mutations are too dull or too wild to prove anything


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_raises_parse_error_and_nothing_else(data: bytes) -> None:
    exercise(data)
    exercise(b"OPTIONS sip:a@b SIP/2.0\r\n" + data)


# ---- messages read at a glance are the same when they are read by hand

PLAIN = [
    b"INVITE sip:+15550100@192.0.2.7:5060 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK132ba6;rport\r\n"
    b'From: "Anna" <sip:anna@192.0.2.1>;tag=352c5f\r\n'
    b"To: <sip:+15550100@192.0.2.7:5060>\r\nCall-ID: 557d728c\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"
    b"Contact: <sip:anna@192.0.2.1:5060;ob>;expires=60\r\nContent-Length: 4\r\n\r\nbody",
    b"BYE sip:b@192.0.2.7 SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP p.example.org:5080;rport;branch=z9hG4bKPj-1;alias\r\nVia: SIP/2.0/UDP 192.0.2.1\r\n"
    b"Record-Route: <sip:p1.example.org;lr>\r\nRoute: <sip:p2.example.org;lr>, <sip:p3.example.org;lr>\r\n"
    b"From: Anna <sip:192.0.2.1>;tag=a.b\r\nTo: <tel:+15550100>;tag=~x\r\nCall-ID: a:b@c\r\nCSeq: 2 BYE\r\n"
    b"X-Account:7\r\nContact: a <sip:a@192.0.2.1>\r\n\r\n",
    b"SIP/2.0 180 Ringing\r\n"
    b"Via: SIP/2.0/UDP [2001:db8::7]:5060;branch=z9hG4bK5b1;rport=5060;received=192.0.2.7\r\n"
    b"From: <sips:a@b>;tag=1\r\nTo: <sip:101@b;user=phone>;tag=2\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n"
    b'Contact: <sip:101@192.0.2.3>;+sip.instance="<urn:x:1>"\r\nContent-Length: 0\r\n\r\n',
]
GLANCED = ("branch", "call_id", "cseq", "first_lines", "from_tag", "sent_by", "to_tag")


def same_by_hand(data: bytes) -> bool:
    """False when it was not read at a glance."""
    message = _read(data)
    if message is None:
        return False
    again = _read_by_hand(data)
    check(again)
    assert not isinstance(again, Checked)
    for view in ("fields", "body", *GLANCED, *(view for views in STALE.values() for view in views)):
        assert getattr(message, view) == getattr(again, view), view
    for key, address in (("from", message.from_), ("to", message.to)):
        assert address == NameAddr.parse(value_of(message.first_lines[key]))
    assert repr(message) == repr(again)
    assert message.to_bytes() == again.to_bytes()
    if isinstance(message, Request):
        assert isinstance(again, Request)
        assert message.request_uri == again.request_uri == Uri.parse(message.uri)
        message.mark_source("198.51.100.7", 5061)
        again.mark_source("198.51.100.7", 5061)
        assert message.fields == again.fields
        assert message.via == again.via
    after_check(message)
    return True


HEADS = (
    "From: \"Anna\" <sip:100@192.0.2.1>;tag=a.b", "To: <sip:101@b;user=phone>;tag=~x", "Call-ID: a:b@c",
    "CSeq: 2 INVITE", "Max-Forwards: 70", "Contact: <sip:100@192.0.2.7:5062;ob>",
)  # fmt: skip
SAME = ("User-Agent: x", "Allow: INVITE, ACK", "Supported: timer", "X-Account:7", "Content-Length: 0")
SPOILT = (
    *HEADS, "Via: SIP/2.0/UDP b;branch=z9hG4bK1", "Contact: <sip:b@c>", "Max-Forwards: 7", "f: <sip:a@b>;tag=1",
    "Route: <sip:a;lr>", "To: <sip:b@c>;x=1;tag=2", "Subject: a\nb", "From: a\r\n <sip:b>", "CSeq: 1 BYE",
)  # fmt: skip


@FEW
@given(st.permutations(HEADS), st.permutations(SAME), st.integers(0, 6), st.sampled_from(["SIP/2.0 200 OK", ""]))
def test_the_usual_rows_in_any_order(heads: list[str], tail: list[str], count: int, status: str) -> None:
    start = status or "INVITE sip:101@192.0.2.1 SIP/2.0"
    rows = [start, "Via: SIP/2.0/UDP 192.0.2.7:5062;rport;branch=z9hG4bK1", *heads, *tail[:count]]
    data = "\r\n".join([*rows, "\r\n"]).encode()
    assert same_by_hand(data)
    assert _as_usual("\r\n".join(rows)) is not None or not count


@FEW
@given(st.lists(st.sampled_from((*HEADS, *SAME, *SPOILT)), max_size=9), st.permutations(HEADS), st.data())
def test_rows_too_many_too_few_and_out_of_the_ordinary(some: list[str], heads: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.permutations([*some, *heads[data.draw(st.integers(0, 2)) :]]))
    rows = ["INVITE sip:101@192.0.2.1 SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1;rport", *rows, "\r\n"]
    same_by_hand("\r\n".join(rows).encode())


@pytest.mark.parametrize("data", PLAIN)
def test_plain_messages_are_read_at_a_glance(data: bytes) -> None:
    assert same_by_hand(data)


def test_what_is_read_at_a_glance_is_the_same_by_hand() -> None:
    count = int(os.environ.get("HOOKLINE_MUTATIONS", "20000"))
    samples = PLAIN * 10 + [sample.raw for sample in EVERYTHING]
    glanced = sum(same_by_hand(data) for data in mutants(2261, count, samples))
    assert count * 0.05 < glanced < count * 0.9


@FEW
@given(requests())
def test_every_request_is_the_same_by_hand(request: Request) -> None:
    same_by_hand(request.to_bytes())


# ---- hostile sizes: linear time

N = 60_000
HOSTILE = {
    "backslashes": b'From: "' + b"\\" * N,
    "quotes": b"From: " + b'"' * N,
    "quotes and escapes": b"From: " + b'"\\' * (N // 2),
    "commas": b"Contact: " + b"," * N,
    "contacts": b"Contact: " + b"<sip:a>," * (N // 8),
    "routes": b"Route: " + b"<sip:a>," * (N // 8),
    "brackets": b"Contact: " + b"<" * N,
    "semicolons": b"To: <sip:a>" + b";" * N,
    "parameters": b"To: <sip:a>" + b";a=b" * (N // 4),
    "colons": b"To: sip:" + b":" * N,
    "at signs": b"To: sip:" + b"@" * N,
    "user and no host": b"To: sip:" + b"a" * N,
    "percent": b"To: <sip:" + b"%41" * (N // 3) + b"@a>",
    "digits": b"CSeq: " + b"1" * N + b" OPTIONS",
    "folds": b"From: x" + b"\r\n y" * (N // 4),
    "blanks": b"Via: SIP/2.0/UDP " + b" " * N + b"a",
    "slashes": b"Via: " + b"/" * N,
    "vias": b"Via: " + b"SIP/2.0/UDP a;branch=b," * (N // 23),
    "lengths": b"Content-Length: 1," + b"1," * (N // 2),
    "short lines": b"\r\n".join([b"a:"] * (N // 4)),
}


@pytest.mark.parametrize("row", HOSTILE.values(), ids=HOSTILE)
def test_hostile_sizes_take_linear_time(row: bytes) -> None:
    """Some 10 ms each here; a quadratic reader of 60,000 octets takes many seconds."""
    rows = [b"Via: SIP/2.0/UDP a", b"From: <sip:a>", b"To: <sip:a>", b"Call-ID: a", b"CSeq: 1 OPTIONS"]
    name = row.partition(b":")[0]
    head = b"\r\n".join([b"OPTIONS sip:a SIP/2.0", row, *(other for other in rows if not other.startswith(name))])
    start = time.process_time()
    exercise(head + b"\r\n\r\n")
    assert time.process_time() - start < 1.0


@given(
    addresses,
    addresses,
    st.lists(addresses, max_size=2),
    st.lists(st.tuples(tokens, texts), max_size=3),
    st.sampled_from(["BYE", "INFO", "INVITE"]),
    st.binary(max_size=9),
    st.sampled_from(["", "Via: SIP/2.0/UDP us;branch=z9hG4bKours;rport"]),
)
@FEW
def test_requests_inside_of_a_dialog_are_written_as_they_are_listed(
    local: NameAddr, remote: NameAddr, routes: list[NameAddr], headers: list[tuple[str, str]], method: str, body: bytes,
    top: str,
) -> None:  # fmt: skip
    dialog = Dialog()
    dialog.local, dialog.remote, dialog.call_id, dialog.local_seq = str(local), str(remote), "call", 6
    dialog.remote_target, dialog.contact = "sip:them@b", "<sip:us@a>"
    dialog.route_set = [str(route) for route in routes]
    sent = dialog.request(method, headers=headers, body=body)
    listed = Request(method, sent.uri, dialog.request(method, headers=headers, body=body).fields, body)
    listed.replace("CSeq", f"7 {method}")
    assert sent.to_bytes(top) == listed.to_bytes(top)
    assert sent.fields == listed.fields
    assert sent.to_bytes(top) == listed.to_bytes(top)


def test_cseq_takes_no_digits_of_other_scripts() -> None:
    with pytest.raises(ParseError):
        CSeq.parse("٣ INVITE")
