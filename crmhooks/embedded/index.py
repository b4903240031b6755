"""Who has this number: all contacts of the embedded CRM in memory, so that a look-up waits for nothing.

A number may be shared: everybody who has it is found, never just the first. Changed on the event loop only, after
the database took the change; read from any thread.
"""

from __future__ import annotations

from collections.abc import Iterable

from crmhooks.numbers import Number, normalise
from pbxcore.control import ContactEntry

TAIL = 7      # national digits that two spellings of one number share at least


class ContactIndex:
    """E.164 number -> contacts. Every change replaces a tuple, so that readers need no lock."""

    def __init__(self, entries: Iterable[ContactEntry] = ()) -> None:
        self._by_id: dict[str, ContactEntry] = {}
        self._by_number: dict[str, tuple[ContactEntry, ...]] = {}
        self._by_tail: dict[tuple[str, str], tuple[str, ...]] = {}   # (country code, last digits) -> stored numbers
        for entry in entries:
            self.put(entry)

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, contact_id: str) -> ContactEntry | None:
        return self._by_id.get(contact_id)

    def shared(self) -> dict[str, tuple[ContactEntry, ...]]:
        """Numbers that several have. Looks at all of them: for a page, not for a call."""
        return {number: entries for number, entries in self._by_number.items() if len(entries) > 1}

    def people(self, company_id: str) -> tuple[ContactEntry, ...]:
        """Who belongs to this company, by name. Looks at everybody: for a page, not for a call."""
        found = [entry for entry in self._by_id.values() if entry.company_id == company_id]
        return tuple(sorted(found, key=lambda entry: (entry.name.casefold(), entry.id)))

    def find(self, e164: str) -> tuple[ContactEntry, ...]:
        """Everybody with this number. When nobody has it: the one contact whose number differs by its beginning
        only (a stored local number, Argentina's 9, Italy's 0), if there is exactly one."""
        found = self._by_number.get(e164)
        return found if found is not None else self._find_by_tail(e164)

    def put(self, entry: ContactEntry) -> None:
        """Add, or replace the one with this id."""
        old = self._by_id.get(entry.id)
        if old is not None:
            for e164 in old.numbers:
                if e164 not in entry.numbers:
                    self._without(e164, entry.id)
        self._by_id[entry.id] = entry
        for e164 in entry.numbers:
            others = self._by_number.get(e164)
            if others is None:
                self._by_number[e164] = (entry,)
                self._add_tail(e164)
            elif any(other.id == entry.id for other in others):
                self._by_number[e164] = tuple([entry if other.id == entry.id else other for other in others])
            else:
                self._by_number[e164] = (*others, entry)

    def drop(self, contact_id: str) -> None:
        entry = self._by_id.pop(contact_id, None)
        if entry is not None:
            for e164 in entry.numbers:
                self._without(e164, contact_id)

    def replace(self, entries: Iterable[ContactEntry]) -> None:
        """Hold exactly these."""
        self.take(*self.differences(entries))

    def differences(self, entries: Iterable[ContactEntry]) -> tuple[list[ContactEntry], list[str]]:
        """Whom to put, and the ids of those to drop, to hold exactly these. Looks at everybody: on a thread, when there
        are calls."""
        wanted, held = {entry.id: entry for entry in entries}, self._by_id.copy()
        return [entry for entry in wanted.values() if held.get(entry.id) != entry], list(held.keys() - wanted.keys())

    def take(self, changed: Iterable[ContactEntry], gone: Iterable[str]) -> None:
        """What `differences` has found."""
        for contact_id in gone:
            self.drop(contact_id)
        for entry in changed:
            self.put(entry)

    def _without(self, e164: str, contact_id: str) -> None:
        left = tuple([entry for entry in self._by_number.get(e164, ()) if entry.id != contact_id])
        if left:
            self._by_number[e164] = left
            return
        self._by_number.pop(e164, None)
        key = _tail(e164)
        if key is not None:
            stored = tuple([other for other in self._by_tail.get(key, ()) if other != e164])
            if stored:
                self._by_tail[key] = stored
            else:
                self._by_tail.pop(key, None)

    def _add_tail(self, e164: str) -> None:
        key = _tail(e164)
        if key is not None:
            self._by_tail[key] = (*self._by_tail.get(key, ()), e164)

    def _find_by_tail(self, e164: str) -> tuple[ContactEntry, ...]:
        number = normalise(e164, "")
        if number is None or len(number.national) < TAIL:
            return ()
        found: dict[str, ContactEntry] = {}
        for stored in self._by_tail.get((number.code, number.national[-TAIL:]), ()):
            other = normalise(stored, "")
            if other is not None and _same_end(number, other):
                found.update((entry.id, entry) for entry in self._by_number.get(stored, ()))
        return tuple(found.values()) if len(found) == 1 else ()


def _tail(e164: str) -> tuple[str, str] | None:
    number = normalise(e164, "")
    if number is None or len(number.national) < TAIL:
        return None
    return number.code, number.national[-TAIL:]


def _same_end(one: Number, other: Number) -> bool:
    return one.national.endswith(other.national) or other.national.endswith(one.national)
