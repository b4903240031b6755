"""What may be stored as a contact: checked field by field, its numbers brought to E.164."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields, replace
from decimal import Decimal, InvalidOperation
from typing import get_args

from crmhooks.numbers import looks_international, normalise
from crmhooks.text import one_line, paragraphs
from pbxcore.control import Address, AddressKind, ContactEntry, Invalid, NumberKind

MAX_NAME = 200
MAX_INSTRUCTIONS = 4000
MAX_NUMBERS = 50
MAX_TAGS = 50
MAX_EMAILS = 20
MAX_ADDRESSES = 20
MAX_FIELDS = 100
MAX_VALUE = 2000
NUMBER_KINDS = get_args(NumberKind)
ADDRESS_KINDS = get_args(AddressKind)

_EMAIL = re.compile(r"[^\s@<>\"]+@[^\s@<>\"]+\Z")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?\Z", re.ASCII)
_EXTENSION = re.compile(r"[\w.*#+-]{1,32}\Z")


def check(entry: ContactEntry, country: str) -> ContactEntry:
    """The entry as it is stored. Raises Invalid, naming the field."""
    name = _short("name", entry.name)
    company = _short("company", entry.company)
    if not name and not company:
        raise Invalid("name", "contact.nameless")
    if entry.kind not in ("person", "company"):
        raise Invalid("kind", "contact.kind", kind=entry.kind)
    company_id = entry.company_id or None
    if company_id is not None and (entry.kind == "company" or company_id == entry.id):
        raise Invalid("company_id", "contact.company_in_company")
    emails = dict.fromkeys(email for email in (_email(text) for text in (entry.email, *entry.other_emails)) if email)
    if len(emails) > MAX_EMAILS:
        raise Invalid("email", "contact.emails", most=MAX_EMAILS)
    owner = one_line(entry.owner or "") or None
    if owner is not None and not _EXTENSION.match(owner):
        raise Invalid("owner", "contact.owner", said=entry.owner)
    instructions = paragraphs(entry.instructions)
    if len(instructions) > MAX_INSTRUCTIONS:
        raise Invalid("instructions", "text.long", most=MAX_INSTRUCTIONS)
    numbers = _numbers(entry, country)
    return replace(
        entry,
        name=name or company,
        company="" if entry.kind == "company" else company,
        company_id=company_id,
        email=next(iter(emails), ""),
        other_emails=tuple(emails)[1:],
        owner=owner,
        instructions=instructions,
        numbers=tuple(numbers),
        number_kinds=short_kinds(numbers.values()),
        tags=_tags(entry.tags),
        addresses=_addresses(entry.addresses),
        balance=_balance(entry.balance),
        fields=_fields(entry),
    )


def _numbers(entry: ContactEntry, country: str) -> dict[str, NumberKind]:
    """E.164 numbers and their kinds, in their order, each once."""
    if len(entry.numbers) > MAX_NUMBERS:
        raise Invalid("numbers", "contact.numbers", most=MAX_NUMBERS)
    found: dict[str, NumberKind] = {}
    for text, kind in entry.numbered():
        if not text.strip():
            continue
        if kind not in NUMBER_KINDS:
            raise Invalid("number_kinds", "number.kind", kind=kind, kinds=", ".join(NUMBER_KINDS))
        number = normalise(text.strip(), country)
        if number is None:
            countryless = not country and not looks_international(text)
            raise Invalid("numbers", "number.countryless" if countryless else "number.inside", said=text)
        found.setdefault(number.e164, kind)
    return found


def short_kinds(kinds: Iterable[NumberKind]) -> tuple[NumberKind, ...]:
    """As `ContactEntry.number_kinds` has them: none where all are at work."""
    said = tuple(kinds)
    return said if any(kind != "work" for kind in said) else ()


def _email(text: str) -> str:
    email = one_line(text)
    if email and (len(email) > MAX_NAME or not _EMAIL.match(email)):
        raise Invalid("email", "contact.email", said=text)
    return email


def _addresses(addresses: tuple[Address, ...]) -> tuple[Address, ...]:
    if len(addresses) > MAX_ADDRESSES:
        raise Invalid("addresses", "contact.addresses", most=MAX_ADDRESSES)
    found: dict[Address, None] = {}
    for address in addresses:
        if address.kind not in ADDRESS_KINDS:
            raise Invalid("addresses", "address.kind", kind=address.kind, kinds=", ".join(ADDRESS_KINDS))
        parts = [_short("addresses", getattr(address, one.name)) for one in fields(Address) if one.name != "kind"]
        if any(parts):
            found[Address(address.kind, *parts)] = None
    return tuple(found)


def _balance(text: str) -> str:
    """A decimal number without an exponent, with as many decimals as were written."""
    plain = one_line(text).replace("\xa0", "").replace(" ", "").replace("\u2212", "-")
    if not plain:
        return ""
    if plain.count(",") == 1 and "." not in plain:
        plain = plain.replace(",", ".")
    try:
        number = Decimal(plain)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or len(plain) > 24 or not _NUMBER.match(plain):
        raise Invalid("balance", "contact.balance", said=text)
    return f"{number:f}"


def _fields(entry: ContactEntry) -> dict[str, str]:
    found = {}
    for name, value in entry.fields.items():
        key, text = one_line(name), paragraphs(value)
        if not key or len(key) > 64 or len(text) > MAX_VALUE:
            raise Invalid("fields", "contact.field", most=MAX_VALUE)
        if text:
            found[key] = text
    if len(found) > MAX_FIELDS:
        raise Invalid("fields", "contact.fields", most=MAX_FIELDS)
    return found


def _tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    cleaned = tuple(dict.fromkeys(tag for tag in (one_line(tag) for tag in tags) if tag))
    if len(cleaned) > MAX_TAGS or any(len(tag) > 64 for tag in cleaned):
        raise Invalid("tags", "contact.tags", most=MAX_TAGS)
    return cleaned


def _short(field: str, text: str) -> str:
    cleaned = one_line(text)
    if len(cleaned) > MAX_NAME:
        raise Invalid(field, f"contact.long_{field}", most=MAX_NAME)
    return cleaned
