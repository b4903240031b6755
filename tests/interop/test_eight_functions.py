"""Functions of a CRM with telephony, each by a call of a softphone (PJSIP) with a carrier (SIPp) through a
running exchange: what the panel's API shows of it, and what a connected CRM has."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_module
from tests.contract.fakes import espocrm
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, Server, running, wait_until
from tests.interop.test_pjsua2 import wheel_expected
from tests.interop.tool_panel import PanelApi
from tests.interop.tool_pjsua import Pjsua
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

ANNA = "+12025550177"
SALES = "+12025550101"
SETTINGS = """wrap_up_seconds = 60
[[crm.connector]]
{connector}
[[outbound]]
prefix = "+"
trunks = ["carrier"]
[[queue]]
name = "sales"
agents = ["101"]
[[inbound]]
number = "{sales}"
to = "queue:sales"
"""


class Stage:
    def __init__(self, server: Server, crm: espocrm.Fake, anna: str, directory: Path, carrier_port: int) -> None:
        self.server = server
        self.crm = crm
        self.anna = anna
        self.directory = directory
        self.carrier_port = carrier_port
        self.panel = PanelApi(server)

    def client(self, caller: str = ANNA, to: str = NUMBER, ms: int = 1500) -> Sipp:
        return Sipp(
            "calls_whoever_answers", self.directory, self.server.at, "-s", to, "-d", str(ms), host=CARRIER,
            port=free_port(CARRIER), caller=caller,
        )  # fmt: skip

    def carrier(self) -> Sipp:
        return Sipp("answers_and_is_offered", self.directory, self.server.at, host=CARRIER, port=self.carrier_port)

    def live(self) -> dict[str, Any]:
        """The one call that is up."""
        wait_until(lambda: len(self.panel.calls()) <= 1, 5, "one call alone")
        wait_until(lambda: [call for call in self.panel.calls() if call["answered_at"]], 5, "a call that is answered")
        [call] = self.panel.calls()
        return call

    def ended(self, call_id: str) -> Any:
        """Its record in the connected CRM, once it is there."""
        wait_until(lambda: any(one.external_id == call_id for one in self.crm.calls()), 10, "a record in the CRM")
        return self.crm.call_of(call_id)

    def done(self, call_id: str) -> None:
        """The agent's two lines."""
        self.panel.ask("POST", f"calls/{call_id}/summary", {"summary": "Two lines."})

    def invites(self, call_id: str) -> list[tuple[float, str]]:
        """When the exchange sent which party its INVITE, the first ones only."""
        trace = self.panel.ask("GET", f"calls/{call_id}/trace")
        names = [party["name"] for party in trace["parties"]]
        sent: dict[str, float] = {}
        for step in trace["steps"]:
            if step["out"] and step["text"].startswith("INVITE"):
                sent.setdefault(names[step["party"]], step["at"])
        return sorted((at, name) for name, at in sent.items())


@contextmanager
def served(crm: espocrm.Fake) -> Iterator[None]:
    """In a thread of its own, because the tests wait for phones."""
    loop, up, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with crm.serving():
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("eight")
    crm, port = espocrm.Fake(), free_port(CARRIER)
    with served(crm):
        anna = crm.add_contact("Anna Ivanova", "(202) 555-0177")
        connector = "\n".join(f"{key} = {json.dumps(value)}" for key, value in crm.settings().items())
        more = SETTINGS.format(connector=connector, sales=SALES)
        with running(directory, listen=LOOPBACK, carrier_port=port, deadline_ms=3000, more=more) as server:
            yield Stage(server, crm, anna, directory, port)


@pytest.fixture
def phone(stage: Stage, tmp_path: Path) -> Iterator[Pjsua]:
    require_module("pjsua2", expected=wheel_expected())
    with Pjsua(tmp_path, stage.server, "101", 440) as phone:
        phone.wait("registration", status=200)
        yield phone
        phone.tell("unregister")
        phone.wait("registration")


def test_the_caller_is_found_by_his_number(stage: Stage, phone: Pjsua) -> None:
    with stage.client() as client:
        assert "Anna Ivanova" in phone.wait("incoming")["caller"]
        call = stage.live()
        client.wait()
    assert call["display_name"] == "Anna Ivanova"
    assert stage.ended(call["call_id"]).contact_id == stage.anna
    stage.done(call["call_id"])


def test_an_activity_is_there_by_itself_and_completed_by_its_summary(stage: Stage, phone: Pjsua) -> None:
    with stage.client() as client:
        call_id = stage.live()["call_id"]
        client.wait()
    record = stage.ended(call_id)
    assert (record.completed, record.direction, record.user) == (False, "inbound", stage.crm.user)
    [activity] = stage.panel.ask("GET", f"activities?call_id={call_id}")["activities"]
    assert (activity["state"], activity["agent"]) == ("open", "101")
    stage.done(call_id)
    [activity] = stage.panel.ask("GET", f"activities?call_id={call_id}")["activities"]
    assert (activity["state"], activity["summary"]) == ("completed", "Two lines.")
    wait_until(lambda: stage.crm.call_of(call_id).completed, 10, "the completed record")
    assert stage.crm.call_of(call_id).summary == "Two lines."


def test_the_instruction_for_the_number_is_on_the_card(stage: Stage, phone: Pjsua) -> None:
    stage.panel.ask("POST", "instructions", {"text": "Ask for the contract.", "number": ANNA})
    with stage.client() as client:
        call = stage.live()
        client.wait()
    assert "Ask for the contract." in call["instructions"]
    assert stage.ended(call["call_id"]).contact_id == stage.anna
    stage.done(call["call_id"])


def test_a_call_from_the_crm_rings_the_agents_own_phone_first(stage: Stage, phone: Pjsua) -> None:
    with stage.carrier() as carrier:
        order = {"from": "101", "to": ANNA}
        call_id = stage.panel.ask("POST", "calls", order, Idempotency_Key="one")["call_id"]
        assert stage.panel.ask("POST", "calls", order, Idempotency_Key="one")["call_id"] == call_id
        phone.wait("call", state="CONFIRMED")
        assert stage.live()["call_id"] == call_id
        [agent, client] = stage.invites(call_id)
        assert "101" in agent[1]
        assert agent[0] < client[0]
        stage.panel.ask("POST", f"calls/{call_id}/hangup")
        carrier.wait()
    record = stage.ended(call_id)
    assert (record.direction, record.contact_id) == ("outbound", stage.anna)
    stage.done(call_id)


def test_a_new_number_becomes_a_contact_by_itself(stage: Stage, phone: Pjsua) -> None:
    stranger = "+12025550188"
    assert stage.panel.ask("GET", "contacts/lookup?number=%2B12025550188")["contacts"] == []
    with stage.client(stranger) as client:
        call_id = stage.live()["call_id"]
        client.wait()
    [contact] = stage.panel.ask("GET", "contacts/lookup?number=%2B12025550188")["contacts"]
    assert contact["numbers"] == [stranger]
    assert stage.ended(call_id).contact_id is not None
    assert stage.crm.contact_numbers().count(stranger) == 1
    stage.done(call_id)


def test_no_queue_offers_a_call_to_whoever_still_writes_his_summary(stage: Stage, phone: Pjsua) -> None:
    with stage.client(to=SALES) as client:
        phone.wait("call", state="CONFIRMED")
        first = stage.panel.calls()[0]["call_id"]
        client.wait()
    wait_until(lambda: _agent(stage) == "after-call work", 5, "after-call work")
    wait_until(lambda: not stage.panel.calls(), 5, "no call that is up")
    with stage.client(to=SALES, ms=4000) as client:
        waiting = stage.live()
        time.sleep(1.5)     # long enough for the first call to be offered
        assert not [name for _, name in stage.invites(waiting["call_id"]) if "101" in name]
        stage.done(first)
        assert "Anna" in phone.wait("incoming")["caller"]
        client.wait()
    stage.ended(first)
    stage.done(waiting["call_id"])


def _agent(stage: Stage) -> str:
    return str(stage.panel.ask("GET", "agents/101/state")["state"])
