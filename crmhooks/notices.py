"""Telling hooks that a call was answered or has ended: in order, in the background, and only as far as they keep up.

Best effort: what a hook is too slow for is dropped and counted. Recording every call for certain is the journal's work.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from crmhooks.connector import HookError, raised
from pbxcore.hooks import CallSnapshot

QUEUE_LIMIT = 512
TIME_LIMIT = 10.0

Listener = Callable[[CallSnapshot], Coroutine[Any, Any, None]]


class Notices:
    """One hook's queue. Its task lives only while there is something to tell."""

    __slots__ = ("_limit", "_queue", "_task", "_tasks", "dropped", "failed", "last_error", "name", "told")

    def __init__(self, name: str, tasks: set[asyncio.Task[None]], limit: int = QUEUE_LIMIT) -> None:
        self.name = name
        self.told = 0
        self.failed = 0
        self.dropped = 0
        self.last_error = ""
        self._limit = limit
        self._tasks = tasks
        self._queue: deque[tuple[Listener, CallSnapshot]] = deque()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, listener: Listener, call: CallSnapshot) -> None:
        """Take one notice; returns at once. Must be called on the event loop."""
        if len(self._queue) >= self._limit:
            self.dropped += 1
            return
        self._queue.append((listener, call))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._tell())
            self._tasks.add(self._task)
            self._task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        try:
            while self._queue:
                listener, call = self._queue.popleft()
                await self._tell_one(listener, call)
        finally:
            self._task = None

    async def _tell_one(self, listener: Listener, call: CallSnapshot) -> None:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                await listener(call)
        except TimeoutError:
            self._failed(f"took longer than {TIME_LIMIT:g} s")
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._failed("raised CancelledError")
        except HookError as error:
            self._failed(str(error))
        except BaseException as error:  # a hook is anybody's code: SystemExit from it must not end the exchange
            self._failed(raised(error))
        else:
            self.told += 1

    def _failed(self, why: str) -> None:
        self.failed += 1
        self.last_error = why
