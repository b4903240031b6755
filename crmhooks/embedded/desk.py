"""The CRM that ships: contacts, activities, instructions, and the card that pops before the phone rings.

Implements `control.CrmDesk`. What a call needs is answered from memory; the database follows on the writer's thread,
and memory follows the database: it changes once a change is committed.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, tzinfo
from types import MappingProxyType

from sqlmodel import Session, col, select

from crmhooks import outbox_rows
from crmhooks.cards import instructions_of
from crmhooks.contact import check
from crmhooks.embedded import rows
from crmhooks.embedded.activities import MAX_SUMMARY, change_of, narrowed
from crmhooks.embedded.cards import Cards, Recent
from crmhooks.embedded.index import ContactIndex
from crmhooks.embedded.instructions import Book
from crmhooks.embedded.newcomers import Newcomers
from crmhooks.embedded.port import Port
from crmhooks.embedded.schedule import Schedule
from crmhooks.journal import Journal
from crmhooks.numbers import normalise
from crmhooks.records import activity, activity_of, number_of, other_party
from crmhooks.text import paragraphs
from pbxcore.bus import Bus
from pbxcore.control import ActivityChange, ActivityEntry, Card, ContactEntry, Invalid, NotFound
from pbxcore.events import Event, SummaryWritten
from pbxcore.hooks import CallSnapshot, IncomingCall
from pbxcore.store import Store, StoreUnavailable
from pbxcore.store.models import ActivityRow, ContactRow
from pbxcore.store.statements import clean

LOOK_SECONDS = 3.0     # between two looks at what other programs have changed


class EmbeddedCrm:
    """The desk, the contact index and the journal that writes its activities. `load` before the first call.

    `clock` is Unix time, `token` makes the ids of what is new. `zone` is the office's, `inbound` its dial plan: number
    of ours -> what it leads to. `enters`: numbers that nobody has become contacts by themselves.
    """

    def __init__(
        self,
        store: Store,
        bus: Bus,
        country: str,
        *,
        clock: Callable[[], float] = time.time,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
        zone: tzinfo = UTC,
        inbound: Mapping[str, str] = MappingProxyType({}),
        enters: bool = False,
    ) -> None:
        self.index = ContactIndex()
        self.journal = Journal(store, self.index, country)
        self.journal.on_ended = self._call_ended
        self._store = store
        self._bus = bus
        self._country = country
        self._clock = clock
        self._token = token
        self._cards = Cards(clock)
        self._recent = Recent(self._activity)
        self._version = 0      # of the contacts in memory
        self._watching: asyncio.Task[None] | None = None
        self.book = Book(store, country, zone, inbound, clock, token)
        self.port = Port(store, self.index, country, clock=clock, token=token, changed=self._take_over,
                         dropped=self._forget)
        self.schedule = Schedule(store, self.index, country, clock, token)
        self.newcomers: Newcomers | None = None
        if enters:
            self.newcomers = Newcomers(
                store, bus, self.index, self._cards, self.journal, country,
                clock=clock, token=token, changed=self._take_over,
            )  # fmt: skip
            self.journal.on_answered = self.newcomers.meet

    def load(self) -> None:
        """Take contacts and the latest activities into memory. Blocks: for the start. Raises StoreUnavailable."""
        entries, self._version = self._store.ask_now(rows.contacts_and_version)
        self.index.replace(entries)
        self.book.load()
        for latest in self._store.ask_now(rows.latest_activities):
            self._remember(latest)

    async def refresh(self) -> bool:
        """Take over what another program changed in the contacts, such as an import; cheap when nothing was. True
        when something was. Raises StoreUnavailable."""
        before = self._version
        if await self._store.ask(rows.version) == before:
            return False
        entries, version = await self._store.ask(rows.contacts_and_version)
        changed, gone = await asyncio.to_thread(self.index.differences, entries)
        if self._version != before:  # a change of our own came in between: what was read may lack it
            return await self.refresh()
        self.index.take(changed, gone)
        self._version = version
        return True

    # -- in memory, beside the call

    def card_for(self, call: IncomingCall) -> Card:
        """Look the other party up, keep the card under the call's id and return it."""
        card = self.card_of(call)
        self._cards.put(card)
        return card

    def card_of(self, call: IncomingCall) -> Card:
        """The card as it would be; nothing is kept."""
        text = other_party(call)
        found = normalise(text, self._country)
        if found is not None:
            number = found.e164
            contacts = self.index.find(number)
            recent = self._recent.of(number)
        else:
            number, contacts = text, ()
            recent = self._recent.of(number) if call.direction == "internal" else ()
        instructions = instructions_of(contacts) if contacts else ""
        if self.book:
            instructions = self.book.find(call, None if found is None else number, contacts, instructions)
        return Card(call.call_id, number, contacts, instructions, recent)

    def put_card(self, card: Card) -> None:
        """Replace the card of `card.call_id`."""
        self._cards.put(card)

    def card(self, call_id: str) -> Card | None:
        return self._cards.get(call_id)

    def lookup(self, number: str) -> tuple[ContactEntry, ...]:
        """Everybody with this number, in any spelling of the office's country."""
        found = normalise(number, self._country)
        return () if found is None else self.index.find(found.e164)

    def people(self, company_id: str) -> tuple[ContactEntry, ...]:
        """Those who belong to a company, by name."""
        return self.index.people(company_id)

    def start(self) -> None:
        """Take over what other programs change, from now on."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="contacts")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            with suppress(StoreUnavailable):
                await self.refresh()

    async def close(self) -> None:
        """Before the store is closed."""
        await self.schedule.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self.newcomers is not None:
            await self.newcomers.close()

    def _call_ended(self, call: CallSnapshot) -> None:
        if self.newcomers is not None:
            self.newcomers.meet(call)
        self.schedule.ended(call)
        self._cards.ended(call.call_id)
        text = other_party(call)
        found = normalise(text, self._country)
        if found is not None:
            self._recent.ended(found.e164, call)
        elif call.direction == "internal":  # whoever withheld his number is not the one who did so last time
            self._recent.ended(text, call)

    def _remember(self, entry: ActivityEntry) -> None:
        if entry.direction == "internal" or normalise(entry.number, "") is not None:
            self._recent.put(entry)

    def _activity(self, call: CallSnapshot) -> ActivityEntry:
        number = number_of(call, self._country)
        contacts = self.index.find(number)
        contact_id = call.contact_id or (contacts[0].id if len(contacts) == 1 else None)
        entry = self.index.get(contact_id) if contact_id is not None else None
        return activity_of(call, number, contact_id, entry.name if entry is not None else "")

    # -- contacts

    async def contacts(
        self, search: str = "", limit: int = 50, offset: int = 0, *, companies: bool = False
    ) -> list[ContactEntry]:
        """By name. `search` finds parts of name, company, e-mail and tags in any case, and numbers in any spelling."""
        found = normalise(search, self._country)
        words = [found.national] if found is not None else rows.words(search)
        return await self._store.ask(lambda session: rows.search_contacts(session, words, limit, offset, companies))

    async def contact(self, contact_id: str) -> ContactEntry:
        entry = self.index.get(contact_id)
        if entry is None:
            raise NotFound(f"no contact {contact_id}")
        return entry

    async def save_contact(self, entry: ContactEntry) -> ContactEntry:
        """Create (no id) or change. Raises Invalid, NotFound; StoreUnavailable when the database is gone."""
        checked = check(entry, self._country)
        now = self._clock()
        fresh = "" if checked.id else self._token()

        stored, _ = await self._store.change(
            lambda session: rows.save_contact(session, checked, fresh, now), self._take_over
        )
        return stored[0]

    async def delete_contact(self, contact_id: str) -> None:
        """Forget a contact; its activities stay, without it. Raises NotFound, StoreUnavailable."""

        def forget(changed: tuple[list[ContactEntry], int]) -> None:
            self._forget(contact_id)
            self._take_over(changed)

        await self._store.change(lambda session: rows.delete_contact(session, contact_id), forget)

    def _forget(self, contact_id: str) -> None:
        self.index.drop(contact_id)
        self._recent.forget_contact(contact_id)

    def _take_over(self, changed: tuple[list[ContactEntry], int]) -> None:
        """What a change of ours has stored."""
        for entry in changed[0]:
            self.index.put(entry)
        self._changed(changed[1])

    def _changed(self, version: int) -> None:
        """Our own change made this version; when others changed something before it, `refresh` must see that."""
        if version == self._version + 1:
            self._version = version

    # -- activities

    async def activities(
        self,
        *,
        agent: str | None = None,
        contact_id: str | None = None,
        call_id: str | None = None,
        open_only: bool = False,
        overdue: bool = False,
        follow_up: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ActivityEntry]:
        """Newest first; every filter given must match. See `CrmDesk.activities`."""
        query = narrowed(
            rows.activities(), self._clock(), agent=agent, contact_id=contact_id, call_id=call_id,
            open_only=open_only, overdue=overdue, follow_up=follow_up,
        ).limit(limit).offset(offset)  # fmt: skip
        await self._store.settle()
        return await self._store.ask(lambda session: [activity(row, name) for row, name in session.exec(query)])

    async def write_summary(
        self,
        call_id: str,
        summary: str,
        author: str,
        contact_id: str | None = None,
        change: ActivityChange | None = None,
    ) -> ActivityEntry:
        """Complete the activity of a call, while it is up or after; durable when this returns. `contact_id` settles
        whose call it was. Raises NotFound, Invalid; StoreUnavailable when the database is gone."""
        text = paragraphs(summary)
        if not text:
            raise Invalid("summary", "call.summary")
        if len(text) > MAX_SUMMARY:
            raise Invalid("summary", "text.long", most=MAX_SUMMARY)
        now, more = self._clock(), change_of(change or {})

        def write(session: Session, row: ActivityRow) -> None:
            if contact_id is not None:
                if session.get(ContactRow, contact_id) is None:
                    raise Invalid("contact_id", "call.contact", contact_id=contact_id)
                row.contact_id, row.settled = contact_id, True
            row.summary, row.author, row.state, row.completed_at = text, author, "completed", now
            more(row)

        return await self._change(call_id, write, SummaryWritten(now, call_id, author))

    async def change_activity(self, call_id: str, change: ActivityChange) -> ActivityEntry:
        """Say more of an activity. Raises NotFound, Invalid, StoreUnavailable."""
        more = change_of(change)
        return await self._change(call_id, lambda session, row: more(row))

    async def _change(
        self, call_id: str, work: Callable[[Session, ActivityRow], None], event: Event | None = None
    ) -> ActivityEntry:
        def job(session: Session) -> ActivityEntry:
            query = select(ActivityRow).where(col(ActivityRow.call_id) == clean(call_id))
            row = session.exec(query).one_or_none()
            if row is None:
                raise NotFound(f"no activity of call {call_id}")
            work(session, row)
            session.add(row)
            outbox_rows.touch(session, row.call_id)
            contact = session.get(ContactRow, row.contact_id) if row.contact_id is not None else None
            return activity(row, contact.name if contact is not None else None)

        def then(entry: ActivityEntry) -> None:
            self._remember(entry)
            if event is not None:
                self._bus.publish(event)

        return await self._store.change(job, then)

    async def history(
        self, *, party: str | None = None, call_id: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[CallSnapshot]:
        """Call records from the journal, newest first; `party` keeps one extension's calls, `call_id` one call."""
        if call_id is not None:
            found = await self.journal.find(call_id)
            return [] if found is None else [found]
        return await self.journal.history(party=party, limit=limit, offset=offset)
