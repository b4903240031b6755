"""When Python's cycle collector runs: never while a call is set up, only in quiet moments.

A call leaves no reference cycles, so setting calls up needs no collector; the panel's libraries do make some. With the
automatic collector a generation 2 pass costs a busy exchange a fifth of a second at the worst moment. PyPy's collector
is another: it works in small steps as objects are made, and is left alone.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

LOOK_EVERY = 5.0
QUIET_FOR = 1.0
FORCED_AFTER = 600.0  # seconds of unbroken work after which one young collection is made all the same
BY_HAND = hasattr(gc, "freeze")


class Collector:
    """Runs the collector by hand. `arrived` counts the calls that have arrived so far; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float], arrived: Callable[[], int]) -> None:
        self._clock = clock
        self._arrived = arrived
        self._task: asyncio.Task[None] | None = None
        self.last_pause = 0.0
        self.worst_pause = 0.0
        self.collections = 0

    def start(self) -> None:
        """Everything that exists now stays: it is taken out of the collector's sight."""
        gc.collect()
        if not BY_HAND:
            return
        gc.freeze()
        gc.disable()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="collector")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            gc.enable()
            gc.unfreeze()

    async def _run(self) -> None:
        last = self._clock()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            before = self._arrived()
            await asyncio.sleep(QUIET_FOR)
            quiet = self._arrived() == before
            if quiet or self._clock() - last > FORCED_AFTER:
                self._collect(2 if quiet else 0)
                last = self._clock()

    def _collect(self, generation: int) -> None:
        began = self._clock()
        gc.collect(generation)
        self.last_pause = self._clock() - began
        self.worst_pause = max(self.worst_pause, self.last_pause)
        self.collections += 1
