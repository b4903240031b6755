"""Contacts as a table (CSV, RFC 4180): our own columns, and those of Outlook, Google and others.

A column that means nothing to us becomes a field of the contact's own: nothing is lost. Written cells that a
spreadsheet would take for a formula begin with an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, cast

from pbxcore.control import Address, ContactEntry, Invalid, NumberKind

PLAIN = ("kind", "name", "company", "owner", "vip", "balance", "tags", "instructions")
PARTS = ("kind", "street", "city", "region", "postcode", "country")
FIELD = "field: "
FORMULA = re.compile(r"['=@\t\r]|[+-](?![\d. ()\-]*\Z)")
YES = frozenset({"1", "yes", "true", "x", "да", "y"})
csv.field_size_limit(1_000_000)

# What others call our columns, without their blanks and punctuation.
ALIASES = {
    "fullname": "name", "displayname": "name", "fileas": "name", "имя": "name", "фио": "name", "contact": "name",
    "firstname": "given", "givenname": "given", "lastname": "family", "familyname": "family", "surname": "family",
    "фамилия": "family", "middlename": "middle", "additionalname": "middle", "отчество": "middle",
    "organization": "company", "organisation": "company", "organizationname": "company", "organization1name": "company",
    "компания": "company", "организация": "company", "account": "company", "phone": "work", "telephone": "work",
    "phonenumber": "work", "businessphone": "work", "businessphone2": "work", "workphone": "work", "телефон": "work",
    "companymainphone": "work", "primaryphone": "work", "mobile": "mobile", "mobilephone": "mobile",
    "cellphone": "mobile", "cell": "mobile", "мобильный": "mobile", "homephone": "home", "homephone2": "home",
    "домашний": "home", "fax": "fax", "businessfax": "fax", "homefax": "fax", "otherphone": "other",
    "email": "email", "emailaddress": "email", "emailaddress2": "email", "email2address": "email",
    "email3address": "email", "почта": "email", "группы": "tags", "labels": "tags", "groupmembership": "tags",
    "categories": "tags", "tag": "tags", "метки": "tags", "notes": f"{FIELD}Note", "note": f"{FIELD}Note",
    "businessstreet": "address work street", "businesscity": "address work city",
    "businessstate": "address work region", "businesspostalcode": "address work postcode",
    "businesscountryregion": "address work country", "homestreet": "address home street",
    "homecity": "address home city", "homestate": "address home region", "homepostalcode": "address home postcode",
    "homecountryregion": "address home country",
}  # fmt: skip
NUMBERED = re.compile(r"(phone|e-?mail|address)\s*(\d+)(?:\s*(?:-\s*)?(\w+))?\Z")


def read(text: str) -> Iterator[tuple[int, str, ContactEntry | Invalid]]:
    """Line, text and contact of each row; for one that cannot be read the reason. Raises Invalid without a header that
    names anybody."""
    lines = text.splitlines(keepends=True)
    reader = csv.reader(io.StringIO(text, newline=""), _dialect(text), strict=True)
    header = next(reader, [])
    columns = [_column(name) for name in header]
    if "family" in columns and "given" not in columns:   # a name beside a family name is the given one
        columns = ["given" if column == "name" else column for column in columns]
    if not {"name", "given", "family", "company"} & set(columns):
        raise Invalid("file", "file.columns")
    while True:
        began = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield began, "".join(lines[began - 1 : reader.line_num]).rstrip(), Invalid("", "file.row_broken", why=error)
            continue
        said = "".join(lines[began - 1 : reader.line_num]).rstrip()
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            yield began, said, Invalid("", "file.row_long", count=len(cells), most=len(columns))
            continue
        try:
            yield began, said, _entry(columns, header, cells)
        except Invalid as error:
            yield began, said, error


def write(entries: Sequence[ContactEntry]) -> str:
    """The table, with as many numbered columns as somebody needs."""
    rows = [_row(entry) for entry in entries]
    names = dict.fromkeys(PLAIN)
    for wanted in ("phone", "email", "address", FIELD):
        found = dict.fromkeys(name for row in rows for name in row if name.startswith(wanted))
        names |= dict.fromkeys(sorted(found, key=_order) if wanted != FIELD else found)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([_safe(name) for name in names])
    writer.writerows([_safe(row.get(name, "")) for name in names] for row in rows)
    return out.getvalue()


def _dialect(text: str) -> type[csv.Dialect]:
    """What separates the cells, by the first line."""
    first = text.partition("\n")[0]

    class Found(csv.excel):
        delimiter = max(",;\t", key=first.count)

    return Found


def _column(name: str) -> str:
    """What a column is to us; a field of its own when it is nothing we know."""
    shown = _plain(name).strip()
    plain = shown.casefold()
    if plain in PLAIN or plain.startswith(FIELD):
        return shown if plain.startswith(FIELD) else plain
    numbered = NUMBERED.match(plain)
    if numbered is not None:
        what, number, part = numbered.groups()
        part = {"value": "", "type": "kind", "label": "kind", None: ""}.get(part, part)
        return f"{what.replace('-', '')} {number} {part}".strip()
    return ALIASES.get("".join(c for c in plain if c.isalnum()), f"{FIELD}{shown}" if shown else "")


def _entry(columns: Sequence[str], header: Sequence[str], cells: Sequence[str]) -> ContactEntry:
    numbers: dict[str, str] = {}
    kinds: dict[str, str] = {}
    addresses: dict[str, dict[str, str]] = {}
    one: dict[str, str] = {}
    emails: list[str] = []
    fields: dict[str, str] = {}
    for column, cell in zip(columns, map(_plain, cells), strict=False):
        value = cell.strip()
        what, _, rest = column.partition(" ")
        if not value or not column:
            continue
        if column in ("work", "mobile", "home", "fax", "other"):
            numbers |= {f"{column} {len(numbers)} {n}": part for n, part in enumerate(_split(value))}
        elif what == "phone":
            number, _, part = rest.partition(" ")
            if part == "kind":
                kinds[number] = value
            else:
                numbers |= {f"{number} {n}": one_of for n, one_of in enumerate(_split(value))}
        elif column == "email" or (what == "email" and not rest.endswith("kind")):
            emails += _split(value)
        elif what == "address":
            number, _, part = rest.partition(" ")
            addresses.setdefault(number, {"kind": number if number in ("work", "home") else "work"})[part] = value
        elif column.startswith(FIELD):
            fields[column.removeprefix(FIELD)] = value
        elif what != "email":
            one[column] = value
    name = one.get("name") or " ".join(one[part] for part in ("given", "middle", "family") if part in one)
    first, *others = [*emails, ""]
    said = one.get("kind", "person").casefold()
    if said not in ("person", "company"):
        raise Invalid("kind", "contact.kind", kind=one["kind"])
    return ContactEntry(
        "", name, tuple(numbers.values()), one.get("company", ""), first, one.get("owner"),
        tuple(tag.strip() for tag in re.split(r"[,;]| ::: ", one.get("tags", ""))), one.get("instructions", ""),
        one.get("vip", "").casefold() in YES, cast(Any, said), None,
        tuple(_kind(kinds.get(at, at)) for at in (at.partition(" ")[0] for at in numbers)), tuple(filter(None, others)),
        tuple(Address(**cast(Any, _address(parts))) for parts in addresses.values()), one.get("balance", ""), fields,
    )  # fmt: skip


def _address(parts: dict[str, str]) -> dict[str, str]:
    known = {name: parts[name] for name in PARTS if name in parts}
    kind = known["kind"].casefold()
    return {**known, "kind": kind if kind in ("work", "home") else "other"}


def _kind(said: str) -> NumberKind:
    text = said.casefold()
    if text.isdecimal():
        return "work"
    for word, kind in (("fax", "fax"), ("mobil", "mobile"), ("cell", "mobile"), ("home", "home"), ("work", "work")):
        if word in text:
            return cast(NumberKind, kind)
    return "other"


def _row(entry: ContactEntry) -> dict[str, str]:
    row = {name: str(getattr(entry, name) or "") for name in PLAIN if name not in ("tags", "vip")}
    row |= {"tags": "; ".join(entry.tags), "vip": "yes" if entry.vip else ""}
    for at, (number, kind) in zip(count(1), entry.numbered(), strict=False):
        row |= {f"phone{at}": number, f"phone{at} kind": kind}
    for at, email in enumerate(filter(None, (entry.email, *entry.other_emails)), 1):
        row[f"email{at}"] = email
    for at, address in enumerate(entry.addresses, 1):
        row |= {f"address{at} {part}": getattr(address, part) for part in PARTS}
    return row | {FIELD + name: value for name, value in entry.fields.items()}


def _order(name: str) -> tuple[int, int]:
    found = re.search(r"\d+", name)
    part = name.partition(" ")[2]
    return (int(found.group()) if found else 0, PARTS.index(part) if part in PARTS[1:] else 9 * (part == "kind"))


def _split(value: str) -> Iterable[str]:
    return [part for part in (one.strip() for one in re.split(r";|\n| ::: ", value)) if part]


def _safe(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) else cell


def _plain(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell[1:]) else cell
