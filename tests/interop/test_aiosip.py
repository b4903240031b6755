"""aiosip 0.2.0, a client stack of others, against a running exchange: OPTIONS, a call in through the trunk, REGISTER.

It imports on no Python of today: the two names that it misses are put back here. Its digest knows RFC 2069 only and yet
echoes qop, so it is refused like anybody who leaves out nc and cnonce.
"""

from __future__ import annotations

import asyncio
import collections
import collections.abc
import types
from collections.abc import AsyncIterator, Iterator
from types import ModuleType
from typing import Any

import pytest

from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import Phone, PhoneHost
from tests.conftest import require_module
from tests.interop import wire
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, PATIENCE, Server, password_of, running
from tests.ports import free_port


@pytest.fixture(scope="module")
def aiosip() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collections, "MutableMapping", collections.abc.MutableMapping, raising=False)
        patch.setattr(asyncio, "coroutine", types.coroutine, raising=False)
        yield require_module("aiosip")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("aiosip"), listen=LOOPBACK) as server:
        yield server


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[Phone]:
    async with PhoneHost() as host:
        await host.listen()
        phone = host.phone(
            f"sip:101@{server.at}", password=password_of("101"), registrar=f"udp:{server.at}", sound=tone_sound(440)
        )
        phone.agent.answer_after = 0.1
        await phone.register()
        yield phone
        await phone.unregister()


class Client:
    """One aiosip application and its dialog with the exchange, from `host`."""

    def __init__(
        self, aiosip: ModuleType, server: Server, host: str, user: str, called: str, password: str = ""
    ) -> None:
        self.aiosip = aiosip
        self.server = server
        self.local = (host, free_port(host))
        self.user = user
        self.called = called
        self.password = password

    async def __aenter__(self) -> Any:
        self._app = self.aiosip.Application(loop=asyncio.get_running_loop())
        host, port = self.local
        self._dialog = await self._app.start_dialog(
            from_uri=f"sip:{self.user}@{host}:{port}",
            to_uri=f"sip:{self.called}@{self.server.at}",
            local_addr=self.local,
            remote_addr=self.server.address(),
            password=self.password,
        )
        return self._dialog

    async def __aexit__(self, *_: object) -> None:
        for transport in self._app._transports.values():
            transport.close()


async def test_options(aiosip: ModuleType, server: Server) -> None:
    async with Client(aiosip, server, "127.0.0.1", "somebody", "101") as dialog:
        answer = await asyncio.wait_for(dialog.send_message("OPTIONS"), PATIENCE)
    assert answer.status_code == 200
    assert "INVITE" in answer.headers["Allow"]


async def test_a_call_in_through_the_trunk(aiosip: ModuleType, server: Server, desk: Phone) -> None:
    before = len(server.records())
    async with Client(aiosip, server, CARRIER, "+12025550177", NUMBER) as dialog:
        sdp = wire.SDP.format(host=CARRIER, port=40_000)
        headers = require_module("multidict").CIMultiDict({"Content-Type": "application/sdp"})
        call = await asyncio.wait_for(aiosip.Call.invite(dialog, headers=headers, sdp=sdp), 10)
        event = await desk.wait("answered")
        assert event.call is not None
        assert event.call.number == "+12025550177"
        await asyncio.wait_for(call.close(), PATIENCE)
        await desk.wait("ended")
    records = server.wait_for_records(before + 1)
    assert (records[-1]["disposition"], records[-1]["hung_up_by"]) == ("answered", "caller")


async def test_register_is_refused_without_nc(aiosip: ModuleType, server: Server) -> None:
    async with Client(aiosip, server, "127.0.0.1", "102", "102", password_of("102")) as dialog:
        with pytest.raises(aiosip.RegisterFailed):
            await asyncio.wait_for(dialog.register(), PATIENCE)

