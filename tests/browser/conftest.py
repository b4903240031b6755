"""A real Chromium. Without one the tests are skipped; when CI is set they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser.office import PATIENCE, Office
from tests.conftest import require_module, require_tool
from web.panel import SESSION_COOKIE

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    path = require_tool("chromium")
    playwright = require_module("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.close()


@pytest.fixture
def visit(chromium: Any, office: Office) -> Iterator[Callable[..., Any]]:
    """`visit("anna")` is a page in a browser of its own, signed in and live. What the page complains of fails the
    test: a script error, a breach of the content security policy."""
    contexts: list[Any] = []
    complaints: list[str] = []
    expected = ["Failed to load resource", "htmx:sse:error"]    # an exchange away

    def complain(message: Any) -> None:
        if message.type == "error" and not any(part in message.text for part in expected):
            complaints.append(message.text)

    def open_page(
        username: str = "",
        *,
        size: dict[str, int] = DESKTOP,
        language: str = "en-US",
        expect: tuple[str, ...] = (),
        **more: Any,
    ) -> Any:
        expected.extend(expect)
        context = chromium.new_context(viewport=size, locale=language, reduced_motion="reduce", **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if username:
            context.add_cookies([{"name": SESSION_COOKIE, "value": office.session(username), "url": office.url}])
        page.goto(office.url)
        if username:
            page.wait_for_selector("#link.is-live")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
