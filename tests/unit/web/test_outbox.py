"""/api/v1/outbox: who sees what waits for the CRMs, and who lets it be tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from pbxcore.control import CrmBacklog, NotFound, OutboxEntry
from pbxcore.settings import Settings
from pbxcore.store import StoreUnavailable
from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World

PARKED = OutboxEntry(7, "espocrm", "c1", 1000.5, "parked", 3, None, "answered 400 <b>no</b>", None)


class Box:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.retried: list[int] = []
        self.retried_of: list[str | None] = []
        self.away = False
        self.entry = PARKED

    async def entries(self, **asked: Any) -> list[OutboxEntry]:
        self.asked.append(asked)
        return [self.entry]

    async def retry(self, entry_id: int) -> OutboxEntry:
        if entry_id != PARKED.id:
            raise NotFound(f"no entry {entry_id} in the outbox")
        self.retried.append(entry_id)
        return replace(PARKED, state="waiting")

    async def retry_parked(self, connector: str | None = None) -> int:
        self.retried_of.append(connector)
        return 3

    async def backlogs(self) -> list[CrmBacklog]:
        if self.away:
            raise StoreUnavailable("no database")
        return [CrmBacklog("dataverse"), CrmBacklog("espocrm", 2, 1, 1000.5, "503 <b>upgrade</b>")]


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def signed_in(world: World, box: Box) -> Callable[[str], Browser]:
    app = world.app(outbox=box)

    def open_one(username: str) -> Browser:
        browser = Browser(TestClient(app, headers={"Accept-Language": "en"}))
        assert browser.sign_in(username).status_code == 303
        return browser

    return open_one


def test_what_waits_is_shown_with_its_reason(signed_in: Callable[[str], Browser], box: Box) -> None:
    answer = signed_in("super").get("/api/v1/outbox?state=parked&connector=espocrm&limit=10&offset=20")
    [entry] = answer.json()["outbox"]
    assert (entry["id"], entry["call_id"], entry["reason"]) == (7, "c1", "answered 400 <b>no</b>")
    assert box.asked == [{"state": "parked", "connector": "espocrm", "limit": 10, "offset": 20}]


def test_a_state_that_is_none(signed_in: Callable[[str], Browser], box: Box) -> None:
    answer = signed_in("super").get("/api/v1/outbox?state=lost")
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "state")
    assert box.asked == []


def test_an_agent_sees_nothing_of_it(signed_in: Callable[[str], Browser], box: Box) -> None:
    anna = signed_in("anna")
    assert anna.get("/api/v1/outbox").status_code == 403
    assert anna.send("POST", "/api/v1/outbox/7/retry").status_code == 403
    assert (box.asked, box.retried) == ([], [])


def test_an_entry_is_tried_again_by_hand(signed_in: Callable[[str], Browser], box: Box) -> None:
    browser = signed_in("admin")
    answer = browser.send("POST", "/api/v1/outbox/7/retry")
    assert (answer.status_code, answer.json()["state"], box.retried) == (200, "waiting", [7])
    for wrong in ("8", "x", "-7", "9" * 30):
        assert browser.send("POST", f"/api/v1/outbox/{wrong}/retry").status_code == 404
    assert box.retried == [7]


def test_without_any_crm_it_is_empty(world: World) -> None:
    browser = Browser(TestClient(world.app(), headers={"Accept-Language": "en"}))
    browser.sign_in("admin")
    assert browser.get("/api/v1/outbox").json() == {"outbox": []}
    assert browser.send("POST", "/api/v1/outbox/7/retry").status_code == 404
    assert browser.send("POST", "/api/v1/outbox/retry").json() == {"retried": 0}
    assert "Nothing waits." in browser.get("/outbox").text
    assert "hookline_outbox_waiting{" not in browser.get("/metrics").text


def test_all_that_is_parked_is_tried_again(signed_in: Callable[[str], Browser], box: Box) -> None:
    browser = signed_in("super")
    assert browser.send("POST", "/api/v1/outbox/retry?connector=espocrm").json() == {"retried": 3}
    assert browser.send("POST", "/api/v1/outbox/retry").json() == {"retried": 3}
    assert box.retried_of == ["espocrm", None]
    assert signed_in("anna").send("POST", "/api/v1/outbox/retry").status_code == 403
    assert len(box.retried_of) == 2


def test_the_page_says_what_is_parked_and_why_and_lets_it_go_again(
    signed_in: Callable[[str], Browser], box: Box
) -> None:
    browser = signed_in("super")
    text = browser.get("/outbox?show=parked&crm=espocrm").text
    assert box.asked == [{"state": "parked", "connector": "espocrm", "limit": 51, "offset": 0}]
    assert "answered 400 &lt;b&gt;no&lt;/b&gt;" in text
    assert "503 &lt;b&gt;upgrade&lt;/b&gt;" in text
    assert "waiting: 2 · parked: 1" in text
    assert "waiting: 0 · parked: 0" in text
    assert "Retry all that is parked for espocrm" in text
    one = browser.post("/outbox/7/retry?show=parked&crm=espocrm")
    assert (one.status_code, one.headers["location"]) == (303, "/outbox?show=parked&crm=espocrm&note=retried")
    assert browser.post("/outbox/retry?crm=espocrm").status_code == 303
    assert (box.retried, box.retried_of) == ([7], ["espocrm"])
    assert browser.post("/outbox/8/retry").status_code == 404
    assert "It is told again." in browser.get("/outbox?note=retried").text
    assert browser.get("/outbox?show=nonsense").status_code == 200
    assert box.asked[-1]["state"] is None


def test_the_page_is_not_for_agents_and_not_in_their_menu(world: World, box: Box) -> None:
    connector = [{"kind": "espocrm", "url": "https://espo.example.net"}]
    app = world.app(outbox=box, settings=Settings.model_validate({"crm": {"connector": connector}}))
    shown = {}
    for name in ("anna", "super", "admin"):
        browser = Browser(TestClient(app, headers={"Accept-Language": "ru"}))
        browser.sign_in(name)
        shown[name] = "Передача в CRM" in browser.get("/account").text, browser.get("/outbox").status_code
    assert shown == {"anna": (False, 403), "super": (True, 200), "admin": (True, 200)}


def test_figures_by_crm(signed_in: Callable[[str], Browser], box: Box, world: World) -> None:
    browser = signed_in("admin")
    figures = browser.get("/metrics").text
    assert 'hookline_outbox_waiting{crm="espocrm"} 2.0' in figures
    assert 'hookline_outbox_parked{crm="espocrm"} 1.0' in figures
    assert 'hookline_outbox_oldest_seconds{crm="dataverse"} 0.0' in figures
    [oldest] = [line for line in figures.splitlines() if line.startswith('hookline_outbox_oldest_seconds{crm="espo')]
    assert float(oldest.split()[1]) == pytest.approx(world.wall() - 1000.5, abs=60)
    box.away = True
    figures = browser.get("/metrics").text
    assert "hookline_outbox_waiting{" not in figures
    assert "hookline_panel_sessions 1.0" in figures
