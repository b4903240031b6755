"""Role checks on every verb of every route, CSRF on every write, headers on every answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.routing import Mount, Route

from tests.unit.web.conftest import Browser
from tests.unit.web.fakes import World
from web.app import OPEN, routes

Browse = Callable[..., Browser]

ALL = [
    (method, route.path)
    for route in routes()
    if isinstance(route, Route)
    for method in sorted((route.methods or set()) - {"HEAD"})
]
ADMIN_ONLY = {
    ("GET", "/users"),
    ("POST", "/users"),
    ("POST", "/users/{username}/password"),
    ("POST", "/users/{username}/delete"),
    ("GET", "/calls/{call_id}/trace"),
    ("GET", "/calls/{call_id}/trace.pcap"),
    ("GET", "/api/v1/calls/{call_id}/trace"),
}


def filled(path: str) -> str:
    for name, value in (("call_id", "c1"), ("contact_id", "c1"), ("username", "anna"), ("name", "decision")):
        path = path.replace("{" + name + "}", value)
    return path


def test_the_list_of_open_routes_is_what_it_says() -> None:
    mounts = {route.path for route in routes() if isinstance(route, Mount)}
    assert mounts == {"/static"}
    assert len(ALL) > 40


@pytest.mark.parametrize(("method", "path"), ALL)
def test_without_a_session_nothing_but_the_open_ones_answers(browse: Browse, method: str, path: str) -> None:
    if path in OPEN:
        return
    answer = browse().client.request(method, filled(path), follow_redirects=False)
    assert answer.status_code == (401 if path.startswith("/api/") else 303)
    assert "anna" not in answer.text


@pytest.mark.parametrize(("method", "path"), [one for one in ALL if one[0] not in ("GET", "HEAD")])
def test_no_write_without_the_sessions_token(browse: Browse, world: World, method: str, path: str) -> None:
    if path in OPEN:
        return
    world.desk.add("Elena", "+14155550100")
    browser = browse("admin")
    call = world.ring("+14155550100", "101", call_id="c1")
    for token in ("", "wrong", browse("anna").csrf):
        answer = browser.send(method, filled(path), {"name": "x", "summary": "x"}, csrf=token)
        assert answer.status_code == 403, (method, path)
    assert browser.client.request(method, filled(path), follow_redirects=False).status_code == 403
    assert world.control.hung_up == []
    assert call in world.control.live
    assert len(world.desk.entries) == 1
    assert len(world.users.rows) == 4


@pytest.mark.parametrize("username", ["anna", "super"])
@pytest.mark.parametrize(("method", "path"), sorted(ADMIN_ONLY))
def test_users_are_the_administrators_affair(
    browse: Browse, world: World, username: str, method: str, path: str
) -> None:
    browser = browse(username)
    answer = browser.send(method, filled(path))
    assert answer.status_code == 403
    assert set(world.users.rows) == {"admin", "super", "anna", "boris"}


def test_no_api_key_in_the_form_field(browse: Browse, world: World) -> None:
    world.ring("+1", "101", call_id="c1")
    browser = browse("anna")
    assert browser.client.post("/api/v1/calls/c1/hangup", data={"csrf": browser.csrf}).status_code == 403
    assert browser.send("POST", "/api/v1/calls/c1/hangup").status_code == 204


@pytest.mark.parametrize(
    "path", ["/", "/sign-in", "/static/app.css", "/api/v1/calls", "/healthz", "/nothing", "/metrics"]
)
def test_headers_are_strict_everywhere(browse: Browse, path: str) -> None:
    answer = browse("anna").get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    if not path.startswith("/static"):
        assert answer.headers["cache-control"] == "no-store"


def test_no_page_has_inline_script_or_style(browse: Browse, world: World) -> None:
    world.desk.add("Elena", "+14155550100")
    call = world.ring("+14155550100", "101")
    browser = browse("admin")
    for path in (
        "/",
        "/calls",
        f"/calls/{call}",
        "/contacts",
        "/contacts/c1",
        "/contacts/c1/edit",
        "/contacts/new",
        "/contacts/c1/delete",
        "/users",
        "/account",
        "/no-such-page",
    ):
        text = browser.get(path).text
        assert "<style" not in text
        assert " style=" not in text
        assert "onclick" not in text
        assert "<script>" not in text
        assert "http://" not in text.replace("http://www.w3.org", "")
        assert "https://" not in text


def test_large_bodies_are_refused_said_or_not(browse: Browse) -> None:
    browser = browse("anna")
    assert browser.post("/contacts", {"name": "x" * 200_000}).status_code == 413

    def chunks() -> object:
        for _ in range(40):
            yield b"x" * 10_000

    headers = {"X-CSRF-Token": browser.csrf, "Content-Type": "application/json"}
    answer = browser.client.post("/api/v1/contacts", content=chunks(), headers=headers)  # type: ignore[arg-type]  # an iterator
    assert answer.status_code == 413
    bad = browser.client.post("/contacts", content=b"x", headers={"Content-Length": "nonsense"})
    assert bad.status_code in (400, 413)


def test_a_small_chunked_body_is_read(browse: Browse) -> None:
    browser = browse("anna")

    def chunks() -> object:
        yield b'{"name": "Chu'
        yield b'nked", "numbers": ["+14155550100"]}'

    headers = {"X-CSRF-Token": browser.csrf, "Content-Type": "application/json"}
    answer = browser.client.post("/api/v1/contacts", content=chunks(), headers=headers)  # type: ignore[arg-type]  # an iterator
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_writes_from_other_sites_are_refused(browse: Browse, headers: dict[str, str]) -> None:
    browser = browse("anna")
    answer = browser.client.post("/sign-out", data={"csrf": browser.csrf}, headers=headers)
    assert answer.status_code == 403
    assert browser.get("/").status_code == 200


def test_own_origin_passes(browse: Browse) -> None:
    browser = browse("anna")
    answer = browser.client.post(
        "/sign-out",
        data={"csrf": browser.csrf},
        follow_redirects=False,
        headers={"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status_code == 303


def test_an_inner_error_says_nothing_of_its_cause(
    browse: Browse, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browse("anna")

    def broken() -> list[object]:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.control, "extensions", broken)
    for path in ("/calls", "/api/v1/extensions"):
        answer = browser.get(path)
        assert answer.status_code == 500
        assert "secret" not in answer.text
    monkeypatch.undo()
    assert "hookline_panel_failures_total 2.0" in browse("admin").get("/metrics").text


def test_unknown_pages_are_a_page(browse: Browse) -> None:
    answer = browse("anna").get("/no/such/page")
    assert answer.status_code == 404
    assert "There is nothing here." in answer.text
    assert browse().get("/no/such/page").status_code == 404
    assert browse("anna").client.put("/contacts").status_code == 405
