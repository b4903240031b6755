"""The running exchange is asked for its ladders over a Unix socket, and tells a Homer on a real UDP socket."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import stat
from pathlib import Path
from typing import Any

import pytest

from pbxcore.call.panel import Control
from pbxcore.inquiry import Inquiries, Refused, Unreachable, ask, socket_beside
from pbxcore.net.hep import HepExport
from pbxcore.net.ring import Ring, Row
from pbxcore.trace import trace
from tests.unit.call.fakes import FakeFlow
from tests.unit.net.test_hep import decode
from tests.unit.net.test_pcap import packets
from tests.wire.shell import PATIENCE, until
from tests.wire.test_app import running, settings


async def answers(path: Path, **question: Any) -> list[dict[str, Any]]:
    return [answer async for answer in ask(path, question)]


async def test_the_ladder_of_a_live_call_and_then_of_the_same_when_it_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = settings(tmp_path)
    path = socket_beside(tmp_path / "office.db")
    async with running(made) as office:
        call, _ = await office.call()
        (live,) = await answers(path)
        assert live["call_id"] in office.app.exchange.live
        assert [party["name"] for party in live["parties"]] == ["101", "102"]
        await office.one.hang_up(call)
        await until(lambda: not office.app.exchange.dialogs)
        (over,) = await answers(path, call=live["call_id"])
        told = [(step["party"], step["out"], step["text"]) for step in over["steps"]]
        assert told[: len(live["steps"])] == [(s["party"], s["out"], s["text"]) for s in live["steps"]]
        for expected in ((0, False, "BYE"), (0, True, "200 OK (BYE)"), (1, True, "BYE"), (1, False, "200 OK (BYE)")):
            assert expected in told
        assert any("response=***" in step["message"] for step in over["steps"])   # his digest, masked

        dialogs = [theirs for ours, theirs in office.app.exchange.trail if ours == live["call_id"]]
        for one in dialogs:   # the Call-ID of either dialog will do
            assert (await answers(path, call=one))[0]["steps"] == over["steps"]
        (capture,) = await answers(path, call=live["call_id"], capture=True)
        assert len(packets(base64.b64decode(capture["capture"]))) == len(over["steps"])
        with pytest.raises(Refused, match="no message of the call nonsense"):
            await answers(path, call="nonsense")

        assert await trace(made, "", 1) == 0
        assert "Call " + live["call_id"] in capsys.readouterr().out
        assert await trace(made, "", 5, as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["steps"] == over["steps"]
        assert await trace(made, "", 1, pcap=tmp_path / "call.pcap") == 0
        assert len(packets((tmp_path / "call.pcap").read_bytes())) == len(over["steps"])


async def test_the_socket_is_its_owners_alone_and_goes_with_the_exchange(tmp_path: Path) -> None:
    path = socket_beside(tmp_path / "office.db")
    path.write_text("left by one that was killed")
    async with running(settings(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        with pytest.raises(Refused, match="no call yet"):
            await answers(path)
    assert not path.exists()
    with pytest.raises(Unreachable, match="hookline serve"):
        await answers(path)


async def test_a_data_directory_with_a_long_name(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    async with running(settings(deep)) as office:
        await office.call()
        assert await answers(socket_beside(deep / "office.db"))


async def test_what_follows_is_told_as_it_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = socket_beside(tmp_path / "office.db")
    heard = asyncio.Event()
    last = Control.last

    def asked(control: Control) -> Row | None:
        heard.set()
        return last(control)

    monkeypatch.setattr(Control, "last", asked)
    async with running(settings(tmp_path)) as office:
        told: list[str] = []

        async def follow() -> None:
            async for step in ask(path, {"follow": True}):
                told.append(step["text"])

        following = asyncio.ensure_future(follow())
        await heard.wait()      # only what happens then is told
        await office.call()
        await until(lambda: "200 OK (SDP)" in told)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        assert told.index("INVITE (SDP)") < told.index("ACK")
        assert "REGISTER" not in told   # that was before


NONSENSE = [b"\n", b"{\n", b"[]\n", b'{"call": 7, "last": "x"}\n', b"x" * 100_000, b"null\n", b""]


@pytest.mark.parametrize("said", NONSENSE)
async def test_nonsense_is_not_answered_and_harms_nobody(tmp_path: Path, said: bytes) -> None:
    path = socket_beside(tmp_path / "office.db")

    class Nothing:
        def recent(self, count: int) -> list[str]:
            return []

    inquiries = Inquiries(Nothing())   # type: ignore[arg-type]  # as much as is asked of it here
    await inquiries.start(path)
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        assert answer == b"" or "error" in json.loads(answer)
        writer.close()
        with pytest.raises(Refused):
            await answers(path)
    finally:
        await inquiries.stop()


class Collector:
    """A Homer of a few lines, on a real socket."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.told: list[dict[str, Any]] = []

    @property
    def port(self) -> int:
        return int(self.socket.getsockname()[1])

    def listen(self) -> None:
        while True:
            try:
                self.told.append(decode(self.socket.recv(65535)))
            except BlockingIOError:
                return

    def has(self, text: bytes) -> bool:
        self.listen()
        return any(text in told["payload"] for told in self.told)


async def test_homer_is_told_of_a_whole_call(tmp_path: Path) -> None:
    homer = Collector()
    hep = {"listen": ["udp:127.0.0.1:0"], "hep": f"udp:localhost:{homer.port}", "hep_id": 77, "hep_password": "pass"}
    with homer.socket:
        async with running(settings(tmp_path, sip=hep)) as office:
            call, _ = await office.call()
            ours = next(iter(office.app.exchange.live))
            await office.one.hang_up(call)
            await until(lambda: not office.app.exchange.dialogs)
            await until(lambda: homer.has(b"BYE sip:102"))
        homer.listen()   # stopping has told the rest
        assert {told["agent"] for told in homer.told} == {77}
        assert {told["key"] for told in homer.told} == {b"pass"}
        of_call = [told["payload"] for told in homer.told if told.get("correlation") == ours.encode()]
        assert sum(payload.startswith(b"INVITE") for payload in of_call) == 3   # one was challenged, one goes on
        assert sum(payload.startswith(b"BYE") for payload in of_call) == 2
        registers = [told["payload"] for told in homer.told if told["payload"].startswith(b"REGISTER")]
        assert registers
        assert not any(b'response="' in payload for payload in registers)
        assert any(b"response=***" in payload for payload in registers)
        invite = next(told for told in homer.told if told["payload"].startswith(b"INVITE"))
        assert (invite["source"], invite["target"], invite["protocol"]) == ("127.0.0.1", "127.0.0.1", 17)
        assert f"127.0.0.1:{invite['target port']}" == office.address


async def test_a_dead_homer_costs_nothing_but_its_messages() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    ring = Ring(100)
    export = HepExport(ring, "127.0.0.1", port, agent=1)
    export.start()
    for _ in range(50):
        ring.note(False, FakeFlow(), b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    await until(lambda: export.counters.failed > 0)
    for _ in range(500):
        ring.note(False, FakeFlow(), b"OPTIONS sip:x SIP/2.0\r\n\r\n")
    await asyncio.sleep(0.3)   # it pauses: what comes meanwhile is not even looked at
    counters = export.counters
    assert counters.sent + counters.failed <= 50
    await export.stop()


async def test_a_homer_that_no_name_leads_to(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def nobody(host: str, *_: object, **__: object) -> None:
        asked.set()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", nobody)
    export = HepExport(Ring(), "no-such-host.invalid", 9060, agent=1)
    export.start()
    await asked.wait()
    await export.stop()
    assert export.counters.sent == 0
