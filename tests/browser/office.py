"""A panel that really listens, in a thread with its own loop, on the fakes of the unit tests; and Chromium to look at it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from tests.unit.web.fakes import World
from web.server import serve


class Office:
    """Runs the panel; `do` lets something happen on its loop and waits for it."""

    def __init__(self, **more: Any) -> None:
        self.world = World()
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.app = self.do(lambda: self.world.app(**more))
        self._listening = asyncio.run_coroutine_threadsafe(serve(self.app, "127.0.0.1:0"), self._loop).result(10)
        self.url = f"http://{self._listening.address}"

    def do(self, act: Callable[[], Any]) -> Any:
        async def on_loop() -> Any:
            return act()

        return asyncio.run_coroutine_threadsafe(on_loop(), self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._listening.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
