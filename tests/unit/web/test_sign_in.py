"""Signing in and out over HTTP: cookies, CSRF, limits, languages."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import httpx2
import pytest
from starlette.testclient import TestClient

from pbxcore.settings import Office, Settings, Web
from tests.unit.web.conftest import HIDDEN, Browser
from tests.unit.web.fakes import PASSWORD, World
from web.attempts import PER_PAIR, WINDOW_SECONDS
from web.auth import Overloaded
from web.pages.sign_in import local_path

Browse = Callable[..., Browser]


def test_everything_asks_for_sign_in_first(browse: Browse) -> None:
    browser = browse()
    answer = browser.get("/calls?q=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fcalls%3Fq%3D1"
    assert browser.get("/").headers["location"] == "/sign-in"
    assert browser.get("/api/v1/calls").status_code == 401
    assert browser.get("/live/feed", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/sign-in"


def test_signed_in_one_gets_where_he_wanted_and_the_cookie_is_strict(browse: Browse) -> None:
    browser = browse()
    answer = browser.sign_in("anna", next="/calls?q=1")
    assert answer.headers["location"] == "/calls?q=1"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    assert browser.get("/").status_code == 200
    assert browser.get("/sign-in").status_code == 303


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(world: World) -> None:
    settings = Settings(office=Office(), web=Web(public_url="https://pbx.example.net"))
    browser = Browser(TestClient(world.app(settings=settings), base_url="https://pbx.example.net"))
    answer = browser.sign_in("anna")
    assert "__Host-hookline_session=" in answer.headers["set-cookie"]
    assert "Secure" in answer.headers["set-cookie"]
    assert "max-age" in browser.get("/").headers["strict-transport-security"]


def test_name_is_found_in_any_case_and_with_blanks(browse: Browse) -> None:
    assert browse().sign_in(" Anna ").status_code == 303


@pytest.mark.parametrize("username", ["anna", "nobody", "", "ANNA'; --", "x" * 5000])
def test_wrong_sign_ins_look_alike(browse: Browse, username: str) -> None:
    answer = browse().sign_in(username, "wrong")
    assert answer.status_code == 401
    assert "User name or password is wrong." in answer.text
    assert "set-cookie" in answer.headers
    assert "hookline_session" not in answer.headers["set-cookie"]


def test_sign_in_form_of_another_site_is_refused(browse: Browse) -> None:
    browser = browse()
    browser.get("/sign-in")
    fields = {"username": "anna", "password": PASSWORD, "token": "forged"}
    assert browser.client.post("/sign-in", data=fields).status_code == 403
    answer = browser.client.post("/sign-in", data=fields, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert "another site" in answer.text


def test_guessing_is_slowed_and_told_alike_for_unknown_names(browse: Browse, world: World) -> None:
    now = [0.0]
    world.monotonic = lambda: now[0]
    said = []
    for username in ("anna", "nobody"):
        browser = browse()
        for _ in range(PER_PAIR):
            assert browser.sign_in(username, "wrong").status_code == 401
        answer = browser.sign_in(username)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        said.append("Too many attempts. Try again in 5 minutes." in answer.text)
    assert said == [True, True]
    now[0] = WINDOW_SECONDS + 1
    assert browse().sign_in("anna").status_code == 303


async def test_guesses_at_the_same_time_are_counted_too(world: World) -> None:
    app = world.app()
    token = app.state.panel.sessions.new_form_token()
    fields = {"username": "anna", "password": "wrong", "token": token}

    async def guess() -> int:
        cookies = {"hookline_form": token}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as client:
            return (await client.post("/sign-in", data=fields)).status_code

    statuses = await asyncio.gather(*(guess() for _ in range(PER_PAIR * 3)))
    assert sorted(statuses) == [401] * PER_PAIR + [429] * PER_PAIR * 2


def test_a_flood_is_told_to_wait(browse: Browse, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> bool:
        raise Overloaded

    browser = browse()
    monkeypatch.setattr("web.auth.Passwords.check", full)
    answer = browser.sign_in("anna")
    assert answer.status_code == 503
    assert "busy" in answer.text


def test_sign_out_ends_the_session_for_every_copy_of_its_cookie(browse: Browse) -> None:
    browser = browse("anna")
    thief = browse()
    thief.client.cookies.set("hookline_session", browser.client.cookies["hookline_session"])
    assert thief.get("/").status_code == 200
    answer = browser.post("/sign-out")
    assert answer.headers["location"] == "/sign-in"
    assert browser.get("/").status_code == 303
    assert thief.get("/").status_code == 303


def test_idle_session_ends(browse: Browse, world: World) -> None:
    now = [0.0]
    world.monotonic = lambda: now[0]
    browser = browse("anna")
    now[0] = 7 * 3600
    assert browser.get("/").status_code == 200
    now[0] = 14 * 3600
    assert browser.get("/").status_code == 200
    now[0] = 22.1 * 3600
    assert browser.get("/").status_code == 303


def test_a_removed_user_and_a_new_password_end_sessions(browse: Browse, world: World) -> None:
    browser, other = browse("anna"), browse("boris")
    del world.users.rows["anna"]
    assert browser.get("/").status_code == 303
    world.users.put("boris", "agent", "102")
    world.users.rows["boris"] = dataclasses.replace(world.users.rows["boris"], password="another hash")
    assert other.get("/").status_code == 303


def test_signing_in_again_gives_a_new_session_and_ends_the_old(browse: Browse) -> None:
    browser = browse("anna")
    old = browser.client.cookies["hookline_session"]
    browser.client.cookies.delete("hookline_session")
    browser.client.cookies.set("hookline_session", old)
    page = browser.client.get("/account").text
    assert HIDDEN.search(page) is None
    form = browse()
    form.client.cookies.set("hookline_session", old)
    token = form.client.app.state.panel.sessions.new_form_token()  # type: ignore[attr-defined]  # Starlette's app
    form.client.cookies.set("hookline_form", token)
    fields = {"username": "anna", "password": PASSWORD, "token": token}
    answer = form.client.post("/sign-in", data=fields, follow_redirects=False)
    assert answer.status_code == 303
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    ("where", "goes"),
    [
        ("/calls", "/calls"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/api/v1/calls", "/"),
        ("/sign-out", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("", "/"),
    ],
)
def test_sign_in_leads_nowhere_else(where: str, goes: str) -> None:
    assert local_path(where) == goes


def test_language_is_chosen_by_cookie_browser_and_office(world: World) -> None:
    app = world.app(settings=Settings(office=Office(language="ru")))
    with TestClient(app) as client:
        assert "Войти" in client.get("/sign-in").text
        assert "Войти" not in client.get("/sign-in", headers={"Accept-Language": "en"}).text
        answer = client.post(
            "/language", data={"language": "en", "next": "/sign-in?next=%2Fcalls"}, follow_redirects=False
        )
        assert answer.headers["location"] == "/sign-in"
        assert 'lang="en"' in client.get("/sign-in").text
        assert client.post("/language", data={"language": "xx"}).status_code == 422
        away = client.post("/language", data={"language": "en", "next": "//evil.example"}, follow_redirects=False)
        assert away.headers["location"] == "/"
