"""One question to one hook on its way: a task with a hard limit, and who waits for its answer.

A call waits only for its own time; the task goes on to its hard limit, and what it brings then is given to the same
listeners as a late answer. The number of questions on their way is bounded a hook: a hook that hangs holds
`MAX_IN_FLIGHT` of them and no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from crmhooks.breaker import Breaker, Input
from crmhooks.connector import HookError, raised

HARD_LIMIT = 10.0
MAX_IN_FLIGHT = 64
NEARLY = 0.9


class Slot:
    """One thing that can be asked: its deadline (seconds), its breaker and its counters."""

    __slots__ = (
        "answered",
        "asked",
        "breaker",
        "deadline",
        "failed",
        "in_flight",
        "last_error",
        "late",
        "name",
        "silent",
        "skipped",
    )

    def __init__(self, name: str, deadline: float, breaker: Breaker | None = None) -> None:
        self.name = name
        self.deadline = deadline
        self.breaker = breaker or Breaker()
        self.in_flight = 0
        self.asked = 0
        self.answered = 0     # in time, with a decision or contacts
        self.silent = 0       # in time, no opinion or nobody known
        self.late = 0
        self.failed = 0
        self.skipped = 0      # not asked: breaker open, or too many on their way
        self.last_error = ""

    def state(self) -> HookState:
        return HookState(
            self.name,
            self.breaker.state.value,
            self.asked,
            self.answered,
            self.silent,
            self.late,
            self.failed,
            self.skipped,
            self.in_flight,
            self.last_error,
        )


@dataclass(frozen=True, slots=True)
class HookState:
    """One hook's question for the panel and /metrics. `state` is its breaker's."""

    name: str
    state: str
    asked: int
    answered: int
    silent: int
    late: int
    failed: int
    skipped: int
    in_flight: int
    last_error: str


class Listener(Protocol):
    """Who is told when a flight has landed."""

    def landed(self, flight: Flight) -> None: ...


class Flight:
    """A question on its way. Landed, it has either an `answer` or an `error` in plain words."""

    __slots__ = (
        "_clock",
        "_limit",
        "_listeners",
        "answer",
        "elapsed",
        "error",
        "landed",
        "noted",
        "slot",
        "started",
        "worth_waiting",
    )

    def __init__(self, slot: Slot, clock: Callable[[], float], *, worth_waiting: bool = True) -> None:
        self.slot = slot
        self.worth_waiting = worth_waiting
        self.started = clock()
        self.elapsed = 0.0
        self.landed = False
        self.answer: Any = None
        self.error: str | None = None
        self.noted = False    # the breaker has been told that this one is late
        self._clock = clock
        self._listeners: list[Listener] = []
        self._limit: asyncio.TimerHandle | None = None

    def start(self, question: Coroutine[Any, Any, Any], tasks: set[asyncio.Task[None]], hard_limit: float) -> None:
        """Run the question in a task kept in `tasks` until it ends."""
        loop = asyncio.get_running_loop()
        self.slot.asked += 1
        self.slot.in_flight += 1
        task = loop.create_task(self._run(question))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        self._limit = loop.call_later(hard_limit, self._give_up, task, hard_limit)

    def tell(self, listener: Listener) -> None:
        """Tell this listener once it has landed."""
        self._listeners.append(listener)

    def waited(self, seconds: float) -> None:
        """Somebody waited so long in vain. Only nearly the slot's whole deadline is held against the hook: it may
        have been asked late, because another one had used the budget up."""
        if seconds >= self.slot.deadline * NEARLY:
            self._note_late()

    def _note_late(self) -> None:
        """Counted once a question, however many waited for it."""
        if not self.noted:
            self.noted = True
            self.slot.late += 1
            self.slot.breaker.note(Input.LATE, self._clock())

    async def _run(self, question: Coroutine[Any, Any, Any]) -> None:
        try:
            answer = await question
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._land(None, "was given up at shutdown")
                raise
            self._land(None, "raised CancelledError")
        except HookError as error:
            self._land(None, str(error))
        except BaseException as error:  # a hook is anybody's code: SystemExit from it must not end the exchange
            self._land(None, raised(error))
        else:
            self._land(answer, None)
        finally:
            self.slot.in_flight -= 1

    def _give_up(self, task: asyncio.Task[None], hard_limit: float) -> None:
        self._land(None, f"no answer in {hard_limit:g} s; given up")
        task.cancel()  # a hook that will not be cancelled keeps its place in `in_flight`

    def _land(self, answer: Any, error: str | None) -> None:
        if self.landed:
            return
        now = self._clock()
        self.landed = True
        self.elapsed = now - self.started
        self.answer = answer
        self.error = error
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
        slot = self.slot
        if error is not None:
            slot.failed += 1
            slot.last_error = error
            slot.breaker.note(Input.FAILED, now)
        elif self.elapsed > slot.deadline:
            self._note_late()
        elif not self.noted:
            slot.breaker.note(Input.OK, now)
            if answer:
                slot.answered += 1
            else:
                slot.silent += 1
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.landed(self)


class Waiter:
    """One call's interest in a flight: woken while it waits, told of a late answer once it has left."""

    __slots__ = ("_future", "_late", "_left", "flight")

    def __init__(self, flight: Flight, late: Callable[[Flight], None]) -> None:
        self.flight = flight
        self._late = late
        self._left = False
        self._future: asyncio.Future[None] | None = None
        if not flight.landed:
            flight.tell(self)

    async def wait(self, seconds: float) -> bool:
        """True when the flight landed within `seconds`; otherwise the call has left. Awaits one future, so no task is
        needed around it."""
        if not self.flight.landed and seconds > 0:
            loop = asyncio.get_running_loop()
            self._future = future = loop.create_future()
            timer = loop.call_later(seconds, _wake, future)
            try:
                await future
            finally:  # also when the call is gone and its coroutine is closed
                timer.cancel()
                self._future = None
                self.leave()
        self.leave()
        return self.flight.landed

    def leave(self) -> None:
        """What lands from now on is late."""
        self._left = True

    def landed(self, flight: Flight) -> None:
        if self._future is not None:
            _wake(self._future)
        elif self._left:
            self._late(flight)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
