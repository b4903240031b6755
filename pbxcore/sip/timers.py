"""Timers as data: rows of (deadline, target, name), kept in the order of their deadlines.

RFC 3261 gives a transaction three or four timers, nearly all of which find their transaction gone when they fire. So
there is no cancel: a timer that fires late finds no row in its target's table. Most last 32 seconds, which keeps a
quarter of a million of them waiting at 1,000 calls a second; one heap that deep costs 3 µs a timer. So a deadline is
first put into a slot of a sixteenth of a second, and a slot is sorted when its time has come: 1 µs a timer all told.
Deadlines stay exact.

Those that say "send again after T1" are the exception: nearly all are answered within milliseconds. They stand in a
`Lane`, which is left for less than it costs to fire, and which is one row here however many are in it.

Does not read a clock and does not sleep: the shell asks `next_at` and calls `fire`.
"""

from __future__ import annotations

from bisect import insort_left
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from operator import itemgetter
from typing import Protocol


class TimerTarget(Protocol):
    def on_timer(self, name: str, now: float) -> None:
        """`name` is what the timer was started with; `now` is in monotonic seconds, at or after its deadline."""


Row = tuple[float, TimerTarget, str]

SLOT = 1 / 16  # seconds; a power of two, so that dividing by it is exact
_deadline = itemgetter(0)


def _latest_first(row: Row) -> float:
    return -row[0]


class Timers:
    """All timers of one endpoint. Times are monotonic seconds and not negative."""

    __slots__ = ("_due", "_loaded", "_next", "_on_earlier", "_order", "_slots")

    def __init__(self, on_earlier: Callable[[float], None] | None = None) -> None:
        """`on_earlier` is told when `start` sets an earlier deadline than `next_at` last gave; not while firing."""
        self._on_earlier = on_earlier
        self._next = inf  # the earliest deadline of all; -inf while firing
        self._due: list[Row] = []  # the slot whose time has come, latest first: the next one is popped from the end
        self._loaded = -1.0  # the slot that `_due` came from
        self._slots: dict[float, list[Row]] = {}  # later slots by whole number, each in the order of starting
        self._order: list[float] = []  # their numbers, a heap

    def __len__(self) -> int:
        return len(self._due) + sum(map(len, self._slots.values()))

    def start(self, at: float, target: TimerTarget, name: str) -> None:
        """`target.on_timer(name, now)` will be called once, at `at` or soon after."""
        slot = at // SLOT
        if slot in self._slots:
            self._slots[slot].append((at, target, name))
        elif slot > self._loaded:
            self._slots[slot] = [(at, target, name)]
            heappush(self._order, slot)
        else:
            insort_left(self._due, (at, target, name), key=_latest_first)
        if at < self._next:
            self._next = at
            if self._on_earlier is not None:
                self._on_earlier(at)

    def next_at(self) -> float | None:
        """The earliest deadline, or None. To be asked anew after every `fire`."""
        return None if self._next == inf else self._next

    def fire(self, now: float) -> int:
        """Calls every target whose time has come, in the order of the deadlines, those started meanwhile included.

        Returns how many were called. What a target raises goes on to the caller; the rest fires at the next call.
        """
        if now < self._next:
            return 0
        self._next = -inf
        fired = 0
        due = self._due
        try:
            while True:
                while due:
                    at, target, name = due[-1]
                    if at > now:
                        break
                    del due[-1]
                    fired += 1
                    target.on_timer(name, now)
                if due or not self._order or self._order[0] > now // SLOT:
                    return fired
                due = self._load()
        finally:
            self._next = self._earliest()

    def _load(self) -> list[Row]:
        self._loaded = heappop(self._order)
        rows = self._slots.pop(self._loaded)
        rows.reverse()  # the sort is stable: of equal deadlines the one started first is popped first
        rows.sort(key=_deadline, reverse=True)
        self._due = rows
        return rows

    def _earliest(self) -> float:
        if self._due:
            return self._due[-1][0]
        if self._order:
            return min(self._slots[self._order[0]], key=_deadline)[0]
        return inf


class Lane(dict[TimerTarget, tuple[float, str]]):
    """Timers that last equally long, so that they wait in the order of starting: deadline and name, by target.

    `pop(target, None)` stops one. A target has one of them at a time. `start` wants `now` from a clock: a time that
    went back would make the timers before it hold it up for as much.
    """

    __slots__ = ("_armed", "_seconds", "_timers")

    def __init__(self, timers: Timers, seconds: float) -> None:
        self._timers = timers
        self._seconds = seconds
        self._armed = False  # there is a row in `timers`: for the first, or for one that was the first

    def start(self, target: TimerTarget, name: str, now: float) -> None:
        """`target.on_timer(name, now)` will be called once, `seconds` after `now`, if it is not stopped."""
        self[target] = now + self._seconds, name
        if not self._armed:
            self._armed = True
            self._timers.start(now + self._seconds, self, "first")

    def on_timer(self, name: str, now: float) -> None:
        """Calls those whose time has come. What one raises goes on to the caller; the rest fires at the next call."""
        try:
            for target in self._passed(now):
                if target in self:  # none of those before has stopped it
                    target.on_timer(self.pop(target)[1], now)
        finally:
            first = next(iter(self.values()), None)
            self._armed = first is not None
            if first is not None:
                self._timers.start(first[0], self, name)

    def _passed(self, now: float) -> list[TimerTarget]:
        passed = []
        for target, (at, _) in self.items():
            if at > now:
                break
            passed.append(target)
        return passed
