"""`hookline explain`: which contact, who decided what, and where it would ring."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from crmhooks.embedded.desk import EmbeddedCrm
from pbxcore.bus import Bus
from pbxcore.control import ContactEntry
from pbxcore.explain import explain
from pbxcore.hooks import Decision, IncomingCall, Redirect, Reject, Ring
from pbxcore.settings import Settings
from pbxcore.store import open as open_store

KNOWN = "+12025550123"


class Group:
    """A hook with an opinion."""

    async def on_incoming(self, call: IncomingCall) -> Decision:
        return Ring(("102", "101"), strategy="in_order", timeout=12.5, otherwise=Reject(486, "All busy"))


class Away:
    async def on_incoming(self, call: IncomingCall) -> Decision:
        return Redirect("sip:shop@example.net")


def settings(directory: Path, *hooks: str, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "office": {"country": "US"},
            "database": {"url": f"sqlite:///{directory}/x.db"},
            "extension": [
                {"number": "101", "name": "Front", "password": "x"},
                {"number": "102", "password": "x"},
                {"number": "103", "password": "x", "crm_control": "first-party"},
            ],
            "inbound": [{"number": "+12025550100", "to": "101"}],
            "crm": {"hook": [{"kind": "python", "name": one, "target": f"{__name__}:{one}"} for one in hooks]},
            **more,
        }
    )


@pytest.fixture
async def office(tmp_path: Path) -> Path:
    """A directory with a database that knows one contact."""
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    await crm.save_contact(ContactEntry("", "Anna Ivanova", (KNOWN,), owner="102", instructions="Be nice"))
    await store.close()
    return tmp_path


async def told(directory: Path, capsys: pytest.CaptureFixture[str], number: str, *hooks: str, to: str = "") -> Any:
    assert await explain(settings(directory, *hooks), number, to, True) == 0
    return json.loads(capsys.readouterr().out)


async def test_a_known_caller(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = await told(office, capsys, "(202) 555-0123")
    assert found["asked"]
    assert [contact["name"] for contact in found["contacts"]] == ["Anna Ivanova"]
    assert found["decision"]["display_name"] == "Anna Ivanova"
    assert found["route"] == ["ring 102 for 20 s", "ring 101 for 60 s"]


async def test_a_stranger(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = await told(office, capsys, "+12025550199")
    assert (found["contacts"], found["decision"], found["route"]) == ([], None, ["ring 101 for 60 s"])


async def test_a_hook_decides(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = await told(office, capsys, "+12025550199", "Group")
    assert found["route"] == ["ring 102 for 12.5 s", "ring 101 for 12.5 s", "answer 486 All busy"]
    assert found["steps"][-1]["source"] == "Group"


async def test_a_redirection(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (await told(office, capsys, "+12025550199", "Away"))["route"] == ["redirect to sip:shop@example.net"]


async def test_first_party_control_asks_nobody(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = await told(office, capsys, "101", "Group", to="103")
    assert (found["asked"], found["steps"], found["route"]) == (False, [], ["ring 103 for 60 s"])


async def test_a_number_that_leads_nowhere(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (await told(office, capsys, KNOWN[:-1] + "9", to="+12025550111"))["route"] == ["answer 404 Not Found"]


async def test_for_people(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await explain(settings(office), KNOWN, "", False) == 0
    text = capsys.readouterr().out
    assert "A call from +12025550123 to +12025550100" in text
    assert "Anna Ivanova, owner 102" in text
    assert "so   ring 102 for 20 s" in text
    assert "then ring 101 for 60 s" in text
    assert await explain(settings(office), "101", "103", False) == 0
    assert "first-party control" in capsys.readouterr().out


async def test_nobody_is_rung_and_nothing_is_written(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await told(office, capsys, KNOWN)
    store = open_store(f"sqlite:///{office}/x.db")
    store.start()
    crm = EmbeddedCrm(store, Bus(), "US")
    crm.load()
    assert await crm.activities() == []
    assert await crm.history() == []
    await store.close()


async def test_a_database_that_cannot_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.db").mkdir()
    assert await explain(settings(tmp_path), KNOWN, "", False) == 1
    assert "cannot be opened" in capsys.readouterr().err


async def test_a_hook_that_cannot_be_loaded(office: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = asyncio.all_tasks()
    assert await explain(settings(office, "Nobody"), KNOWN, "", False) == 1
    assert "Nobody" in capsys.readouterr().err
    assert asyncio.all_tasks() == tasks
