"""One call between every two transports, IPv4 and IPv6, with audio both ways; real clients over TLS and WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from pbxcore.media import tone
from pbxcore.net.connections import Options
from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import CallFailed, Phone, PhoneHost
from tests.authority import Authority, Pair
from tests.conftest import require_module
from tests.interop.phones_by_websocket import browser
from tests.interop.server import Server, password_of, running, wait_until
from tests.interop.test_pjsua2 import told, wheel_expected
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_pjsua import Pjsua

A_HZ, B_HZ = 440, 880
PURE = 0.97
CARRIER = "127.0.0.3"     # not the phones' address: calls from a carrier's are its own
KINDS = ("udp", "tcp", "tls", "ws", "wss")
LISTEN = (
    *(f"{kind}:127.0.0.1:0" for kind in KINDS), *(f"{kind}:[::1]:0" for kind in ("udp", "tcp", "tls", "wss")),
)  # fmt: skip


@dataclass
class Place:
    server: Server
    authority: Authority
    pair: Pair

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority.file)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("transports")
    authority = Authority(directory)
    pair = authority.issue(dns=["localhost"])
    with running(directory, listen=LISTEN, sip=pair.settings) as server:
        yield Place(server, authority, pair)


@contextlib.asynccontextmanager
async def phone(place: Place, number: str, kind: str, host: str, hertz: int) -> AsyncIterator[Phone]:
    """A registered phone of ours."""
    address, port = place.server.address(kind, host)
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    async with AsyncExitStack() as stack:
        home = await stack.enter_async_context(PhoneHost(options=Options(authorities=place.authority.file)))
        bracketed = f"[{host}]" if ":" in host else host
        await home.listen(f"udp:{bracketed}:0")     # its audio goes there, whatever SIP does
        if kind == "tcp":
            await home.listen(f"tcp:{bracketed}:0")
        secret, sound = password_of(number), tone_sound(hertz)
        if kind in ("ws", "wss"):
            trust = place.trust if kind == "wss" else None
            made, _ = await stack.enter_async_context(
                browser(home, f"{kind}://{at}/", number, secret, trust=trust, sound=sound)
            )
        else:
            made = home.phone(f"sip:{number}@{at}", password=secret, registrar=f"{kind}:{at}", sound=sound)
        made.agent.answer_after = 0.05
        await made.register()
        yield made
        await made.unregister()


def bindings(place: Place, transports: set[str]) -> None:
    def kept() -> set[str]:
        return {row["transport"] for row in place.server.rows("select * from bindings")}

    wait_until(lambda: kept() == transports, f"bindings over {transports}")


async def hear_each_other(one: Phone, other: Phone, seconds: float = 0.6) -> None:
    """`one` calls; both hear the other's tone, and nothing else."""
    call = await one.dial("102")
    answered = (await other.wait("answered")).call
    assert answered is not None
    await asyncio.sleep(0.15)
    one.audio(call).forget()
    other.audio(answered).forget()
    await asyncio.sleep(seconds)
    shares = one.audio(call).share(B_HZ), other.audio(answered).share(A_HZ)
    assert min(shares) > PURE, shares
    await one.hang_up(call)
    await other.wait("ended")


PAIRS = [pair for pair in itertools.product(KINDS, KINDS) if "udp" not in pair or pair[0] != pair[1]]


@pytest.mark.parametrize(("caller", "callee"), PAIRS)
async def test_a_call_between_any_two_transports(place: Place, caller: str, callee: str) -> None:
    async with phone(place, "101", caller, "127.0.0.1", A_HZ) as one:
        async with phone(place, "102", callee, "127.0.0.1", B_HZ) as other:
            await asyncio.to_thread(bindings, place, {caller.upper(), callee.upper()})
            await hear_each_other(one, other)


@pytest.mark.parametrize(
    ("caller", "callee"), [("udp", "udp"), ("tcp", "udp"), ("udp", "tls"), ("tls", "wss"), ("wss", "tcp")]
)
@pytest.mark.parametrize("flip", [False, True])
async def test_a_call_between_ipv4_and_ipv6(place: Place, caller: str, callee: str, flip: bool) -> None:
    hosts = ("::1", "127.0.0.1") if flip else ("127.0.0.1", "::1")
    async with phone(place, "101", caller, hosts[0], A_HZ) as one, phone(place, "102", callee, hosts[1], B_HZ) as other:
        await hear_each_other(one, other)


async def test_a_browser_is_rung_over_its_own_connection_whatever_its_contact_says(place: Place) -> None:
    host, port = place.server.address("ws")
    async with PhoneHost() as home, phone(place, "101", "udp", "127.0.0.1", A_HZ) as desk:
        await home.listen()
        async with browser(home, f"ws://{host}:{port}/", "102", password_of("102"), sound=tone_sound(B_HZ)) as (
            page, flow
        ):  # fmt: skip
            page.agent.answer_after = 0.05
            await page.register()
            flow.send(b"\r\n\r\n")
            await hear_each_other(desk, page)
            assert "\r\n" in flow.received
            invite = next(text for text in flow.received if text.startswith("INVITE "))
            assert invite.startswith(f"INVITE sip:102@{flow.local[0]}:5060;transport=ws SIP/2.0\r\n")
            assert "\r\nVia: SIP/2.0/WS 127.0.0.1" in invite
            assert ";transport=ws>" in next(row for row in invite.split("\r\n") if row.startswith("Contact:"))
            bye = next(text for text in flow.received if text.startswith("BYE "))
            assert bye.startswith(f"BYE sip:102@{flow.local[0]}")
            await asyncio.to_thread(bindings, place, {"UDP", "WS"})
    # The page is closed: the phone is gone with it, at once.
    wait_until(lambda: not place.server.rows("select * from bindings where transport = 'WS'"), "no binding")
    async with phone(place, "101", "udp", "127.0.0.1", A_HZ) as desk:
        with pytest.raises(CallFailed, match="480"):
            await desk.dial("102")


async def test_a_page_that_is_closed_in_a_call_ends_it(place: Place) -> None:
    host, port = place.server.address("wss")
    async with PhoneHost() as home, phone(place, "101", "tcp", "127.0.0.1", A_HZ) as desk:
        await home.listen()
        async with browser(
            home, f"wss://{host}:{port}/", "102", password_of("102"), trust=place.trust, sound=tone_sound(B_HZ)
        ) as (page, _):
            page.agent.answer_after = None
            await page.register()
            call = desk.agent.call("102")
            await page.wait("incoming")
        event = await desk.wait("ended")     # it rang nowhere any more
        assert event.call is call
        assert call.status in (480, 503)
    assert await asyncio.to_thread(settled, place.server) > 0
    assert place.server.metrics()["hookline_live_calls"] == 0


# ---- other people's phones

def settled(server: Server) -> int:
    """How many calls there were, all of them written down."""
    count = int(server.metrics()["hookline_call_calls_total"])
    server.wait_for_records(count)
    return count


def record_of(server: Server, before: int) -> dict[str, object]:
    wait_until(lambda: len(server.records()) > before, "a call record")
    [record] = server.records()[before:]
    return dict(record)


def test_baresip_talks_over_tls(place: Place, tmp_path: Path) -> None:
    before = settled(place.server)
    believes = f"sip_cafile {place.authority.file}\n"   # baresip 1.0 reads it and checks nothing by it
    with (
        Baresip(tmp_path / "alice", place.server, "101", A_HZ, transport="tls", more=believes) as alice,
        Baresip(tmp_path / "bob", place.server, "102", B_HZ) as bob,
    ):
        alice.registered()
        bob.registered()
        bindings(place, {"TLS", "UDP"})
        bob.call("101")
        alice.wait("CALL_INCOMING")
        alice.tell("accept")
        bob.wait("CALL_ESTABLISHED")
        alice.wait("CALL_ESTABLISHED")
        time.sleep(1.0)
        alice.tell("hangup")
        bob.wait("CALL_CLOSED")
        assert record_of(place.server, before)["hung_up_by"] == "callee"
        for end, hertz in ((alice, B_HZ), (bob, A_HZ)):
            heard = end.heard()
            assert len(heard) / 2 / tone.RATE > 0.7
            assert tone.share(heard, hertz) > PURE


async def test_pjsip_over_tls(place: Place, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    before = settled(place.server)
    async with phone(place, "102", "wss", "127.0.0.1", B_HZ) as page:
        with Pjsua(tmp_path, place.server, "101", A_HZ, transport="tls", ca=place.authority.file) as pjsip:
            await told(pjsip, "registration", status=200)
            call = await page.dial("101")
            await asyncio.sleep(0.3)
            page.audio(call).forget()
            await asyncio.sleep(0.8)
            assert page.audio(call).share(A_HZ) > PURE
            await page.hang_up(call)
            await told(pjsip, "call", state="DISCONNECTED")
            pjsip.tell("call", to="102")
            answered = (await page.wait("answered")).call
            assert answered is not None
            await told(pjsip, "call", state="CONFIRMED")
            await page.hang_up(answered)
    wait_until(lambda: len(place.server.records()) == before + 2, "two records")


async def test_pjsip_that_trusts_another_ca_does_not_register(place: Place, tmp_path: Path) -> None:
    require_module("pjsua2", expected=wheel_expected())
    other = Authority(tmp_path, "Other CA")
    with Pjsua(tmp_path, place.server, "101", A_HZ, transport="tls", ca=other.file) as pjsip:
        assert (await told(pjsip, "registration"))["status"] != 200
    await asyncio.to_thread(bindings, place, set())


# ---- carriers

@contextlib.asynccontextmanager
async def carrier(authority: Authority, *, name: str) -> AsyncIterator[tuple[Phone, int]]:
    """One that is reached by TLS alone and shows a certificate for `name`; with its port."""
    pair = authority.issue(uris=[f"sip:{name}"], addresses=())
    async with PhoneHost(options=Options(pair.certificate, pair.key)) as home:
        await home.listen(f"udp:{CARRIER}:0")
        listener = await home.listen(f"tls:{CARRIER}:0")
        made = home.phone("sip:carrier@localhost", sound=tone_sound(B_HZ))
        made.agent.answer_after = 0.05
        home.phones.fallback = made.agent
        yield made, listener.port


@pytest.mark.parametrize("honest", [True, False])
async def test_a_carrier_over_tls_is_called_when_its_certificate_is_its_own(tmp_path: Path, honest: bool) -> None:
    authority = Authority(tmp_path)
    async with carrier(authority, name=CARRIER if honest else "evil.example") as (far, port):
        trunk = (
            f'[[trunk]]\nname = "secure"\nserver = "tls:{CARRIER}:{port}"\ntls_ca = "{authority.file}"\n'
            '[[outbound]]\nprefix = "8"\nstrip = 1\ntrunks = ["secure"]\n'
        )
        with contextlib.ExitStack() as stack:
            server = await asyncio.to_thread(stack.enter_context, running(tmp_path, more=trunk))
            place = Place(server, authority, authority.issue())
            async with phone(place, "101", "udp", "127.0.0.1", A_HZ) as desk:
                if not honest:
                    with pytest.raises(CallFailed, match=r"50[03]"):
                        await desk.dial("812025550123")
                    said = server.complaints.read_text()
                    assert "its certificate is not for 127.0.0.3, it names evil.example" in said
                else:
                    call = await desk.dial("812025550123")
                    answered = (await far.wait("answered")).call
                    assert answered is not None
                    await asyncio.sleep(0.3)
                    far.audio(answered).forget()
                    await asyncio.sleep(0.5)
                    assert far.audio(answered).share(A_HZ) > PURE
                    await far.hang_up(answered)       # in the dialog, over the same connection
                    await desk.wait("ended")
                    assert call.state == "ended"
            await asyncio.to_thread(stack.close)
