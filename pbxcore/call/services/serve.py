"""The steps of a route that begins with a service: the exchange answers, and takes one step after the other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pbxcore.call.handover import Over
from pbxcore.call.outcome import Outcome
from pbxcore.call.router import Redirection, Refusal, Round, Step
from pbxcore.call.services import announcement, mailbox, menu, queue, voicemail
from pbxcore.call.services.attendance import Attendance, Taken, attendance
from pbxcore.call.services.entries import Attend
from pbxcore.call.transfer import route
from pbxcore.sip import build

if TYPE_CHECKING:
    from pbxcore.call.b2bua import LiveCall

MAX_STEPS = 50     # a menu that leads to a menu that leads back has an end

Service = Callable[[Attendance, Attend], Coroutine[Any, None, Sequence[Step]]]
SERVICES: dict[str, Service] = {
    "play": announcement.serve, "ivr": menu.serve, "queue": queue.serve, "voicemail": voicemail.serve,
    "mailbox": mailbox.serve,
}  # fmt: skip


async def attend(live: LiveCall, steps: Sequence[Step]) -> Attendance | None:
    """The conversation that came of it, over or not; None when the caller could not be answered."""
    first = steps[0]
    assert isinstance(first, Attend)
    made = await attendance(live, first)
    if made is None:
        return None
    await serve(made, steps)
    return made


async def serve(made: Attendance, steps: Sequence[Step]) -> None:
    """Take the steps with a caller who is up; at the end he talks to somebody, or the call is over."""
    made.live.conversation = made
    try:
        while True:
            try:
                await _take(made, steps)
                break
            except Taken as taken:
                steps = route(made.live, made.b, taken.number)
    except Over:
        pass


async def _take(made: Attendance, steps: Sequence[Step]) -> None:
    """Each service may say what is next; without that the next step is, and at the end the call is over."""
    outcome: Outcome | None = None
    party = made.b.party
    for _ in range(MAX_STEPS):
        if not steps or not made.alone:
            break
        step, *rest = steps
        if isinstance(step, Attend):
            if step.party != party:
                made.go_on(step)
            party = step.party
            steps = [*await SERVICES[step.service](made, step), *rest]
        elif isinstance(step, Round):
            rounds, steps = _rounds(steps)
            outcome = await made.ring(rounds)
        else:
            if isinstance(step, Refusal):
                outcome = Outcome(step.status, step.reason)
            elif isinstance(step, Redirection):
                outcome = Outcome(480, build.REASONS[480])   # too late for a 302
            steps = rest
    if made.alone:
        status, reason = (200, "Normal Clearing") if outcome is None else (outcome.status, outcome.reason)
        made.end(status, reason)


def _rounds(steps: Sequence[Step]) -> tuple[list[Round], Sequence[Step]]:
    """The rounds that come first, and the rest."""
    groups: Iterator[tuple[bool, Iterator[Step]]] = groupby(steps, lambda step: isinstance(step, Round))
    rounds = [step for step in next(groups)[1] if isinstance(step, Round)]
    return rounds, steps[len(rounds) :]
