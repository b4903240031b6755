"""/api/v1 as a program sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.testclient import TestClient

from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World
from web import outbox
from web.api import routes
from web.openapi import TABLE, document

Browse = Callable[..., Browser]


def error(answer: Any) -> tuple[int, str | None, str]:
    body = answer.json()["error"]
    return answer.status_code, body["field"], body["message"]


def test_live_calls_are_those_that_the_user_may_see(browse: Browse, world: World) -> None:
    mine, other = world.ring("+14155550100", "101"), world.ring("+14155550123", "102")
    calls = browse("anna").get("/api/v1/calls").json()["calls"]
    assert [call["call_id"] for call in calls] == [mine]
    assert calls[0]["state"] == "ringing"
    assert calls[0]["legs"][1]["party"] == "101"
    assert {call["call_id"] for call in browse("super").get("/api/v1/calls").json()["calls"]} == {mine, other}


def test_records_are_paged_and_an_agents_own(browse: Browse, world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append(world.ring("+14155550100", "101"))
        world.end(ids[-1])
    world.end(world.ring("+14155550100", "102"))
    anna = browse("anna")
    assert len(anna.get("/api/v1/calls?live=false").json()["calls"]) == 3
    assert len(anna.get("/api/v1/calls?live=false&limit=2&offset=2").json()["calls"]) == 1
    assert error(anna.get("/api/v1/calls?live=false&party=102"))[:2] == (403, "party")
    assert error(anna.get("/api/v1/calls?live=false&limit=-1"))[:2] == (422, "limit")
    assert len(browse("super").get("/api/v1/calls?live=false").json()["calls"]) == 4


def test_one_call_with_its_steps_live_and_on_record(browse: Browse, world: World) -> None:
    call = world.ring("+14155550100", "101")
    anna, boris = browse("anna"), browse("boris")
    assert anna.get(f"/api/v1/calls/{call}").json()["call"]["state"] == "ringing"
    assert boris.get(f"/api/v1/calls/{call}").status_code == 403
    world.end(call)
    body = anna.get(f"/api/v1/calls/{call}").json()
    assert body["call"]["state"] == "ended"
    assert body["explain"][0]["source"] == "embedded"
    assert error(anna.get("/api/v1/calls/none"))[0] == 404


def test_an_agent_transfers_his_own_calls_and_a_supervisor_any(browse: Browse, world: World) -> None:
    call = world.ring("+14155550100", "101")
    way = f"/api/v1/calls/{call}/transfer"
    assert browse("anna").send("POST", way, {"to": "103"}).status_code == 202
    assert browse("super").send("POST", way, {"to": "103", "party": "101"}).status_code == 202
    assert browse("super").send("POST", way, {"to": "103"}).status_code == 202
    assert world.control.transferred == [(call, "103", "101"), (call, "103", "101"), (call, "103", None)]
    assert browse("boris").send("POST", way, {"to": "103"}).status_code == 403
    assert error(browse("anna").send("POST", way, {"to": "103", "party": "102"}))[:2] == (403, "party")
    assert error(browse("anna").send("POST", way, {"to": ""}))[:2] == (422, "to")
    assert error(browse("anna").send("POST", way, {"number": "103"}))[0] == 422
    assert browse("super").send("POST", "/api/v1/calls/none/transfer", {"to": "103"}).status_code == 404


def test_hang_up_acts_on_own_calls_only(browse: Browse, world: World) -> None:
    call = world.ring("+14155550100", "102")
    assert browse("anna").send("POST", f"/api/v1/calls/{call}/hangup").status_code == 403
    assert world.control.hung_up == []
    assert browse("boris").send("POST", f"/api/v1/calls/{call}/hangup").status_code == 204
    assert browse("super").send("POST", "/api/v1/calls/none/hangup").status_code == 404
    assert world.control.hung_up == [call]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_summary_is_written(browse: Browse, world: World, method: str) -> None:
    call = world.ring("+14155550100", "101")
    world.answer(call)
    world.end(call)
    anna = browse("anna")
    answer = anna.send(method, f"/api/v1/calls/{call}/summary", {"summary": "Renewed."})
    assert answer.json()["state"] == "completed"
    assert error(anna.send(method, f"/api/v1/calls/{call}/summary", {"summary": ""}))[:2] == (422, "summary")
    assert error(anna.send(method, f"/api/v1/calls/{call}/summary", {"summary": 7}))[:2] == (422, "summary")
    assert error(anna.send(method, f"/api/v1/calls/{call}/summary", {"text": "x"}))[0] == 422
    assert browse("boris").send(method, f"/api/v1/calls/{call}/summary", {"summary": "x"}).status_code == 403
    assert error(anna.send(method, "/api/v1/calls/none/summary", {"summary": "x"}))[0] == 404


def test_contacts_from_creation_to_deletion(browse: Browse, world: World) -> None:
    anna = browse("anna")
    made = anna.send("POST", "/api/v1/contacts", {"name": "Elena", "numbers": ["+14155550100"], "owner": "101"})
    assert made.status_code == 201
    assert made.headers["location"] == "/api/v1/contacts/c1"
    assert anna.get("/api/v1/contacts/c1").json()["numbers"] == ["+14155550100"]
    changed = anna.send("PUT", "/api/v1/contacts/c1", {"name": "Elena P.", "vip": True, "owner": "101"})
    assert changed.json()["vip"] is True
    assert [c["name"] for c in anna.get("/api/v1/contacts?search=elena").json()["contacts"]] == ["Elena P."]
    assert browse("boris").send("DELETE", "/api/v1/contacts/c1").status_code == 403
    assert anna.send("DELETE", "/api/v1/contacts/c1").status_code == 204
    assert error(anna.get("/api/v1/contacts/c1"))[0] == 404
    assert error(anna.send("PUT", "/api/v1/contacts/c1", {"name": "x"}))[0] == 404
    assert world.desk.entries == {}


def test_lookup_by_number(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100")
    anna = browse("anna")
    assert anna.get("/api/v1/contacts/lookup?number=%2B14155550100").json()["contacts"][0]["name"] == "Elena"
    assert anna.get("/api/v1/contacts/lookup?number=1").json()["contacts"] == []
    assert error(anna.get("/api/v1/contacts/lookup"))[:2] == (422, "number")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x", "numbers": ["letters"]}, "numbers"),
        ({"name": "x", "numbers": "+1"}, "numbers"),
        ({"name": "x", "numbers": [1]}, "numbers.0"),
        ({"name": "x", "id": "c9"}, "id"),
        ({"name": "x", "vip": "yes"}, "vip"),
    ],
)
def test_a_bad_contact_is_refused_by_field(browse: Browse, world: World, body: dict[str, Any], field: str) -> None:
    status, at, message = error(browse("anna").send("POST", "/api/v1/contacts", body))
    assert (status, at) == (422, field)
    assert message
    assert world.desk.entries == {}


def test_programs_are_told_in_english_with_a_code_and_people_in_their_language(browse: Browse, world: World) -> None:
    anna, russian = browse("anna"), {"Accept-Language": "ru"}
    theirs = world.ring("+14155550123", "102")

    def told(method: str, path: str, json: Any = None) -> dict[str, Any]:
        headers = {"X-CSRF-Token": anna.csrf, **russian}
        return anna.client.request(method, path, json=json, headers=headers).json()["error"]  # type: ignore[no-any-return]

    assert told("POST", "/api/v1/contacts", {"name": "Eva", "numbers": ["letters"]}) == {
        "field": "numbers", "code": "number.unread",
        "message": "'letters' is no telephone number: write it as +15550100",
    }  # fmt: skip
    assert told("GET", f"/api/v1/calls/{theirs}") == {
        "field": None, "code": "not_yours", "message": "This call is not yours."
    }
    assert told("GET", "/api/v1/nothing") == {"field": None, "code": "404", "message": "There is nothing here."}
    assert anna.client.get(f"/calls/{theirs}", headers=russian).text.count("Это не ваш звонок.") == 1
    assert "нужно целое число" in anna.client.get("/calls?offset=x", headers=russian).text
    large = anna.client.post("/contacts", content=b"x" * 200_000, headers=russian)
    assert (large.status_code, large.text) == (413, "Слишком много данных.\n")


def test_bodies_that_are_no_json_objects_are_refused(browse: Browse) -> None:
    anna = browse("anna")
    head = {"X-CSRF-Token": anna.csrf, "Content-Type": "application/json"}

    def post(content: bytes, kind: str = "application/json") -> int:
        return anna.client.post("/api/v1/contacts", content=content, headers={**head, "Content-Type": kind}).status_code

    assert post(b"{") == 400
    assert post(b"[]") == 400
    assert post(b"\xff\xfe") == 400
    assert post(b"{}", "text/plain") == 415
    assert post(b"[" * 100_000) == 400
    assert post(b'{"name": "x"}', "application/json; charset=utf-8") == 201


def test_activities_are_an_agents_own(browse: Browse, world: World) -> None:
    for to in ("101", "102"):
        call = world.ring("+14155550100", to)
        world.answer(call, to)
        world.end(call)
    anna = browse("anna")
    assert [a["agent"] for a in anna.get("/api/v1/activities?open=true").json()["activities"]] == ["101"]
    assert error(anna.get("/api/v1/activities?agent=102"))[:2] == (403, "agent")
    assert len(browse("super").get("/api/v1/activities").json()["activities"]) == 2


def test_extensions_and_trunks(browse: Browse) -> None:
    anna = browse("anna")
    assert anna.get("/api/v1/extensions").json()["extensions"][0]["number"] == "101"
    assert anna.get("/api/v1/trunks").json()["trunks"][0]["name"] == "city"


def test_the_document_describes_every_route_and_only_those(browse: Browse) -> None:
    served = {
        (route.path.removeprefix("/api/v1"), method.lower())
        for route in (*routes(), *outbox.routes())
        for method in (route.methods or set()) - {"HEAD"}
    } - {("/openapi.json", "get")}
    assert {(path, method) for path, method, *_ in TABLE} == served
    answer = browse("anna").get("/api/v1/openapi.json").json()
    assert answer["openapi"].startswith("3.1")
    assert answer == json.loads(json.dumps(document()))


def test_every_reference_in_the_document_leads_somewhere() -> None:
    made = document()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                place: Any = made
                for part in node["$ref"].removeprefix("#/").split("/"):
                    place = place[part]
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(made)


def test_schemas_are_served() -> None:
    app = World().app(schemas={"decision": {"type": "object", "title": "Decision"}})
    browser = Browser(TestClient(app))
    browser.sign_in("anna")
    assert browser.get("/api/v1/schemas").json() == {"schemas": {"decision": "/api/v1/schemas/decision"}}
    answer = browser.get("/api/v1/schemas/decision.json")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["title"] == "Decision"
    assert browser.get("/api/v1/schemas/none").status_code == 404


class Extra(Collector):
    def collect(self) -> Any:
        yield GaugeMetricFamily("hookline_calls", "Live calls.", 7)


def test_metrics_are_for_this_machine_and_for_supervisors() -> None:
    app = World().app(collector=Extra())
    local = TestClient(app, client=("127.0.0.1", 1))
    text = local.get("/metrics").text
    assert "hookline_calls 7.0" in text
    assert "hookline_panel_sessions 0.0" in text
    assert local.get("/metrics", headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 401
    far = Browser(TestClient(app, client=("203.0.113.1", 1)))
    assert far.get("/metrics").status_code == 401
    far.sign_in("anna")
    assert far.get("/metrics").status_code == 403
    boss = Browser(TestClient(app, client=("203.0.113.1", 1)))
    boss.sign_in("super")
    assert boss.get("/metrics").status_code == 200


def test_health_and_readiness() -> None:
    ready = [True]
    client = TestClient(World().app(ready=lambda: ready[0]))
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    ready[0] = False
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_agents_say_their_own_state_and_supervisors_anybodys(world: World, browse: Browse) -> None:
    anna, boss = browse("anna"), browse("super")
    assert anna.get("/api/v1/agents/101/state").json() == {"number": "101", "state": "ready"}
    assert anna.send("PUT", "/api/v1/agents/101/state", {"state": "not ready"}).json()["state"] == "not ready"
    assert anna.send("PUT", "/api/v1/agents/102/state", {"state": "not ready"}).status_code == 403
    assert boss.send("PUT", "/api/v1/agents/102/state", {"state": "after-call work"}).status_code == 200
    assert world.control.states[1].state == "after-call work"
    assert boss.send("PUT", "/api/v1/agents/102/state", {"state": "asleep"}).status_code == 422
    assert boss.get("/api/v1/agents/999/state").status_code == 404


def test_a_summary_ends_after_call_work(world: World, browse: Browse) -> None:
    call_id = world.ring()
    world.answer(call_id)
    world.end(call_id)
    assert browse("anna").send("POST", f"/api/v1/calls/{call_id}/summary", {"summary": "Wants tea."}).status_code == 200
    assert world.control.written == [call_id]


def test_the_live_page_says_the_state_of_ones_own_extension(world: World, browse: Browse) -> None:
    assert browse("anna").post("/live/state", {"state": "not ready"}).status_code == 303
    assert [one.state for one in world.control.states] == ["not ready", "ready", "ready"]
    assert browse("anna").post("/live/state", {"state": "asleep"}).status_code == 422
    assert browse("super").post("/live/state", {"state": "not ready"}).status_code == 422
