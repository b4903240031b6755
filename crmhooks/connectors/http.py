"""`kind = "http"`: a hook behind a URL, asked and told by POST, signed by Standard Webhooks 1.0.

Headers `webhook-id`, `webhook-timestamp`, `webhook-signature` (`v1,` and a base64 HMAC-SHA256; several while a secret
is being changed). The answer to `call.incoming` is one Decision as JSON; 204, an empty body, `null` and `{}` are no
opinion. Redirects are not followed, compressed answers not taken, cookies not kept, and no more than 64 kB are read.

How long a call waits is not decided here: the runner cancels what is past its hard limit.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpx2
from standardwebhooks import Webhook

from crmhooks.connector import HookError, InvalidHook, Question
from crmhooks.decisions import MAX_BYTES, parse
from crmhooks.payloads import ANSWERED, ENDED, INCOMING, payload
from crmhooks.rules import InvalidDecision
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

CONNECTIONS = 32
IDLE_SECONDS = 60.0
_SECRET_BYTES = range(24, 65)  # Standard Webhooks 1.0, "Symmetric"


class HttpHook:
    """One URL. Connections are opened when first needed and kept; at most 32 at a time, further posts wait.

    `wall` is Unix time in seconds; `token` makes a fresh part of a message's id.
    """

    answers: frozenset[Question] = frozenset(("on_incoming", "on_answered", "on_ended"))

    def __init__(
        self,
        name: str,
        url: str,
        keys: Sequence[bytes],
        *,
        wall: Callable[[], float] = time.time,
        token: Callable[[], str] = lambda: secrets.token_hex(12),
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._url = httpx2.URL(url)
        self._signers = [Webhook(key) for key in keys]
        self._wall = wall
        self._token = token
        # The transport itself, without the client around it: no redirects, cookies, proxies or netrc to go astray by.
        self._transport = transport or httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=IDLE_SECONDS
            ),
            trust_env=False,
        )

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        raise HookError("an HTTP hook is not asked for numbers")

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        body = await self._post(INCOMING, call, f"{call.call_id}.incoming")
        try:
            return parse(body)
        except InvalidDecision as error:
            raise HookError(f"wrong answer: {error}") from None

    async def on_answered(self, call: CallSnapshot) -> None:
        await self._post(ANSWERED, call, f"{call.call_id}.answered")

    async def on_ended(self, call: CallSnapshot) -> None:
        await self._post(ENDED, call, f"{call.call_id}.ended")

    async def close(self) -> None:
        await self._transport.aclose()

    async def _post(self, kind: str, call: IncomingCall | CallSnapshot, message_id: str) -> bytes:
        at = self._wall()
        body = json.dumps(payload(kind, call, at), separators=(",", ":"))
        headers = self._headers(f"{message_id}.{self._token()}", at, body)
        try:
            try:
                return await self._exchange(body.encode(), headers)
            except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
                # A kept connection that the server closed at this very moment looks the same as a server that hangs
                # up. The webhook-id makes asking again harmless: it is the same message.
                return await self._exchange(body.encode(), headers)
        except httpx2.TransportError as error:
            raise HookError(_in_words(error)) from None

    def _headers(self, message_id: str, at: float, body: str) -> dict[str, str]:
        instant = datetime.fromtimestamp(at, UTC)
        return {
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": "Hookline",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at)),
            "webhook-signature": " ".join(signer.sign(message_id, instant, body) for signer in self._signers),
        }

    async def _exchange(self, body: bytes, headers: dict[str, str]) -> bytes:
        request = httpx2.Request("POST", self._url, headers=headers, content=body)
        response = await self._transport.handle_async_request(request)
        try:
            return await _read(response)
        finally:
            await response.aclose()


async def _read(response: httpx2.Response) -> bytes:
    status = response.status_code
    if 300 <= status < 400:
        raise HookError(f"answered {status}; redirects are not followed, put the final address into `url`")
    if not 200 <= status < 300:
        raise HookError(f"answered {status} {response.reason_phrase}".rstrip())
    if response.headers.get("content-encoding", "identity") != "identity":
        raise HookError("the answer is compressed; it was asked for without")
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > MAX_BYTES:
            raise HookError(f"the answer is longer than {MAX_BYTES} bytes")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if received.strip() and kind != "application/json" and not kind.endswith("+json"):
        raise HookError(f"answered with content type {kind or 'none'}; application/json is wanted")
    return bytes(received)


def _in_words(error: Exception) -> str:
    said = str(error)
    if isinstance(error, httpx2.ConnectError):
        return f"cannot connect: {said or 'refused'}"
    if isinstance(error, httpx2.RemoteProtocolError):
        return f"broke off its answer: {said}" if said else "broke off its answer"
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def make(key: str, name: str, url: str, secret: str, *, wall: Callable[[], float] = time.time) -> HttpHook:
    """The hook of a settings section. Raises InvalidHook naming `key`.url or `key`.secret."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx2.URL(url)
    except (ValueError, httpx2.InvalidURL):
        good = False
    if not good or any(ord(character) <= 32 for character in url):
        raise InvalidHook(f"{key}.url", f'{url!r} will not do; write for instance "https://crm.example.net/hook"')
    return HttpHook(name, url, read_secret(f"{key}.secret", secret), wall=wall)


def read_secret(key: str, secret: str) -> list[bytes]:
    """The keys in `whsec_...` (the prefix may be missing). Several, parted by blanks, sign side by side while one
    replaces the other.

    Raises InvalidHook; the message never shows the secret.
    """
    fresh = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    mend = f'take for instance this fresh one: "{fresh}"'
    if not secret.strip():
        raise InvalidHook(key, f"is missing; {mend}")
    keys = []
    for word in secret.split():
        try:
            found = base64.b64decode(word.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidHook(key, f"is not base64; {mend}") from None
        if len(found) not in _SECRET_BYTES:
            raise InvalidHook(key, f"holds {len(found)} bytes; Standard Webhooks wants 24 to 64; {mend}")
        keys.append(found)
    return keys
