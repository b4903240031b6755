"""What was asked for a call and what came of it, for `explain`: noted in passing, put into words when asked for."""

from __future__ import annotations

from collections.abc import Callable

from crmhooks.flight import Flight, Slot
from pbxcore.control import Card, ContactEntry
from pbxcore.explained import OWN, RULES, decides, step
from pbxcore.hooks import Decision, ExplainStep, IncomingCall, Phrase

NAMES = 3
NO_OPINION: Phrase = ("no_opinion", {})
FILLED: Phrase = ("filled", {})
REMEMBERED: Phrase = ("remembered", {})
BUDGET_USED: Phrase = ("unwaited_budget", {})
ANSWERS_LATE: Phrase = ("unwaited_late", {})

Route = Callable[[IncomingCall, Decision | None], tuple[ExplainStep, ...]]


class Trail:
    """One call's steps; `quiet` for a try-out that leaves no card and no event. `ended`: the call is over, and what
    comes now is written down once more."""

    __slots__ = ("_steps", "call", "call_id", "decision", "ended", "quiet", "source")

    def __init__(self, call: IncomingCall, quiet: bool = False) -> None:
        self.call = call
        self.call_id = call.call_id
        self.quiet = quiet
        self.ended = False
        self.decision: Decision | None = None   # the last that was noted, and who made it
        self.source: str | None = None
        self._steps: list[tuple[str, tuple[Phrase, ...] | Card, float, Decision | None]] = []

    def add(
        self, source: str, outcome: tuple[Phrase, ...] | Card, elapsed: float = 0.0, decision: Decision | None = None
    ) -> None:
        """Note who was asked and the outcome (a card: what the embedded CRM knew) after `elapsed` seconds."""
        if decision is not None:
            self.decision = decision
            self.source = source
        self._steps.append((source, outcome, elapsed, decision))

    def worth_keeping(self) -> bool:
        """Whether anybody but our own memory was asked: the call's record itself tells the rest."""
        return any(source != OWN and (source != RULES or by is not None) for source, _, _, by in self._steps)

    def steps(self, route: Route | None = None) -> tuple[ExplainStep, ...]:
        """What was asked; with `route` also where the call rings for it."""
        asked = tuple([_step(*one) for one in tuple(self._steps)])  # a late answer may be added by another thread
        return asked if route is None else asked + route(self.call, self.decision)


def _step(
    source: str, outcome: tuple[Phrase, ...] | Card, elapsed: float, decision: Decision | None
) -> ExplainStep:
    if isinstance(outcome, Card):
        known = counted(outcome.contacts)
        outcome = (known,) if decision is None else (known, decides(decision))
    return step(source, outcome, elapsed * 1000, decision)


def counted(contacts: tuple[ContactEntry, ...]) -> Phrase:
    if not contacts:
        return "knows_nobody", {}
    names = ", ".join(contact.name for contact in contacts[:NAMES])
    if len(contacts) > NAMES:
        return "knows_more", {"names": names, "more": str(len(contacts) - NAMES)}
    return "knows", {"names": names}


def outcome_of(flight: Flight) -> Phrase:
    """What a question that has landed brought."""
    if flight.error is not None:
        return "failed", {"why": flight.error}
    if isinstance(flight.answer, tuple):
        return counted(flight.answer)
    return NO_OPINION if flight.answer is None else decides(flight.answer)


def late_after(seconds: float) -> Phrase:
    return "late", {"ms": f"{seconds * 1000:.0f}"}


def resting(slot: Slot) -> Phrase:
    return ("resting_after", {"why": slot.last_error}) if slot.last_error else ("resting", {})


def crowded(count: int) -> Phrase:
    return "crowded", {"count": str(count)}
