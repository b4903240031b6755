"""Calls by SIPp through the whole exchange, two CRMs connected: each knows the caller inline, each has every call once,
and `hookline reconcile` says so beside the running exchange."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.contract.fakes import dataverse, espocrm
from tests.contract.fakes.base import FakeCrm
from tests.contract.test_every_call_once import reconciled
from tests.interop import wire
from tests.interop.server import CARRIER, NUMBER, Server, password_of, running
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

CALLS = 5
CALLER = "+12025550177"


def sections(*fakes: FakeCrm) -> str:
    lines = []
    for fake in fakes:
        lines += ["[[crm.connector]]", *(f"{key} = {json.dumps(value)}" for key, value in fake.settings().items())]
    return "\n".join(lines)


def calls(server: Server, directory: Path) -> None:
    port = free_port()
    with wire.Udp(server.address(), port=port) as phone:
        assert wire.register(phone, server.address(), "101", password_of("101")).status == 200
    with (
        Sipp("shown_the_name", directory, server.at, port=port, calls=CALLS, name="Anna Ivanova") as desk,
        Sipp(
            "calls_and_hangs_up", directory, server.at, "-s", NUMBER, "-d", "100", "-r", "2", host=CARRIER,
            port=free_port(CARRIER), calls=CALLS, caller=CALLER,
        ) as carrier,
    ):  # fmt: skip
        carrier.wait()
        desk.wait()


async def test_every_call_is_in_two_crms(tmp_path: Path) -> None:
    espo, dynamics = espocrm.Fake(), dataverse.Fake()
    async with asyncio.timeout(120), espo.serving(), dynamics.serving():
        anna = espo.add_contact("Anna Ivanova", "(202) 555-0177")
        with running(tmp_path, more=sections(espo, dynamics), deadline_ms=3000) as server:
            await asyncio.to_thread(calls, server, tmp_path)
            while min(len(espo.calls()), len(dynamics.calls())) < CALLS:  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0.1)
            status, found = await reconciled(tmp_path / "hookline.toml")
        expected = {"calls": CALLS, "records": CALLS, "missing": 0, "doubled": 0}
        assert [{key: one[key] for key in expected} for one in found] == [expected] * 3
        assert status == 0
    assert {call.contact_id for call in espo.calls()} == {anna}
    assert {call.user for call in espo.calls()} == {espo.user}
    assert dynamics.contact_numbers() == [CALLER]       # nobody knew him there
    assert len({call.contact_id for call in dynamics.calls()}) == 1
