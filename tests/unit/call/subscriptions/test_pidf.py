"""PIDF, read from phones and written for phones."""

from __future__ import annotations

from contextlib import suppress
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbxcore.call.subscriptions import pidf
from pbxcore.call.subscriptions.pidf import Document, Status, parse, render
from pbxcore.sip.errors import SipError

RICH = """<?xml version='1.0' encoding='UTF-8'?>
<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model'
 xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' entity='pres:101@example.net'>
 <tuple id='desk'><status><basic>open</basic></status><contact priority='0.8'>sip:101@example.net</contact>
  <note xml:lang='en'>Here</note><timestamp>2026-01-01T00:00:00Z</timestamp></tuple>
 <tuple id='9 bad'><status><basic>closed</basic></status></tuple>
 <note>All of it</note>
 <dm:person id='p'><rpid:activities><rpid:meeting/><rpid:made-up/></rpid:activities><dm:note>In a meeting</dm:note>
 </dm:person></presence>"""


def test_what_a_phone_says() -> None:
    assert parse(RICH.encode()) == Document(
        (Status("desk", True, "sip:101@example.net", ("Here",)), Status("t", False)),
        ("meeting",),
        ("All of it", "In a meeting"),
    )


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"<presence/>", 400), (b"\xff\xfe", 400), (b"<!DOCTYPE x><presence/>", 400),
    (RICH.replace("<presence", "<!doctype x [<!entity a 'b'>]><presence").encode(), 400),
    (RICH.encode("utf-16"), 400), (b" " * 20_000, 413), (b"<a>" * 5000, 400),
])  # fmt: skip
def test_what_is_none(body: bytes, status: int) -> None:
    with pytest.raises(SipError) as refused:
        parse(body)
    assert refused.value.status == status


def test_the_declared_encoding_counts_for_nothing() -> None:
    """A document that says it is UTF-7 is UTF-8 all the same: no markup hides in another spelling."""
    assert parse(RICH.replace("UTF-8", "UTF-7").encode()).tuples[0].id == "desk"


def test_several_documents_become_one() -> None:
    one = Document((Status("t", True, notes=("a",)),), ("away",), ("x",))
    two = Document((Status("t", False),), ("away", "busy"), ("x", "y"))
    root = ElementTree.fromstring(render("sip:101@h", [one, two]).decode())  # noqa: S314 - our own
    tuples = root.findall(f"{{{pidf.PIDF}}}tuple")
    assert [each.findtext(f"{{{pidf.PIDF}}}status/{{{pidf.PIDF}}}basic") for each in tuples] == ["open", "closed"]
    assert len({each.get("id") for each in tuples}) == 2
    assert len(root.findall(f".//{{{pidf.RPID}}}away")) == 1
    assert [note.text for note in root.findall(f".//{{{pidf.MODEL}}}note")] == ["x", "y"]


@given(st.text(max_size=100), st.text(max_size=100), st.booleans())
def test_whatever_is_said_can_be_read(note: str, contact: str, is_open: bool) -> None:
    shown = parse(render("sip:101@h", [Document((Status("t", is_open, contact, (note,)),), (), (note,))]))
    assert shown.tuples[0].open is is_open


@given(st.binary(max_size=300))
def test_no_document_raises_but_a_refusal(body: bytes) -> None:
    with suppress(SipError):
        parse(body)
