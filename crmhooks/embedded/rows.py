"""The embedded CRM's tables: contacts with their numbers, and the activities of calls. Transactions given a session;
whoever calls them keeps memory in step."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, replace
from typing import Any, cast

import sqlalchemy as sa
from sqlmodel import Session, col, select

from crmhooks.contact import short_kinds
from crmhooks.records import activity
from pbxcore.control import ActivityEntry, Address, ContactEntry, Invalid, NotFound
from pbxcore.store.models import ActivityRow, ContactNumberRow, ContactRow, MetaRow, ScheduledCallRow
from pbxcore.store.statements import clean

NUMBER_LIKE = re.compile(r"\+?(?:[\s().\-/]*\d){3,}[\s().\-/]*\Z")
VERSION = "contacts.version"      # key in `meta`, made with the tables
LATEST = 2000     # activities taken into memory at start


def words(search: str) -> list[str]:
    """What every hit must contain: words case-folded, digits of numbers without their punctuation."""
    text = clean(search).casefold()
    if NUMBER_LIKE.match(text):
        return ["".join(character for character in text if character.isdecimal())]
    return text.split()[:10]


def search_text(entry: ContactEntry) -> str:
    said = [entry.name, entry.company, entry.email, *entry.other_emails, *entry.tags, *entry.numbers]
    return " ".join([*said, *entry.fields.values(), *(address.city for address in entry.addresses)]).casefold()


def all_contacts(session: Session) -> list[ContactEntry]:
    return _entries(session, session.exec(select(ContactRow).order_by(col(ContactRow.created_at), col(ContactRow.id))))


def contacts_and_version(session: Session) -> tuple[list[ContactEntry], int]:
    return all_contacts(session), version(session)


def version(session: Session) -> int:
    """A number that every change of the contacts raises, whichever program made it."""
    return int(session.get_one(MetaRow, VERSION).value)


def raise_version(session: Session) -> int:
    row = session.get_one(MetaRow, VERSION, with_for_update=True)
    row.value = str(int(row.value) + 1)
    session.add(row)
    return int(row.value)


def contacts_by_id(session: Session, contact_ids: list[str]) -> list[ContactEntry]:
    """Those that there are."""
    return _entries(session, session.exec(select(ContactRow).where(col(ContactRow.id).in_(contact_ids))))


def contacts_with(session: Session, numbers: list[str]) -> list[ContactEntry]:
    """Everybody who has one of these numbers."""
    query = select(ContactNumberRow.contact_id).where(col(ContactNumberRow.e164).in_(numbers)).distinct()
    return contacts_by_id(session, list(session.exec(query)))


def add_contacts(session: Session, entries: list[ContactEntry], now: float) -> None:
    """New contacts with their ids, that belong to no company: two statements for all, because many may come at once."""
    people = [
        {
            "id": entry.id, "kind": entry.kind, "name": entry.name, "email": entry.email, "vip": entry.vip,
            "instructions": entry.instructions, "balance": entry.balance, "company": "", "owner": entry.owner,
            "other_emails": list(entry.other_emails), "fields": dict(entry.fields),
            "addresses": [asdict(address) for address in entry.addresses], "tags": list(entry.tags),
            "search": search_text(entry), "created_at": now, "changed_at": now,
        }
        for entry in entries
    ]  # fmt: skip
    numbers = [
        {"contact_id": entry.id, "e164": e164, "place": place, "kind": kind}
        for entry in entries for place, (e164, kind) in enumerate(entry.numbered())
    ]  # fmt: skip
    connection = session.connection()
    connection.execute(sa.insert(ContactRow), people)
    connection.execute(sa.insert(ContactNumberRow), numbers)


def search_contacts(
    session: Session, wanted: list[str], limit: int, offset: int, companies: bool = False
) -> list[ContactEntry]:
    query = select(ContactRow).order_by(sa.func.lower(col(ContactRow.name)), col(ContactRow.id))
    if companies:
        query = query.where(col(ContactRow.kind) == "company")
    for word in wanted:
        query = query.where(col(ContactRow.search).contains(word, autoescape=True))
    return _entries(session, session.exec(query.limit(limit).offset(offset)))


def lock(session: Session) -> None:
    """Let no other program change contacts until this transaction is over."""
    session.get_one(MetaRow, VERSION, with_for_update=True)


def save_contact(session: Session, entry: ContactEntry, fresh: str, now: float) -> tuple[list[ContactEntry], int]:
    """`store_contact`, and the new version."""
    return store_contact(session, entry, fresh, now), raise_version(session)


def store_contact(session: Session, entry: ContactEntry, fresh: str, now: float) -> list[ContactEntry]:
    """Create under the id `fresh`, or change the one it names. The contact first, then the people of a company whose
    name has changed. Raises NotFound, Invalid."""
    if fresh:
        entry = replace(entry, id=fresh)
        row = ContactRow(id=fresh, name="", tags=[], created_at=now, changed_at=now)
    else:
        found = session.get(ContactRow, entry.id)
        if found is None:
            raise NotFound(f"no contact {entry.id}")
        row = found
    entry = _with_company(session, entry)
    people = _people(session, entry, now) if not fresh and (row.kind, row.name) != (entry.kind, entry.name) else []
    row.kind, row.name, row.company, row.company_id = entry.kind, entry.name, entry.company, entry.company_id
    row.email, row.other_emails, row.owner = entry.email, list(entry.other_emails), entry.owner
    row.addresses = [asdict(address) for address in entry.addresses]
    row.balance, row.fields = entry.balance, dict(entry.fields)
    row.tags, row.instructions, row.vip = list(entry.tags), entry.instructions, entry.vip
    row.search, row.changed_at = search_text(entry), now
    session.add(row)
    session.flush()
    session.connection().execute(sa.delete(ContactNumberRow).where(col(ContactNumberRow.contact_id) == entry.id))
    session.add_all(
        ContactNumberRow(contact_id=entry.id, e164=e164, place=place, kind=kind)
        for place, (e164, kind) in enumerate(entry.numbered())
    )
    session.flush()
    return [entry, *people]


def _with_company(session: Session, entry: ContactEntry) -> ContactEntry:
    """A person bears his company's name as it is now; one who names a company belongs to it when just one has the
    name."""
    if entry.company_id is None:
        if entry.kind == "company" or not entry.company:
            return entry
        query = select(ContactRow.id).where(col(ContactRow.kind) == "company", col(ContactRow.name) == entry.company)
        named = session.exec(query.limit(2)).all()
        return replace(entry, company_id=named[0]) if len(named) == 1 else entry
    company = session.get(ContactRow, entry.company_id)
    if company is None or company.kind != "company":
        raise Invalid("company_id", "contact.company", company_id=entry.company_id)
    return replace(entry, company=company.name)


def _people(session: Session, company: ContactEntry, now: float) -> list[ContactEntry]:
    """Those who belong to a company, with its new name; to none, when it is no company any more."""
    query = select(ContactRow).where(col(ContactRow.company_id) == company.id)
    found = []
    for row, entry in zip(people := list(session.exec(query)), _entries(session, people), strict=True):
        left = company.kind != "company"
        changed = replace(entry, company_id=None) if left else replace(entry, company=company.name)
        row.company, row.company_id, row.changed_at = changed.company, changed.company_id, now
        row.search = search_text(changed)
        session.add(row)
        found.append(changed)
    return found


def move_people(session: Session, old: str, new: str, name: str) -> list[ContactEntry]:
    """Those who belong to one company belong to another from now on, which bears this name."""
    people = list(session.exec(select(ContactRow).where(col(ContactRow.company_id) == old)))
    for row in people:
        row.company_id, row.company = new, name
        session.add(row)
    session.flush()
    return _entries(session, people)


def delete_contact(session: Session, contact_id: str) -> tuple[list[ContactEntry], int]:
    """`remove_contact`, and the new version."""
    return remove_contact(session, contact_id), raise_version(session)


def remove_contact(session: Session, contact_id: str) -> list[ContactEntry]:
    """The people of the company that it was. Raises NotFound."""
    row = session.get(ContactRow, contact_id)
    if row is None:
        raise NotFound(f"no contact {contact_id}")
    connection = session.connection()
    connection.execute(sa.update(ActivityRow).where(col(ActivityRow.contact_id) == contact_id).values(contact_id=None))
    planned = sa.update(ScheduledCallRow).where(col(ScheduledCallRow.contact_id) == contact_id)
    connection.execute(planned.values(contact_id=None))
    connection.execute(sa.delete(ContactNumberRow).where(col(ContactNumberRow.contact_id) == contact_id))
    people = _people(session, ContactEntry(contact_id, row.name), row.changed_at)
    session.delete(row)
    session.flush()
    return people


def activities() -> Any:
    """Activities with the name of their contact, to be narrowed and ordered."""
    return select(ActivityRow, ContactRow.name).join(
        ContactRow, col(ContactRow.id) == col(ActivityRow.contact_id), isouter=True
    )


def latest_activities(session: Session) -> list[ActivityEntry]:
    """The last of them, the oldest first."""
    query = activities().order_by(col(ActivityRow.id).desc()).limit(LATEST)
    return [activity(row, name) for row, name in session.exec(query)][::-1]


def _entries(session: Session, found: Any) -> list[ContactEntry]:
    contacts = list(found)
    if not contacts:
        return []
    numbers: dict[str, list[ContactNumberRow]] = defaultdict(list)
    query = select(ContactNumberRow).order_by(col(ContactNumberRow.contact_id), col(ContactNumberRow.place))
    if len(contacts) <= 500:
        query = query.where(col(ContactNumberRow.contact_id).in_([row.id for row in contacts]))
    for number in session.exec(query):
        numbers[number.contact_id].append(number)
    return [
        ContactEntry(
            id=row.id,
            name=row.name,
            numbers=tuple([number.e164 for number in numbers[row.id]]),
            number_kinds=short_kinds([cast(Any, number.kind) for number in numbers[row.id]]),
            kind="company" if row.kind == "company" else "person",
            company=row.company,
            company_id=row.company_id,
            email=row.email,
            other_emails=tuple(row.other_emails),
            addresses=tuple([Address(**cast(Any, address)) for address in row.addresses]),
            balance=row.balance,
            fields=row.fields,
            owner=row.owner,
            tags=tuple(row.tags),
            instructions=row.instructions,
            vip=row.vip,
        )
        for row in contacts
    ]
