"""A CRM for `--hook http`: a signed HTTP hook in a process of its own that answers every call with a name."""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

ANSWER = b'{"kind":"proceed","display_name":"Anna Ivanova"}'
EMPTY = b"null"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        body = await reader.readexactly(length)
        answer = ANSWER if b"call.incoming" in body else EMPTY
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer)
        )


def _run(port: Connection) -> None:
    async def run() -> None:
        server = await asyncio.start_server(_serve, "127.0.0.1", 0, family=socket.AF_INET)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def crm_server(wanted: bool) -> Iterator[str]:
    """The URL of a running CRM; empty when it is not wanted. It does not check signatures: it measures the asker."""
    if not wanted:
        yield ""
        return
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/hook"
    finally:
        process.terminate()
        process.join()
