"""A few daemon threads for hooks written without `async`.

Unlike those of `concurrent.futures`, these do not hold up the end of the process: a hook that sleeps for ever must
not keep the exchange from stopping.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from crmhooks.connector import HookError, raised

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[Any], Any], Any]


class Threads:
    """Runs blocking functions of one argument; `most` at a time, the rest wait in line."""

    def __init__(self, name: str, most: int = 4) -> None:
        self._name = name
        self._most = most
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0  # jobs handed in and not finished; changed on the loop only

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """The function's result. Raises HookError in place of whatever it raised."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._busy += 1
        if self._busy > len(self._threads) < self._most:
            thread = threading.Thread(target=self._work, name=f"hook {self._name}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put((loop, future, function, argument))
        return await future

    def close(self) -> None:
        """Let idle threads end. One that is stuck in a hook is left behind."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads = []

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function, argument = job
            result: Any = None
            error: HookError | None = None
            if not future.cancelled():
                try:
                    result = function(argument)
                except HookError as fault:
                    error = HookError(str(fault))
                except BaseException as fault:  # a hook is anybody's code; the thread must live on
                    error = HookError(raised(fault))
            try:
                loop.call_soon_threadsafe(self._finish, future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return
            del job, future, function, argument, result, error

    def _finish(self, future: asyncio.Future[Any], result: Any, error: HookError | None) -> None:
        self._busy -= 1
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
