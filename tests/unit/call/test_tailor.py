"""INVITEs written anew for a make of phone: what is said stays, whatever the names and bodies are."""

from __future__ import annotations

import pytest

from pbxcore.call.tailor import COMPACT, in_ascii, offered, tailored
from pbxcore.profiles import PhoneProfile, phone
from pbxcore.sip import build
from pbxcore.sip.headers import quote
from pbxcore.sip.message import Request, parse

EVERYTHING = {
    "identity": "asserted", "plus": "00", "display_ascii": True, "display_characters": 12, "alert_info": "info",
    "foreign_headers": False, "compact": True, "sdp_drop": ("rtcp-fb",),
}  # fmt: skip


def profile(**switches: object) -> PhoneProfile:
    return PhoneProfile.model_validate(phone("generic").model_dump() | switches)


def invite(name: str = "Anna", user: str = "+12025550199", body: bytes = b"") -> Request:
    made = build.request("INVITE", "sip:101@127.0.0.9:5070", [
        ("Via", "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bKx"), ("Max-Forwards", "70"),
        ("From", f"{quote(name)} <sip:{user}@127.0.0.1>;tag=a"), ("To", "<sip:101@127.0.0.1>"), ("Call-ID", "x"),
        ("CSeq", "1 INVITE"), ("Contact", "<sip:127.0.0.1>"), ("Alert-Info", "family"), ("X-Tariff", "7"),
        *([("Content-Type", "application/sdp")] if body else []),
    ], body)  # fmt: skip
    made.from_tag, made.call_id = "a", "x"
    return made


def again(made: Request) -> Request:
    """As the phone reads it."""
    read = parse(made.to_bytes())
    assert isinstance(read, Request)
    return read


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Иванова", "Ivanova"), ("ЩУКА", "ShchUKA"), ("Größe Øl", "Grosse Ol"), ("José", "Jose"), ("日本", ""),
        ("Jose\N{COMBINING ACUTE ACCENT}", "Jose"), ("", ""), ("Łódź", "Lodz"),
    ],
)  # fmt: skip
def test_names_in_ascii(name: str, shown: str) -> None:
    assert in_ascii(name) == shown


@pytest.mark.parametrize("name", ['"; evil="1', "a\\", '\\"', "<sip:x@y>", "Анна", "日本", "x" * 300])
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    for switches in ({"identity": "remote-party"}, EVERYTHING):
        read = again(tailored(invite(name), profile(**switches)))
        assert read.from_tag == "a"
        assert read.from_.uri.host == "127.0.0.1"
        assert set(read.from_.params) == {"tag"}
    whole = again(tailored(invite(name), profile(identity="remote-party")))
    assert whole.from_.display == name


def test_compact_names_are_read_as_the_long_ones() -> None:
    made = tailored(invite(body=b"v=0\r\n"), profile(compact=True))
    assert {line.partition(":")[0] for key, line in made.fields if key in COMPACT} <= set(COMPACT.values())
    read = again(made)
    assert read.call_id == "x"
    assert read.content_type == "application/sdp"
    assert read.first("x-tariff") == "7"


def test_everything_at_once() -> None:
    offer = b"v=0\r\na=rtcp-fb:* nack\r\na=sendrecv\r\n"
    read = again(tailored(invite("Щукина Анна", body=offer), profile(**EVERYTHING)))
    assert read.from_.display == "Shchukina An"
    assert read.from_.uri.user == "0012025550199"
    assert read.first("p-asserted-identity") == '"Shchukina An" <sip:0012025550199@127.0.0.1>'
    assert read.first("alert-info") == "<http://ring.invalid>;info=family"
    assert read.first("x-tariff") is None
    assert read.body == b"v=0\r\na=sendrecv\r\n"


@pytest.mark.parametrize("user", ["anonymous", "101", "%2B1202", "1+2"])
def test_only_a_leading_plus_is_one(user: str) -> None:
    assert again(tailored(invite(user=user), profile(plus="00"))).from_.uri.user == user


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("family", "<http://ring.invalid>;info=family"),
        ("urn:alert:service:call-waiting", "<http://ring.invalid>;info=call-waiting"),
        ("<urn:alert:source:internal>", "<http://ring.invalid>;info=internal"),
        ("two words", "two words"),
        ("<http://127.0.0.1/Ring3>", "<http://127.0.0.1/Ring3>"),
        ("family;x=1", "family;x=1"),
    ],
)
def test_ringtones(said: str, written: str) -> None:
    made = invite()
    made.replace("Alert-Info", said)
    assert again(tailored(made, profile(alert_info="info"))).first("alert-info") == written


@pytest.mark.parametrize(
    ("sdp", "left"),
    [
        (b"", b""),
        (b"v=0\na=ssrc:1 cname:x\na=ssrc-group:FID 1 2\n", b"v=0\na=ssrc-group:FID 1 2\n"),
        (b"v=0\r\na=msid\r\nm=audio 4000 RTP/AVP 0", b"v=0\r\nm=audio 4000 RTP/AVP 0"),
        (b"\xff\xfe\na=ssrc\n", b"\xff\xfe\n"),
    ],
)
def test_offers_without_what_the_phone_is_spared(sdp: bytes, left: bytes) -> None:
    assert offered(sdp, profile(sdp_drop=("ssrc", "msid"))) == left
    assert offered(sdp, profile()) is sdp
