"""An HTTP server of a page that can be made to misbehave in any way a socket allows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType

Answer = Callable[["Post", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Post:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebhookServer:
    """Keeps every post it got; `answer` writes what it likes, and the connection is kept unless that closes it."""

    answer: Answer
    posts: list[Post] = field(default_factory=list)
    connections: int = 0
    url: str = ""
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> WebhookServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = [line.partition(": ") for line in head[1:] if line]
                headers = {name.lower(): value for name, _, value in fields}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                post = Post(head[0].split(" ")[1], headers, body)
                self.posts.append(post)
                await self.answer(post, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def says(body: bytes, *, status: str = "200 OK", kind: str = "application/json", extra: str = "") -> Answer:
    """A well-behaved answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"

    async def answer(_: Post, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)

    return answer


def writes(*parts: bytes, every: float = 0.0, close: bool = False) -> Answer:
    """Raw bytes, a pause after each part, and perhaps the end of the connection."""

    async def answer(_: Post, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(every)
        if close:
            writer.close()

    return answer
