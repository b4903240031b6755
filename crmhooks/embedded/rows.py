"""The embedded CRM's tables: contacts with their numbers, and the activities of calls. Transactions given a session;
whoever calls them keeps memory in step."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from crmhooks.records import activity
from pbxcore.control import ActivityEntry, ContactEntry, NotFound
from pbxcore.store.models import ActivityRow, ContactNumberRow, ContactRow, MetaRow
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
    return " ".join([entry.name, entry.company, entry.email, *entry.tags, *entry.numbers]).casefold()


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


def search_contacts(session: Session, wanted: list[str], limit: int, offset: int) -> list[ContactEntry]:
    query = select(ContactRow).order_by(sa.func.lower(col(ContactRow.name)), col(ContactRow.id))
    for word in wanted:
        query = query.where(col(ContactRow.search).contains(word, autoescape=True))
    return _entries(session, session.exec(query.limit(limit).offset(offset)))


def save_contact(session: Session, entry: ContactEntry, fresh: str, now: float) -> tuple[ContactEntry, int]:
    """Create under the id `fresh`, or change the one it names; with the new version. Raises NotFound."""
    if fresh:
        entry = replace(entry, id=fresh)
        row = ContactRow(id=fresh, name="", tags=[], created_at=now, changed_at=now)
    else:
        found = session.get(ContactRow, entry.id)
        if found is None:
            raise NotFound(f"no contact {entry.id}")
        row = found
    row.name, row.company, row.email, row.owner = entry.name, entry.company, entry.email, entry.owner
    row.tags, row.instructions, row.vip = list(entry.tags), entry.instructions, entry.vip
    row.search, row.changed_at = search_text(entry), now
    session.add(row)
    session.flush()
    session.connection().execute(sa.delete(ContactNumberRow).where(col(ContactNumberRow.contact_id) == entry.id))
    session.add_all(
        ContactNumberRow(contact_id=entry.id, e164=e164, place=place) for place, e164 in enumerate(entry.numbers)
    )
    session.flush()
    return entry, raise_version(session)


def delete_contact(session: Session, contact_id: str) -> int:
    """The new version. Raises NotFound."""
    row = session.get(ContactRow, contact_id)
    if row is None:
        raise NotFound(f"no contact {contact_id}")
    connection = session.connection()
    connection.execute(sa.update(ActivityRow).where(col(ActivityRow.contact_id) == contact_id).values(contact_id=None))
    connection.execute(sa.delete(ContactNumberRow).where(col(ContactNumberRow.contact_id) == contact_id))
    session.delete(row)
    return raise_version(session)


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
    numbers: dict[str, list[str]] = defaultdict(list)
    query = select(ContactNumberRow).order_by(col(ContactNumberRow.contact_id), col(ContactNumberRow.place))
    if len(contacts) <= 500:
        query = query.where(col(ContactNumberRow.contact_id).in_([row.id for row in contacts]))
    for number in session.exec(query):
        numbers[number.contact_id].append(number.e164)
    return [
        ContactEntry(
            id=row.id,
            name=row.name,
            numbers=tuple(numbers[row.id]),
            company=row.company,
            email=row.email,
            owner=row.owner,
            tags=tuple(row.tags),
            instructions=row.instructions,
            vip=row.vip,
        )
        for row in contacts
    ]
