"""What every fake CRM is: a real HTTP server on loopback, that can be told to misbehave, and lets tests look inside.

A vendor's fake gives `routes`, the keys of its settings section, and what tests put into it and see in it. Faults are
taken from `faults`, one a request, or decided by `weather` for every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crmhooks.connector import Ability
from tests.ports import free_port

Fault = Literal["slow", "throttle", "busy", "drop", "lose", "twice", "html", "huge", "broken", "empty"]
"""slow: answers after `SLOW` seconds. throttle: 429 with Retry-After. busy: 503. drop: hangs up unread. lose: does the
work, then hangs up. twice: a second answer follows. html: a page instead of it. huge: 10 MB. broken: half JSON.
empty: `{}`, as if of another request."""

SLOW = 0.5
RETRY_AFTER = 7       # seconds
WITHOUT_WORK: dict[str, tuple[int, dict[str, str], bytes]] = {
    "throttle": (429, {"content-type": "application/json"}, b"{}"),
    "busy": (503, {"content-type": "application/json"}, b"{}"),
    "html": (200, {"content-type": "text/html"}, b"<html><script>alert(1)</script>Sign in</html>"),
    "huge": (200, {"content-type": "application/json"}, b'{"list":["' + b"x" * (10 << 20) + b'"]}'),
    "broken": (200, {"content-type": "application/json"}, b'{"list": [{"id": '),
    "empty": (200, {"content-type": "application/json"}, b"{}"),
}


@dataclass(frozen=True)
class FakeCall:
    """A call as the CRM has it, in one form for all vendors. `contact_id` is as the connector names it, and so is
    `record_id` where records can be revised."""

    record_id: str
    external_id: str
    direction: str
    completed: bool
    summary: str
    contact_id: str | None
    user: str
    subject: str


class FakeCrm(ABC):
    """Use as `async with fake.serving():`. Routes run in the test's own loop, so that tests may look inside at once."""

    kind: str
    spellings: Sequence[str] = ("+12025550123", "+1 202-555-0123", "(202) 555-0123", "202.555.0123", "12025550123")
    page = 200        # records a page
    subjects = True   # a call has one there
    cannot: frozenset[Ability] = frozenset()    # what its interface has no request for
    yes_says_nothing = False      # what was done is answered by an empty object

    def __init__(self) -> None:
        self.url = ""
        self.faults: deque[Fault | None] = deque()
        self.weather: Callable[[], Fault | None] = lambda: None
        self.retry_after: float = RETRY_AFTER
        self.asked: list[tuple[str, str]] = []      # method and path of every request, those that were dropped too
        self._names = 0

    # -- of each vendor

    @abstractmethod
    def routes(self) -> list[BaseRoute]: ...

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The keys of its `[[crm.connector]]`; user 101 is `self.user`."""

    @abstractmethod
    def wrong_credentials(self) -> dict[str, Any]:
        """The same keys, with a secret that it does not take."""

    @abstractmethod
    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        """Somebody, with numbers as people typed them; the id as the connector names it."""

    @abstractmethod
    def contact_numbers(self) -> list[str]:
        """The first number of everybody in it."""

    @abstractmethod
    def calls(self) -> list[FakeCall]:
        """In the order in which they were made."""

    def expire_tokens(self) -> None:  # noqa: B027  # most vendors have none
        """What was given out is not good any more; nothing where there are no tokens."""

    # -- of all

    user = "user-101"

    def name(self) -> str:
        """A fresh id."""
        self._names += 1
        return f"{self.kind}{self._names:013x}"

    def call_of(self, external_id: str) -> FakeCall:
        """The one record of this call."""
        [found] = [call for call in self.calls() if call.external_id == external_id]
        return found

    def writes(self) -> list[tuple[str, str]]:
        return [asked for asked in self.asked if asked[0] != "GET"]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """On a free port, then on the same one again: a CRM that comes back."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = int(self.url.rpartition(":")[2] or free_port())
        sock.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{port}"
        application = Starlette(routes=self.routes(), exception_handlers={Problem: _problem})
        config = uvicorn.Config(Misbehaving(application, self), log_level="critical", lifespan="off", http="h11")
        server = _Server(config)
        task = asyncio.create_task(server.serve([sock]))
        try:
            while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0.005)
            yield self.url
        finally:
            server.should_exit = True
            server.force_exit = True
            await task
            sock.close()


class FakeReceiver(FakeCrm):
    """One that is told of calls and keeps nobody."""

    cannot: frozenset[Ability] = frozenset(("lookup", "create", "revise", "list"))
    yes_says_nothing = True
    subjects = False

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        raise LookupError("it keeps no contacts")

    def contact_numbers(self) -> list[str]:
        return []


class Problem(Exception):
    """An error answer of the vendor's."""

    def __init__(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        super().__init__(status)
        self.response = JSONResponse(body, status, headers)


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Misbehaving:
    """In front of the routes: does to each request what the fault says."""

    def __init__(self, app: ASGIApp, fake: FakeCrm) -> None:
        self._app = app
        self._fake = fake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fake = self._fake
        fake.asked.append((scope["method"], scope["path"]))
        fault = fake.faults.popleft() if fake.faults else fake.weather()
        transport = send.__self__.transport  # type: ignore[attr-defined]  # of uvicorn's request cycle
        if fault in WITHOUT_WORK:
            status, headers, body = WITHOUT_WORK[fault]
            if fault == "throttle":
                headers = {**headers, "retry-after": f"{fake.retry_after:g}"}
            await Response(body, status, headers)(scope, receive, send)
        elif fault == "drop":
            transport.abort()
        elif fault == "lose":
            await self._app(scope, receive, _unheard)
            transport.abort()
        else:
            if fault == "slow":
                await asyncio.sleep(SLOW)
            await self._app(scope, receive, send)
            if fault == "twice":
                transport.write(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')


async def _unheard(_message: Message) -> None: ...
