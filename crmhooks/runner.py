"""The runner: asks the CRM and the hooks inside call set-up, within a budget, and never fails a call.

In order: the embedded CRM's card from memory; the hooks of the settings file, one after the other, the first decision
wins; what the embedded CRM would do itself. Connectors that can look numbers up are asked while the hooks are. Whoever
is late, wrong, dead or unwell is skipped, counted and shown in `explain`; what comes late still fills in the card.

`on_incoming` runs in the call's own coroutine, outside any asyncio task: it awaits plain futures only, and not even
those when the answer is in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crmhooks.breaker import Permit
from crmhooks.cards import completed, enriched, in_words, with_contacts
from crmhooks.connector import CardDesk, CrmConnector, Hook
from crmhooks.embedded.hook import decide
from crmhooks.flight import HARD_LIMIT, MAX_IN_FLIGHT, Flight, Slot, Waiter
from crmhooks.lookups import Lookup
from crmhooks.notices import Notices
from crmhooks.numbers import normalise
from crmhooks.payloads import cleaned
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry
from pbxcore.events import CardFound
from pbxcore.hooks import CallSnapshot, Decision, ExplainStep, IncomingCall, Play, Redirect, Reject

CALLS_EXPLAINED = 1000
OWN = "embedded CRM"


class Trail:
    """What was asked for one call, kept for `explain`; `quiet` for a try-out that leaves no card and no event."""

    __slots__ = ("call_id", "quiet", "steps")

    def __init__(self, call_id: str, quiet: bool = False) -> None:
        self.call_id = call_id
        self.quiet = quiet
        self.steps: list[tuple[str, str, float, Decision | None]] = []


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a call from a number: `hookline explain`."""

    steps: tuple[ExplainStep, ...]
    decision: Decision | None
    contacts: tuple[ContactEntry, ...]


@dataclass(frozen=True, slots=True)
class HookState:
    """One hook's question for the panel and /metrics. `state` is its breaker's."""

    name: str
    state: str
    asked: int
    answered: int
    silent: int
    late: int
    failed: int
    skipped: int
    in_flight: int
    last_error: str


class _Decider:
    __slots__ = ("hook", "slot")

    def __init__(self, hook: Hook, slot: Slot) -> None:
        self.hook = hook
        self.slot = slot


class Runner:
    """The one implementation of `pbxcore.hooks.CallHooks`. Made on, and used from, one event loop.

    `clock` is monotonic, `wall` is Unix time; `budget` and `hard_limit` are seconds. `hooks` are pairs of a hook and
    its own deadline in seconds; `connectors` likewise.
    """

    def __init__(
        self,
        desk: CardDesk,
        bus: Bus,
        *,
        hooks: Sequence[tuple[Hook, float]] = (),
        connectors: Sequence[tuple[CrmConnector, float]] = (),
        budget: float = 0.3,
        country: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        hard_limit: float = HARD_LIMIT,
    ) -> None:
        self._desk = desk
        self._bus = bus
        self._budget = budget
        self._country = country
        self._clock = clock
        self._wall = wall
        self._hard_limit = hard_limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._trails: dict[str, Trail] = {}
        self._hooks = [hook for hook, _ in hooks]
        self._deciders = [_Decider(h, Slot(h.name, deadline)) for h, deadline in hooks if "on_incoming" in h.answers]
        lookups: list[tuple[CrmConnector, float]] = [
            *((hook, deadline) for hook, deadline in hooks if "lookup" in hook.answers),
            *connectors,
        ]
        self._lookups = [
            Lookup(one, Slot(f"{one.name} (look-up)", deadline), clock, self._tasks, hard_limit)
            for one, deadline in lookups
        ]
        notices = {id(hook): Notices(hook.name, self._tasks) for hook in self._hooks}
        self._notices = list(notices.values())
        self._on_answered = [(notices[id(h)], h.on_answered) for h in self._hooks if "on_answered" in h.answers]
        self._on_ended = [(notices[id(h)], h.on_ended) for h in self._hooks if "on_ended" in h.answers]
        self._in_memory = not (self._deciders or self._lookups)
        self.errors = 0           # faults of our own, survived; any is a bug
        self.last_error = ""

    # -- CallHooks ---------------------------------------------------------------------------------------------------

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        trail = Trail(call.call_id)
        self._keep(trail)
        return await self._guarded(call, trail)

    def on_answered(self, call: CallSnapshot) -> None:
        for notices, listener in self._on_answered:
            notices.put(listener, call)

    def on_ended(self, call: CallSnapshot) -> None:
        for notices, listener in self._on_ended:
            notices.put(listener, call)

    def explain(self, call_id: str) -> tuple[ExplainStep, ...]:
        trail = self._trails.get(call_id)
        return () if trail is None else _steps(trail)

    # -- the panel, /metrics and the command line --------------------------------------------------------------------

    async def explain_number(self, number: str, to: str) -> Explanation:
        """What an inbound call from `number` to `to` would meet. Hooks are asked (the call's id begins with
        `explain-`), nobody is rung, no card pops."""
        call = IncomingCall(f"explain-{self._clock():.6f}", number, to, "inbound", self._wall())
        trail = Trail(call.call_id, quiet=True)
        decision = await self._guarded(call, trail)
        return Explanation(_steps(trail), decision, self._desk.lookup(number))

    def states(self) -> list[HookState]:
        slots = [decider.slot for decider in self._deciders] + [lookup.slot for lookup in self._lookups]
        return [
            HookState(
                slot.name, slot.breaker.state.value, slot.asked, slot.answered, slot.silent, slot.late,
                slot.failed, slot.skipped, slot.in_flight, slot.last_error,
            )
            for slot in slots
        ]  # fmt: skip

    def notices(self) -> list[Notices]:
        """The queues of `on_answered` and `on_ended`, one a hook, with their counters."""
        return self._notices

    async def close(self) -> None:
        """Give up what is on its way and close the hooks. Waits at most a second for their tasks."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=1.0)
        for hook in self._hooks:
            await hook.close()

    # -- one call ----------------------------------------------------------------------------------------------------

    async def _guarded(self, call: IncomingCall, trail: Trail) -> Decision | None:
        try:
            started = self._clock()
            card = self._card(call, trail)
            if self._in_memory:
                return self._settle(call, trail, card, started)
            return await self._ask_all(cleaned(call), trail, card, started)
        except Exception as error:  # invariant: whatever is wrong here, the call rings on by the dial plan
            self.errors += 1
            self.last_error = f"{type(error).__name__}: {error}"
            trail.steps.append(("runner", f"fault: {self.last_error}; the dial plan decides", 0.0, None))
            return None

    def _card(self, call: IncomingCall, trail: Trail) -> Card:
        if not trail.quiet:
            return self._desk.card_for(call)
        contacts = self._desk.lookup(call.caller)
        return Card(call.call_id, call.caller, contacts, contacts[0].instructions if len(contacts) == 1 else "")

    async def _ask_all(self, call: IncomingCall, trail: Trail, card: Card, started: float) -> Decision | None:
        until = started + self._budget
        searches = [] if card.contacts else self._search(call, trail)
        decision: Decision | None = None
        source = OWN
        for decider in self._deciders:
            decision = await self._ask(decider, call, trail, until)
            if decision is not None:
                source = decider.slot.name
                new = enriched(card, decision, late=False)
                card = card if new is None else new
                break
        if searches and not card.contacts and not isinstance(decision, Reject | Redirect | Play):
            contacts = await self._found(searches, trail, until)
            new = with_contacts(card, contacts, late=False)
            card = card if new is None else new
        return self._settle(call, trail, card, started, decision, source)

    def _settle(
        self,
        call: IncomingCall,
        trail: Trail,
        card: Card,
        started: float,
        decision: Decision | None = None,
        source: str = OWN,
    ) -> Decision | None:
        own = decide(call, card)
        if not self._in_memory and not trail.quiet:
            self._desk.put_card(card)
        if not trail.quiet and self._bus.wanted:
            self._bus.publish(CardFound(self._wall(), call.call_id, late=False))
        elapsed = self._clock() - started
        if decision is not None:
            decision = completed(decision, own)
            trail.steps.append(("decision", f"{in_words(decision)}, by {source}", elapsed, decision))
            return decision
        outcome = _known(card) if own is None else f"{_known(card)}: {in_words(own)}"
        trail.steps.append((OWN, outcome, elapsed, own))
        return own

    async def _ask(self, decider: _Decider, call: IncomingCall, trail: Trail, until: float) -> Decision | None:
        slot = decider.slot
        now = self._clock()
        permit = slot.breaker.permit(now)
        if permit is Permit.SKIP or slot.in_flight >= MAX_IN_FLIGHT:
            slot.skipped += 1
            why = "too many questions on their way" if permit is not Permit.SKIP else _resting(slot)
            trail.steps.append((slot.name, f"not asked: {why}", 0.0, None))
            return None
        flight = Flight(slot, self._clock)
        waiter = Waiter(flight, _Late(self, trail).decision)
        flight.start(decider.hook.on_incoming(call), self._tasks, self._hard_limit)
        wait = min(slot.deadline, until - now)
        if permit is Permit.BACKGROUND or wait <= 0:
            why = "its answers were late" if permit is Permit.BACKGROUND else "the budget is used up"
            trail.steps.append((slot.name, f"asked without waiting: {why}", 0.0, None))
            return None
        if not await waiter.wait(wait):
            if wait >= slot.deadline:
                flight.note_late()
            trail.steps.append((slot.name, f"late: no answer in {wait * 1000:.0f} ms; the call went on", wait, None))
            return None
        decision: Decision | None = flight.answer
        trail.steps.append((slot.name, _outcome(flight), flight.elapsed, decision))
        return decision

    # -- looking numbers up ------------------------------------------------------------------------------------------

    def _search(self, call: IncomingCall, trail: Trail) -> list[tuple[Lookup, tuple[ContactEntry, ...] | Waiter]]:
        """Start every look-up of the other party that is not answered from its cache."""
        party = {"inbound": call.caller, "outbound": call.called}.get(call.direction)
        number = None if party is None else normalise(party, self._country)
        if number is None:
            return []
        searches: list[tuple[Lookup, tuple[ContactEntry, ...] | Waiter]] = []
        for lookup in self._lookups:
            found, may_wait = lookup.find(number.e164)
            if found is None:
                trail.steps.append((lookup.slot.name, f"not asked: {_resting(lookup.slot)}", 0.0, None))
            elif not isinstance(found, Flight):
                searches.append((lookup, found))
            else:
                waiter = Waiter(found, _Late(self, trail).contacts)
                if may_wait:
                    searches.append((lookup, waiter))
                else:
                    trail.steps.append((lookup.slot.name, "asked without waiting: its answers were late", 0.0, None))
        return searches

    async def _found(
        self, searches: list[tuple[Lookup, tuple[ContactEntry, ...] | Waiter]], trail: Trail, until: float
    ) -> tuple[ContactEntry, ...]:
        """The contacts of the first connector that has any, waiting no longer than the budget."""
        for lookup, search in searches:
            slot = lookup.slot
            if not isinstance(search, Waiter):
                trail.steps.append((slot.name, f"{_counted(search)} (remembered)", 0.0, None))
                if search:
                    return search
                continue
            flight = search.flight
            now = self._clock()
            left = min(until, flight.started + slot.deadline) - now
            if not await search.wait(left):
                if flight.started + slot.deadline <= self._clock():
                    flight.note_late()
                trail.steps.append((slot.name, "late: the call went on", self._clock() - flight.started, None))
                continue
            trail.steps.append((slot.name, _outcome(flight), flight.elapsed, None))
            if flight.answer:
                contacts: tuple[ContactEntry, ...] = flight.answer
                return contacts
        return ()

    # -- late answers ------------------------------------------------------------------------------------------------

    def late_decision(self, trail: Trail, flight: Flight) -> None:
        decision: Decision | None = flight.answer
        card = None if trail.quiet or decision is None else self._desk.card(trail.call_id)
        self._late(trail, flight, None if card is None or decision is None else enriched(card, decision, late=True))

    def late_contacts(self, trail: Trail, flight: Flight) -> None:
        contacts: tuple[ContactEntry, ...] = flight.answer or ()
        card = None if trail.quiet else self._desk.card(trail.call_id)
        self._late(trail, flight, None if card is None else with_contacts(card, contacts, late=True))

    def _late(self, trail: Trail, flight: Flight, card: Card | None) -> None:
        outcome = f"afterwards: {_outcome(flight)}"
        if card is not None:
            outcome += "; the card was filled in"
            self._desk.put_card(card)
            if self._bus.wanted:
                self._bus.publish(CardFound(self._wall(), trail.call_id, late=True))
        trail.steps.append((flight.slot.name, outcome, flight.elapsed, None))

    def _keep(self, trail: Trail) -> None:
        trails = self._trails
        if len(trails) >= CALLS_EXPLAINED:
            del trails[next(iter(trails))]
        trails[trail.call_id] = trail


class _Late:
    """Whom to tell of a late answer, and for which call."""

    __slots__ = ("_runner", "_trail")

    def __init__(self, runner: Runner, trail: Trail) -> None:
        self._runner = runner
        self._trail = trail

    def decision(self, flight: Flight) -> None:
        self._runner.late_decision(self._trail, flight)

    def contacts(self, flight: Flight) -> None:
        self._runner.late_contacts(self._trail, flight)


def _steps(trail: Trail) -> tuple[ExplainStep, ...]:
    return tuple(
        ExplainStep(source, outcome, round(elapsed * 1000, 3), decision)
        for source, outcome, elapsed, decision in trail.steps
    )


def _outcome(flight: Flight) -> str:
    if flight.error is not None:
        return f"failed: {flight.error}"
    if isinstance(flight.answer, tuple):
        return _counted(flight.answer)
    return "no opinion" if flight.answer is None else in_words(flight.answer)


def _counted(contacts: tuple[ContactEntry, ...]) -> str:
    return f"knows {', '.join(contact.name for contact in contacts[:3])}" if contacts else "knows nobody"


def _known(card: Card) -> str:
    return _counted(card.contacts)


def _resting(slot: Slot) -> str:
    return f"resting after failures ({slot.last_error})" if slot.last_error else "resting after failures"
