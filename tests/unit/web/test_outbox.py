"""/api/v1/outbox: who sees what waits for the CRMs, and who lets it be tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from pbxcore.control import NotFound, OutboxEntry
from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World

PARKED = OutboxEntry(7, "espocrm", "c1", 1000.5, "parked", 3, None, "answered 400 <b>no</b>", None)


class Box:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.retried: list[int] = []

    async def entries(self, **asked: Any) -> list[OutboxEntry]:
        self.asked.append(asked)
        return [PARKED]

    async def retry(self, entry_id: int) -> OutboxEntry:
        if entry_id != PARKED.id:
            raise NotFound(f"no entry {entry_id} in the outbox")
        self.retried.append(entry_id)
        return replace(PARKED, state="waiting")


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
