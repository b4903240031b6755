"""What may be stored as a contact: checked field by field, its numbers brought to E.164."""

from __future__ import annotations

import re
from dataclasses import replace

from crmhooks.numbers import looks_international, normalise
from crmhooks.text import one_line, paragraphs
from pbxcore.control import ContactEntry, Invalid

MAX_NAME = 200
MAX_INSTRUCTIONS = 4000
MAX_NUMBERS = 50
MAX_TAGS = 50

_EMAIL = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+\Z")
_EXTENSION = re.compile(r"[\w.*#+-]{1,32}\Z")


def check(entry: ContactEntry, country: str) -> ContactEntry:
    """The entry as it is stored. Raises Invalid, naming the field."""
    name = _short("name", entry.name)
    company = _short("company", entry.company)
    if not name and not company:
        raise Invalid("name", "a contact needs a name or a company")
    email = one_line(entry.email)
    if email and (len(email) > MAX_NAME or not _EMAIL.match(email)):
        raise Invalid("email", f"{entry.email!r} is no e-mail address: write it as name@example.net, or leave it empty")
    owner = one_line(entry.owner or "") or None
    if owner is not None and not _EXTENSION.match(owner):
        raise Invalid("owner", f"{entry.owner!r} is no extension: write its number, such as 101, or leave it empty")
    instructions = paragraphs(entry.instructions)
    if len(instructions) > MAX_INSTRUCTIONS:
        raise Invalid("instructions", f"instructions have at most {MAX_INSTRUCTIONS} characters")
    return replace(
        entry,
        name=name or company,
        company=company,
        email=email,
        owner=owner,
        instructions=instructions,
        numbers=_numbers(entry.numbers, country),
        tags=_tags(entry.tags),
    )


def _numbers(numbers: tuple[str, ...], country: str) -> tuple[str, ...]:
    if len(numbers) > MAX_NUMBERS:
        raise Invalid("numbers", f"a contact has at most {MAX_NUMBERS} numbers")
    found: dict[str, None] = {}
    for text in numbers:
        if not text.strip():
            continue
        number = normalise(text.strip(), country)
        if number is None:
            raise Invalid("numbers", _why_not(text, country))
        found[number.e164] = None
    return tuple(found)


def _why_not(text: str, country: str) -> str:
    if not country and not looks_international(text):
        return f"{text!r} does not say its country: write it with + and the country code, or set office.country"
    return f"{text!r} is no telephone number: write it as it is dialled from outside, such as +15550100"


def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    cleaned = tuple(dict.fromkeys(tag for tag in (one_line(tag) for tag in tags) if tag))
    if len(cleaned) > MAX_TAGS or any(len(tag) > 64 for tag in cleaned):
        raise Invalid("tags", f"a contact has at most {MAX_TAGS} tags of at most 64 characters")
    return cleaned


def _short(field: str, text: str) -> str:
    cleaned = one_line(text)
    if len(cleaned) > MAX_NAME:
        raise Invalid(field, f"{field} has at most {MAX_NAME} characters")
    return cleaned
