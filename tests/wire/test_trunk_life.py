"""A trunk whose carrier is another exchange of ours, found through a real DNS server on loopback: it registers, calls
go both ways, the carrier dies and comes back, and what is said about it is true."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from pbxcore import profiles
from pbxcore.app import App
from pbxcore.call.keeper import state_of
from pbxcore.control import TrunkState
from pbxcore.demo import free_ports
from pbxcore.phone.audio import tone_sound
from pbxcore.phone.host import Phone, PhoneHost
from pbxcore.settings import Settings
from tests.name_server import NameServer
from tests.ports import free_port
from tests.wire.shell import until

CARRIER = "127.0.0.2"
NUMBER = "+12025550100"


def office_settings(directory: Path, server: str, nameserver: tuple[str, int], **trunk: Any) -> Settings:
    return Settings.model_validate(
        {
            "office": {"country": "US"},
            "sip": {
                "listen": ["udp:127.0.0.1:0", "tcp:127.0.0.1:0"], "drain_seconds": 0.0,
                "nameservers": [f"{nameserver[0]}:{nameserver[1]}"],
            },
            "media": {"ports": free_ports()},
            "web": {"listen": "127.0.0.1:0"},
            "database": {"url": f"sqlite:///{directory}/office.db"},
            "extension": [{"number": "101", "password": "secret of 101"}],
            "trunk": [
                {"name": "city", "server": server, "register": True, "username": "office", "password": "trunk", **trunk}
            ],
            "inbound": [{"number": NUMBER, "to": "101"}, {"number": "*", "to": "101"}],
            "outbound": [{"prefix": "9", "strip": 1, "trunks": ["city"]}],
        }
    )  # fmt: skip


def carrier_settings(directory: Path, port: int = 0, known: str = "trunk") -> Settings:
    """One that is started again on the same `port` must be told it from the first."""
    return Settings.model_validate(
        {
            "sip": {"listen": [f"udp:{CARRIER}:{port}", f"tcp:{CARRIER}:{port}"], "drain_seconds": 0.0},
            "media": {"ports": free_ports()},
            "web": {"listen": "127.0.0.1:0"},
            "database": {"url": f"sqlite:///{directory}/carrier.db"},
            "extension": [
                {"number": "office", "password": known}, {"number": "201", "password": "secret of 201"},
            ],
        }
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(made: Settings) -> AsyncIterator[App]:
    app = App(made)
    try:
        await app.start()
        yield app
    finally:
        await app.stop()


@contextlib.asynccontextmanager
async def phone_of(app: App, number: str, host: str) -> AsyncIterator[Phone]:
    address = app.sip_addresses[0]
    async with PhoneHost() as phones:
        await phones.listen(f"udp:{host}:0")
        phone = phones.phone(
            f"sip:{number}@{address.partition(':')[2]}", password=f"secret of {number}", registrar=address,
            sound=tone_sound(440),
        )  # fmt: skip
        phone.agent.answer_after = 0
        assert await phone.register() > 0
        yield phone


def port_of(app: App) -> int:
    return int(app.sip_addresses[0].rpartition(":")[2])


def zone(app: App) -> dict[tuple[str, str], list[str]]:
    udp, tcp = (int(spec.rpartition(":")[2]) for spec in app.sip_addresses)
    return {
        ("carrier.test", "NAPTR"): ['10 10 "s" "SIP+D2U" "" _sip._udp.carrier.test.'],
        ("_sip._udp.carrier.test", "SRV"): [f"10 10 {udp} sbc.carrier.test."],
        ("_sip._tcp.carrier.test", "SRV"): [f"10 10 {tcp} sbc.carrier.test."],
        ("sbc.carrier.test", "A"): [CARRIER],
    }


def state(app: App) -> TrunkState:
    return state_of(next(iter(app.exchange.trunks)))


def metrics(app: App) -> str:
    with urllib.request.urlopen(f"{app.web_address}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize("server", ["carrier.test", "tcp:carrier.test"])
async def test_it_registers_and_calls_both_ways(tmp_path: Path, server: str) -> None:
    async with running(carrier_settings(tmp_path)) as carrier, NameServer(zone(carrier)) as dns:
        async with running(office_settings(tmp_path, server, dns.address)) as office:
            await until(lambda: state(office).registration == "registered")
            assert state(office).reason == ""
            assert len(carrier.exchange.registrar.bindings("office")) == 1
            async with phone_of(office, "101", "127.0.0.1") as desk, phone_of(carrier, "201", "127.0.0.3") as far:
                call = await desk.dial("9201")
                assert (await far.wait("answered")).call is not None
                assert state(office).calls == 1
                text = await asyncio.to_thread(metrics, office)
                assert 'hookline_trunk_registered{trunk="city"} 1.0' in text
                assert 'hookline_trunk_reachable{trunk="city"} 1.0' in text
                assert 'hookline_trunk_calls{trunk="city"} 1.0' in text
                assert "hookline_trunk_problem{" not in text
                await desk.hang_up(call)
                await far.wait("ended")
                incoming = await far.dial("office")     # to our binding, as a carrier does
                assert (await desk.wait("answered")).call is not None
                await far.hang_up(incoming)
                await desk.wait("ended")
        await until(lambda: not carrier.exchange.registrar.bindings("office"))   # taken back at the end


async def test_the_carrier_dies_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = profiles.trunk("generic").model_copy(
        update={"options_seconds": 1, "options_retry_seconds": 1, "options_down_after": 1}
    )
    monkeypatch.setattr(profiles, "trunk", lambda name: quick)
    monkeypatch.setattr("pbxcore.call.qualify.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("pbxcore.call.registration.FIRST_PAUSE", 1.0)
    with structlog.testing.capture_logs() as said:
        async with NameServer() as dns:
            port = free_port(CARRIER)
            async with running(carrier_settings(tmp_path, port)) as carrier:
                dns.zone.update(zone(carrier))
                async with running(office_settings(tmp_path, "carrier.test", dns.address)) as office:
                    await until(lambda: state(office).registration == "registered")
                    await carrier.stop()
                    await until(lambda: not state(office).reachable, 8.0)
                    assert "no answer to OPTIONS" in state(office).reason
                    text = await asyncio.to_thread(metrics, office)
                    assert 'hookline_trunk_reachable{trunk="city"} 0.0' in text
                    assert 'hookline_trunk_problem{reason="udp:127.0.0.2:' in text
                    async with running(carrier_settings(tmp_path, port)) as again:
                        await until(lambda: state(office).reachable, 8.0)
                        bindings = again.exchange.registrar.bindings
                        await until(lambda: bool(bindings("office")), 8.0)
                        await until(lambda: state(office).registration == "registered")
    sentences = [line["event"] for line in said]
    assert "trunk city: registered for 600 s" in sentences
    assert any(line.startswith("trunk city: it does not answer (udp:127.0.0.2:") for line in sentences)
    assert "trunk city: it answers again" in sentences


async def test_an_office_whose_dns_is_dead_starts_and_says_so(tmp_path: Path) -> None:
    """And goes on as soon as the name is found."""
    async with NameServer() as dns:
        dns.silent = True
        began = time.monotonic()
        async with running(office_settings(tmp_path, "carrier.test", dns.address)) as office:
            assert time.monotonic() - began < 5.0
            assert state(office) == TrunkState(
                "city", "carrier.test", 0, "trying", False, "its servers are not known yet"
            )
            async with phone_of(office, "101", "127.0.0.1") as desk:
                with pytest.raises(Exception, match="503"):
                    await desk.dial("9201")


async def test_a_password_that_is_wrong_is_said_in_the_panel(tmp_path: Path) -> None:
    async with running(carrier_settings(tmp_path, known="another")) as carrier:
        server = f"{CARRIER}:{port_of(carrier)}"
        async with running(office_settings(tmp_path, server, ("127.0.0.1", 9))) as office:
            await until(lambda: state(office).registration == "failed")
            [shown] = office.control.trunks()
            assert shown.reason == "the carrier does not take the username and password (403 Forbidden)"
            assert json.dumps(shown.reason)
