"""Numbers that nobody has yet become contacts by themselves: one each, however many calls come at once.

A call's number is entered when the call is answered, or when it ends; nothing of it is on the way of an INVITE. Whom a
hook or a connector knows is no newcomer, and what is no telephone number (extensions, short codes, withheld numbers,
junk) never becomes one. While the database is gone the numbers wait in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog
from sqlmodel import Session

from crmhooks.embedded import rows
from crmhooks.embedded.cards import Cards
from crmhooks.embedded.index import ContactIndex
from crmhooks.journal import Journal
from crmhooks.numbers import normalise
from crmhooks.records import other_party
from crmhooks.text import one_line
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry
from pbxcore.events import CardFound
from pbxcore.hooks import CallSnapshot, Disposition
from pbxcore.store import Store, StoreUnavailable

TAG = "new"
AT_ONCE = 200          # numbers a transaction
MAX_WAITING = 10_000   # while the database is gone; those after that are entered by their next call
MAX_CALLS = 1000       # of one number, then; those after that stay without him
GATHER = 0.25          # seconds that numbers gather for one transaction
AGAIN = 5.0            # seconds until a database that was gone is asked again
LAST_SECONDS = 2.0     # for those who still wait at the end
MAX_NAME = 200

log = structlog.get_logger("hookline.crm")

Saved = tuple[list[ContactEntry], int | None]


class Newcomers:
    """Enters numbers in a task of its own. `changed` takes over what was stored."""

    def __init__(
        self,
        store: Store,
        bus: Bus,
        index: ContactIndex,
        cards: Cards,
        journal: Journal,
        country: str,
        *,
        clock: Callable[[], float],
        token: Callable[[], str],
        changed: Callable[[tuple[list[ContactEntry], int]], None],
    ) -> None:
        self._store, self._bus, self._index, self._cards, self._journal = store, bus, index, cards, journal
        self._country, self._clock, self._token, self._changed = country, clock, token, changed
        self._waiting: dict[str, tuple[str, dict[str, None]]] = {}     # number -> name, call ids in their order
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def meet(self, call: CallSnapshot) -> None:
        """A call was answered, or has ended."""
        if call.direction == "internal" or call.contact_id is not None or _turned_away(call):
            return
        number = normalise(other_party(call), self._country)
        if number is None or self._index.find(number.e164):
            return
        card = self._cards.get(call.call_id)
        if card is not None and card.contacts:
            return
        waiting = self._waiting.get(number.e164)
        if waiting is not None:
            if len(waiting[1]) < MAX_CALLS:
                waiting[1][call.call_id] = None
        elif len(self._waiting) < MAX_WAITING:
            name = one_line(call.caller_name or "")[:MAX_NAME] if call.direction == "inbound" else ""
            if normalise(name, self._country) is not None:   # many a carrier says the number once more
                name = ""
            self._waiting[number.e164] = (name or number.e164, {call.call_id: None})
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._enter_all(), name="newcomers")

    async def _enter_all(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER)
                batch = self._next()
                try:
                    await self._enter(batch)
                except StoreUnavailable:
                    await asyncio.sleep(AGAIN)
                except Exception as error:  # calls go on; the next one from there tries again
                    log.error("new numbers were not entered", numbers=len(batch), exc_info=error)
                    for entry in batch:
                        self._waiting.pop(entry.numbers[0], None)
        finally:
            self._task = None

    def _next(self) -> list[ContactEntry]:
        waiting = list(self._waiting.items())[:AT_ONCE]
        return [ContactEntry("", name, (number,), tags=(TAG,)) for number, (name, _) in waiting]

    async def _enter(self, batch: list[ContactEntry]) -> None:
        now, tokens = self._clock(), [self._token() for _ in batch]

        def job(session: Session) -> Saved:
            rows.lock(session)   # another program may be entering the same number
            known = rows.contacts_with(session, [entry.numbers[0] for entry in batch])
            taken = {number for entry in known for number in entry.numbers}
            fresh = [
                replace(entry, id=token) for entry, token in zip(batch, tokens, strict=True)
                if entry.numbers[0] not in taken
            ]  # fmt: skip
            if fresh:
                rows.add_contacts(session, fresh, now)
            return [*known, *fresh], rows.raise_version(session) if fresh else None

        await self._store.change(job, lambda saved: self._entered([entry.numbers[0] for entry in batch], saved))

    def _entered(self, numbers: list[str], saved: Saved) -> None:
        entries, version = saved
        for entry in entries:
            self._index.put(entry)
        if version is not None:
            self._changed(([], version))
        for number in numbers:
            for call_id in self._waiting.pop(number, ("", {}))[1]:
                self._of_call(call_id, number)

    def _of_call(self, call_id: str, number: str) -> None:
        """The call is the newcomer's, and its card shows him."""
        contacts = self._index.find(number)
        if len(contacts) == 1:
            self._journal.annotate(call_id, contacts[0].id)
        if self._bus.wanted:
            self._bus.publish(CardFound(self._clock(), call_id, late=True))

    async def close(self) -> None:
        """Who still waits is entered, if the database takes him: many a call ends with the exchange."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(LAST_SECONDS):
                while self._waiting:
                    await self._enter(self._next())
        except Exception as error:      # their next call enters them
            log.warning("new numbers were not entered", numbers=len(self._waiting), error=str(error))


def _turned_away(call: CallSnapshot) -> bool:
    """Refused before it rang anywhere."""
    return call.disposition is Disposition.REJECTED and all(leg.side == "a" for leg in call.legs)

