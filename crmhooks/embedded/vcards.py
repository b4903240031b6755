"""vCards (RFC 6350, RFC 2426 and the older 2.1) to contacts and back, by vobject.

Each card is read by itself, so that a broken one costs nobody else. What a contact has no place for (TITLE, URL, NOTE)
becomes a field of its own; pictures and sounds are left out. Written is version 3.0, which everything reads.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, cast
from urllib.parse import quote, unquote

import vobject  # type: ignore[import-untyped]  # it ships no types; used here alone

from pbxcore.control import Address, ContactEntry, Invalid

OURS = "x-hookline-"
KINDS = {"cell": "mobile", "fax": "fax", "home": "home", "work": "work"}       # the first that is said
TYPES = {"work": ["WORK", "VOICE"], "mobile": ["CELL"], "home": ["HOME", "VOICE"], "fax": ["FAX"], "other": ["VOICE"]}
LEFT_OUT = frozenset({"version", "prodid", "rev", "photo", "logo", "sound", "key", "uid", "source", "profile"})
LONGEST = 2000


def read(text: str) -> Iterator[tuple[int, str, ContactEntry | Invalid]]:
    """Line, text and contact of each card; for one that cannot be read what is wrong."""
    block: list[str] = []
    began = 0
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip().upper()
        if word == "BEGIN:VCARD":
            if block:
                yield began, "\n".join(block), Invalid("", "file.card_open")
            block, began = [line], number
        elif block:
            block.append(line)
            if word == "END:VCARD":
                yield began, "\n".join(block), _entry("\n".join(block))
                block = []
    if block:
        yield began, "\n".join(block), Invalid("", "file.card_open")


def write(entries: Iterable[ContactEntry]) -> str:
    return "".join(_card(entry) for entry in entries)


def _entry(text: str) -> ContactEntry | Invalid:
    try:
        card = vobject.readOne(text, allowQP=True)
        return _contact(card)
    except Invalid as error:
        return error
    except Exception as error:  # vobject raises whatever it meets in a broken card
        return Invalid("", "file.card_broken", why=" ".join(str(error).split())[:200] or type(error).__name__)


def _contact(card: Any) -> ContactEntry:
    values: dict[str, Any] = {"numbers": [], "kinds": [], "emails": [], "addresses": [], "tags": [], "fields": {}}
    for line in card.lines():
        _take(values, line.name.lower(), line)
    name = values.get("fn") or values.get("n") or values.get("org") or ""
    company = values.get("org") or ""
    is_company = values.get("kind", "").lower() == "org" or values.get("x-abshowas", "").upper() == "COMPANY"
    if not name:
        raise Invalid("name", "file.card_nameless")
    emails = values["emails"] or [""]
    return ContactEntry(
        "", name, tuple(values["numbers"]), "" if is_company else company, emails[0], values.get("owner"),
        tuple(values["tags"]), values.get("instructions", ""), values.get("vip") == "1",
        "company" if is_company else "person", None, tuple(values["kinds"]), tuple(emails[1:]),
        tuple(values["addresses"]), values.get("balance", ""), values["fields"],
    )  # fmt: skip


def _take(values: dict[str, Any], name: str, line: Any) -> None:
    said = ",".join((*line.params.get("TYPE", ()), *line.singletonparams)).lower()
    types = {one.strip('" ') for one in said.split(",") if one}
    value = line.value
    if name == "tel":
        text = str(value).removeprefix("tel:").removeprefix("TEL:")
        values["numbers"].append(text.partition(";")[0] if "," not in text else text.partition(",")[0])
        values["kinds"].append(next((KINDS[one] for one in KINDS if one in types), "other" if types else "work"))
    elif name == "email":
        values["emails"].append(str(value))
    elif name == "adr":
        street = ", ".join(filter(None, (_flat(part) for part in (value.box, value.extended, value.street))))
        kind = cast(Any, "home" if "home" in types else "work" if "work" in types or not types else "other")
        parts = (_flat(part) for part in (value.city, value.region, value.code, value.country))
        values["addresses"].append(Address(kind, street, *parts))
    elif name == "n":
        names = (value.prefix, value.given, value.additional, value.family, value.suffix)
        values["n"] = " ".join(filter(None, (_flat(part) for part in names)))
    elif name == "org":
        units = [str(one) for one in (value if isinstance(value, list) else [value]) if one]
        values["org"] = units[0] if units else ""
        if len(units) > 1:
            values["fields"]["Department"] = ", ".join(units[1:])
    elif name == "categories":
        values["tags"] += [str(one) for one in (value if isinstance(value, list) else [value])]
    elif name == f"{OURS}field":
        key, _, text = str(value).partition("=")
        values["fields"][unquote(key)] = text
    elif name.startswith(OURS):
        values[name.removeprefix(OURS)] = str(value)
    elif name in ("fn", "kind", "x-abshowas"):
        values.setdefault(name, str(value))
    elif name not in LEFT_OUT and isinstance(value, str) and 0 < len(value) <= LONGEST:
        key = name.removeprefix("x-").replace("-", " ").capitalize()
        before = values["fields"].get(key)
        values["fields"][key] = value if before is None else f"{before}\n{value}"


def _flat(part: Any) -> str:
    return ", ".join(str(one) for one in part if one) if isinstance(part, list | tuple) else str(part or "")


def _card(entry: ContactEntry) -> str:
    card = vobject.vCard()
    card.add("fn").value = entry.name
    *given, family = entry.name.split() or [""]
    of_person = entry.kind == "person"
    card.add("n").value = vobject.vcard.Name(family=family if of_person else entry.name,
                                             given=" ".join(given) if of_person else "")
    company = entry.company if of_person else entry.name
    if company:
        card.add("org").value = [company]
    if not of_person:
        card.add("x-abshowas").value = "COMPANY"
    for number, kind in entry.numbered():
        _typed(card, "tel", number, TYPES[kind])
    for email in filter(None, (entry.email, *entry.other_emails)):
        _typed(card, "email", email, ["INTERNET"])
    for one in entry.addresses:
        address = vobject.vcard.Address(one.street, one.city, one.region, one.postcode, one.country)
        _typed(card, "adr", address, ["HOME" if one.kind == "home" else "WORK" if one.kind == "work" else "POSTAL"])
    if entry.tags:
        card.add("categories").value = list(entry.tags)
    ours = {"owner": entry.owner or "", "instructions": entry.instructions, "balance": entry.balance}
    for name, value in (*ours.items(), ("vip", "1" if entry.vip else "")):
        if value:
            card.add(OURS + name).value = _escaped(value)
    for name, value in entry.fields.items():
        card.add(f"{OURS}field").value = _escaped(f"{quote(name, safe=' ')}={value}")
    return cast(str, card.serialize())


def _typed(card: Any, name: str, value: Any, types: list[str]) -> None:
    line = card.add(name)
    line.value = value
    line.type_paramlist = types


def _escaped(text: str) -> str:
    return re.sub(r"\r\n?", "\n", text)
