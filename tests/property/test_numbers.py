"""Numbers under hypothesis: no text raises, reading is stable, spelling does not matter."""

from __future__ import annotations

import re

import phonenumbers
from hypothesis import given
from hypothesis import strategies as st

from crmhooks.embedded.index import ContactIndex
from crmhooks.numbers import normalise, plain_number, spellings
from pbxcore.control import ContactEntry

COUNTRIES = st.sampled_from(["", "US", "DE", "RU", "GB", "IT", "AR", "FR", "JP", "XX"])
NUMBER_TEXT = st.text(alphabet="+0123456789 -().;/x#*", max_size=24)
POSSIBLE = (phonenumbers.ValidationResult.IS_POSSIBLE, phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY)
CODES = st.sampled_from([str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE])
SEPARATORS = st.lists(st.sampled_from(["", " ", "-", ".", "(", ")", "/", "\u00a0", "\u2011"]), min_size=20, max_size=20)


@given(st.text(max_size=80), COUNTRIES)
def test_no_text_raises(text: str, country: str) -> None:
    found = normalise(text, country)
    assert found is None or re.fullmatch(r"\+[1-9][0-9]{3,17}", found.e164)


@given(NUMBER_TEXT, COUNTRIES)
def test_reading_again_changes_nothing(text: str, country: str) -> None:
    found = normalise(text, country)
    if found is not None:
        assert normalise(found.e164, country) == found
        assert normalise(found.e164, "") == found
        assert found.e164 == f"+{found.code}{found.national}"


@given(CODES, st.text("0123456789", min_size=2, max_size=13))
def test_plain_numbers_are_read_as_libphonenumber_reads_them(code: str, national: str) -> None:
    found = plain_number(f"+{code}{national}")
    if found is not None:
        parsed = phonenumbers.parse(f"+{code}{national}", None)
        assert phonenumbers.is_possible_number_with_reason(parsed) in POSSIBLE
        assert found.e164 == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        assert found.code == str(parsed.country_code)
        assert found.national == phonenumbers.national_significant_number(parsed)


@given(st.from_regex(r"\+(1[2-9][0-9]{9}|49[1-9][0-9]{8}|7[3-9][0-9]{9})", fullmatch=True), SEPARATORS, COUNTRIES)
def test_separators_between_digits_do_not_matter(number: str, separators: list[str], country: str) -> None:
    spelt = "+" + "".join(digit + separator for digit, separator in zip(number[1:], separators, strict=False))
    assert normalise(spelt, country) == normalise(number, "")


@given(st.from_regex(r"[0-9]{1,6}", fullmatch=True), COUNTRIES)
def test_extensions_and_short_codes_are_never_numbers(text: str, country: str) -> None:
    assert normalise(text, country) is None


@given(st.from_regex(r"[.]{0,3}[A-Za-z_][A-Za-z_.]{0,20}[0-9]{0,12}", fullmatch=True), COUNTRIES)
def test_user_names_are_never_numbers(text: str, country: str) -> None:
    assert normalise(text, country) is None


@given(st.from_regex(r"\+(1[2-9][0-9]{9}|49[1-9][0-9]{8}|44[1-9][0-9]{9})", fullmatch=True))
def test_international_spellings_lead_back(number: str) -> None:
    found = normalise(number, "")
    if found is not None:
        for text in spellings(found):
            if text.startswith("+"):
                assert normalise(text, "") == found


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 20)), max_size=30), st.integers(0, 20))
def test_the_index_finds_exactly_those_who_have_the_number(pairs: list[tuple[str, int]], wanted: int) -> None:
    held: dict[str, list[str]] = {}
    for contact_id, number in pairs:
        numbers = held.setdefault(contact_id, [])
        if (e164 := f"+1212555{number:04d}") not in numbers:
            numbers.append(e164)
    index = ContactIndex(ContactEntry(contact_id, contact_id, tuple(numbers)) for contact_id, numbers in held.items())
    e164 = f"+1212555{wanted:04d}"
    assert {entry.id for entry in index.find(e164)} == {one for one, numbers in held.items() if e164 in numbers}
