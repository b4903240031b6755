"""What a REFER and a Replaces ask for, as they are written and as they should not be."""

from __future__ import annotations

import pytest

from pbxcore.call.refer import Reference, Replaces, reference, replaces_in
from pbxcore.sip import build
from pbxcore.sip.errors import SipError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("98732@h;to-tag=r33;from-tag=12fh", Replaces("98732@h", "r33", "12fh")),
        ("c ; from-tag=b ; to-tag=a ; early-only", Replaces("c", "a", "b", early_only=True)),
        ("c;TO-TAG=a;From-Tag=b;other=1", Replaces("c", "a", "b")),
    ],
)
def test_replaces(text: str, found: Replaces) -> None:
    assert Replaces.parse(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "c", "c;to-tag=a", "c;from-tag=a", ";to-tag=a;from-tag=b", "c;to-tag=;from-tag=b", "c d;to-tag=a;from-tag=b",
     "c;to-tag=a;to-tag=a;from-tag=b", "c;to-tag=a;from-tag=b, d;to-tag=a;from-tag=b",
     "c;to-tag=a;from-tag=" + "b" * 300],
)  # fmt: skip
def test_no_replaces(text: str) -> None:
    with pytest.raises(SipError) as caught:
        Replaces.parse(text)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("Refer-To", "<sip:102@h>")], Reference("102")),
        ([("Refer-To", "sip:102@h")], Reference("102")),
        ([("r", "<tel:+15550100>")], Reference("+15550100")),
        ([("Refer-To", "<sip:%2B1555@h;user=phone>"), ("Refer-Sub", "FALSE")], Reference("+1555", silent=True)),
        ([("Refer-To", "<sip:102@h;method=INVITE>")], Reference("102")),
        (
            [("Refer-To", "Bob <sip:102@h?Replaces=c%40x%3Bto-tag%3Da%3Bfrom-tag%3Db&Require=replaces>")],
            Reference("102", Replaces("c@x", "a", "b")),
        ),
        ([("Refer-To", "<sip:h?Replaces=c%3Bto-tag%3Da%3Bfrom-tag%3Db>")], Reference("", Replaces("c", "a", "b"))),
    ],
)
def test_a_refer(headers: list[tuple[str, str]], found: Reference) -> None:
    assert reference(build.request("REFER", "sip:101@h", headers)) == found


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 400),
        ([("Refer-To", "<sip:102@h>"), ("Refer-To", "<sip:103@h>")], 400),
        ([("Refer-To", "<sip:h>")], 400),
        ([("Refer-To", "nonsense")], 400),
        ([("Refer-To", "<mailto:x@y>")], 416),
        ([("Refer-To", "<sip:102@h;method=MESSAGE>")], 403),
        ([("Refer-To", "<sip:102@h>"), ("Refer-Sub", "maybe")], 400),
    ],
)
def test_no_refer(headers: list[tuple[str, str]], status: int) -> None:
    with pytest.raises(SipError) as caught:
        reference(build.request("REFER", "sip:101@h", headers))
    assert caught.value.status == status


def test_an_invite_has_one_replaces_and_no_join() -> None:
    row = ("Replaces", "c;to-tag=a;from-tag=b")
    assert replaces_in(build.request("INVITE", "sip:101@h", [row])).call_id == "c"
    for headers in ([row, row], [row, ("Join", "d;to-tag=a;from-tag=b")]):
        with pytest.raises(SipError):
            replaces_in(build.request("INVITE", "sip:101@h", headers))
