"""A phone of ours behind the `websockets` library's own client: what a browser's SIP stack is to the exchange.

Its Contact is `xxx.invalid` (RFC 7118 appendix B.1): the exchange can reach it over its connection alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from pbxcore.phone.host import Phone, PhoneHost
from pbxcore.sip.message import parse


class WebSocketFlow:
    """`pbxcore.sip.layer.Flow` over a client's WebSocket."""

    reliable = True

    def __init__(self, connection: ClientConnection, secure: bool) -> None:
        self.transport = "WSS" if secure else "WS"
        self.local = (f"{secrets.token_hex(6)}.invalid", 5060)
        self.remote = connection.remote_address[:2]
        self.closed = False
        self.sent: list[str] = []
        self.received: list[str] = []
        self._connection = connection
        self._out: asyncio.Queue[str] = asyncio.Queue()

    def send(self, data: bytes) -> None:
        self.sent.append(data.decode())
        self._out.put_nowait(data.decode())

    async def write(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await self._connection.send(await self._out.get())

    async def read(self, host: PhoneHost) -> None:
        async for message in self._connection:
            assert isinstance(message, str), "SIP in text goes in a text frame"
            self.received.append(message)
            if message.strip():
                host.layer.receive(parse(message.encode()), self, time.monotonic())
        self.closed = True
        host.layer.flow_lost(self)


@contextlib.asynccontextmanager
async def browser(
    host: PhoneHost, uri: str, number: str, password: str, *, trust: ssl.SSLContext | None = None, **more: object
) -> AsyncIterator[tuple[Phone, WebSocketFlow]]:
    """A phone on `host` that speaks over a WebSocket to `uri`."""
    server = uri.partition("://")[2].partition("/")[0]
    async with connect(uri, subprotocols=[Subprotocol("sip")], ssl=trust, proxy=None) as connection:
        flow = WebSocketFlow(connection, uri.startswith("wss"))
        tasks = [asyncio.create_task(flow.write()), asyncio.create_task(flow.read(host))]
        phone = host.phone(f"sip:{number}@{server}", password=password, registrar="udp:127.0.0.1:9", **more)  # type: ignore[arg-type]  # passed on
        phone.agent.registrar = lambda: flow
        try:
            yield phone, flow
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
