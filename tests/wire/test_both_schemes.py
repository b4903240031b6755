"""First-party against third-party control: which calls are in the CRM when the agent's workstation is off."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from crmhooks.connectors.http import make
from pbxcore.hooks import CallSnapshot, CallState, LegSnapshot
from pbxcore.store.tokens import ApiTokens
from pbxcore.workstation import NotAllowed, Workstation
from tests.contract.webhook_server import WebhookServer, says
from tests.wire.shell import until
from tests.wire.test_app import Office, rows, running, settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN = b'{"kind": "proceed", "display_name": "Anna", "instructions": "Be nice."}'


def office(directory: Path, scheme: str, url: str) -> Any:
    extensions = [
        {"number": "101", "password": "secret 101"},
        {"number": "102", "password": "secret 102", "crm_control": scheme},
    ]
    hook = {"kind": "http", "url": url, "secret": SECRET}
    return settings(directory, extension=extensions).model_copy(
        update={"crm": settings(directory).crm.model_validate({"hook": [hook], "deadline_ms": 2000})}
    )


async def one_call(running_office: Office) -> str:
    """101 calls 102, who answers; the call's identifier."""
    call, _ = await running_office.call()
    [live] = running_office.app.control.calls()
    await running_office.one.hang_up(call)
    await until(lambda: not running_office.app.exchange.live)
    return live.call_id


def told(server: WebhookServer, call_id: str) -> Counter[str]:
    """What was posted of a call; a message that was sent again counts once."""
    posts = {post.headers["webhook-id"]: Webhook(SECRET).verify(post.body, post.headers) for post in server.posts}
    return Counter(post["type"] for post in posts.values() if post["data"]["call_id"] == call_id)


async def told_whole(server: WebhookServer, call_id: str) -> None:
    """Until it was told of the call's end."""
    await until(lambda: told(server, call_id)["call.ended"] == 1)


@contextlib.asynccontextmanager
async def workstation(at: Office, token: str, url: str) -> AsyncIterator[list[str]]:
    """One that runs; what it says."""
    said: list[str] = []
    headers = {"authorization": f"Bearer {token}"}
    hook = make("--post", "workstation", url, SECRET)
    async with httpx2.AsyncClient(base_url=at.app.web_address, headers=headers, trust_env=False) as client:
        task = asyncio.ensure_future(Workstation(client, hook, said.append).run())
        await until(lambda: bool(said))
        await until(lambda: at.app.bus.wanted)
        yield said
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await hook.close()


ALL = Counter(("call.incoming", "call.answered", "call.ended"))


async def test_third_party_tells_of_every_call_and_first_party_of_those_while_the_workstation_runs(
    tmp_path: Path,
) -> None:
    kept: dict[tuple[str, str], Counter[str]] = {}
    for scheme in ("third-party", "first-party"):
        directory = tmp_path / scheme
        directory.mkdir()
        async with WebhookServer(says(KNOWN)) as server, running(office(directory, scheme, server.url)) as at:
            off = await one_call(at)
            token = await ApiTokens(at.app.store).make("desk", "agent", "102", 0.0)
            if scheme == "first-party":
                async with workstation(at, token, server.url) as said:
                    on = await one_call(at)
                    await told_whole(server, on)
                    await until(lambda: "ended: 101 -> 102" in said)
                assert said[1:] == ["rings: 101 -> 102: Anna", "Be nice.", "answered: 101 -> 102", "ended: 101 -> 102"]
            else:
                on = await one_call(at)
                await told_whole(server, on)
            kept[scheme, "off"], kept[scheme, "on"] = told(server, off), told(server, on)
            await at.app.store.settle()
            assert len(rows(directory, "SELECT call_id FROM calls WHERE state = 'ended'")) == 2   # the exchange's own
    assert kept == {
        ("third-party", "off"): ALL,
        ("third-party", "on"): ALL,
        ("first-party", "off"): Counter(),
        ("first-party", "on"): ALL,
    }


@pytest.mark.parametrize(("scheme", "told"), [("third-party", 1), ("first-party", 0)])
async def test_the_outbox_carries_the_calls_that_no_workstation_does(tmp_path: Path, scheme: str, told: int) -> None:
    """102 takes a call from outside; the CRM is away, so that what it is to know stays where it can be counted."""
    away = {"kind": "espocrm", "url": "http://127.0.0.1:1", "api_key": "key"}
    crm = settings(tmp_path).crm.model_validate({"connector": [away]})
    extensions = [
        {"number": "101", "password": "secret 101"},
        {"number": "102", "password": "secret 102", "crm_control": scheme},
    ]
    async with running(settings(tmp_path, extension=extensions).model_copy(update={"crm": crm})) as at:
        leg = LegSnapshot("102", "b", "ended", "102", 1000.0, 1001.0, 1002.0, 1060.0, 200)
        ended = CallSnapshot(
            "c1", CallState.ENDED, "inbound", "+12025550123", "+12025550100", 1000.0, trunk="city", ringing_at=1001.0,
            answered_at=1002.0, ended_at=1060.0, answered_by="102", legs=(leg,),
        )  # fmt: skip
        at.app.crm.journal.write(ended)
        await at.app.store.settle()
        assert len(rows(tmp_path, "SELECT call_id FROM calls WHERE state = 'ended'")) == 1
        assert len(await at.app.outbox.entries()) == told


async def test_tokens_of_an_agent_act_on_his_own_calls_only(tmp_path: Path) -> None:
    extensions = [{"number": n, "password": f"secret {n}"} for n in ("101", "102", "103")]
    async with running(settings(tmp_path, extension=extensions)) as at:
        made = ApiTokens(at.app.store)
        tokens = {
            "own": await made.make("own", "agent", "102", 0.0),
            "other": await made.make("other", "agent", "103", 0.0),
            "crm": await made.make("crm", "supervisor", None, 0.0),
            "none": "hookline_guessed",
        }
        await at.call()
        [live] = at.app.control.calls()

        async def post(who: str, deed: str, body: Any = None) -> int:
            async with httpx2.AsyncClient(base_url=at.app.web_address, trust_env=False) as client:
                headers = {"Authorization": f"Bearer {tokens[who]}"}
                answer = await client.post(f"/api/v1/calls/{live.call_id}/{deed}", json=body, headers=headers)
            return answer.status_code

        assert await post("none", "hangup") == 401
        assert await post("other", "hangup") == 403
        assert await post("other", "transfer", {"to": "103"}) == 403
        assert await post("own", "transfer", {"to": "103", "party": "101"}) == 403
        assert await post("crm", "hangup") == 204
        await until(lambda: not at.app.exchange.live)
        await at.call()
        [live] = at.app.control.calls()
        await made.drop("own")
        assert await post("own", "hangup") == 401
        assert await post("crm", "hangup") == 204
        await until(lambda: not at.app.exchange.live)
        stored = json.dumps([str(row) for row in rows(tmp_path, "SELECT key, value FROM meta")])
        assert not any(token in stored for token in tokens.values())


@pytest.mark.parametrize("role", ["supervisor", "agent"])
async def test_a_workstation_wants_the_token_of_an_agent(tmp_path: Path, role: Any) -> None:
    async with running(settings(tmp_path)) as at:
        token = await ApiTokens(at.app.store).make("desk", role, "102", 0.0)
        token = token if role == "supervisor" else token + "x"
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(base_url=at.app.web_address, headers=headers, trust_env=False) as client:
            hook = make("--post", "workstation", "http://127.0.0.1:1/", SECRET)
            with pytest.raises(NotAllowed):
                await Workstation(client, hook).run()
            await hook.close()
