"""First-party control from a page: a browser carries its own extension's calls to the CRM, as `hookline agent` does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from crmhooks.connectors.http import make
from pbxcore.settings import Settings
from pbxcore.store.repo import User
from pbxcore.workstation import Workstation
from tests.browser.conftest import PHONE
from tests.browser.office import PATIENCE, Office
from tests.browser.test_everywhere import overflow
from tests.contract.webhook_server import Post, WebhookServer
from tests.unit.web.fakes import World

Visit = Callable[..., Any]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN = b'{"kind": "proceed", "display_name": "Anna <b>K</b>", "instructions": "Be nice.\\nAsk for Ben."}'
HOSTILE = "Eva\u202e\n<i>"
WITH_CORS = (
    "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Methods: POST\r\n"
    "Access-Control-Allow-Headers: content-type, webhook-id, webhook-timestamp, webhook-signature\r\n"
)


class Tokens:
    """The token of extension 101's program."""

    async def find(self, key: str) -> User | None:
        return User("program", "", "agent", "101", 0.0)


class Crm:
    """A CRM's endpoint that lets the panel's page ask it, unless `open` is taken away."""

    def __init__(self) -> None:
        self.open = True
        self.server = WebhookServer(self._answer)

    async def _answer(self, post: Post, writer: asyncio.StreamWriter) -> None:
        cors = WITH_CORS.format(origin=post.headers.get("origin", "null")) if self.open else ""
        body = KNOWN if b'"call.incoming"' in post.body else b""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{cors}\r\n"
        writer.write(head.encode() + body)

    def told(self, call_id: str, by: str) -> dict[str, Any]:
        """What was posted of a call, by type: `data`; `by` is "page" or "program". Their signatures are checked."""
        found: dict[str, Any] = {}
        for post in self.server.posts:
            if post.body and ("origin" in post.headers) == (by == "page"):
                said = Webhook(SECRET).verify(post.body, post.headers)
                if said["data"]["call_id"] == call_id:
                    assert said["type"] not in found, "told once"
                    found[said["type"]] = said["data"]
        return found


@pytest.fixture(scope="module")
def crm() -> Crm:
    return Crm()


@pytest.fixture(scope="module")
def office(crm: Crm) -> Iterator[Office]:
    def prepare(world: World) -> dict[str, Any]:
        world.control.states = [
            replace(state, crm_control="first-party" if state.number == "101" else "third-party")
            for state in world.control.states
        ]
        world.users.put("chief", "supervisor", "101")
        return {"tokens": Tokens(), "settings": Settings.model_validate({"crm": {"workstation_url": crm.server.url}})}

    office = Office(prepare, before=crm.server.__aenter__)
    yield office
    office.wait(crm.server.__aexit__(None, None, None))
    office.close()


def on_duty(page: Any, office: Office) -> None:
    page.goto(f"{office.url}/workstation")
    page.fill("#f-secret", "no secret")
    page.press("#f-secret", "Enter")
    page.wait_for_selector("#f-secret[aria-invalid=true]")
    page.fill("#f-secret", SECRET)
    page.press("#f-secret", "Enter")
    page.wait_for_selector("#workstation[data-state=waiting]")


@asynccontextmanager
async def program(office: Office, crm: Crm) -> AsyncIterator[None]:
    headers = {"authorization": "Bearer hookline_x"}
    hook = make("--post", "workstation", crm.server.url, SECRET)
    async with httpx2.AsyncClient(base_url=office.url, headers=headers, trust_env=False) as client:
        task = asyncio.ensure_future(Workstation(client, hook, lambda line: None).run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await hook.close()


def test_the_page_tells_what_the_program_tells_and_of_its_own_calls_only(
    office: Office, crm: Crm, visit: Visit
) -> None:
    page = visit("chief")       # he sees everybody's calls, and carries his own
    page.click("nav >> text=To the CRM")
    on_duty(page, office)
    beside = program(office, crm)
    office.wait(beside.__aenter__())
    try:
        while len(office.app.state.panel.hub.of_user("program")) < 1:
            page.wait_for_timeout(20)
        world = office.world
        theirs = office.do(lambda: world.ring("+14155550123", "102"))
        call = office.do(lambda: world.ring("+14155550100", "101", caller_name=HOSTILE))
        page.wait_for_selector("#told >> text=Rings: +14155550100")
        office.do(lambda: world.answer(call))
        page.wait_for_selector("#told >> text=Answered: +14155550100")
        office.do(lambda: world.end(call))
        page.wait_for_selector("#told >> text=Ended: +14155550100")
        office.do(lambda: world.end(theirs))
        deadline = time.monotonic() + PATIENCE
        while len(crm.told(call, "program")) < 3 and time.monotonic() < deadline:
            page.wait_for_timeout(20)
    finally:
        office.wait(beside.__aexit__(None, None, None))
    by_page, by_program = crm.told(call, "page"), crm.told(call, "program")
    assert list(by_page) == ["call.incoming", "call.answered", "call.ended"]
    assert json.dumps(by_page, sort_keys=True) == json.dumps(json.loads(json.dumps(by_program)), sort_keys=True)
    assert by_page["call.incoming"]["caller_name"] == "Eva <i>"
    assert crm.told(theirs, "page") == {}
    assert "Anna <b>K</b>" in page.text_content("#told")
    assert page.locator("#told b, #told i").count() == 0


def test_one_tab_carries_and_the_next_takes_over_with_the_key_that_no_script_reads(
    office: Office, crm: Crm, visit: Visit
) -> None:
    page = visit("anna")
    on_duty(page, office)
    assert page.input_value("#f-secret") == ""
    assert page.evaluate(
        """new Promise((done) => {
          const opening = indexedDB.open('hookline-workstation', 1);
          opening.onsuccess = () => {
            const asked = opening.result.transaction('keys').objectStore('keys').getAll();
            asked.onsuccess = () => {
              opening.result.close();
              done(asked.result.flat().map((key) => key.extractable));
            };
          };
        })"""
    ) == [False]
    other = page.context.new_page()
    other.goto(f"{office.url}/workstation")
    other.wait_for_selector("#workstation[data-state=elsewhere]")
    call = office.do(lambda: office.world.ring("+14155550100", "101"))
    page.wait_for_selector("#told li")
    page.close()
    other.wait_for_selector("#workstation[data-state=waiting]")
    office.do(lambda: office.world.answer(call))
    other.wait_for_selector("#told >> text=Answered")
    office.do(lambda: office.world.end(call))
    other.wait_for_selector("#told >> text=Ended")
    other.once("dialog", lambda dialog: dialog.accept())
    other.click("#forget")
    other.wait_for_selector("#workstation[data-state=keyless]")


def test_a_crm_that_lets_no_page_in_is_said_so(office: Office, crm: Crm, visit: Visit) -> None:
    page = visit("anna", size=PHONE, language="ru-RU", expect=("CORS",))
    on_duty(page, office)
    crm.open = False
    try:
        call = office.do(lambda: office.world.ring("", "101"))
        page.wait_for_selector("#told .error >> text=CORS")
        assert "номер скрыт → +15550199" in page.text_content("#told")
        assert overflow(page) <= 0
    finally:
        crm.open = True
        office.do(lambda: office.world.end(call))


def test_the_page_is_for_first_party_extensions_and_no_other_page_may_speak_to_the_crm(
    office: Office, crm: Crm, visit: Visit
) -> None:
    page = visit("boris")
    assert page.locator("nav >> text=To the CRM").count() == 0
    answer = page.goto(f"{office.url}/workstation")
    assert page.locator("#workstation").count() == 0
    assert "connect-src 'self';" in answer.headers["content-security-policy"]
    other = visit("anna")
    policy = other.goto(f"{office.url}/workstation").headers["content-security-policy"]
    assert f"connect-src 'self' {crm.server.url.removesuffix('/hook')};" in policy
