"""The whole exchange in one process on loopback: built-in phones call through it with audio, and everything that it
takes while it runs is given back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from pbxcore.app import App
from pbxcore.demo import free_ports
from pbxcore.net.flow import ListenError
from pbxcore.phone.audio import tone_sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.host import CallFailed, Phone, PhoneHost
from pbxcore.settings import Settings
from pbxcore.startup import serve
from pbxcore.store import StoreUnavailable
from tests.ports import free_port
from tests.wire.shell import PATIENCE, until
from web.server import CannotListen

HIGH, LOW = 1000, 440
NUMBER = "+12025550100"


def settings(directory: Path, **sections: Any) -> Settings:
    made: dict[str, Any] = {
        "office": {"country": "US"},
        "sip": {"listen": ["udp:127.0.0.1:0"], "drain_seconds": 1.0},
        "media": {"ports": free_ports()},
        "web": {"listen": "127.0.0.1:0"},
        "database": {"url": f"sqlite:///{directory}/office.db"},
        "extension": [{"number": n, "name": f"Desk {n}", "password": f"secret {n}"} for n in ("101", "102")],
        "trunk": [{"name": "carrier", "server": "127.0.0.2:5060", "accept_from": ["127.0.0.2"]}],
        "inbound": [{"number": NUMBER, "to": "102"}],
    }
    for section, values in sections.items():
        made[section] = {**made[section], **values} if isinstance(values, dict) else values
    return Settings.model_validate(made)


class Office:
    """A running exchange, a desk 101 that speaks HIGH, a desk 102 that speaks LOW and answers."""

    def __init__(self, app: App, host: PhoneHost) -> None:
        self.app = app
        self.host = host
        self.one = self.phone("101", HIGH)
        self.two = self.phone("102", LOW)
        self.two.agent.answer_after = 0

    @property
    def address(self) -> str:
        return self.app.sip_addresses[0].partition(":")[2]

    def phone(self, number: str, hertz: int) -> Phone:
        return self.host.phone(
            f"sip:{number}@{self.address}", password=f"secret {number}", registrar=self.app.sip_addresses[0],
            sound=tone_sound(hertz),
        )  # fmt: skip

    async def register(self) -> None:
        for phone in (self.one, self.two):
            assert await phone.register() == 600

    async def call(self, number: str = "102") -> tuple[PhoneCall, PhoneCall]:
        call = await self.one.dial(number)
        incoming = (await self.two.wait("incoming")).call
        assert incoming is not None
        await self.two.wait("answered")
        return call, incoming


@contextlib.asynccontextmanager
async def running(made: Settings) -> AsyncIterator[Office]:
    app = App(made)
    try:
        await app.start()
        async with PhoneHost() as host:
            await host.listen()
            office = Office(app, host)
            await office.register()
            yield office
    finally:
        await app.stop()


def rows(directory: Path, query: str) -> list[Any]:
    """What another program reads in the database."""
    with contextlib.closing(sqlite3.connect(f"file:{directory}/office.db?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def children() -> set[str]:
    found: set[str] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= set((task / "children").read_text().split())
    return found


class Belongings:
    """What this process holds: descriptors, threads, tasks, child processes."""

    def __init__(self) -> None:
        gc.collect()
        self.files = sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in self._fds())
        self.threads = sorted(thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_"))
        self.tasks = {task.get_name() for task in asyncio.all_tasks()}
        self.children = children()

    @staticmethod
    def _fds() -> list[str]:
        found = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                os.readlink(f"/proc/self/fd/{fd}")
                found.append(fd)
        return found

    async def assert_nothing_more(self) -> None:
        await until(lambda: Belongings().threads == self.threads, 5.0)
        now = Belongings()
        assert len(now.files) <= len(self.files), set(now.files) - set(self.files)
        assert now.tasks <= self.tasks
        assert now.children <= self.children


@pytest.fixture
def quiet_collector() -> Iterator[None]:
    """Whatever a test does to the collector, the next one finds it on."""
    yield
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


pytestmark = pytest.mark.usefixtures("quiet_collector")


async def test_a_call_from_desk_to_desk(tmp_path: Path) -> None:
    """Audio both ways, through the relay; then the record and the activity in the database."""
    async with running(settings(tmp_path)) as office:
        call, incoming = await office.call()
        ports = range(*map(int, office.app.settings.media.ports.split("-")))
        hears, heard = office.one.audio(call), office.two.audio(incoming)
        await until(lambda: hears.share(LOW, 0.3) > 0.99 and heard.share(HIGH, 0.3) > 0.99)
        for end in (hears, heard):
            assert end.remote is not None
            assert end.remote.port in ports
        assert office.app.exchange.media.ports_in_use() == 2
        assert incoming.number == "101"
        assert incoming.name == "Desk 101"
        await office.one.hang_up(call)
        await office.two.wait("ended")
        await until(lambda: office.app.exchange.media.ports_in_use() == 0 and not office.app.exchange.dialogs)
        assert not office.app.exchange.live
    query = "select state, disposition, caller, called, answered_by, hung_up_by, from_a, from_b from calls"
    [record] = rows(tmp_path, query)
    assert record[:6] == ("ended", "answered", "101", "102", "102", "caller")
    assert '"packets": 0' not in record[6] + record[7]
    [activity] = rows(tmp_path, "select direction, disposition from activities")
    assert activity == ("internal", "answered")


async def test_a_call_from_the_carrier(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as office:
        await office.host.listen("udp:127.0.0.2:0")
        flow = office.host.endpoint.flow_to("UDP", "127.0.0.1", int(office.address.rpartition(":")[2]),
                                            local=("127.0.0.2", office.host.endpoint.listeners[-1].port))  # fmt: skip
        mobile = office.host.phone(f"sip:+12025550123@{office.address}", sound=tone_sound(700))
        mobile.agent.route = lambda _: flow
        call = await mobile.dial(NUMBER)
        incoming = (await office.two.wait("incoming")).call
        assert incoming is not None
        assert incoming.number == "+12025550123"
        await until(lambda: office.two.audio(incoming).share(700, 0.3) > 0.99)
        assert [trunk.calls for trunk in office.app.exchange.trunks] == [1]
        await mobile.hang_up(call)
        await office.two.wait("ended")
        await until(lambda: [trunk.calls for trunk in office.app.exchange.trunks] == [0])
    [record] = rows(tmp_path, "select direction, trunk, answered_by from calls")
    assert record == ("inbound", "carrier", "102")


async def test_hold_and_digits_go_through(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as office:
        call, incoming = await office.call()
        office.one.audio(call).press("42#")
        digits = [(await office.two.wait("dtmf")).detail[0] for _ in range(3)]
        assert "".join(digits) == "42#"
        call.press("7", info=True)
        assert (await office.two.wait("dtmf")).detail == ("7",)
        call.hold()
        assert (await office.two.wait("held")).detail == (True,)
        call.resume()
        assert (await office.two.wait("held")).detail == (False,)
        office.two.audio(incoming).forget()
        await until(lambda: office.two.audio(incoming).share(HIGH, 0.3) > 0.99)
        await office.one.hang_up(call)


async def test_over_tcp(tmp_path: Path) -> None:
    made = settings(tmp_path, sip={"listen": ["tcp:127.0.0.1:0"]})
    app = App(made)
    try:
        await app.start()
        async with PhoneHost() as host:
            await host.listen("tcp:127.0.0.1:0")
            office = Office(app, host)
            await office.register()
            call, _ = await office.call()
            await until(lambda: office.one.audio(call).share(LOW, 0.3) > 0.99)
            await office.one.hang_up(call)
    finally:
        await app.stop()


async def test_nothing_is_left_behind(tmp_path: Path) -> None:
    async with running(settings(tmp_path)):
        pass   # what is made once a process, such as the resolver's threads, is there now
    before = Belongings()
    async with running(settings(tmp_path)) as office:
        for _ in range(3):
            call, _ = await office.call()
            await office.one.hang_up(call)
            await office.two.wait("ended")
        assert children() > before.children
        assert len(Belongings().files) > len(before.files)
    await before.assert_nothing_more()


def in_the_way(directory: Path) -> Iterator[tuple[dict[str, Any], type[Exception]]]:
    """What keeps an exchange from starting: settings, and the error that says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        yield {"sip": {"listen": [f"udp:127.0.0.1:{udp.getsockname()[1]}"]}}, ListenError
        yield {"sip": {"listen": ["udp:127.0.0.1:0", f"tcp:127.0.0.1:{tcp.getsockname()[1]}"]}}, ListenError
        yield {"web": {"listen": f"127.0.0.1:{tcp.getsockname()[1]}"}}, CannotListen
        (directory / "directory.db").mkdir()
        yield {"database": {"url": f"sqlite:///{directory}/directory.db"}}, StoreUnavailable


async def test_a_start_that_fails_leaves_nothing_behind_either(tmp_path: Path) -> None:
    async with running(settings(tmp_path)):
        pass
    before = Belongings()
    for sections, error in in_the_way(tmp_path):
        app = App(settings(tmp_path, **sections))
        try:
            with pytest.raises(error):
                await app.start()
        finally:
            await app.stop()
    await before.assert_nothing_more()


async def test_a_second_exchange_on_the_same_data_does_not_start(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as office:
        second = App(settings(tmp_path))
        with pytest.raises(StoreUnavailable, match="in use by another running exchange"):
            await second.start()
        await second.stop()
        call, _ = await office.call()
        await office.one.hang_up(call)


async def test_phones_need_not_register_again_after_a_restart(tmp_path: Path) -> None:
    made = settings(tmp_path, sip={"listen": [f"udp:127.0.0.1:{free_port()}"]})
    async with PhoneHost() as host:
        await host.listen()
        app = App(made)
        try:
            await app.start()
            office = Office(app, host)
            await office.register()
        finally:
            await app.stop()
        again = office.app = App(made)
        try:
            await again.start()
            assert again.interrupted == 0
            call, _ = await office.call()
            await office.one.hang_up(call)
        finally:
            await again.stop()


# ---- draining


@contextlib.asynccontextmanager
async def served(made: Settings, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[tuple[Office, asyncio.Task[int]]]:
    """An exchange as `hookline serve` runs it, in this very process."""
    apps: list[App] = []
    start = App.start

    async def noted(app: App) -> None:
        apps.append(app)
        await start(app)

    App.start = noted  # type: ignore[method-assign]
    server = asyncio.create_task(serve(made))
    out = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while "ready sip=" not in out:
                await asyncio.sleep(0.02)
                out += capsys.readouterr().out
        async with PhoneHost() as host:
            await host.listen()
            office = Office(apps[0], host)
            await office.register()
            yield office, server
    finally:
        App.start = start  # type: ignore[method-assign]
        structlog.reset_defaults()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if not server.done():
            server.cancel()
            await apps[0].stop()


async def test_sigterm_drains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The live call goes on, a new one gets 503, and at the end of the time both legs get their BYE."""
    async with served(settings(tmp_path), capsys) as (office, server):
        call, incoming = await office.call()
        began = time.monotonic()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: office.app.exchange.draining)
        with pytest.raises(CallFailed, match="503 Service Unavailable"):
            await office.one.dial("102")
        assert (call.state, incoming.state) == ("up", "up")
        await office.one.wait("ended")
        await office.two.wait("ended")
        assert (call.ended_by, incoming.ended_by) == ("them", "them")
        assert await asyncio.wait_for(server, PATIENCE) == 0
        assert time.monotonic() - began > 0.9
    assert "draining: 1 calls, at most 1 s" in capsys.readouterr().err
    assert rows(tmp_path, "select state, disposition, hung_up_by from calls") == [("ended", "answered", "exchange")]


async def test_sigterm_waits_no_longer_than_the_last_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(settings(tmp_path, sip={"drain_seconds": 60.0}), capsys) as (office, server):
        call, _ = await office.call()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: office.app.exchange.draining)
        await office.one.hang_up(call)
        assert await asyncio.wait_for(server, PATIENCE) == 0


async def test_a_second_signal_ends_the_calls_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(settings(tmp_path, sip={"drain_seconds": 60.0}), capsys) as (office, server):
        call, incoming = await office.call()
        os.kill(os.getpid(), signal.SIGTERM)
        await until(lambda: office.app.exchange.draining)
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(server, PATIENCE) == 0
        await until(lambda: call.state == incoming.state == "ended")
        assert (call.ended_by, incoming.ended_by) == ("them", "them")
    assert rows(tmp_path, "select state, disposition from calls") == [("ended", "answered")]


async def test_serve_that_cannot_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "office.db").mkdir()
    assert await serve(settings(tmp_path)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("hookline cannot start: ")
    assert "cannot be opened" in told.err
    structlog.reset_defaults()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)


# ---- without the database


class Lock:
    """Another program that holds the database's write lock."""

    def __init__(self, directory: Path) -> None:
        self._connection = sqlite3.connect(directory / "office.db", isolation_level=None, timeout=5.0)
        self._connection.execute("BEGIN EXCLUSIVE")

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()


async def test_calls_go_on_while_the_database_is_locked(tmp_path: Path) -> None:
    """Set-up does not get slower, and not a record is lost."""
    async with running(settings(tmp_path)) as office:
        lock = Lock(tmp_path)
        took: list[float] = []
        try:
            locked_at = time.monotonic()
            while time.monotonic() - locked_at < 3.0:
                began = time.monotonic()
                call, _ = await office.call()
                took.append(time.monotonic() - began)
                await office.one.hang_up(call)
                await office.two.wait("ended")
            assert rows(tmp_path, "select count(*) from calls") == [(0,)]
        finally:
            lock.release()
        assert len(took) > 5
        assert sorted(took)[len(took) // 2] < 0.5     # the lock is held for six times as long
        assert office.app.exchange.counters.journal_late == 0
        await until(lambda: rows(tmp_path, "select count(*) from calls where state = 'ended'") == [(len(took),)], 10.0)
    assert rows(tmp_path, "select count(*), count(distinct call_id) from calls") == [(len(took), len(took))]
    assert rows(tmp_path, "select count(*) from activities where disposition = 'answered'") == [(len(took),)]


async def test_stopped_while_the_database_is_locked(tmp_path: Path) -> None:
    """What could not be written waits in the backlog, and is there after the next start."""
    made = settings(tmp_path)
    async with running(made) as office:
        lock = Lock(tmp_path)
        call, _ = await office.call()
        await office.one.hang_up(call)
        await office.two.wait("ended")
    lock.release()
    async with running(made):
        pass
    assert rows(tmp_path, "select state, disposition from calls") == [("ended", "answered")]
    assert rows(tmp_path, "select count(*) from activities") == [(1,)]
