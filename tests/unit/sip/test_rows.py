"""What rows say, remembered by their text: within bounds, and only where the text comes again."""

from __future__ import annotations

import pytest

from pbxcore.sip.headers import MAX_HEADERS, CSeq
from pbxcore.sip.rows import (
    CONTACTS,
    CSEQS,
    FIELDS,
    LONGEST_REMEMBERED,
    LONGEST_TAIL,
    NO_URI,
    NUMBERS,
    ROWS_REMEMBERED,
    SENT_BY,
    STARTS,
    TAGS,
    TAILS,
    TAILS_REMEMBERED,
    Memo,
    SentBy,
    value_of,
)
from pbxcore.sip.uri import Uri


def test_a_text_is_read_once() -> None:
    asked: list[str] = []
    memo = Memo(asked.append)
    for text in ("a", "b", "a"):
        memo[text]
    assert asked == ["a", "b"]


def test_what_is_kept_is_bounded() -> None:
    memo = Memo(len)
    assert memo["x" * (LONGEST_REMEMBERED + 1)] == LONGEST_REMEMBERED + 1
    assert not memo
    for number in range(ROWS_REMEMBERED + 1):
        memo[str(number)]
        assert len(memo) <= ROWS_REMEMBERED
    assert list(memo) == [str(ROWS_REMEMBERED)]


def test_long_tails_are_kept_and_few_of_them() -> None:
    TAILS.clear()
    TAILS["X-Long: " + "x" * LONGEST_TAIL]
    assert not TAILS
    for number in range(TAILS_REMEMBERED + 1):
        TAILS["X-Long: " + str(number) * 100]
        assert len(TAILS) <= TAILS_REMEMBERED
    assert len(TAILS) == 1


@pytest.mark.parametrize(
    "text",
    ["From: <sip:a@b>", "X: 1\r\nv: SIP/2.0/UDP b", "A: 1\r\nA: 2", "A: 1\n 2", "A: 1\r\n 2", "no colon", "",
     "Route: <sip:a;lr>", "Contact: *", "Max-Forwards: many", "\r\n".join(f"X-{n}: 1" for n in range(MAX_HEADERS))],
)  # fmt: skip
def test_a_tail_that_is_to_be_read_with_care(text: str) -> None:
    assert TAILS[text] is None


def test_a_fault_is_not_kept() -> None:
    memo = Memo(int)
    with pytest.raises(ValueError, match="x"):
        memo["x"]
    assert not memo


def test_fields_keep_the_row_as_it_came() -> None:
    for row, key in (("t : <sip:a@b>", "to"), ("X-Odd:1", "x-odd"), ("User-Agent: x", "user-agent")):
        assert FIELDS[row] == (key, row)
        assert FIELDS[row] is FIELDS[row]
    for row in ("Via", " folded: 1", "a b: 1", ": 1", ""):
        with pytest.raises(ValueError):  # noqa: PT011  # it says no more
            FIELDS[row]


def test_a_via_is_not_kept() -> None:
    row = "Via: SIP/2.0/UDP a;branch=z9hG4bK1"
    assert FIELDS[row] == ("via", row)
    assert row not in FIELDS


@pytest.mark.parametrize(
    ("row", "tag"),
    [
        ("From: <sip:a@b>;tag=x", "x"),
        ('f: "a>;b" <tel:+1>;tag=x.y', "x.y"),
        ("To: Bob <sip:a@b>", ""),
        ("To: sip:a@b;tag=x", None),
        ("To: <sip:a@b>;tag=x;other=1", None),
        ("To: <sip:a@b>;tag=", None),
        ('From: "a>;tag=b" <sip:a@b>;tag=x', None),
        ("To: <sip:a@b>>;tag=x", None),
        ("To: <sip:a@b:99999>;tag=x", None),
        ("To:", None),
    ],
)
def test_tags(row: str, tag: str | None) -> None:
    assert TAGS[row] == tag


@pytest.mark.parametrize(
    ("row", "uri"),
    [
        ("Contact: <sip:a@b;ob>;expires=60", "sip:a@b;ob"),
        ('m: A <sip:a@b>;+sip.instance="<urn:uuid:1>"', "sip:a@b"),
        ("Contact: *", None),
        ("Contact: <sip:a@b>, <sip:c@d>", None),
        ("Contact: <sip:a@b?x=y>", None),
        ("Contact: <tel:+1>", None),
    ],
)
def test_contacts(row: str, uri: str | None) -> None:
    assert CONTACTS[row] == uri


def test_sent_by() -> None:
    assert SENT_BY["Via: SIP/2.0/UDP [2001:db8::7]:5070;rport"] == SentBy("2001:db8::7", 5070, "2001:db8::7 5070")
    assert SENT_BY["v:SIP/2.0/TCP a"] == SentBy("a", None, "a None")
    for text in ("Via: SIP/2.0/UDP a;BRANCH=1", "Via: SIP/2.0/UDP a, SIP/2.0/UDP b", "Via: SIP/3.0/UDP a", "Via: "):
        assert SENT_BY[text] is None


def test_numbers_and_start_lines() -> None:
    assert (NUMBERS["Max-Forwards:  70 "], NUMBERS["l: +1"]) == (70, None)
    assert (CSEQS["CSeq: 7 BYE"], CSEQS["CSeq: 7"]) == (CSeq(7, "BYE"), None)
    assert STARTS["SIP/2.0 486 Busy Here"] == (486, "", "Busy Here", NO_URI)
    assert STARTS["BYE tel:+1 SIP/2.0"] == (0, "BYE", "tel:+1", Uri.parse("tel:+1"))
    for line in ("SIP/2.0 9 x", "BYE sip:a?x SIP/2.0", "BYE im:a SIP/2.0", "ODD sip:a SIP/2.0", "BYE sip:a SIP/3", ""):
        assert STARTS[line] is None


def test_values() -> None:
    assert value_of("Subject :  a:\r\n b ") == "a: b"
