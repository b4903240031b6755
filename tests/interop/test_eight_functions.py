"""The eight functions of a CRM with telephony, each by a call of a softphone (PJSIP, baresip) with a carrier (SIPp)
through a running exchange: what the panel shows of it, and what each of the CRMs has that are connected at once. Tryton
is a real one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require_module
from tests.contract.fakes.base import FakeCall, FakeCrm
from tests.interop.server import CARRIER, LOOPBACK, NUMBER, Server, password_of, running, wait_until
from tests.interop.test_crm_records import sections
from tests.interop.test_pjsua2 import wheel_expected
from tests.interop.tool_baresip import Baresip
from tests.interop.tool_panel import LivePage, PanelApi
from tests.interop.tool_pjsua import Pjsua
from tests.interop.tool_sipp import Sipp
from tests.ports import free_port

ANNA = "+12025550177"
SALES = "+12025550101"
KINDS = ("espocrm", "dataverse", "odoo", "bitrix24", "suitecrm", "hubspot", "salesforce", "tryton")
ONE_EACH = "+120255502"     # and two digits: a number that one of the CRMs alone has
SETTINGS = """wrap_up_seconds = 60
{connectors}
[[extension]]
number = "102"
name = "Boris"
password = "{password}"
profile = "rfc9796"
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
    def __init__(
        self, server: Server, crms: Sequence[FakeCrm], annas: Sequence[str], directory: Path, carrier_port: int
    ) -> None:
        """`annas` are her ids in the CRMs."""
        self.server = server
        self.crms = crms
        self.annas = annas
        self.directory = directory
        self.carrier_port = carrier_port
        self.panel = PanelApi(server)

    def client(self, caller: str = ANNA, to: str = NUMBER, ms: int = 1500) -> Sipp:
        return Sipp(
            "calls_whoever_answers", self.directory, self.server.at, "-s", to, "-d", str(ms), host=CARRIER,
            port=free_port(CARRIER), caller=caller,
        )  # fmt: skip

    def carrier_calls(self) -> Sipp:
        """A client who is re-INVITEd when his call goes to somebody else, and hangs up in the end."""
        return Sipp(
            "calls_and_is_transferred", self.directory, self.server.at, "-s", NUMBER, host=CARRIER,
            port=free_port(CARRIER), caller=ANNA,
        )  # fmt: skip

    @contextmanager
    def carrier(self) -> Iterator[None]:
        """A client who answers, and is hung up on before the block ends. The carrier is asked whether it is there
        (OPTIONS), too: each of that is a call to SIPp."""
        with Sipp(
            "answers_and_is_offered", self.directory, self.server.at, host=CARRIER, port=self.carrier_port, calls=100
        ) as carrier:
            yield
            wait_until(lambda: "BYE sip" in carrier.seen(), "a BYE at the carrier")
            assert "unexpected" not in carrier.log()

    def live(self) -> dict[str, Any]:
        """The one call that is up."""
        wait_until(lambda: len(self.panel.calls()) <= 1, "one call alone")
        wait_until(lambda: [call for call in self.panel.calls() if call["answered_at"]], "a call that is answered")
        [call] = self.panel.calls()
        return call

    def records(self, call_id: str, are: Callable[[FakeCall], object] = lambda record: True) -> list[FakeCall]:
        """The one record of a call in each CRM, once all of them are so."""
        found: dict[str, list[FakeCall]] = {}

        def as_wanted() -> bool:
            for crm in self.crms:
                try:
                    found[crm.kind] = [one for one in crm.calls() if one.external_id == call_id]
                except (AssertionError, KeyError, RuntimeError):     # between the requests of one change
                    return False
            return all(len(ones) == 1 and are(ones[0]) for ones in found.values())

        try:
            wait_until(as_wanted, "one record as it is to be in each CRM", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}: {found}") from None
        return [one for ones in found.values() for one in ones]

    def of_anna(self, call_id: str) -> list[FakeCall]:
        """The same, and it is hers in every one of them."""
        records = self.records(call_id, lambda record: record.contact_id)
        assert [record.contact_id for record in records] == list(self.annas)
        return records

    def done(self, call_id: str) -> None:
        """The agent's two lines."""
        self.panel.ask("POST", f"calls/{call_id}/summary", {"summary": "Two lines."})

    def sent(self, call_id: str, number: str) -> str:
        """The first INVITE of this call to a phone."""
        trace = self.panel.ask("GET", f"calls/{call_id}/trace")
        names = [party["name"] for party in trace["parties"]]
        return next(
            str(step["message"]) for step in trace["steps"]
            if step["out"] and step["text"].startswith("INVITE") and number in names[step["party"]]
        )  # fmt: skip

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
def served(crms: Sequence[FakeCrm]) -> Iterator[None]:
    """In a thread of their own, because the tests wait for phones."""
    loop, up, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with AsyncExitStack() as all_of_them:
            for crm in crms:
                await all_of_them.enter_async_context(crm.serving())
            up.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(60)
        yield
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("eight")
    crms: list[FakeCrm] = [import_module(f"tests.contract.fakes.{kind}").Fake() for kind in KINDS]
    with served(crms):
        annas = [crm.add_contact("Anna Ivanova", "(202) 555-0177") for crm in crms]
        for place, crm in enumerate(crms):
            crm.add_contact(f"Only in {crm.kind}", f"{ONE_EACH}{place:02}")
        more = SETTINGS.format(connectors=sections(*crms), sales=SALES, password=password_of("102"))
        port = free_port(CARRIER)
        with running(
            directory, listen=LOOPBACK, extensions=("101",), carrier_port=port, deadline_ms=3000, more=more
        ) as server:
            yield Stage(server, crms, annas, directory, port)


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
    stage.of_anna(call["call_id"])
    stage.done(call["call_id"])


def test_each_crm_is_asked_for_a_number_that_it_alone_has(stage: Stage, phone: Pjsua) -> None:
    for place, crm in enumerate(stage.crms):
        with stage.client(f"{ONE_EACH}{place:02}", ms=300) as client:
            assert f"Only in {crm.kind}" in phone.wait("incoming")["caller"]
            client.wait()
        phone.wait("call", state="DISCONNECTED")
    for activity in stage.panel.ask("GET", "activities?open=true")["activities"]:
        stage.done(activity["call_id"])


def test_an_activity_is_there_by_itself_and_completed_by_its_summary(stage: Stage, phone: Pjsua) -> None:
    with stage.client() as client:
        call_id = stage.live()["call_id"]
        client.wait()
    for crm, record in zip(stage.crms, stage.records(call_id), strict=True):
        assert (record.completed, record.direction, record.user) == (False, "inbound", crm.user)
    [activity] = stage.panel.ask("GET", f"activities?call_id={call_id}")["activities"]
    assert (activity["state"], activity["agent"]) == ("open", "101")
    stage.done(call_id)
    [activity] = stage.panel.ask("GET", f"activities?call_id={call_id}")["activities"]
    assert (activity["state"], activity["summary"]) == ("completed", "Two lines.")
    stage.records(call_id, lambda record: record.completed and record.summary == "Two lines.")


def test_the_instruction_for_the_number_is_on_the_card(stage: Stage, phone: Pjsua) -> None:
    stage.panel.ask("POST", "instructions", {"text": "Ask for the contract.", "number": ANNA})
    with stage.client() as client:
        call = stage.live()
        client.wait()
    assert "Ask for the contract." in call["instructions"]
    stage.of_anna(call["call_id"])
    stage.done(call["call_id"])


def test_a_call_from_the_crm_rings_the_agents_own_phone_first(stage: Stage, phone: Pjsua) -> None:
    with stage.carrier():
        order = {"from": "101", "to": ANNA}
        call_id = stage.panel.ask("POST", "calls", order, Idempotency_Key="one")["call_id"]
        assert stage.panel.ask("POST", "calls", order, Idempotency_Key="one")["call_id"] == call_id
        phone.wait("call", state="CONFIRMED")
        assert stage.live()["call_id"] == call_id
        [agent, client] = stage.invites(call_id)
        assert "101" in agent[1]
        assert agent[0] < client[0]
        stage.panel.ask("POST", f"calls/{call_id}/hangup")
    assert {record.direction for record in stage.of_anna(call_id)} == {"outbound"}
    stage.done(call_id)


def test_a_planned_call_is_offered_when_it_is_due_and_one_that_nobody_takes_is_moved(
    stage: Stage, phone: Pjsua, tmp_path: Path
) -> None:
    """101 answers by itself; 102 declines."""
    with Pjsua(tmp_path, stage.server, "102", 880, rings=True) as other, stage.carrier():
        other.wait("registration", status=200)
        due = time.time()
        plan = {"number": ANNA, "due_at": due, "note": "Ask about the contract."}
        taken = stage.panel.ask("POST", "scheduled-calls", {**plan, "agent": "101"})["id"]
        missed = stage.panel.ask("POST", "scheduled-calls", {**plan, "agent": "102"})["id"]
        assert ANNA in other.wait("incoming")["caller"]
        other.tell("hang up")
        phone.wait("call", state="CONFIRMED")
        call = stage.live()
        [agent, client] = stage.invites(call["call_id"])
        assert "101" in agent[1]
        assert due <= agent[0] < client[0]
        stage.panel.ask("POST", f"calls/{call['call_id']}/hangup")
        wait_until(lambda: _planned(stage, taken)["state"] == "done", "a planned call that is done")
        assert _planned(stage, taken)["call_id"] == call["call_id"]
        wait_until(lambda: _planned(stage, missed)["missed"] == 1, "a planned call that was missed")
        after = _planned(stage, missed)
        assert (after["state"], after["reason"]) == ("planned", "he did not take it")
        assert after["due_at"] >= due + 3600
        stage.panel.ask("DELETE", f"scheduled-calls/{missed}")
        other.tell("unregister")
        other.wait("registration")
    assert {record.direction for record in stage.of_anna(call["call_id"])} == {"outbound"}
    stage.done(call["call_id"])


def test_a_transfer_brings_card_and_notes_to_the_page_before_the_phone_rings(
    stage: Stage, phone: Pjsua, tmp_path: Path
) -> None:
    page = LivePage(stage.server, "boris", "102")
    boris = PanelApi(stage.server, "102")
    boris.listen()
    with Baresip(tmp_path / "boris", stage.server, "102", 880) as other:
        other.registered()
        with stage.carrier_calls() as client:
            phone.wait("call", state="CONFIRMED")
            call_id = stage.live()["call_id"]
            notes = "Wants a refund, has the receipt."
            stage.panel.ask("POST", f"calls/{call_id}/transfer", {"to": "102", "party": "101", "notes": notes})
            other.wait("CALL_INCOMING")
            shown, html = page.showed(f"card-{call_id}", notes)
            assert "Anna Ivanova" in html
            handed = boris.told("CardHandedOver", party="102")
            [invited] = [at for at, name in stage.invites(call_id) if "102" in name]
            assert handed["at"] < shown < invited       # one clock: the page was here before the INVITE was on its way
            invite = stage.sent(call_id, "102")
            assert "application/vcard+json" in invite
            assert f'call-reason="{notes}"' in invite
            other.tell("accept")
            other.wait("CALL_ESTABLISHED")
            phone.wait("call", state="DISCONNECTED")
            page.showed(f"card-{call_id}", f">{notes}</textarea>")
            client.wait()
    assert not any(record.completed for record in stage.of_anna(call_id))      # notes are no summary yet
    [activity] = stage.panel.ask("GET", f"activities?call_id={call_id}")["activities"]
    assert (activity["agent"], activity["state"], activity["summary"]) == ("102", "open", notes)
    boris.ask("POST", f"calls/{call_id}/summary", {"summary": f"{notes} Refunded."})
    stage.records(call_id, lambda record: record.completed and record.summary.endswith("Refunded."))
    stage.panel.ask("PUT", "agents/101/state", {"state": "ready"})


def test_a_new_number_becomes_a_contact_by_itself(stage: Stage, phone: Pjsua) -> None:
    stranger = "+12025550188"
    assert stage.panel.ask("GET", "contacts/lookup?number=%2B12025550188")["contacts"] == []
    with stage.client(stranger) as client:
        call_id = stage.live()["call_id"]
        client.wait()
    [contact] = stage.panel.ask("GET", "contacts/lookup?number=%2B12025550188")["contacts"]
    assert contact["numbers"] == [stranger]
    stage.records(call_id, lambda record: record.contact_id)
    assert {crm.kind: crm.contact_numbers().count(stranger) for crm in stage.crms} == dict.fromkeys(KINDS, 1)
    stage.done(call_id)


def test_no_queue_offers_a_call_to_whoever_still_writes_his_summary(stage: Stage, phone: Pjsua) -> None:
    with stage.client(to=SALES) as client:
        phone.wait("call", state="CONFIRMED")
        first = stage.panel.calls()[0]["call_id"]
        client.wait()
    wait_until(lambda: _agent(stage) == "after-call work", "after-call work")
    wait_until(lambda: not stage.panel.calls(), "no call that is up")
    with stage.client(to=SALES, ms=4000) as client:
        waiting = stage.live()
        time.sleep(1.5)     # long enough for the first call to be offered
        assert not [name for _, name in stage.invites(waiting["call_id"]) if "101" in name]
        stage.done(first)
        assert "Anna" in phone.wait("incoming")["caller"]
        client.wait()
    stage.records(first, lambda record: record.completed)
    stage.done(waiting["call_id"])


def _planned(stage: Stage, schedule_id: str) -> Any:
    return stage.panel.ask("GET", f"scheduled-calls/{schedule_id}")


def _agent(stage: Stage) -> str:
    return str(stage.panel.ask("GET", "agents/101/state")["state"])
