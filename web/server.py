"""The panel's listener: uvicorn inside the exchange's own event loop.

Signals, logging and the loop belong to the exchange; nothing of them is touched here.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator

import uvicorn
from starlette.applications import Starlette

from web.panel import Panel

STOP_SECONDS = 3.0
KEEP_ALIVE_SECONDS = 30
CONNECTIONS_LIMIT = 512


class CannotListen(Exception):
    """The address cannot be listened on; the message says which and why."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, and without waking ten times a second to look whether to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        counter = 0
        while not await self.on_tick(counter):
            counter += 10  # its Date header is renewed at every tenth tick: here at every one
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.stopping.wait()


class Listening:
    """A panel that serves. `address` is where, with the real port."""

    def __init__(self, address: str, app: Starlette, server: _Server, task: asyncio.Task[None]) -> None:
        self.address = address
        self._app = app
        self._server = server
        self._task = task

    async def stop(self) -> None:
        """End the event streams, finish what is being answered, close. At most some seconds."""
        panel = self._app.state.panel
        assert isinstance(panel, Panel)
        panel.hub.close()
        self._server.should_exit = True
        self._server.stopping.set()
        await self._task


async def serve(app: Starlette, listen: str) -> Listening:
    """Listen on `host:port` (`[::1]:8080`, port 0 for any) and serve the panel there. Raises CannotListen."""
    host, port = split_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise CannotListen(f"the panel cannot listen on {listen}: {error.strerror or error}") from error
    sock.setblocking(False)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(STOP_SECONDS),
        limit_concurrency=CONNECTIONS_LIMIT,
    )
    server = _Server(config)
    task = asyncio.get_running_loop().create_task(server.serve(sockets=[sock]), name="panel")
    while not server.started:
        if task.done():
            await task
            raise CannotListen(f"the panel cannot listen on {listen}")
        await asyncio.sleep(0)
    name, real = sock.getsockname()[:2]
    return Listening(f"[{name}]:{real}" if family == socket.AF_INET6 else f"{name}:{real}", app, server, task)


def split_address(listen: str) -> tuple[str, int]:
    """`127.0.0.1:8080` and `[::1]:8080` as host and port. Raises CannotListen."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise CannotListen(f"{listen!r} is no address: write it as 127.0.0.1:8080 or [::1]:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)
