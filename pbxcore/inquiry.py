"""Questions of commands on the same machine to the running exchange: a Unix socket beside the database.

Its file has mode 0600, so it is open to the user that runs the exchange and to root, to nobody else, and needs no
password. A question is one line of JSON, the answers are lines of JSON until the exchange closes; the last of a
question that cannot be answered is `{"error": ...}`. It only tells: nothing can be changed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from base64 import b64encode
from collections.abc import AsyncGenerator, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from pbxcore.control import NotFound, Trace, TraceStep
from pbxcore.net.ring import Row

SUFFIX = "-trace.sock"
SHORT = 100               # characters of a path that every system takes for a socket (sun_path has 104 or 108)
QUESTION_SECONDS = 5.0
QUESTION_BYTES = 4096
MOST_ASKERS = 8
FOLLOW_SECONDS = 0.2
MOST_CALLS = 100
LINE = 1 << 26            # the ladder of a very long call is one line


class Traced(Protocol):
    """Who knows the ladders: `call.panel.Control`."""

    def trace(self, call_id: str) -> Trace: ...

    def trace_capture(self, call_id: str) -> bytes: ...

    def recent(self, count: int) -> list[str]: ...

    def last(self) -> Row | None: ...

    def messages(self, row: Row | None) -> tuple[Row | None, list[TraceStep]]: ...


class Unreachable(Exception):
    """The exchange does not answer: the message says what to do."""


class Refused(Exception):
    """The exchange has no answer to this question; the message is its own."""


def socket_beside(database: Path) -> Path:
    """Where the socket of the exchange with this database is."""
    return database.with_name(database.name + SUFFIX)


@contextlib.contextmanager
def _name(path: Path) -> Iterator[str]:
    """The path as a socket takes it: a long one by way of its directory's descriptor (Linux)."""
    if len(os.fsencode(path)) <= SHORT:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _bound(path: Path) -> socket.socket:
    """A socket that only its owner may open, from its first moment on."""
    _forget(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with _name(path) as name:
            sock.bind(name)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    sock.setblocking(False)
    return sock


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


class Inquiries:
    """The answering side."""

    def __init__(self, traced: Traced) -> None:
        self._traced = traced
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._askers: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Raises OSError when the socket cannot be made. The database is ours alone, so a file that lies there is one
        that an exchange left when it was killed."""
        sock = _bound(path)
        try:
            self._server = await asyncio.start_unix_server(self._asked, sock=sock, limit=QUESTION_BYTES)
        except BaseException:
            sock.close()
            raise
        self._path = path

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for asker in list(self._askers):
            asker.cancel()
        await asyncio.gather(*self._askers, return_exceptions=True)
        self._server = None
        if self._path is not None:
            _forget(self._path)

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._askers) >= MOST_ASKERS:
            writer.close()
            return
        self._askers.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, ValueError, TimeoutError):   # he went away, or said nothing sensible
            pass
        finally:
            self._askers.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(QUESTION_SECONDS):
            question = from_json(await reader.readline())
        if not isinstance(question, dict):
            return
        if question.get("follow"):
            await self._follow(reader, writer)
            return
        try:
            answers = self._ladders(question)
        except NotFound as error:
            answers = [{"error": str(error)}]
        for answer in answers:
            writer.write(to_json(answer) + b"\n")
            await writer.drain()

    def _ladders(self, question: Mapping[str, Any]) -> list[Any]:
        call, last = question.get("call"), question.get("last")
        if isinstance(call, str) and call:
            calls = [call]
        else:
            calls = self._traced.recent(min(last, MOST_CALLS) if isinstance(last, int) and last > 0 else 1)
            if not calls:
                raise NotFound("there was no call yet")
        if question.get("capture"):
            return [{"capture": b64encode(self._traced.trace_capture(calls[-1])).decode()}]
        return [self._traced.trace(call_id) for call_id in calls]

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every message from now on, until the asker goes away."""
        last = self._traced.last()
        gone = asyncio.ensure_future(reader.read())
        try:
            while not gone.done():
                last, steps = self._traced.messages(last)
                for step in steps:
                    writer.write(to_json(step) + b"\n")
                await writer.drain()
                await asyncio.wait((gone,), timeout=FOLLOW_SECONDS)
        finally:
            gone.cancel()


async def ask(path: Path, question: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """The answers to a question, as they come. Raises Unreachable, Refused."""
    try:
        with _name(path) as name:
            reader, writer = await asyncio.open_unix_connection(name, limit=LINE)
    except PermissionError:
        message = f"{path} belongs to another user: ask as the one that runs the exchange, or as root"
        raise Unreachable(message) from None
    except OSError:
        raise Unreachable(
            f"no exchange answers at {path}: start it with `hookline serve`, or name its settings file with -c"
        ) from None
    try:
        writer.write(to_json(question) + b"\n")
        await writer.drain()
        while line := await reader.readline():
            answer = from_json(line)
            if "error" in answer:
                raise Refused(answer["error"])
            yield answer
    except ConnectionError:
        return
    finally:
        writer.close()
