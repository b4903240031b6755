"""The CRM's name for a caller on the displays of other people's phones: in time, and late, by UPDATE."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pbxcore.phone.audio import tone_sound
from pbxcore.phone.call import PhoneCall
from pbxcore.phone.host import Phone, PhoneHost
from tests.conftest import require_module
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, PATIENCE, Server, password_of, running, wait_until
from tests.interop.test_pjsua2 import told, wheel_expected
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_pjsua import Pjsua
from tests.interop.wire import SDP, Answer, Udp, register, request

KNOWN, SLOW = "+12025550123", "+12025550124"
NAME = "Anna Иванова (VIP)"
HOOK = f'''
import asyncio
from pbxcore.hooks import Proceed

class Desk:
    async def on_incoming(self, call):
        if call.caller == "{SLOW}":
            await asyncio.sleep(1.0)
        return Proceed(display_name="{NAME}", instructions="Ask about the printer")
'''
MORE = """
[[crm.hook]]
kind = "python"
target = "names:Desk"
"""
CALLER_HZ, PHONE_HZ = 440, 880


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("names")
    (directory / "names.py").write_text(HOOK, "utf-8")
    with running(directory, listen=LOOPBACK, on_unknown="ignore", more=MORE) as server:
        yield server


@asynccontextmanager
async def caller(server: Server, number: str) -> AsyncIterator[Phone]:
    """Somebody outside, by way of the carrier."""
    async with PhoneHost() as host:
        await host.listen(f"udp:{CARRIER}:0")
        yield host.phone(f"sip:{number}@{CARRIER}", sound=tone_sound(CALLER_HZ))


async def call(server: Server, phone: Phone) -> PhoneCall:
    return await phone.dial(f"sip:{NUMBER}@{server.at}")


async def leave(pjsip: Pjsua) -> None:
    """The next test's phone is the only one of its extension."""
    pjsip.tell("unregister")
    await told(pjsip, "registration", status=200)


async def test_pjsip_shows_a_name_that_comes_in_time(server: Server, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    with Pjsua(tmp_path, server, "101", PHONE_HZ) as pjsip:
        await told(pjsip, "registration", status=200)
        async with caller(server, KNOWN) as outside:
            talk = await call(server, outside)
            shown = (await told(pjsip, "incoming"))["caller"]
            await outside.hang_up(talk)
        await leave(pjsip)
    assert str(shown).startswith(f'"{NAME}" <sip:{KNOWN}@')


async def test_pjsip_is_told_a_late_name_by_update(server: Server, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    with Pjsua(tmp_path, server, "101", PHONE_HZ) as pjsip:
        await told(pjsip, "registration", status=200)
        async with caller(server, SLOW) as outside:
            talk = await call(server, outside)
            assert NAME not in str((await told(pjsip, "incoming"))["caller"])
            update = Answer(str((await told(pjsip, "update"))["message"]))
            outside.audio(talk).forget()
            await asyncio.sleep(0.5)
            assert outside.audio(talk).share(PHONE_HZ) > 0.9   # it goes on
            await outside.hang_up(talk)
            await told(pjsip, "call", state="DISCONNECTED", status=200)
        await leave(pjsip)
    assert update.value("P-Asserted-Identity").startswith(f'"{NAME}" <sip:{SLOW}@')
    assert "printer" not in update.text


async def test_baresip_shows_the_name_in_time_and_lives_without_the_late_one(server: Server, tmp_path: Path) -> None:
    """baresip 1.0 knows no UPDATE."""
    for number, expected in ((KNOWN, NAME), (SLOW, "")):
        with Baresip(tmp_path / number, server, "101", PHONE_HZ) as phone:
            await asyncio.to_thread(phone.registered)
            async with caller(server, number) as outside:
                dialling = asyncio.create_task(call(server, outside))
                await asyncio.to_thread(phone.wait, "CALL_INCOMING")
                assert f"Incoming call from: {expected} sip:{number}@" in phone.log()
                await asyncio.sleep(1.0 if not expected else 0.0)   # the late name comes while it rings
                phone.tell("accept")
                talk = await dialling
                await asyncio.sleep(0.5)
                outside.audio(talk).forget()
                await asyncio.sleep(0.5)
                assert outside.audio(talk).share(PHONE_HZ) > 0.9
                await outside.hang_up(talk)
                await asyncio.to_thread(phone.wait, "CALL_CLOSED")
    record = server.wait_for_records(4)[-1]
    assert record["display_name"] == NAME   # written down all the same


def test_what_is_on_the_wire(server: Server) -> None:
    """A phone that rings and takes UPDATE, octet by octet."""
    at = server.address()
    with Udp(at) as phone, Udp(at, host=CARRIER) as carrier:
        assert register(phone, at, "101", password_of("101")).status == 200
        before = len(server.records())
        carrier.send(invite(carrier, at))
        ringing = next_request(phone, "INVITE")
        assert ringing.value("Alert-Info") == "<urn:alert:source:external>"
        assert re.fullmatch(r"[0-9a-f]{24}", ringing.value("X-Hookline-Call"))
        assert ringing.value("From").startswith(f"<sip:{SLOW}@")
        tag = secrets.token_hex(4)
        answer(phone, ringing, "180 Ringing", tag, "Allow: INVITE, ACK, BYE, CANCEL, UPDATE")
        update = next_request(phone, "UPDATE")
        assert update.value("P-Asserted-Identity").startswith(f'"{NAME}" <sip:{SLOW}@')
        assert update.value("To").endswith(f";tag={tag}")
        assert update.value("Call-ID") == ringing.value("Call-ID")
        assert int(update.value("CSeq").split()[0]) == int(ringing.value("CSeq").split()[0]) + 1
        assert update.value("Content-Length") == "0"
        assert update.value("Contact")
        answer(phone, update, "200 OK", tag)
        answer(phone, ringing, "486 Busy Here", tag)
        wait_until(lambda: len(server.records()) > before, "a call record")


def invite(carrier: Udp, at: tuple[str, int]) -> bytes:
    sdp = SDP.format(host=carrier.host, port=40_000)
    return request(carrier, "INVITE", f"sip:{NUMBER}@{at[0]}:{at[1]}", user=SLOW, body=sdp)


def next_request(peer: Udp, method: str, seconds: float = PATIENCE) -> Answer:
    deadline = time.monotonic() + seconds
    while True:
        found = peer.receive(deadline - time.monotonic())
        assert found is not None, f"no {method}"
        if found.first_line.startswith(f"{method} "):
            return found


def answer(peer: Udp, asked: Answer, status: str, tag: str, *rows: str) -> None:
    """The response to a request that has come."""
    to = asked.value("To")
    lines = [
        f"SIP/2.0 {status}", *(f"Via: {via}" for via in asked.values("Via")), f"From: {asked.value('From')}",
        f"To: {to if ';tag=' in to else f'{to};tag={tag}'}", f"Call-ID: {asked.value('Call-ID')}",
        f"CSeq: {asked.value('CSeq')}", f"Contact: <sip:101@{peer.host}:{peer.port}>", *rows, "Content-Length: 0",
    ]  # fmt: skip
    peer.send(("\r\n".join(lines) + "\r\n\r\n").encode())
