"""Telephone numbers: whatever a phone, a trunk or a person wrote, to E.164, or to nothing.

Reading is by libphonenumber's tables (ITU-T E.164, E.123 spellings, RFC 3966 parameters). What is no telephone
number of the public network is never looked up: extensions, short codes, withheld numbers, SIP user names, junk.
Nothing here knows contacts or databases.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
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


@dataclass(frozen=True, slots=True)
class Number:
    """A telephone number. `e164` has its plus (`+15550100`); `code` is the country calling code (`1`);
    `national` are the digits after it (`5550100`)."""

    e164: str
    code: str
    national: str


def normalise(number: str, country: str) -> Number | None:
    """Read a number as it is written in `country` (ISO 3166 alpha-2; empty: only international numbers are read).

    None for what must not be looked up. A miss costs some 30 us, a hit 0.3: the last 16,384 texts are kept.
    """
    return read(number, country) if len(number) <= LONGEST_TEXT else None


@lru_cache(maxsize=CACHE_SIZE)
def read(number: str, country: str) -> Number | None:
    """What `normalise` does for a text that is short enough to be kept."""
    text = _clean(number)
    if text is None:
        return None
    region = country.upper() or None
    parsed = _parse(text, region)
    if parsed is None and region is not None and not text.startswith(("+", "0")):
        parsed = _parse("+" + text, None)  # trunks that send E.164 without its plus
    return parsed


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
