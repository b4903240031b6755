"""A panel that really listens, on the fakes of the unit tests, in a thread with a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from crmhooks.build import build_crm
from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore import store as stores
from pbxcore.settings import Settings
from tests.unit.web.fakes import World
from web.server import serve

T = TypeVar("T")
PATIENCE = 30.0     # seconds for what must come: other tests may keep the machine busy


class Office:
    """Runs the panel; `do` lets something happen on its loop and waits for it."""

    def __init__(
        self,
        prepare: Callable[[World], dict[str, Any]] = lambda _: {},
        before: Callable[[], Coroutine[Any, Any, Any]] | None = None,
    ) -> None:
        """`before` is awaited on the loop first; `prepare` runs there before the panel is made, and says what it is
        made with."""
        self.world = World()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        if before is not None:
            self.wait(before())
        self.app = self.do(lambda: self.world.app(**prepare(self.world)))
        self._start("127.0.0.1:0")
        self.url = f"http://{self._listening.address}"

    def _start(self, listen: str) -> None:
        self._listening = asyncio.run_coroutine_threadsafe(serve(self.app, listen), self._loop).result(PATIENCE)

    def do(self, act: Callable[[], T]) -> T:
        async def on_loop() -> T:
            return act()

        return self.wait(on_loop())

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The same for what has to be awaited."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def session(self, username: str) -> str:
        """The cookie of a user who has signed in."""
        return self.do(lambda: self.app.state.panel.sessions.start(self.world.users.rows[username])[1])

    def pause(self) -> None:
        """Stop listening: the exchange goes away."""
        asyncio.run_coroutine_threadsafe(self._listening.stop(), self._loop).result(PATIENCE)

    def resume(self) -> None:
        """Listen again where it did before."""
        self._start(self._listening.address)

    def close(self) -> None:
        self.pause()
        self.finish()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def finish(self) -> None:
        """Ends what was prepared."""


class CrmOffice(Office):
    """The same with the CRM that ships: contacts, instructions, planned calls in a database in `directory`."""

    crm: EmbeddedCrm
    person = company = ""  # contacts, once there are some

    def __init__(self, directory: Path) -> None:
        settings = Settings.model_validate(
            {
                "office": {"name": "Hookline", "country": "US", "timezone": "Europe/Berlin"},
                "inbound": [{"number": "+12025550100", "to": "101"}],
            }
        )
        self._store = stores.open(f"sqlite:///{directory}/office.db", serving=True)

        def prepare(world: World) -> dict[str, Any]:
            self._store.start()
            self.crm = build_crm(settings, self._store, world.bus, clock=world.wall)
            self.crm.load()
            world.desk = self.crm  # type: ignore[assignment]  # the real one
            return {"settings": settings}

        super().__init__(prepare)

    def finish(self) -> None:
        self.wait(self.crm.close())
        self.wait(self._store.close())
