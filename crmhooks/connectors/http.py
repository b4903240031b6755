"""`kind = "http"`: a hook behind a URL, asked and told by POST, signed by Standard Webhooks 1.0.

Headers `webhook-id`, `webhook-timestamp`, `webhook-signature` (`v1,` and a base64 HMAC-SHA256; several while a secret
is being changed). The answer to `call.incoming` is one Decision as JSON; 204, an empty body, `null` and `{}` are no
opinion. Redirects are not followed, compressed answers not taken, cookies not kept, and no more than 64 kB are read.

How long a call waits is not decided here: the runner cancels what is past its hard limit. How it is sent: `posts`.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import urlsplit

import httpx2
from standardwebhooks import Webhook

from crmhooks.connector import HookError, InvalidHook, Question
from crmhooks.decisions import MAX_BYTES, parse
from crmhooks.payloads import ANSWERED, ENDED, INCOMING, payload
from crmhooks.posts.answer import BadAnswer, Broken, Reader
from crmhooks.posts.pool import MOST_SECONDS, CannotConnect, Pool
from crmhooks.rules import InvalidDecision
from crmhooks.text import one_line
from pbxcore.control import ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

_SECRET_BYTES = range(24, 65)  # Standard Webhooks 1.0, "Symmetric"
_REASON = 80    # letters of a stranger's reason phrase that are shown
_to_json = json.JSONEncoder(separators=(",", ":")).encode    # ASCII throughout


class Posting(Protocol):
    """Who carries requests: `posts.pool.Pool`."""

    async def post(self, request: bytes) -> Reader: ...

    async def close(self) -> None: ...


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
        pool: Posting | None = None,
    ) -> None:
        self.name = name
        self._head = _head(httpx2.URL(url))
        self._signers = [Webhook(key) for key in keys]
        self._wall = wall
        self._token = token
        self._pool = pool or _pool(httpx2.URL(url))

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
        await self._pool.close()

    async def _post(self, kind: str, call: IncomingCall | CallSnapshot, message_id: str) -> bytes:
        at = self._wall()
        request = self._request(f"{message_id}.{self._token()}", at, _to_json(payload(kind, call, at)))
        try:
            return _read(await self._pool.post(request))
        except CannotConnect as error:
            raise HookError(f"cannot connect: {error}") from None
        except TimeoutError:
            raise HookError(f"no answer in {MOST_SECONDS:g} s") from None
        except Broken as error:
            raise HookError(f"broke off its answer: {error}") from None
        except BadAnswer as error:
            raise HookError(str(error)) from None

    def _request(self, message_id: str, at: float, body: str) -> bytes:
        if not (message_id.isascii() and message_id.isprintable()):
            raise HookError("the call's identifier does not fit into a header")
        instant = datetime.fromtimestamp(at, UTC)
        signatures = " ".join([signer.sign(message_id, instant, body) for signer in self._signers])
        return (
            f"{self._head}webhook-id: {message_id}\r\nwebhook-timestamp: {int(at)}\r\n"
            f"webhook-signature: {signatures}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode("ascii")


def _head(url: httpx2.URL) -> str:
    """The part of every request that is the same."""
    host = httpx2.Request("POST", url).headers["host"]
    return (
        f"POST {url.raw_path.decode('ascii')} HTTP/1.1\r\nHost: {host}\r\naccept: application/json\r\n"
        "accept-encoding: identity\r\ncontent-type: application/json\r\nuser-agent: Hookline\r\n"
    )


def _pool(url: httpx2.URL) -> Pool:
    """Certificates are checked as connectors check them; the environment has no say in it."""
    tls = None
    if url.scheme == "https":
        tls = httpx2.create_ssl_context(trust_env=False)
        tls.set_alpn_protocols(["http/1.1"])
    return Pool(url.raw_host.decode("ascii"), url.port or (80 if tls is None else 443), tls, MAX_BYTES)


def _read(answer: Reader) -> bytes:
    """The body of an answer that can be taken."""
    status = answer.status
    if 300 <= status < 400:
        raise HookError(f"answered {status}; redirects are not followed, put the final address into `url`")
    if status >= 300:
        raise HookError(f"answered {status} {one_line(answer.reason)[:_REASON]}".rstrip())
    if answer.fields.get("content-encoding", "identity") != "identity":
        raise HookError("the answer is compressed; it was asked for without")
    body = bytes(answer.body)
    kind = answer.fields.get("content-type", "").partition(";")[0].strip().lower()
    if body.strip() and kind != "application/json" and not kind.endswith("+json"):
        raise HookError(f"answered with content type {one_line(kind)[:_REASON] or 'none'}; application/json is wanted")
    return body


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
