"""A panel that really listens, on the fakes of the unit tests, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from tests.unit.web.fakes import World
from web.server import serve

T = TypeVar("T")


class Office:
    """Runs the panel; `do` lets something happen on its loop and waits for it."""

    def __init__(self, **more: Any) -> None:
        self.world = World()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.app = self.do(lambda: self.world.app(**more))
        self._start("127.0.0.1:0")
        self.url = f"http://{self._listening.address}"

    def _start(self, listen: str) -> None:
        self._listening = asyncio.run_coroutine_threadsafe(serve(self.app, listen), self._loop).result(10)

    def do(self, act: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return act()

        return asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(10)

    def pause(self) -> None:
        """Stop listening: the exchange goes away."""
        asyncio.run_coroutine_threadsafe(self._listening.stop(), self._loop).result(10)

    def resume(self) -> None:
        """Listen again where it did before."""
        self._start(self._listening.address)

    def close(self) -> None:
        self.pause()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
