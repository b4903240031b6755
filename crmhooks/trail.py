"""What was asked for a call and what came of it, for `explain`: noted in passing, put into words when asked for."""

from __future__ import annotations

from crmhooks.flight import Flight, Slot
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import Decision, ExplainStep


class Trail:
    """One call's steps; `quiet` for a try-out that leaves no card and no event."""

    __slots__ = ("_steps", "call_id", "quiet")

    def __init__(self, call_id: str, quiet: bool = False) -> None:
        self.call_id = call_id
        self.quiet = quiet
        self._steps: list[tuple[str, str | Card, float, Decision | None]] = []

    def add(self, source: str, outcome: str | Card, elapsed: float = 0.0, decision: Decision | None = None) -> None:
        """Note who was asked and the outcome (a card: what the embedded CRM knew) after `elapsed` seconds."""
        self._steps.append((source, outcome, elapsed, decision))

    def decided_by(self) -> str | None:
        """Who made the last decision that was noted."""
        for source, _, _, decision in reversed(self._steps):
            if decision is not None:
                return source
        return None

    def steps(self) -> tuple[ExplainStep, ...]:
        return tuple([_step(*step) for step in self._steps])


def _step(source: str, outcome: str | Card, elapsed: float, decision: Decision | None) -> ExplainStep:
    if not isinstance(outcome, str):
        known = counted(outcome.contacts)
        outcome = known if decision is None else f"{known}: {in_words(decision)}"
    return ExplainStep(source, outcome, elapsed * 1000, decision)


def in_words(decision: Decision) -> str:
    """A decision in words: `ring 101, 102`."""
    kind = type(decision).__name__.lower()
    for name in ("targets", "number", "name", "box", "prompt", "status", "uri"):
        value = getattr(decision, name, None)
        if value is not None:
            return f"{kind} {', '.join(value) if isinstance(value, tuple) else value}"
    return f"{kind} as {decision.display_name}" if decision.display_name else kind


def counted(contacts: tuple[ContactEntry, ...]) -> str:
    if not contacts:
        return "knows nobody"
    more = f" and {len(contacts) - 3} more" if len(contacts) > 3 else ""
    return f"knows {', '.join(contact.name for contact in contacts[:3])}{more}"


def outcome_of(flight: Flight) -> str:
    """What a question that has landed brought."""
    if flight.error is not None:
        return f"failed: {flight.error}"
    if isinstance(flight.answer, tuple):
        return counted(flight.answer)
    return "no opinion" if flight.answer is None else in_words(flight.answer)


def resting(slot: Slot) -> str:
    return f"resting after failures ({slot.last_error})" if slot.last_error else "resting after failures"
