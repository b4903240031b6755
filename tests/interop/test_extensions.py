"""PRACK, UPDATE, session timers and 3xx as other people's stacks speak them: PJSIP that insists on them, and SIPp."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pbxcore.phone.host import Phone
from tests.conftest import require_module
from tests.interop import wire
from tests.interop.server import Server, password_of, running, wait_until
from tests.interop.test_pjsua2 import PJSIP_HZ, registered, talk, told, wheel_expected
from tests.interop.test_sipp import Stage
from tests.interop.tool_pjsua import Pjsua
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("extensions")
    carrier_port = free_port("127.0.0.2")
    with running(directory, carrier_port=carrier_port, extensions=("101", "102")) as server:
        yield Stage(server, directory, carrier_port)


@pytest.mark.parametrize(
    ("caller", "desk"),
    [
        ("demands_reliable_ringing", "rings_and_answers"),   # on the caller's leg alone
        ("calls_and_hangs_up", "rings_reliably"),            # on the phone's leg alone
        ("demands_reliable_ringing", "rings_reliably"),
        ("holds_by_update", "is_held_by_update"),
        ("holds_by_update", "is_put_on_hold"),               # the phone takes no UPDATE: re-INVITEs
        ("wants_a_timer", "rings_and_answers"),
    ],
)
def test_extensions_on_either_leg(stage: Stage, caller: str, desk: str) -> None:
    before = len(stage.records())
    with stage.desk(desk) as phone, stage.caller(caller) as carrier:
        carrier.wait()
        phone.wait()
    wait_until(lambda: len(stage.records()) > before, "a call record")
    record = stage.records()[before]
    assert (record["disposition"], record["answered_by"], record["hung_up_by"]) == ("answered", "101", "caller")


def test_a_phone_that_forwards(stage: Stage) -> None:
    port = free_port()
    with wire.Udp(stage.server.address(), port=port) as phone:
        assert wire.register(phone, stage.server.address(), "102", password_of("102")).status == 200
    before = len(stage.records())
    other = Sipp("rings_and_answers", stage.directory, stage.server.at, port=port)
    with stage.desk("forwards", to="102") as phone_101, other, stage.caller("calls_and_hangs_up") as carrier:
        carrier.wait()
        phone_101.wait()
        other.wait()
    assert "Diversion:" in other.seen()
    wait_until(lambda: len(stage.records()) > before, "a call record")
    assert stage.records()[before]["answered_by"] == "102"


# ---- PJSIP


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[Phone]:
    """A built-in phone, registered as 102, that knows none of it."""
    async with registered(server, answers_after=0.3) as phone:
        yield phone


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require_module("pjsua2", expected=wheel_expected())
    with running(tmp_path_factory.mktemp("insists")) as server:
        yield server


async def test_pjsip_that_insists_calls(server: Server, desk: Phone, tmp_path: Path) -> None:
    """It requires 100rel and a session timer of its call, and gets them; the desk has heard of neither."""
    with Pjsua(tmp_path, server, "101", PJSIP_HZ, insists=True) as pjsip:
        await told(pjsip, "registration", status=200)
        pjsip.tell("call", to="102")
        said = await told(pjsip, "transaction", method="PRACK")
        assert said["status"] == 200
        call = (await desk.wait("answered")).call
        assert call is not None
        await told(pjsip, "call", state="CONFIRMED")
        assert await talk(desk, call) > 0.97
        pjsip.tell("hold")
        assert (await desk.wait("held")).detail == (True,)
        pjsip.tell("hang up")
        await desk.wait("ended")


async def test_pjsip_that_insists_is_called(server: Server, desk: Phone, tmp_path: Path) -> None:
    """It would refuse an INVITE that offers neither; its early media is acknowledged, its tone is heard before it
    answers."""
    with Pjsua(tmp_path, server, "101", PJSIP_HZ, insists=True, rings=True) as pjsip:
        await told(pjsip, "registration", status=200)
        call = desk.agent.call(f"sip:101@{server.at}")
        await told(pjsip, "incoming")
        said = await told(pjsip, "transaction", method="PRACK")
        assert said["status"] == 200
        pjsip.tell("answer")
        await told(pjsip, "call", state="CONFIRMED")
        assert await talk(desk, call) > 0.97
        pjsip.tell("hang up")
        await desk.wait("ended")
