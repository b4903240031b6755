"""What was asked for a call, in the words of a page."""

from __future__ import annotations

from dataclasses import dataclass

from pbxcore.explained import LATE, OWN, PLAN, ROUTE, RULES, say
from pbxcore.hooks import Decision, ExplainStep
from web.words import Words

_SOURCES = {OWN: "source.own", PLAN: "source.plan", ROUTE: "source.route", RULES: "source.rules"}


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the page of a call; `late`: the call did not wait for it. `ms` is None for what took no time."""

    source: str
    outcome: str
    ms: float | None
    late: bool
    decision: Decision | None


def source_in_words(words: Words, source: str) -> str:
    """Who was asked, or who decided; hooks and rules have names of their own."""
    return words(_SOURCES[source]) if source in _SOURCES else source


def in_words(words: Words, step: ExplainStep) -> Told:
    outcome = say(step.said, lambda code: words(f"explain.{code}")) if step.said else step.outcome
    late = any(code in LATE for code, _ in step.said)
    elapsed = None if step.source == ROUTE else step.elapsed_ms
    return Told(source_in_words(words, step.source), outcome, elapsed, late, step.decision)
