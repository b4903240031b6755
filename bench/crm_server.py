"""A CRM for the bench: a signed HTTP hook in a process of its own that answers every call with a name, at once or late,
and counts what it is told. It does not check signatures: it measures the asker."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from bench import machine

SECRET = "whsec_" + "aG9va2xpbmUtYmVuY2gtc2VjcmV0LWtleSE="  # of this CRM, on loopback
SLOW_DIGIT = 7              # numbers that end so are the slow ones: one caller in ten
ANSWER = b'{"kind":"proceed","display_name":"Anna Ivanova"}'
EMPTY = b"null"


class _Crm:
    """Answers and counts. `slow` is seconds that a caller whose number ends in SLOW_DIGIT takes to be looked up."""

    def __init__(self, slow: float) -> None:
        self._slow = slow
        self._told: dict[str, set[str]] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one kept-alive connection."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()
                return
            length = 0
            for row in head.split(b"\r\n"):
                if row.lower().startswith(b"content-length:"):
                    length = int(row.split(b":")[1])
            answer = await self._answer(await reader.readexactly(length))
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                % (len(answer), answer)
            )

    async def _answer(self, body: bytes) -> bytes:
        if not body:
            return json.dumps({kind: len(calls) for kind, calls in self._told.items()}).encode()
        event = json.loads(body)
        self._told.setdefault(event["type"], set()).add(event["data"]["call_id"])
        if event["type"] != "call.incoming":
            return EMPTY
        if self._slow and event["data"]["caller"].endswith(str(SLOW_DIGIT)):
            await asyncio.sleep(self._slow)
        return ANSWER


def _run(port: Connection, slow: float) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_Crm(slow).serve, "127.0.0.1", 0, family=socket.AF_INET)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def crm_server(cpu: int, *, slow: float = 0.0) -> Iterator[str]:
    """The URL of a running CRM."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs, slow), daemon=True)
    with machine.on_cpu(cpu):
        process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/hook"
    finally:
        process.terminate()
        process.join()


def told(url: str) -> dict[str, int]:
    """How many calls this CRM was told of, by what was told; a message that came again counts once."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10) as answer:
        return dict(json.load(answer))
