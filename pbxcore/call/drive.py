"""Driving a coroutine without a task.

A call is one coroutine, and most of them never wait for anything but the next message: a task of the event loop for
each would cost more than it gives. `drive` runs a coroutine at once, on the caller's stack, as far as it goes; where it
awaits a future it goes on from the future's callback. A call that waits for its next message has a `Deadline`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Protocol, TypeVar

from pbxcore.sip.timers import Timers

T = TypeVar("T")

NEVER = -1.0  # no deadline is set
HORIZON = 30.0  # a deadline further away is looked at again, so that no timer outlives its call for long


class Waiting(Protocol):
    def on_deadline(self) -> None: ...


class Deadline:
    """The one deadline of a call, in monotonic seconds. It is what the timers hold, so that they hold no call that has
    ended."""

    __slots__ = ("_armed", "_timers", "_whom", "at")

    def __init__(self, whom: Waiting, timers: Timers) -> None:
        self._whom: Waiting | None = whom
        self._timers = timers
        self.at = NEVER
        self._armed = inf  # when the earliest of its rows is due

    def set(self, at: float, now: float) -> None:
        self.at = at
        if at < self._armed:  # else the row that is there looks again when it is due
            self._armed = due = min(at, now + HORIZON)
            self._timers.start(due, self, "deadline")

    def drop(self) -> None:
        """Nobody waits any more."""
        self._whom = None

    def on_timer(self, name: str, now: float) -> None:
        if self._whom is None or now < self._armed:  # an earlier row has taken its place
            return
        self._armed = inf
        if now >= self.at:
            self.at = NEVER
            self._whom.on_deadline()
        else:
            self.set(self.at, now)


def drive(coroutine: Coroutine[Any, None, T], then: Callable[[T], None]) -> None:
    """Run `coroutine` and call `then` with its result: before this returns, when it never had to wait."""
    try:
        waited = coroutine.send(None)
    except StopIteration as done:
        then(done.value)
        return
    resume_after(waited, lambda: drive(coroutine, then))


def resume_after(waited: object, resume: Callable[[], None]) -> None:
    """Call `resume` when the future that a driven coroutine awaits is done."""
    if not isinstance(waited, asyncio.Future):
        raise TypeError(f"a driven coroutine awaits futures only, not {waited!r}")
    # The future's own mark that its `await` has reached whoever drives it; a task clears it just so.
    waited._asyncio_future_blocking = False
    waited.add_done_callback(lambda _: resume())
