"""Telephone numbers: whatever a phone, a trunk or a person wrote, to E.164, or to nothing.

Reading is by libphonenumber's tables (ITU-T E.164, E.123 spellings, RFC 3966 parameters). What is no telephone
number of the public network is never looked up: extensions, short codes, withheld numbers, SIP user names, junk.
Nothing here knows contacts or databases.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

import phonenumbers

CACHE_SIZE = 16_384
SHORTEST = 7  # digits without a plus; six and fewer are extensions and short codes
LONGEST_TEXT = 64

_EXTENSION = re.compile(
    r"(?:;\s*ext=|\b(?:ext|extn|extension|x|доб)\b\.?|(?<=\d)\s*x|#)[\s:.]*\d{1,7}\s*$", re.IGNORECASE
)
_ALLOWED = re.compile(r"\+?[\d\s().\-/\u2010-\u2015\u2212]+\Z")
# Marks of writing direction and the like, which come along when a number is copied from a page.
_UNSEEN = [0xAD, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
_PLAIN = str.maketrans({"\uff0b": "+", **{chr(code): None for code in _UNSEEN}})
_POSSIBLE = (phonenumbers.ValidationResult.IS_POSSIBLE, phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY)


_INTERNATIONAL = re.compile(r"\+[1-9][0-9]{5,14}")


class Number(NamedTuple):
    """A telephone number. `e164` has its plus (`+15550100`); `code` is the country calling code (`1`);
    `national` are the digits after it (`5550100`)."""

    e164: str
    code: str
    national: str


def normalise(number: str, country: str) -> Number | None:
    """Read a number as it is written in `country` (ISO 3166 alpha-2; empty: only international numbers are read).

    None for what must not be looked up. A miss costs some 30 us (3 for E.164), a hit 0.3: the last 16,384 texts are
    kept.
    """
    return read(number, country) if len(number) <= LONGEST_TEXT else None


@lru_cache(maxsize=CACHE_SIZE)
def read(number: str, country: str) -> Number | None:
    """What `normalise` does for a text that is short enough to be kept."""
    if _INTERNATIONAL.fullmatch(number):
        plain = plain_number(number)
        if plain is not None:
            return plain
    text = _clean(number)
    if text is None:
        return None
    region = country.upper() or None
    parsed = _parse(text, region)
    if parsed is None and region is not None and not text.startswith(("+", "0")):
        parsed = _parse("+" + text, None)  # trunks that send E.164 without its plus
    return parsed


def plain_number(e164: str) -> Number | None:
    """A plus and digits that libphonenumber would read as they stand: nothing in front of the national number that it
    takes for a prefix and no leading zero, and of a length that the country has. None for all others: ask it."""
    for end in (2, 3, 4):
        code, national = e164[1:end], e164[end:]
        scheme = _scheme(code)
        if scheme is not None:
            lengths, prefix = scheme
            if len(national) not in lengths or national[0] == "0" or (prefix is not None and prefix.match(national)):
                return None
            return Number(e164, code, national)
    return None


@lru_cache(maxsize=1110)
def _scheme(code: str) -> tuple[frozenset[int], re.Pattern[str] | None] | None:
    """The lengths of national numbers of a country code and what may stand before them; None where no country has this
    code. The main country of several speaks for all, as it does in libphonenumber."""
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(int(code), regions[0])
    if metadata is None or metadata.general_desc is None:
        return frozenset(), None
    general, prefix = metadata.general_desc, metadata.national_prefix_for_parsing
    lengths = frozenset((*general.possible_length, *general.possible_length_local_only))
    return lengths, re.compile(prefix) if prefix else None


def looks_international(number: str) -> bool:
    """True when the number says its country itself, so that no office country is needed to read it."""
    text = _clean(number)
    return text is not None and text.startswith("+")


def spellings(number: Number) -> tuple[str, ...]:
    """How other systems may have stored this number: E.164, digits, national and grouped forms, most likely first."""
    parsed = phonenumbers.parse(number.e164, None)
    form = phonenumbers.PhoneNumberFormat
    grouped = phonenumbers.format_number(parsed, form.INTERNATIONAL)
    national = phonenumbers.format_number(parsed, form.NATIONAL)
    trunk = "".join(character for character in national if character.isdigit())
    return tuple(
        dict.fromkeys((number.e164, number.e164[1:], trunk, number.national, grouped, national, "00" + number.e164[1:]))
    )


def _clean(number: str) -> str | None:
    """The digits with their plus, or None when this is no spelling of a telephone number."""
    if not 0 < len(number) <= LONGEST_TEXT:
        return None
    text = unquote(number) if "%" in number else number
    text = text.translate(_PLAIN).strip()
    if text[:4].lower() == "tel:":
        text = text[4:]
    text = _EXTENSION.sub("", text).split(";", 1)[0].strip()
    if not _ALLOWED.match(text):
        return None
    digits = "".join(str(int(character)) for character in text if character.isdecimal())
    if not digits.strip("0"):
        return None
    if text.startswith("+"):
        return "+" + digits
    return digits if len(digits) >= SHORTEST else None


def _parse(text: str, region: str | None) -> Number | None:
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(parsed) not in _POSSIBLE:
        return None
    return Number(
        phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164),
        str(parsed.country_code),
        phonenumbers.national_significant_number(parsed),
    )
