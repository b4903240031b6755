"""What every request and response goes through: body limit, same-origin check, strict headers.

Plain ASGI, so that streams pass untouched. Sessions and roles are checked where the routes are (`web.panel.guarded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.words import Words

WordsOf = Callable[[Request], Words]
BODY_LIMIT = 128 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})



def policy(connect: str = "") -> str:
    """The content security policy of a page; `connect` is another origin that it may speak to."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {connect}".rstrip(),
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


HEADERS = {
    "Content-Security-Policy": policy(),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class StrictHeaders:
    """Sets the security headers on every answer; nothing but static files is stored by a browser."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)     # a page may have a policy of its own
                headers.setdefault("Cache-Control", "no-store")
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        await self.app(scope, receive, with_headers)


class BodyLimit:
    """Answers 413 to a body that is, or says that it is, over the limit."""

    def __init__(
        self,
        app: ASGIApp,
        words: WordsOf,
        limit: int = BODY_LIMIT,
        larger: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """`larger`: the limits of paths that take files, whose length must be said."""
        self.app = app
        self.words = words
        self.limit = limit
        self.larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        said = Headers(scope=scope).get("content-length", "0")
        if not said.isdigit() or int(said) > self.larger.get(scope["path"], self.limit):
            return await _refuse(scope, receive, send, 413, "413", self.words)
        if "content-length" in Headers(scope=scope) or scope["method"] in SAFE_METHODS:
            return await self.app(scope, receive, send)
        body = bytearray()
        while True:  # a chunked body: nothing here is meant to be streamed in, so it is read before the handler runs
            message = await receive()
            body += message.get("body", b"")
            if len(body) > self.limit:
                return await _refuse(scope, receive, send, 413, "413", self.words)
            if not message.get("more_body", False):
                break
        whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replay, send)


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, words: WordsOf) -> None:
    message = words(Request(scope))(f"error.{code}")
    await PlainTextResponse(f"{message}\n", status)(scope, receive, send)


class SameOrigin:
    """Refuses writes that a browser says come from another site; programs send neither header and pass."""

    def __init__(self, app: ASGIApp, words: WordsOf, public_url: str = "") -> None:
        self.app = app
        self.words = words
        self.public = urlsplit(public_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS:
            headers = Headers(scope=scope)
            site = headers.get("sec-fetch-site")
            origin = headers.get("origin")
            ours = {headers.get("host", ""), self.public} - {""}
            foreign = origin is not None and urlsplit(origin).netloc not in ours
            if foreign or site not in (None, "same-origin", "none"):
                return await _refuse(scope, receive, send, 403, "cross_site", self.words)
        await self.app(scope, receive, send)
