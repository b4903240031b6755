"""Virtual time: one heap for the whole world, with an asyncio event loop on it.

Nothing here waits. `Universe.run` jumps from event to event; the exchange's own `Timers` are looked at between the
events, as the real shell does it. `VirtualEventLoop` is what `crmhooks` and the store's writer get for a running loop:
real tasks and futures, in virtual time and in a fixed order.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf
from typing import Any, TypeVarTuple

from pbxcore.sip.timers import Timers
from tests.scenario.world import Network, VirtualFlow, World

START = 1000.0
MOST_EVENTS = 2_000_000      # of a run; one that needs more goes round in a circle
Ts = TypeVarTuple("Ts")
Event = tuple[float, int, Callable[..., object], tuple[Any, ...]]


class Restless(BaseException):
    """The run does not come to an end."""


class Universe(World):
    """A world that is made for speed: events carry their arguments, and one set of SIP timers is watched, the
    exchange's. Every kind of chance has a source of its own, so that a change of one does not shift the others."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, Network())
        self.now = START
        self.chance = {name: random.Random(f"{seed} {name}") for name in ("world", "net", "exchange", "people", "crm")}
        self.random = self.chance["exchange"]
        self.timers: Timers | None = None
        self.loop = VirtualEventLoop(self)  # type: ignore[abstract]  # as much of a loop as is used
        self.done: Counter[str] = Counter()       # what was done to the exchange, by kind
        self.faults: list[str] = []               # exceptions that nobody caught
        self._heap: list[Event] = []
        self.sent = 0

    def token(self) -> str:
        return f"{self.random.getrandbits(96):024x}"

    def at(self, delay: float, action: Callable[..., object], *arguments: Any) -> None:
        self._count += 1
        if self._count > MOST_EVENTS:
            raise Restless("no end to the events")
        heapq.heappush(self._heap, (self.now + delay, self._count, action, arguments))

    def transmit(self, flow: VirtualFlow, data: bytes) -> None:
        raise NotImplementedError("the network has its own")

    def run(self, seconds: float) -> None:
        """Let this much time pass. What is raised is noted in `faults`, and time goes on."""
        self.run_to(self.now + seconds)

    def run_to(self, end: float) -> None:
        asyncio._set_running_loop(self.loop)
        try:
            while not self._pass(end):
                pass
        finally:
            asyncio._set_running_loop(None)
        self.now = max(self.now, end)

    def _pass(self, end: float) -> bool:
        heap, pop = self._heap, heapq.heappop
        try:
            while True:
                timers = self.timers
                due = timers.next_at() if timers is not None else None
                if due is None:
                    due = inf
                at = heap[0][0] if heap else inf
                if due < at:
                    if due > end:
                        return True
                    self.now = max(self.now, due)
                    assert timers is not None
                    timers.fire(self.now)
                    continue
                if at > end or at == inf:
                    return True
                self.now, _, action, arguments = pop(heap)
                action(*arguments)
        except Exception as error:  # the shell of the real exchange survives it too; here it is a finding
            self.faults.append(raised(error))
            return False

    def pending(self) -> int:
        return len(self._heap)


def raised(error: BaseException) -> str:
    """An exception and the last place of ours that it came through."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        place = f"{'/'.join(code.co_filename.split('/')[-2:])}:{trace.tb_lineno} in {code.co_name}"
        trace = trace.tb_next
    return f"{type(error).__name__}: {error} ({place})"


class _Timer(asyncio.TimerHandle):
    """A handle that the heap runs; a cancelled one is passed over."""

    def fire(self) -> None:
        if not self.cancelled():
            self._run()


class _Handle(asyncio.Handle):
    def fire(self) -> None:
        if not self.cancelled():
            self._run()


class VirtualEventLoop(asyncio.AbstractEventLoop):
    """As much of an event loop as tasks, futures, time-outs and the store's writer use."""

    def __init__(self, world: Universe) -> None:
        self._world = world

    def time(self) -> float:
        return self._world.now

    def call_soon(
        self, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, arguments, self, context)
        self._world.at(0.0, handle.fire)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = _Timer(self._world.now + delay, callback, arguments, self, context)
        self._world.at(delay, handle.fire)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *arguments: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self._world.now, callback, *arguments, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **_: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        return asyncio.Task(coro, loop=self, name="virtual")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, _: object) -> None:
        """It stays in the heap and does nothing there."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, BaseException):
            self._world.faults.append(raised(error))

    async def sleep(self, seconds: float) -> None:
        """For code outside of tasks, as a call's coroutine is."""
        future = self.create_future()
        self._world.at(seconds, _wake, future)
        await future


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
