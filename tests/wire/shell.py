"""An endpoint on loopback with a recording layer behind it, and sockets to talk to it: for the tests of the shell."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from pbxcore.net.connections import Options
from pbxcore.net.endpoint import Endpoint
from pbxcore.net.flow import Limits
from pbxcore.sip import build
from pbxcore.sip.message import Request
from pbxcore.sip.timers import Timers

PATIENCE = 30.0     # seconds for what must come: other tests may keep the machine busy
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.SelectorEventLoop}
with contextlib.suppress(ImportError):   # it has no wheel for every system
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop


def both_loops(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[str], None]:
    """Runs a test without arguments on asyncio's own loop and on uvloop. Whatever a loop complains of fails it."""

    async def watched() -> None:
        await _warm_up()
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        try:
            await asyncio.wait_for(test(), 4 * PATIENCE)
        finally:
            while _opened:
                await _opened.pop().close()
        assert complaints == []

    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str) -> None:
        gc.freeze()     # what is there already need not be looked through in the end
        with warnings.catch_warnings(), asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            warnings.simplefilter("error", ResourceWarning)
            runner.run(watched())
        gc.collect()

    run.__name__ = test.__name__
    run.__doc__ = test.__doc__
    return run


_opened: list[Endpoint] = []


def opened(endpoint: Endpoint) -> Endpoint:
    """Will be closed at the end of the test, however it ends: uvloop waits for ever for what is left open."""
    _opened.append(endpoint)
    return endpoint


async def _warm_up() -> None:
    """uvloop opens a spare file with its first listener and keeps it: not to be counted as left behind."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    server.close()
    await server.wait_closed()


class Recorder:
    """Stands in for the layer: keeps what arrives and, if told to, answers requests with 200."""

    def __init__(self, *, answer: bool = True) -> None:
        self.answer = answer
        self.messages: list[Any] = []
        self.flows: list[Any] = []
        self.errors: list[Any] = []
        self.lost: list[Any] = []
        self.on_message: Callable[[Any, Any], None] | None = None

    def copied(self, data: bytes) -> None:
        """Every message is a new one."""

    def receive(self, message: Any, flow: Any, now: float) -> None:
        self.messages.append(message)
        self.flows.append(flow)
        if self.on_message is not None:
            self.on_message(message, flow)
        if self.answer and isinstance(message, Request):
            flow.send(build.response(message, 200, to_tag="t").to_bytes())

    def receive_error(self, error: Any, flow: Any, now: float) -> None:
        self.errors.append(error)
        self.flows.append(flow)
        if error.partial is not None:
            flow.send(build.response(error.partial, error.status, error.reason, to_tag="t").to_bytes())

    def flow_lost(self, flow: Any) -> None:
        self.lost.append(flow)


@contextlib.asynccontextmanager
async def exchange(
    *specs: str, layer: Any = None, limits: Limits | None = None, options: Options | None = None
) -> AsyncIterator[tuple[Endpoint, Any, list[Any]]]:
    """(endpoint, recorder, listeners)."""
    endpoint = Endpoint(limits=limits, options=options)
    recorder = layer or Recorder()
    endpoint.attach(recorder, Timers(endpoint.wake_at))
    try:
        yield endpoint, recorder, [await endpoint.listen(spec) for spec in specs]
    finally:
        await endpoint.close()


def options(number: int = 1, *, transport: str = "UDP", body: bytes = b"", extra: str = "") -> bytes:
    return (
        f"OPTIONS sip:100@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:5070;branch=z9hG4bK{number};rport\r\n"
        f"From: <sip:101@127.0.0.1>;tag=f\r\nTo: <sip:100@127.0.0.1>\r\nCall-ID: call-{number}\r\n"
        f"CSeq: {number} OPTIONS\r\nMax-Forwards: 70\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


async def receive(sock: socket.socket, seconds: float = PATIENCE) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 65535), seconds)


async def until(ready: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Waits for what the loop is about to do."""
    async with asyncio.timeout(seconds):
        while not ready():   # noqa: ASYNC110 - what is waited for is other code, which sets no event
            await asyncio.sleep(0.002)


async def settle() -> None:
    """A few turns of the loop, for what must not happen."""
    for _ in range(5):
        await asyncio.sleep(0.002)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def connect(listener: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(listener.host, listener.port)


async def hang_up(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def closed_by_peer(reader: asyncio.StreamReader, seconds: float = PATIENCE) -> bytes:
    """What came before the end; a reset is an end as well."""

    async def drain() -> bytes:
        data = b""
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                data += piece
        return data

    awaitable: Awaitable[bytes] = drain()
    return await asyncio.wait_for(awaitable, seconds)
