"""Asking connectors who has a number: a bounded cache with a lifetime, and single flight.

Who has a number does not depend on the call, so a hundred calls from it at once make one request, and its answer
(that nobody has it, too) is kept for a minute. A *decision* does depend on the call: `on_incoming` is asked for each
call and nothing of it is shared or kept. Failures are not kept: the breaker sees to those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from crmhooks.breaker import Permit
from crmhooks.connector import HookError, NumberLookup
from crmhooks.flight import HARD_LIMIT, MAX_IN_FLIGHT, Flight, Slot, Waiter
from crmhooks.trail import ANSWERS_LATE, REMEMBERED, Trail, counted, late_after, outcome_of, resting
from pbxcore.control import ContactEntry

LIFETIME = 60.0
CACHE_SIZE = 4096
MOST_CONTACTS = 50


class Cache:
    """Answers by number, each kept `lifetime` seconds; the oldest goes when `size` is reached."""

    __slots__ = ("_clock", "_entries", "_lifetime", "_size")

    def __init__(self, clock: Callable[[], float], lifetime: float = LIFETIME, size: int = CACHE_SIZE) -> None:
        self._clock = clock
        self._lifetime = lifetime
        self._size = size
        self._entries: dict[str, tuple[float, tuple[ContactEntry, ...]]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, number: str) -> tuple[ContactEntry, ...] | None:
        entry = self._entries.get(number)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[number]
            return None
        return entry[1]

    def put(self, number: str, contacts: tuple[ContactEntry, ...]) -> None:
        self._entries.pop(number, None)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[number] = (self._clock() + self._lifetime, contacts)


class Lookup:
    """One connector's look-ups."""

    __slots__ = ("_clock", "_connector", "_flights", "_hard_limit", "_tasks", "cache", "slot")

    def __init__(
        self,
        connector: NumberLookup,
        slot: Slot,
        clock: Callable[[], float],
        tasks: set[asyncio.Task[None]],
        hard_limit: float = HARD_LIMIT,
    ) -> None:
        self.slot = slot
        self.cache = Cache(clock)
        self._connector = connector
        self._clock = clock
        self._tasks = tasks
        self._hard_limit = hard_limit
        self._flights: dict[str, Flight] = {}

    def find(self, number: str) -> tuple[ContactEntry, ...] | Flight | None:
        """Contacts that are remembered, or the flight that will bring them, or None: the connector is left alone."""
        known = self.cache.get(number)
        if known is not None:
            return known
        flight = self._flights.get(number)
        if flight is not None:
            return flight
        permit = self.slot.breaker.permit(self._clock())
        if permit is Permit.SKIP or self.slot.in_flight >= MAX_IN_FLIGHT:
            self.slot.skipped += 1
            return None
        flight = Flight(self.slot, self._clock, worth_waiting=permit is Permit.WAIT)
        self._flights[number] = flight
        flight.tell(_Landing(self, number))
        flight.start(self._ask(number), self._tasks, self._hard_limit)
        return flight

    async def _ask(self, number: str) -> tuple[ContactEntry, ...]:
        return checked(await self._connector.lookup(number))

    def _landed(self, number: str, flight: Flight) -> None:
        self._flights.pop(number, None)
        if flight.error is None:
            self.cache.put(number, flight.answer)


class _Landing:
    __slots__ = ("_lookup", "_number")

    def __init__(self, lookup: Lookup, number: str) -> None:
        self._lookup = lookup
        self._number = number

    def landed(self, flight: Flight) -> None:
        self._lookup._landed(self._number, flight)


class Search:
    """One call's question to all connectors at once: who has this number?"""

    __slots__ = ("_clock", "_found", "_trail")

    def __init__(
        self,
        lookups: Iterable[Lookup],
        number: str,
        trail: Trail,
        late: Callable[[Flight], None],
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._trail = trail
        self._found: list[tuple[Slot, tuple[ContactEntry, ...] | Waiter]] = []
        for lookup in lookups:
            slot = lookup.slot
            found = lookup.find(number)
            if found is None:
                trail.add(slot.name, (resting(slot),))
            elif not isinstance(found, Flight):
                self._found.append((slot, found))
            else:
                waiter = Waiter(found, late)
                if found.worth_waiting:
                    self._found.append((slot, waiter))
                else:
                    waiter.leave()
                    trail.add(slot.name, (ANSWERS_LATE,))

    async def contacts(self, until: float) -> tuple[ContactEntry, ...]:
        """Those of the first connector, in file order, that has any; awaits futures only, no longer than `until`."""
        for slot, found in self._found:
            if not isinstance(found, Waiter):
                self._trail.add(slot.name, (counted(found), REMEMBERED))
                contacts: tuple[ContactEntry, ...] = found
            else:
                contacts = await self._wait(slot, found, until)
            if contacts:
                return contacts
        return ()

    def close(self) -> None:
        """The call goes on: what lands from now on is late."""
        for _, found in self._found:
            if isinstance(found, Waiter):
                found.leave()

    async def _wait(self, slot: Slot, waiter: Waiter, until: float) -> tuple[ContactEntry, ...]:
        flight = waiter.flight
        latest = flight.started + slot.deadline
        if not await waiter.wait(min(until, latest) - self._clock()):
            elapsed = self._clock() - flight.started
            flight.waited(elapsed)
            self._trail.add(slot.name, (late_after(elapsed),), elapsed)
            return ()
        self._trail.add(slot.name, (outcome_of(flight),), flight.elapsed)
        return flight.answer or ()


def checked(answer: Any) -> tuple[ContactEntry, ...]:
    """What a connector says it found. Raises HookError for anything but contacts."""
    if answer is None:
        return ()
    if isinstance(answer, str | bytes) or not isinstance(answer, Sequence):
        raise HookError(f"lookup returned {type(answer).__name__}; return a list of pbxcore.control.ContactEntry")
    if len(answer) > MOST_CONTACTS:
        raise HookError(f"lookup returned {len(answer)} contacts for one number; at most {MOST_CONTACTS} are taken")
    for entry in answer:
        if not isinstance(entry, ContactEntry) or not isinstance(entry.name, str):
            raise HookError(f"lookup returned a list with {type(entry).__name__}; each must be a ContactEntry")
    return tuple(answer)
