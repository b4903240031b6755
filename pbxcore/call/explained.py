"""Where a call rings for a decision, and what of the decision was passed over: the last steps of `explain`."""

from __future__ import annotations

from pbxcore.call.router import DialPlan, Redirection, Refusal, Round, Step, passed_over, plan
from pbxcore.call.services.entries import Attend
from pbxcore.explained import ROUTE, decides, step
from pbxcore.hooks import Decision, ExplainStep, IncomingCall, Phrase

PASSED_OVER: Phrase = ("passed_over", {})


def route(call: IncomingCall, decision: Decision | None, dial_plan: DialPlan) -> tuple[ExplainStep, ...]:
    """A step for every decision that leads nowhere, then one for each round, refusal or redirection."""
    wrong = [(decides(one), PASSED_OVER) for one in passed_over(decision, dial_plan)]
    taken = [(rings(one),) for one in plan(call, decision, dial_plan)]
    return tuple([step(ROUTE, said) for said in [*wrong, *taken]])


def rings(one: Step) -> Phrase:
    """A step of the route in a phrase."""
    match one:
        case Round():
            parties = [target.number if target.trunk is None else target.party for target in one.targets]
            return "ring", {"to": ", ".join(parties), "seconds": f"{one.timeout:g}"}
        case Refusal():
            return "refuse", {"status": str(one.status), "reason": one.reason}
        case Redirection():
            return "redirect", {"uri": one.uri}
        case Attend():
            return "attend", {"to": one.party}
