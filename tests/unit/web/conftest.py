"""A panel on fakes, and browsers that are signed in to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.unit.web.fakes import LIGHT, PASSWORD, World

HIDDEN = re.compile(r'name="token" value="([^"]+)"')
CSRF = re.compile(r"\"X-CSRF-Token\": \"([^\"]+)\"")


class Browser:
    """A client with its cookies and its session's CSRF token."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.csrf = ""

    def sign_in(self, username: str, password: str = PASSWORD, **more: Any) -> Any:
        page = self.client.get("/sign-in")
        token = HIDDEN.search(page.text)
        assert token is not None
        fields = {"username": username, "password": password, "token": token.group(1), "next": more.pop("next", "/")}
        answer = self.client.post("/sign-in", data=fields, follow_redirects=False)
        if answer.status_code == 303:
            found = CSRF.search(self.client.get("/account").text)
            assert found is not None
            self.csrf = found.group(1)
        return answer

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, follow_redirects=False, **more)

    def post(self, path: str, data: dict[str, Any] | None = None, *, csrf: str | None = None, **more: Any) -> Any:
        fields = {"csrf": self.csrf if csrf is None else csrf, **(data or {})}
        return self.client.post(path, data=fields, follow_redirects=False, **more)

    def send(self, method: str, path: str, json: Any = None, *, csrf: str | None = None) -> Any:
        headers = {"X-CSRF-Token": self.csrf if csrf is None else csrf}
        return self.client.request(method, path, json=json, headers=headers, follow_redirects=False)


@pytest.fixture(autouse=True)
def light_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of sign-ins need not cost what one costs an attacker."""
    monkeypatch.setattr("web.auth._HASHER", LIGHT)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def browse(world: World) -> Iterator[Callable[..., Browser]]:
    """`browse()` is a new browser, `browse("anna")` one that is signed in; all of one panel."""
    app = world.app()
    clients: list[TestClient] = []

    def open_one(username: str = "", **more: Any) -> Browser:
        client = TestClient(app, headers={"Accept-Language": "en"}, raise_server_exceptions=False, **more)
        clients.append(client)
        browser = Browser(client)
        if username:
            assert browser.sign_in(username).status_code == 303
        return browser

    yield open_one
    for client in clients:
        client.close()
