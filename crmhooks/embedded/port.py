"""Contacts from files and into files; what is there twice is merged, and nothing of it lost.

Two contacts are one when they share a number (E.164) and their names do not contradict each other, or when somebody
says so. A number that people of different names share stays with each of them, and is shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count

import sqlalchemy as sa
from sqlmodel import Session, col, select

from crmhooks.contact import check, short_kinds
from crmhooks.embedded import rows, sheets
from crmhooks.embedded.index import ContactIndex
from crmhooks.embedded.newcomers import TAG
from pbxcore.control import CardFile, ContactEntry, Duplicate, ImportFault, ImportReport, Invalid, NotFound
from pbxcore.store import Store
from pbxcore.store.models import ActivityRow, ContactNumberRow, ContactRow, ScheduledCallRow

AT_ONCE = 200
MAX_BYTES = 20_000_000
MAX_TEXT = 500
SHOWN = 100

Row = tuple[int, str, ContactEntry]     # line, text and what it says
Changed = Callable[[tuple[list[ContactEntry], int]], None]
Outcome = tuple[list[ContactEntry], list[ImportFault], list[str], int]


class Port:
    """`changed` takes over what was stored, `dropped` what is no more."""

    def __init__(
        self,
        store: Store,
        index: ContactIndex,
        country: str,
        *,
        clock: Callable[[], float],
        token: Callable[[], str],
        changed: Changed,
        dropped: Callable[[str], None],
    ) -> None:
        self._store, self._index, self._country = store, index, country
        self._clock, self._token, self._changed, self._dropped = clock, token, changed, dropped

    async def take_in(self, data: bytes, kind: CardFile, *, merge_all: bool = False) -> ImportReport:
        """See `ContactPort`."""
        good, faults = await asyncio.to_thread(_sorted_out, data, kind, self._country)
        done = {"created": 0, "merged": 0, "same": 0}
        numbers: set[str] = set()
        for start in range(0, len(good), AT_ONCE):
            stored, refused, words = await self._store_all(good[start : start + AT_ONCE], merge_all)
            numbers.update(number for entry in stored for number in entry.numbers)
            faults += refused
            for word in words:
                done[word] += 1
        shared = self._index.shared()
        twice = tuple(Duplicate(number, shared[number]) for number in sorted(numbers & shared.keys())[:SHOWN])
        faults.sort(key=lambda fault: fault.line)
        return ImportReport(done["created"], done["merged"], done["same"], tuple(faults), twice)

    async def _store_all(
        self, batch: list[Row], merge_all: bool
    ) -> tuple[list[ContactEntry], list[ImportFault], list[str]]:
        now, tokens = self._clock(), [self._token() for _ in batch]

        def job(session: Session) -> Outcome:
            rows.lock(session)
            stored: dict[str, ContactEntry] = {}
            refused: list[ImportFault] = []
            words: list[str] = []
            for (line, text, entry), fresh in zip(batch, tokens, strict=True):
                twin = next((one for one in _near(session, entry) if _alike(one, entry, merge_all)), None)
                try:
                    if twin is None:
                        saved, word = rows.store_contact(session, entry, fresh, now), "created"
                    else:
                        both = check(merged(twin, entry), self._country)
                        if both == twin:
                            words.append("same")
                            continue
                        saved, word = rows.store_contact(session, both, "", now), "merged"
                except Invalid as error:
                    refused.append(_fault(line, error, text))
                    continue
                words.append(word)
                stored |= {one.id: one for one in saved}
            return list(stored.values()), refused, words, rows.raise_version(session)

        def then(outcome: Outcome) -> None:
            self._changed((outcome[0], outcome[3]))

        stored, refused, words, _ = await self._store.change(job, then)
        return stored, refused, words

    async def give_out(self, kind: CardFile) -> bytes:
        """Everybody, by name. Raises StoreUnavailable."""
        return await asyncio.to_thread(_written, await self._store.ask(rows.all_contacts), kind)

    def duplicates(self, limit: int = SHOWN) -> list[Duplicate]:
        return [Duplicate(number, entries) for number, entries in sorted(self._index.shared().items())[:limit]]

    async def merge(self, contact_id: str, other_id: str) -> ContactEntry:
        """See `ContactPort`."""
        if contact_id == other_id:
            raise Invalid("with", "contact.itself")
        now = self._clock()

        def job(session: Session) -> tuple[list[ContactEntry], int]:
            rows.lock(session)      # an import beside us may be changing one of them
            found = {one.id: one for one in rows.contacts_by_id(session, [contact_id, other_id])}
            for wanted in (contact_id, other_id):
                if wanted not in found:
                    raise NotFound(f"no contact {wanted}")
            one, other = found[contact_id], found[other_id]
            if one.kind != other.kind:
                raise Invalid("with", "contact.unlike")
            both = check(merged(one, other), self._country)
            connection = session.connection()
            for table in (ActivityRow, ScheduledCallRow):
                change = sa.update(table).where(col(table.contact_id) == other_id)
                connection.execute(change.values(contact_id=contact_id))
            moved = rows.move_people(session, other_id, contact_id, both.name)
            rows.remove_contact(session, other_id)
            return [*moved, *rows.store_contact(session, both, "", now)], rows.raise_version(session)

        def then(saved: tuple[list[ContactEntry], int]) -> None:
            self._dropped(other_id)
            self._changed(saved)

        stored, _ = await self._store.change(job, then)
        return next(entry for entry in stored if entry.id == contact_id)


def merged(one: ContactEntry, other: ContactEntry) -> ContactEntry:
    """Both in one. What cannot stand beside the other becomes a field: `company (2)`."""
    own = dict(one.fields)
    kept: dict[str, str] = {}
    nameless = _nameless(one) and not _nameless(other)
    first, second = (other, one) if nameless else (one, other)
    for name in ("name", "company", "owner", "balance"):
        mine, theirs = getattr(first, name) or "", getattr(second, name) or ""
        kept[name] = mine or theirs
        unsaid = name == "name" and (_nameless(second) or _same_name(mine, theirs))
        if theirs and theirs != kept[name] and not unsaid:
            _keep(own, name, theirs)
    for name, value in other.fields.items():
        if own.get(name, value) != value:
            _keep(own, name, value)
        else:
            own[name] = value
    numbers = dict(one.numbered())
    for number, kind in other.numbered():
        numbers.setdefault(number, kind)
    emails = dict.fromkeys(filter(None, (one.email, *one.other_emails, other.email, *other.other_emails)))
    tags = dict.fromkeys((*one.tags, *other.tags))
    if TAG in tags and not (_nameless(one) and _nameless(other)):
        del tags[TAG]
    said = dict.fromkeys(filter(None, (one.instructions, other.instructions)))
    return replace(
        one, name=kept["name"], company=kept["company"], owner=kept["owner"] or None, balance=kept["balance"],
        company_id=one.company_id or (other.company_id if kept["company"] == other.company else None),
        numbers=tuple(numbers), number_kinds=short_kinds(numbers.values()), email=next(iter(emails), ""),
        other_emails=tuple(emails)[1:], tags=tuple(tags), instructions="\n".join(said), vip=one.vip or other.vip,
        addresses=tuple(dict.fromkeys((*one.addresses, *other.addresses))), fields=own,
    )  # fmt: skip


def _keep(own: dict[str, str], name: str, value: str) -> None:
    """Under the first name that is free, unless it is there."""
    for number in count(2):
        key = f"{name} ({number})"
        if own.setdefault(key, value) == value:
            return


def _alike(one: ContactEntry, other: ContactEntry, merge_all: bool) -> bool:
    """Whether two with a number in common are one."""
    if one.kind != other.kind and not (_nameless(one) or _nameless(other)):
        return False
    return merge_all or _nameless(one) or _nameless(other) or _same_name(one.name, other.name)


def _same_name(one: str, other: str) -> bool:
    """The same words, in whatever order."""
    return _words(one) == _words(other)


def _words(name: str) -> list[str]:
    return sorted(name.casefold().replace(",", " ").split())


def _nameless(entry: ContactEntry) -> bool:
    """Known by the number alone, as newcomers are."""
    return entry.name in entry.numbers


def _near(session: Session, entry: ContactEntry) -> list[ContactEntry]:
    """Who may be the same: those with a number of his; of one who has none those with his address, or his name."""
    if entry.numbers:
        query = select(ContactNumberRow.contact_id).where(col(ContactNumberRow.e164).in_(list(entry.numbers)))
    elif entry.email:
        query = select(ContactRow.id).where(col(ContactRow.email) == entry.email)
    else:
        same = (col(ContactRow.name) == entry.name, col(ContactRow.company) == entry.company)
        query = select(ContactRow.id).where(col(ContactRow.kind) == entry.kind, *same)
    found = list(dict.fromkeys(session.exec(query)))
    return rows.contacts_by_id(session, found) if found else []


# --- on a thread: a file of thousands would stop the calls of this process for as long as it is read


def _sorted_out(data: bytes, kind: CardFile, country: str) -> tuple[list[Row], list[ImportFault]]:
    """What can be stored, and what cannot. Raises Invalid for a file that is none."""
    good: list[Row] = []
    faults: list[ImportFault] = []
    for line, text, found in _read(data, kind):
        try:
            if isinstance(found, Invalid):
                raise found
            good.append((line, text, check(found, country)))
        except Invalid as error:
            faults.append(_fault(line, error, text))
    good.sort(key=lambda one: one[2].kind != "company")     # people find their companies by name
    return good, faults


def _fault(line: int, error: Invalid, text: str) -> ImportFault:
    return ImportFault(line, str(error), text[:MAX_TEXT], error.said)


def _written(entries: list[ContactEntry], kind: CardFile) -> bytes:
    entries.sort(key=lambda entry: (entry.kind != "company", entry.name.casefold(), entry.id))
    if kind == "csv":
        return sheets.write(entries).encode("utf-8-sig")   # with its mark spreadsheets know that it is UTF-8
    from crmhooks.embedded import vcards

    return vcards.write(entries).encode()


def _read(data: bytes, kind: CardFile) -> Iterator[tuple[int, str, ContactEntry | Invalid]]:
    if len(data) > MAX_BYTES:
        raise Invalid("file", "file.large", most=MAX_BYTES // 1_000_000)
    text = _text(data)
    if kind == "csv":
        yield from sheets.read(text)
        return
    from crmhooks.embedded import vcards  # vobject is imported by who needs it

    if "BEGIN:VCARD" not in text.upper():
        raise Invalid("file", "file.card")
    yield from vcards.read(text)


def _text(data: bytes) -> str:
    """By its mark; else UTF-8; else what the older programs of East or West wrote."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        cyrillic = sum(byte >= 0xC0 for byte in data) * 2 > sum(byte >= 0x80 for byte in data)
        runs = any(data[at] >= 0xC0 and data[at + 1] >= 0xC0 for at in range(len(data) - 1))
        return data.decode("cp1251" if cyrillic and runs else "cp1252", "replace")
