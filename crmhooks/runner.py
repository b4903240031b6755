"""The runner: asks the CRM and the hooks inside call set-up, within a budget, and never fails a call.

In order: the embedded CRM's card and the table of rules, from memory; the hooks of the settings file, one after the
other, the first decision wins; what the embedded CRM would do itself. Connectors are asked who has the number while the
hooks are. Whoever is late, wrong, dead or unwell is skipped, counted and shown in `explain`; what comes late still
fills in the card.

`on_incoming` runs in the call's own coroutine, outside any asyncio task: it awaits plain futures only, and not even
those when the answer is in memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from crmhooks.breaker import Permit
from crmhooks.cards import completed, enriched, with_contacts
from crmhooks.connector import CardDesk, Hook, NumberLookup
from crmhooks.embedded.hook import Own, shown_name
from crmhooks.flight import HARD_LIMIT, MAX_IN_FLIGHT, Flight, HookState, Slot, Waiter
from crmhooks.lookups import Lookup, Search
from crmhooks.notices import Notices
from crmhooks.numbers import normalise
from crmhooks.payloads import cleaned
from crmhooks.rulebook import RuleBook
from crmhooks.trail import (
    ANSWERS_LATE,
    BUDGET_USED,
    FILLED,
    Route,
    Trail,
    crowded,
    late_after,
    outcome_of,
    resting,
)
from pbxcore.bus import Bus
from pbxcore.control import Card, ContactEntry
from pbxcore.events import CardFound
from pbxcore.explained import OWN, RULES, decides
from pbxcore.hooks import CallSnapshot, Decision, ExplainStep, IncomingCall, Phrase, Play, Proceed, Redirect, Reject

NOBODY_RINGS = (Reject, Redirect, Play)
CALLS_EXPLAINED = 1000      # that have ended
MOST_LIVE = 20_000          # that have not: more than an exchange holds


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to a call from a number: `hookline explain`."""

    steps: tuple[ExplainStep, ...]
    decision: Decision | None
    contacts: tuple[ContactEntry, ...]


class _Decider:
    __slots__ = ("hook", "slot")

    def __init__(self, hook: Hook, slot: Slot) -> None:
        self.hook = hook
        self.slot = slot


class _Answer:
    """A hook's decision that came in time."""

    __slots__ = ("decision", "elapsed", "source")

    def __init__(self, source: str, elapsed: float, decision: Decision) -> None:
        self.source = source
        self.elapsed = elapsed
        self.decision = decision


class Runner:
    """The one implementation of `pbxcore.hooks.CallHooks`. Made on, and used from, one event loop.

    `clock` is monotonic, `wall` is Unix time; `budget` and `hard_limit` are seconds. `hooks` are pairs of a hook and
    its own deadline in seconds; `connectors` likewise. `annotate(call_id, contact_id)` tells the journal whose call it
    was, when that is found out late, and `learned(call_id, decision)` the exchange, for the phones' displays. `route`
    says where a call rings for a decision, and `keep(trail)` keeps for good what was asked for a call that has ended.
    `owner_first` says whether a known customer's call may ring at his owner's desk before its own targets.
    Of a call that is `first_party` the hooks are not told: its workstation does that.
    """

    def __init__(
        self,
        desk: CardDesk,
        bus: Bus,
        *,
        hooks: Sequence[tuple[Hook, float]] = (),
        connectors: Sequence[tuple[NumberLookup, float]] = (),
        budget: float = 0.3,
        country: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        annotate: Callable[[str, str], None] | None = None,
        learned: Callable[[str, Decision], None] | None = None,
        hard_limit: float = HARD_LIMIT,
        route: Route | None = None,
        keep: Callable[[Trail], None] | None = None,
        rules: RuleBook | None = None,
        first_party: Callable[[CallSnapshot], bool] | None = None,
        owner_first: Callable[[IncomingCall], bool] = lambda call: True,
    ) -> None:
        self._desk = desk
        self._bus = bus
        self._budget = budget
        self._country = country
        self._clock = clock
        self._wall = wall
        self._annotate = annotate
        self._learned = learned
        self._hard_limit = hard_limit
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        self._route = route
        self._keep = keep
        self._rules = rules
        self._first_party = first_party
        self._own = Own(owner_first)
        self._trails: dict[str, Trail] = {}      # of live calls
        self._ended: dict[str, Trail] = {}
        self._hooks = [hook for hook, _ in hooks]
        self._deciders = [_Decider(h, Slot(h.name, deadline)) for h, deadline in hooks if "on_incoming" in h.answers]
        lookups: list[tuple[NumberLookup, float]] = [
            *((hook, deadline) for hook, deadline in hooks if "lookup" in hook.answers),
            *connectors,
        ]
        self._lookups = [
            Lookup(one, Slot(f"{one.name} (look-up)", deadline), clock, self._tasks, hard_limit)
            for one, deadline in lookups
        ]
        notices = {id(hook): Notices(hook.name, self._telling) for hook in self._hooks}
        self._notices = list(notices.values())
        self._on_answered = [(notices[id(h)], h.on_answered) for h in self._hooks if "on_answered" in h.answers]
        self._on_ended = [(notices[id(h)], h.on_ended) for h in self._hooks if "on_ended" in h.answers]
        self._in_memory = not (self._deciders or self._lookups)
        self.errors = 0           # faults of our own, survived; any is a bug
        self.last_error = ""

    # -- CallHooks ---------------------------------------------------------------------------------------------------

    def on_incoming(self, call: IncomingCall) -> Coroutine[Any, Any, Decision | None]:
        trail = Trail(call)
        trails = self._trails
        if len(trails) >= MOST_LIVE:
            del trails[next(iter(trails))]
        trails[call.call_id] = trail
        return self._guarded(call, trail)

    def on_answered(self, call: CallSnapshot) -> None:
        if self._on_answered and not (self._first_party is not None and self._first_party(call)):
            for notices, listener in self._on_answered:
                notices.put(listener, call)

    def on_ended(self, call: CallSnapshot) -> None:
        trail = self._trails.pop(call.call_id, None)
        if trail is not None:
            trail.ended = True
            ended = self._ended
            if len(ended) >= CALLS_EXPLAINED:
                del ended[next(iter(ended))]
            ended[call.call_id] = trail
            if self._keep is not None and trail.worth_keeping():
                self._keep(trail)
        if self._on_ended and not (self._first_party is not None and self._first_party(call)):
            for notices, listener in self._on_ended:
                notices.put(listener, call)

    def explain(self, call_id: str) -> tuple[ExplainStep, ...]:
        trail = self._trails.get(call_id) or self._ended.get(call_id)
        return () if trail is None else trail.steps(self._route)

    def decided_by(self, call_id: str) -> str | None:
        trail = self._trails.get(call_id) or self._ended.get(call_id)
        return None if trail is None else trail.source

    # -- the panel, /metrics and the command line --------------------------------------------------------------------

    async def explain_number(self, number: str, to: str) -> Explanation:
        """What an inbound call from `number` to `to` would meet. Hooks are asked (the call's id begins with
        `explain-`), nobody is rung, no card pops."""
        call = IncomingCall(f"explain-{self._clock():.6f}", number, to, "inbound", self._wall())
        trail = Trail(call, quiet=True)
        decision = await self._guarded(call, trail)
        return Explanation(trail.steps(), decision, self._desk.lookup(number))

    def states(self) -> list[HookState]:
        """Everything that is asked, with its breaker and its counters: deciding hooks, then look-ups."""
        slots = [decider.slot for decider in self._deciders] + [lookup.slot for lookup in self._lookups]
        return [slot.state() for slot in slots]

    def notices(self) -> list[Notices]:
        """The queues of `on_answered` and `on_ended`, one a hook, with their counters."""
        return self._notices

    async def close(self, within: float = 3.0) -> None:
        """Tell the hooks what there is still to tell, for at most `within` seconds; give up the rest; close them."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=within)
        left = self._telling | self._tasks
        if left:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        for hook in self._hooks:
            await hook.close()

    # -- one call ----------------------------------------------------------------------------------------------------

    async def _guarded(self, call: IncomingCall, trail: Trail) -> Decision | None:
        try:
            started = self._clock()
            card = self._desk.card_of(call) if trail.quiet else self._desk.card_for(call)
            if self._rules:
                ruled = self._ruled(self._rules, call, trail, card, started)
                if ruled is not None:
                    return ruled
            if self._in_memory:
                return self._settle(call, trail, card, started)
            return await self._ask_all(cleaned(call), trail, card, started)
        except Exception as error:  # invariant: whatever is wrong here, the call rings on by the dial plan
            trail.add("runner", (("fault", {"why": self._fault(error)}),))
            return None

    def _ruled(
        self, rules: RuleBook, call: IncomingCall, trail: Trail, card: Card, started: float
    ) -> Decision | None:
        """The decision of the first rule that fits, from memory: no hook is asked then."""
        matched = rules.match(call, card)
        elapsed = self._clock() - started
        if matched is None:
            trail.add(RULES, (("unmatched", {"count": str(len(rules))}),), elapsed)
            return None
        name, decision = matched
        card = self._finished_card(trail, card, decision, ())
        decision = completed(decision, self._own.decide(call, card))
        trail.add(RULES, (("matched", {"name": name}), decides(decision)), elapsed, decision)
        if self._bus.wanted and not trail.quiet:
            self._bus.publish(CardFound(self._wall(), call.call_id, late=False))
        return decision

    def _fault(self, error: Exception) -> str:
        self.errors += 1
        self.last_error = f"{type(error).__name__}: {error}"
        return self.last_error

    async def _ask_all(self, call: IncomingCall, trail: Trail, card: Card, started: float) -> Decision | None:
        until = started + self._budget
        number = None if card.contacts or not self._lookups else self._number(call)
        late = _Late(self, trail)
        search = None if number is None else Search(self._lookups, number, trail, late.contacts, self._clock)
        answer: _Answer | None = None
        found: tuple[ContactEntry, ...] = ()
        try:
            for decider in self._deciders:
                answer = await self._ask(decider, call, trail, until)
                if answer is not None:
                    break
            if search is not None and not (answer is not None and isinstance(answer.decision, NOBODY_RINGS)):
                found = await search.contacts(until)
        finally:
            if search is not None:
                search.close()
        card = self._finished_card(trail, card, None if answer is None else answer.decision, found)
        return self._settle(call, trail, card, started, answer)

    def _number(self, call: IncomingCall) -> str | None:
        """The other party in E.164; None for what is never looked up: extensions, short codes, withheld numbers."""
        party = {"inbound": call.caller, "outbound": call.called}.get(call.direction)
        number = None if party is None else normalise(party, self._country)
        return None if number is None else number.e164

    def _finished_card(
        self, trail: Trail, card: Card, decision: Decision | None, found: tuple[ContactEntry, ...]
    ) -> Card:
        """The card with what was found, kept at the desk."""
        if not trail.quiet:
            card = self._desk.card(trail.call_id) or card  # what was not waited for may have come meanwhile
        new = with_contacts(card, found, late=False) or card
        if decision is not None:
            new = enriched(new, decision, late=False) or new
        if new is not card and not trail.quiet:
            self._desk.put_card(new)
        return new

    def _settle(
        self, call: IncomingCall, trail: Trail, card: Card, started: float, answer: _Answer | None = None
    ) -> Decision | None:
        own = self._own.decide(call, card)
        if self._bus.wanted and not trail.quiet:
            self._bus.publish(CardFound(self._wall(), call.call_id, late=False))
        if answer is None:
            trail.add(OWN, card, self._clock() - started, own)
            return own
        decision = completed(answer.decision, own)
        trail.add(answer.source, (decides(decision),), answer.elapsed, decision)
        return decision

    async def _ask(self, decider: _Decider, call: IncomingCall, trail: Trail, until: float) -> _Answer | None:
        slot = decider.slot
        now = self._clock()
        permit = slot.breaker.permit(now)
        if permit is Permit.SKIP or slot.in_flight >= MAX_IN_FLIGHT:
            slot.skipped += 1
            trail.add(slot.name, (resting(slot) if permit is Permit.SKIP else crowded(MAX_IN_FLIGHT),))
            return None
        flight = Flight(slot, self._clock)
        waiter = Waiter(flight, _Late(self, trail).decision)
        flight.start(decider.hook.on_incoming(call), self._tasks, self._hard_limit)
        wait = min(slot.deadline, until - now)
        if permit is Permit.BACKGROUND or wait <= 0:
            waiter.leave()
            trail.add(slot.name, (ANSWERS_LATE if permit is Permit.BACKGROUND else BUDGET_USED,))
            return None
        if not await waiter.wait(wait):
            flight.waited(wait)
            trail.add(slot.name, (late_after(wait),), wait)
            return None
        if flight.answer is not None:
            return _Answer(slot.name, flight.elapsed, flight.answer)
        trail.add(slot.name, (outcome_of(flight),), flight.elapsed)
        return None

    # -- late answers ------------------------------------------------------------------------------------------------

    def late_decision(self, trail: Trail, flight: Flight) -> None:
        decision: Decision | None = flight.answer
        try:
            card = None if trail.quiet or decision is None else self._desk.card(trail.call_id)
            if card is None or decision is None:
                self._late(trail, flight, card, None, None)
            else:
                new = enriched(card, decision, late=True)
                self._late(trail, flight, card, new, decision.contact_id)
                self._tell(trail.call_id, new or card, decision.display_name, decision.contact_id)
        except Exception as error:  # a fault at the desk must not reach the hook's task
            self._fault(error)

    def late_contacts(self, trail: Trail, flight: Flight) -> None:
        contacts: tuple[ContactEntry, ...] = flight.answer or ()
        try:
            card = None if trail.quiet else self._desk.card(trail.call_id)
            new = None if card is None else with_contacts(card, contacts, late=True)
            contact_id = contacts[0].id if len(contacts) == 1 else None
            self._late(trail, flight, card, new, contact_id)
            if new is not None:
                self._tell(trail.call_id, new, None, contact_id)
        except Exception as error:  # as above
            self._fault(error)

    def _tell(self, call_id: str, card: Card, name: str | None, contact_id: str | None) -> None:
        """The exchange may have phones to show it on."""
        name = name or shown_name(card.contacts)
        if name and self._learned is not None:
            known = Proceed(display_name=name, instructions=card.instructions or None, contact_id=contact_id or None)
            self._learned(call_id, known)

    def _late(self, trail: Trail, flight: Flight, old: Card | None, new: Card | None, contact_id: str | None) -> None:
        outcome: tuple[Phrase, ...] = (("afterwards", {}), outcome_of(flight))
        if old is not None and new is not None:
            outcome += (FILLED,)
            self._desk.put_card(new)
            if contact_id and self._annotate is not None and new.contacts != old.contacts:
                self._annotate(trail.call_id, contact_id)
            if self._bus.wanted:
                self._bus.publish(CardFound(self._wall(), trail.call_id, late=True))
        trail.add(flight.slot.name, outcome, flight.elapsed)
        if trail.ended and self._keep is not None:
            self._keep(trail)


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
