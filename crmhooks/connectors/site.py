"""A CRM's web interface: requests, answers (mostly in JSON), what goes wrong as one of the three errors of a connector.

Redirects are not followed, cookies not kept, compressed answers not taken, and no more than 4 MB are read. Nothing is
tried again here but a question on a kept connection that the server closed before it was read: the outbox does that.

Questions share kept connections, because a call waits for their answers. What changes something has a connection of
its own: on a kept one, what a server sent too much would be taken for the answer.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any

import httpx2

from crmhooks.connector import CrmError, Refused, TryAgain, Unreachable
from crmhooks.text import one_line

TIMEOUT = 20.0           # seconds for the whole of an answer
CONNECTIONS = 8
IDLE_SECONDS = 60.0
MAX_BYTES = 4 << 20
LONGEST_REASON = 300
LONGEST_WAIT = 6 * 3600.0   # seconds; a Retry-After beyond it is not believed
BUSY = frozenset((408, 423, 425, 429, 500, 502, 503, 504))


class Unauthorised(Unreachable):
    """It does not take our credentials, or not any more."""


class Denied(Refused):
    """It answered `status` (4xx) and `body` (JSON, or None), and will do so again."""

    def __init__(self, reason: str, status: int, body: Any) -> None:
        super().__init__(reason)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is what the JSON (or what else was asked for) says, None for an empty body. Names of headers are in lower
    case."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Form:
    """What answers are written in: its name, and how it is read, which raises ValueError."""

    name: str
    read: Callable[[bytes], Any]


JSON = Form("JSON", json.loads)


class Pace:
    """A leaky bucket: `rate` requests a second, `burst` of them at once. `clock` is monotonic seconds."""

    __slots__ = ("_burst", "_clock", "_full_at", "_interval")

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._interval = 1.0 / rate
        self._burst = burst * self._interval
        self._clock = clock
        self._full_at = 0.0       # when the bucket has run out

    async def turn(self) -> None:
        """Wait until there is room."""
        now = self._clock()
        self._full_at = max(self._full_at, now) + self._interval
        wait = self._full_at - now - self._burst
        if wait > 0:
            await asyncio.sleep(wait)


class Site:
    """One base URL. `describe` makes the vendor's own words of an error's body; `wall` is Unix time."""

    def __init__(
        self,
        base: str,
        wall: Callable[[], float],
        *,
        headers: Mapping[str, str] | None = None,
        describe: Callable[[Any], str] = lambda body: "",
        pace: Pace | None = None,
        timeout: float = TIMEOUT,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.base = base.rstrip("/")
        self._wall = wall
        self._headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "Hookline"}
        self._headers.update(headers or {})
        self._describe = describe
        self._pace = pace
        self._timeout = timeout
        self._asking = transport or _transport(CONNECTIONS)
        self._changing = transport or _transport(0)

    async def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        json: Any = None,
        form: Mapping[str, str | list[str]] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        question: bool | None = None,
        answer: Form = JSON,
    ) -> Answer:
        """One request; `path` is below the base, or a whole URL. Raises Unauthorised for 401, Denied for the other 4xx
        that mean it, TryAgain for 429 and 5xx, Unreachable for the rest.

        `question` says that nothing is changed by it: so it is with every GET, and with a search that is POSTed.
        `answer` is what its answer is written in.
        """
        if self._pace is not None:
            await self._pace.turn()
        url = path if path.startswith(("http://", "https://")) else f"{self.base}/{path.lstrip('/')}"
        sent = {**self._headers, **(headers or {})}
        request = httpx2.Request(
            method, url, params=dict(params) if params else None, headers=sent, json=json, data=form, content=content
        )
        if question is None:
            question = method == "GET"
        try:
            async with asyncio.timeout(self._timeout):
                if not question:
                    return await self._exchange(request, self._changing, answer)
                try:
                    return await self._exchange(request, self._asking, answer)
                except httpx2.RemoteProtocolError:
                    return await self._exchange(request, self._asking, answer)
        except TimeoutError:
            raise Unreachable(f"no answer in {self._timeout:g} s") from None
        except httpx2.TransportError as error:
            raise Unreachable(_in_words(error)) from None

    async def close(self) -> None:
        await self._asking.aclose()
        await self._changing.aclose()

    async def _exchange(self, request: httpx2.Request, transport: httpx2.AsyncBaseTransport, form: Form) -> Answer:
        response = await transport.handle_async_request(request)
        try:
            raw = await _read(response)
        finally:
            await response.aclose()
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        body, understood = _decoded(raw, form if 200 <= status < 300 else JSON)
        if 200 <= status < 300:
            if not understood:
                kind = one_line(headers.get("content-type", "no content type")[:60])
                raise Unreachable(f"answered {status} with {kind} instead of {form.name}: is the url right?")
            return Answer(status, headers, body)
        raise self._fault(status, response.reason_phrase, headers, body)

    def _fault(self, status: int, phrase: str, headers: Mapping[str, str], body: Any) -> CrmError:
        words = one_line(self._describe(body)[:LONGEST_REASON]) if body is not None else ""
        said = f"answered {status} {phrase}".rstrip() + (f": {words}" if words else "")
        if status in BUSY:
            return TryAgain(said, self._retry_after(headers))
        if status == 401:
            return Unauthorised(said)
        if 300 <= status < 400:
            return Unreachable(f"{said}; redirects are not followed, put the final address into `url`")
        if 400 <= status < 500:
            return Denied(said, status, body)
        return Unreachable(said)

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Seconds, from either form of RFC 9110 section 10.2.3."""
        text = headers.get("retry-after", "").strip()
        if not text:
            return None
        try:
            seconds = float(text)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(text).timestamp() - self._wall()
            except ValueError:
                return None
        return min(max(0.0, seconds), LONGEST_WAIT)   # in this order what is not a number becomes 0


def _transport(kept: int) -> httpx2.AsyncBaseTransport:
    """With this many connections kept. The transport itself, without a client around it: no redirects, cookies, proxies
    or netrc to go astray by."""
    limits = httpx2.Limits(
        max_connections=CONNECTIONS, max_keepalive_connections=kept, keepalive_expiry=IDLE_SECONDS
    )
    return httpx2.AsyncHTTPTransport(verify=_trust(), limits=limits, trust_env=False)


@cache
def _trust() -> ssl.SSLContext:
    """The machine's authorities, for all connectors: to read them takes 30 ms each time."""
    return httpx2.create_ssl_context(trust_env=False)


async def _read(response: httpx2.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > MAX_BYTES:
            raise Unreachable(f"its answer is longer than {MAX_BYTES >> 20} MB")
    return bytes(received)


def _decoded(raw: bytes, form: Form) -> tuple[Any, bool]:
    if not raw.strip():
        return None, True
    try:
        return form.read(raw), True
    except (ValueError, RecursionError):
        return None, False


def _in_words(error: Exception) -> str:
    said = one_line(str(error)[:LONGEST_REASON])
    if isinstance(error, httpx2.ConnectError):
        return f"cannot connect: {said or 'refused'}"
    return f"broke off its answer: {said}" if said else "broke off its answer"
