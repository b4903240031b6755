"""What was asked for a call and why it rings where it rings, in words: phrases with their values, in English here, in
other languages where pages are made (`web.explained`).

A phrase whose words begin with a semicolon goes on with the one before it; the others are parted by colons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pbxcore.hooks import CallSnapshot, Decision, ExplainStep, Phrase

OWN = "embedded CRM"
PLAN = "dial plan"
ROUTE = "route"        # the source of steps that say where the call rings
RULES = "rules"

ENGLISH: dict[str, str] = {
    "knows": "knows {names}",
    "knows_more": "knows {names} and {more} more",
    "knows_nobody": "knows nobody",
    "no_opinion": "no opinion",
    "failed": "failed: {why}",
    "late": "late: no answer in {ms} ms; the call went on",
    "resting": "not asked: resting after failures",
    "resting_after": "not asked: resting after failures ({why})",
    "crowded": "not asked: {count} questions are on their way to it",
    "unwaited_late": "asked without waiting: its answers were late",
    "unwaited_budget": "asked without waiting: the budget is used up",
    "remembered": "; remembered from a moment ago",
    "afterwards": "afterwards",
    "filled": "; the card was filled in",
    "fault": "fault: {why}; the dial plan decides",
    "matched": "rule {name}",
    "unmatched": "none of {count} rules fits",
    "unasked": "nobody is asked before this call rings: first-party control, or a call for help",
    "passed_over": "; passed over, there is no such target",
    "ring": "ring {to} for {seconds} s",
    "refuse": "answer {status} {reason}",
    "redirect": "redirect to {uri}",
    "attend": "send to {to}",
    "decides.proceed": "proceed",
    "decides.proceed_as": "proceed as {to}",
    "decides.ring": "ring {to}",
    "decides.dial": "dial {to}",
    "decides.queue": "queue {to}",
    "decides.ivr": "ivr {to}",
    "decides.voicemail": "voicemail {to}",
    "decides.play": "play {to}",
    "decides.reject": "reject {to}",
    "decides.redirect": "redirect {to}",
}
LATE = frozenset({"late", "unwaited_late", "unwaited_budget", "afterwards"})
_TARGETS = ("targets", "number", "name", "box", "prompt", "status", "uri")


def say(said: Iterable[Phrase], words: Callable[[str], str] = ENGLISH.__getitem__) -> str:
    """The phrases as one sentence; `words` has the template of each."""
    text = ""
    for code, values in said:
        one = words(code).format(**values)
        text += one if not text or one.startswith(";") else f": {one}"
    return text


def step(
    source: str, said: tuple[Phrase, ...], elapsed_ms: float = 0.0, decision: Decision | None = None
) -> ExplainStep:
    """A step with its words in English."""
    return ExplainStep(source, say(said), elapsed_ms, decision, said)


def decides(decision: Decision) -> Phrase:
    """A decision in a phrase: `ring 101, 102`."""
    kind = type(decision).__name__.lower()
    for name in _TARGETS:
        value = getattr(decision, name, None)
        if value is not None:
            return f"decides.{kind}", {"to": ", ".join(value) if isinstance(value, tuple) else str(value)}
    if decision.display_name:
        return "decides.proceed_as", {"to": decision.display_name}
    return "decides.proceed", {}


def from_record(call: CallSnapshot) -> tuple[ExplainStep, ...]:
    """What the record of a call alone tells: for calls that only memory was asked for, which are not kept in detail."""
    if call.decided_by is None:
        return ()
    if call.lookup_ms is None:
        return (step(PLAN, (("unasked", {}),)),)
    known = bool(call.contact_id or call.display_name)
    names = call.display_name or call.contact_id or ""
    own = step(OWN, (("knows", {"names": names}),) if known else (("knows_nobody", {}),), call.lookup_ms)
    if call.decided_by in (OWN, PLAN):
        return (own,)
    return own, step(call.decided_by, (("decides.proceed_as", {"to": names}) if known else ("decides.proceed", {}),))
