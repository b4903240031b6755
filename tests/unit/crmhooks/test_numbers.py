"""Numbers: one person has one number however it is written; what is no number is never looked up."""

from __future__ import annotations

import pytest

from crmhooks import numbers
from crmhooks.numbers import Number, looks_international, normalise, plain_number, spellings


@pytest.mark.parametrize(
    ("text", "country", "e164"),
    [
        ("+15550100", "US", "+15550100"),
        ("+15550100", "", "+15550100"),
        ("5550100", "US", "+15550100"),
        ("15550100", "US", "+15550100"),
        ("(555) 0100", "US", "+15550100"),
        ("212-555-0100", "US", "+12125550100"),
        ("1 (212) 555.0100", "us", "+12125550100"),
        ("0012125550100", "DE", "+12125550100"),
        ("01149301234567", "US", "+49301234567"),
        ("030 1234567", "DE", "+49301234567"),
        ("+49 (0)30 1234567", "", "+49301234567"),
        ("49301234567", "DE", "+49301234567"),
        ("8 (916) 123-45-67", "RU", "+79161234567"),
        ("89161234567", "RU", "+79161234567"),
        ("79161234567", "RU", "+79161234567"),
        ("+39 06 1234 5678", "", "+390612345678"),
        ("06 12345678", "IT", "+390612345678"),
        ("020 7183 8750", "GB", "+442071838750"),
        ("tel:+1-212-555-0100", "", "+12125550100"),
        ("TEL:+12125550100;phone-context=+1", "", "+12125550100"),
        ("%2B12125550100", "", "+12125550100"),
        ("+12125550100;ext=22", "", "+12125550100"),
        ("+1 212 555 0100 ext. 22", "", "+12125550100"),
        ("212-555-0100x22", "US", "+12125550100"),
        ("+7 916 123-45-67 доб. 5", "", "+79161234567"),
        ("\uff0b12125550100", "", "+12125550100"),
        ("\u202a+1 212 555 0100\u202c", "", "+12125550100"),
        ("212\u2011555\u20110100", "US", "+12125550100"),
        ("\u00a0212\u00a0555\u00a00100 ", "US", "+12125550100"),
        ("٢١٢٥٥٥٠١٠٠", "US", "+12125550100"),
    ],
)
def test_every_spelling_of_a_number_is_the_same_number(text: str, country: str, e164: str) -> None:
    found = normalise(text, country)
    assert found is not None
    assert found.e164 == e164


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "101", "*97", "#31#", "110", "112", "911", "116117", "555010", "0", "000000000", "+", "++12125550100",
        "+0", "+000000000", "+999123456789", "anonymous", "Anonymous", "restricted", "unavailable", "unknown",
        "+anonymous", "alice", "alice555", "bob.smith", "sip:101@192.0.2.1", "101@192.0.2.1", "1-800-FLOWERS",
        "+1212555010", "+121255501001234567", "2125550100/2125550101,", "2125550100'; DROP TABLE calls",
        "12\n34567890a",
        "0" * 63, "9" * 70, "2" * 10_000, "<2125550100>", "\ud800" * 8, "½½½½½½½½", "²²²²²²²²", "266696687",
        "+266696687", "1;2;3", ";ext=101", "x101", "---", "+-+-+-+", "%", "%2B", "%zz2125550100",
    ],
)  # fmt: skip
def test_what_is_no_number_is_never_looked_up(text: str) -> None:
    assert normalise(text, "US") is None
    assert normalise(text, "") is None


def test_without_an_office_country_only_international_numbers_are_read() -> None:
    assert normalise("2125550100", "") is None
    assert normalise("0012125550100", "") is None
    assert normalise("+12125550100", "") == Number("+12125550100", "1", "2125550100")


def test_a_country_that_does_not_exist_reads_international_numbers_only() -> None:
    assert normalise("2125550100", "XX") is None
    assert normalise("+12125550100", "XX") is not None


def test_a_plain_international_number_needs_no_reading() -> None:
    assert plain_number("+12125550100") == Number("+12125550100", "1", "2125550100")
    assert plain_number("+491701234567") == Number("+491701234567", "49", "1701234567")


@pytest.mark.parametrize("number", ["+390612345678", "+1121255501", "+78001234567", "+999123456789", "+1212555010"])
def test_zeros_prefixes_and_strange_lengths_are_for_libphonenumber(number: str) -> None:
    assert plain_number(number) is None


def test_short_numbers_with_a_plus_are_numbers_where_the_country_has_such() -> None:
    assert normalise("+290 8001", "") is not None
    assert normalise("8001", "SH") is None


def test_looks_international() -> None:
    assert looks_international(" +1 (212) 555-0100")
    assert not looks_international("2125550100")
    assert not looks_international("anonymous")


def test_the_cache_is_bounded_serves_repeated_callers_and_keeps_no_long_texts() -> None:
    numbers.read.cache_clear()
    for _ in range(3):
        normalise("+12125550100", "US")
        normalise("2" * 10_000, "US")
    info = numbers.read.cache_info()
    assert (info.misses, info.hits, info.maxsize) == (1, 2, numbers.CACHE_SIZE)


def test_a_repeated_caller_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    normalise("+12125550142", "US")
    monkeypatch.setattr(numbers, "_parse", lambda *_: pytest.fail("parsed again"))
    assert normalise("+12125550142", "US") is not None


def test_spellings_that_other_systems_may_have_stored() -> None:
    number = normalise("030 1234567", "DE")
    assert number is not None
    found = spellings(number)
    assert found[0] == "+49301234567"
    assert {"49301234567", "0301234567", "301234567", "0049301234567", "+49 30 1234567", "030 1234567"} <= set(found)
    assert len(found) == len(set(found))
