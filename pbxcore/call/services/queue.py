"""A queue: callers wait with music, in the order of their priority and their coming, until an agent is free.

Whoever is at the head is offered to the agent who has been without a call longest (or to all of them, or in the order
of the list). An agent who is rung by one queue is rung by no other; who talks, writes his summary or has no phone is
passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pbxcore.call.router import Round, Step, Target, lead
from pbxcore.call.services.attendance import Attendance
from pbxcore.call.services.entries import Attend, QueueEntry
from pbxcore.call.services.sounds import YOUR_PLACE, spoken
from pbxcore.call.signal import Kind

if TYPE_CHECKING:
    from pbxcore.call.services.agents import Agents

LOOK_SECONDS = 1.0     # between two looks for a free agent


class Waiting:
    """One caller in a queue."""

    __slots__ = ("order", "since")

    def __init__(self, priority: int, number: int, since: float) -> None:
        self.order = (-priority, number)
        self.since = since


class Line:
    """Who waits in one queue, the next to be served first."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []
        self._count = 0

    def join(self, priority: int, now: float) -> Waiting:
        self._count += 1
        waiting = Waiting(priority, self._count, now)
        self.waiting.append(waiting)
        self.waiting.sort(key=lambda one: one.order)
        return waiting

    def leave(self, waiting: Waiting) -> None:
        self.waiting.remove(waiting)

    def place(self, waiting: Waiting) -> int:
        """0 for whoever is next."""
        return self.waiting.index(waiting)


async def serve(attendance: Attendance, step: Attend) -> Sequence[Step]:
    live = attendance.live
    exchange = live.exchange
    entry = exchange.dial_plan.queues[step.name]
    line = exchange.agents.line(step.name)
    otherwise = lead(entry.otherwise, exchange.dial_plan) if entry.otherwise else ()
    if len(line.waiting) >= entry.most:
        return otherwise
    waiting = line.join(step.priority, exchange.clock())
    try:
        await _wait(attendance, entry, waiting)
    finally:
        line.leave(waiting)
    return otherwise


async def _wait(attendance: Attendance, entry: QueueEntry, waiting: Waiting) -> None:
    """Until somebody has taken the call, or it has waited too long."""
    exchange = attendance.live.exchange
    agents, line = exchange.agents, exchange.agents.line(entry.name)
    music = await spoken(attendance, [entry.music], {})
    attendance.play(music, repeat=True)
    end = waiting.since + entry.longest_seconds
    announce = waiting.since + entry.announce_seconds
    passed: set[str] = set()     # who has not answered, this time round
    while exchange.clock() < end:
        free = agents.free(entry.agents)
        if line.place(waiting) < len(free):
            chosen = _choice(entry, [agent for agent in free if agent not in passed] or free, agents)
            passed = passed - set(free) if passed.issuperset(free) else passed
            passed.update(chosen)
            if await _offer(attendance, entry, chosen, min(entry.seconds, end - exchange.clock())):
                return
            continue
        now = exchange.clock()
        if entry.announce_seconds and now >= announce:
            place = str(line.place(waiting) + 1)
            await attendance.hear_out(await spoken(attendance, [YOUR_PLACE], {"place": place}))
            attendance.play(music, repeat=True)
            announce = exchange.clock() + entry.announce_seconds
            continue
        signal = await attendance.wait(min(now + LOOK_SECONDS, end))
        if signal.kind is Kind.DIGIT:
            attendance.forget_keys()


def _choice(entry: QueueEntry, free: list[str], agents: Agents) -> list[str]:
    """Whom to ring now."""
    if entry.strategy == "all":
        return free
    return [agents.longest_idle(free) if entry.strategy == "longest_idle" else free[0]]


async def _offer(attendance: Attendance, entry: QueueEntry, chosen: list[str], seconds: float) -> bool:
    agents = attendance.live.exchange.agents
    agents.rung.update(chosen)
    try:
        step = Round(tuple(Target(agent) for agent in chosen), seconds)
        return await attendance.ring([step], music=True) is None
    finally:
        agents.rung.difference_update(chosen)
