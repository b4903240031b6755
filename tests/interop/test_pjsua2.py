"""PJSIP registered at a running exchange: calls to and from a built-in phone, tones, digits, hold, both hang up."""

from __future__ import annotations

import asyncio
import platform
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pbxcore.phone.audio import tone_sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.host import Phone, PhoneHost
from tests.conftest import require_module
from tests.interop.hearing import purity, sounding
from tests.interop.server import Server, password_of, running, wait_until
from tests.interop.tool_pjsua import Pjsua

PJSIP_HZ, DESK_HZ = 440, 880
LOCAL_HOLD = 2      # PJSUA_CALL_MEDIA_LOCAL_HOLD
pure = pytest.mark.alone    # what is heard is all but pure: nobody may keep the audio of phone and exchange waiting


@pytest.fixture(scope="module", autouse=True)
def pjsua2() -> None:
    require_module("pjsua2", expected=wheel_expected())


def wheel_expected() -> bool:
    """The wheel is made for one Python on one machine; see pyproject.toml."""
    return (sys.version_info[:2], sys.platform, platform.machine()) == ((3, 11), "linux", "x86_64")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("pjsua2")) as server:
        yield server


@asynccontextmanager
async def registered(server: Server, *, answers_after: float) -> AsyncIterator[Phone]:
    """A built-in phone as 102."""
    async with PhoneHost() as host:
        await host.listen()
        phone = host.phone(
            f"sip:102@{server.at}", password=password_of("102"), registrar=f"udp:{server.at}",
            sound=tone_sound(DESK_HZ),
        )  # fmt: skip
        phone.agent.answer_after = answers_after
        await phone.register()
        yield phone
        await phone.unregister()


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[Phone]:
    """A built-in phone, registered as 102; it answers at once."""
    async with registered(server, answers_after=0.1) as phone:
        yield phone


async def told(pjsip: Pjsua, event: str, **values: object) -> dict[str, object]:
    """As `Pjsua.wait`, while the built-in phone goes on."""
    return await asyncio.to_thread(pjsip.wait, event, **values)


async def talk(desk: Phone, call: PhoneCall, seconds: float = 1.0) -> float:
    """How much of what the desk hears from now on is PJSIP's tone."""
    desk.audio(call).forget()
    await asyncio.sleep(seconds)
    return desk.audio(call).share(PJSIP_HZ)


@pure
async def test_it_calls_talks_presses_holds_and_hangs_up(server: Server, desk: Phone, tmp_path: Path) -> None:
    before = len(server.records())
    with Pjsua(tmp_path, server, "101", PJSIP_HZ) as pjsip:
        await told(pjsip, "registration", status=200)
        pjsip.tell("call", to="102")
        call = (await desk.wait("answered")).call
        assert call is not None
        await told(pjsip, "call", state="CONFIRMED")
        assert await talk(desk, call) > 0.97
        pjsip.tell("press", digits="15#")
        assert [(await desk.wait("dtmf")).detail[0] for _ in range(3)] == ["1", "5", "#"]
        pjsip.tell("hold")
        assert (await desk.wait("held")).detail == (True,)
        await told(pjsip, "media", status=LOCAL_HOLD)   # before that PJSIP would not take another re-INVITE
        pjsip.tell("resume")
        assert (await desk.wait("held")).detail == (False,)
        assert await talk(desk, call) > 0.97
        pjsip.tell("hang up")
        await desk.wait("ended")
        await told(pjsip, "call", state="DISCONNECTED", status=200)
    heard = pjsip.heard()
    assert len(sounding(heard)) >= 15
    assert purity(heard, DESK_HZ) > 0.6     # digits and holds tear it
    assert purity(heard, PJSIP_HZ) == 0
    assert purity(heard[-8000:], DESK_HZ) > 0.7      # after it was held
    wait_until(lambda: len(server.records()) > before, "a call record")
    [record] = server.records()[before:]
    assert (record["caller"], record["answered_by"], record["hung_up_by"]) == ("101", "102", "caller")


@pure
async def test_it_is_called_over_tcp_is_held_and_hung_up_on(server: Server, desk: Phone, tmp_path: Path) -> None:
    before = len(server.records())
    with Pjsua(tmp_path, server, "101", PJSIP_HZ, transport="tcp") as pjsip:
        await told(pjsip, "registration", status=200)
        call = await desk.dial("101")
        assert await talk(desk, call) > 0.97
        call.press("7*")
        assert [(await told(pjsip, "digit"))["digit"] for _ in range(2)] == ["7", "*"]
        await desk.audio(call).pressed_out.wait()
        call.hold()
        assert (await desk.wait("hold_done")).detail == (200,)
        call.resume()
        assert (await desk.wait("hold_done")).detail == (200,)
        assert await talk(desk, call) > 0.97
        await desk.hang_up(call)
        await told(pjsip, "call", state="DISCONNECTED")
    heard = pjsip.heard()
    assert len(sounding(heard)) >= 15
    assert purity(heard, DESK_HZ) > 0.6     # digits and holds tear it
    assert purity(heard, PJSIP_HZ) == 0
    wait_until(lambda: len(server.records()) > before, "a call record")
    [record] = server.records()[before:]
    assert (record["caller"], record["answered_by"], record["hung_up_by"]) == ("102", "101", "caller")


@pytest.mark.parametrize("digest", ["sha-256", "both"])
async def test_it_proves_its_password_by_sha256(tmp_path: Path, digest: str) -> None:
    with running(tmp_path, sip=f'digest = "{digest}"') as server, Pjsua(tmp_path, server, "101", PJSIP_HZ) as pjsip:
        await told(pjsip, "registration", status=200)
