"""HTTP hooks against a real server: what is sent, what is taken, and every way a server can fail a call."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from crmhooks.breaker import Breaker
from crmhooks.build import build_runner
from crmhooks.decisions import call_notice_schema, incoming_call_schema
from crmhooks.runner import Runner
from pbxcore.bus import Bus
from pbxcore.hooks import Decision, Queue, Ring
from pbxcore.settings import Settings
from tests.contract.webhook_server import Answer, WebhookServer, says, writes
from tests.unit.crmhooks.virtual import Desk, driven, ended, incoming

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # from the standard's own examples
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD+Xe2hIhQT0Q="
BUDGET = 0.6    # for those who are late
TIME = 10.0     # for those who answer at once, also on a machine that other tests keep busy
SLACK = 3.0     # what is waited for to its own end takes longer
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
QUEUE = b'{"kind": "queue", "name": "sales"}'


def make(url: str, secret: str = SECRET, desk: Desk | None = None, **crm: Any) -> Runner:
    hook = {"kind": "http", "name": "office", "url": url, "secret": secret}
    settings = Settings.model_validate({"crm": {"deadline_ms": int(TIME * 1000), "hook": [hook], **crm}})
    return build_runner(settings, desk or Desk(), Bus())


def outcome(runner: Runner, call_id: str = "c1") -> str:
    return runner.explain(call_id)[0].outcome


async def ask(runner: Runner, call_id: str = "c1") -> Decision | None:
    return await driven(runner.on_incoming(incoming(call_id)))


async def test_the_question_is_signed_and_the_answer_followed() -> None:
    async with WebhookServer(says(b'{"kind": "ring", "targets": ["101"], "display_name": "Acme"}')) as server:
        runner = make(server.url)
        assert await ask(runner) == Ring(("101",), display_name="Acme")
        assert outcome(runner) == "ring 101"
        await runner.close()
    (post,) = server.posts
    sent = Webhook(SECRET).verify(post.body, post.headers)
    assert sent["type"] == "call.incoming"
    data = sent["data"]
    assert (data["call_id"], data["caller"], data["direction"]) == ("c1", "+12025550100", "inbound")
    assert post.headers["content-type"] == "application/json"
    assert post.path == "/hook"
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(post.body, post.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(post.body + b" ", post.headers)


async def test_while_a_secret_is_changed_both_sign() -> None:
    async with WebhookServer(says(b"null")) as server:
        runner = make(server.url, f"{OTHER} {SECRET}")
        assert await ask(runner) is None
        await runner.close()
    for secret in (SECRET, OTHER):
        Webhook(secret).verify(server.posts[0].body, server.posts[0].headers)


async def test_answered_and_ended_are_posted_in_order() -> None:
    async with WebhookServer(says(b"", status="204 No Content")) as server:
        runner = make(server.url)
        runner.on_answered(ended())
        runner.on_ended(ended())
        await runner.close()
    sent = [Webhook(SECRET).verify(post.body, post.headers) for post in server.posts]
    assert [one["type"] for one in sent] == ["call.answered", "call.ended"]
    assert sent[1]["data"]["state"] == "ended"
    assert len({post.headers["webhook-id"] for post in server.posts}) == 2
    assert runner.notices()[0].told == 2


@pytest.mark.parametrize(
    "answer",
    [
        says(b"", status="204 No Content"),
        says(b"null"),
        says(b"{}"),
        says(b""),
        says(b"", kind="text/html"),
        says(b"", status="202 Accepted"),
        writes(HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nnull\r\n0\r\n\r\n"),
    ],
)
async def test_no_opinion(answer: Answer) -> None:
    async with WebhookServer(answer) as server:
        runner = make(server.url)
        assert await ask(runner) is None
        assert outcome(runner) == "no opinion"
        await runner.close()


MANY = b"x" * 10_000_000
TROUBLES: dict[str, tuple[Answer, str]] = {
    "sleeps": (writes(b"", every=30), "late: no answer in "),
    "answers 500": (says(b"oops", status="500 Internal Server Error"), "failed: answered 500 Internal Server Error"),
    "answers 401": (says(b"", status="401 Unauthorized"), "failed: answered 401 Unauthorized"),
    "redirects": (says(b"", status="302 Found", extra="Location: /there\r\n"), "failed: answered 302; redirects are"),
    "says OK": (says(b"OK", kind="text/plain"), "failed: answered with content type text/plain; application/json is"),
    "sends a page": (says(b"<html>", kind="text/html"), "failed: answered with content type text/html"),
    "has no type": (writes(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull"), "failed: answered with content type"),
    "rubbish as JSON": (says(b"{kind: ring}"), "failed: wrong answer: the answer is not JSON"),
    "rubbish as HTTP": (writes(b"\x00\x01\x02 rubbish\r\n\r\n", close=True), "failed: broke off its answer"),
    "a lie": (says(b'{"kind": "ring", "targets": ["101"], "timeout": -1}'), "failed: wrong answer: timeout: must be"),
    "unknown kind": (says(b'{"kind": "explode"}'), "failed: wrong answer: kind: 'explode' is none"),
    "ten megabytes": (says(MANY), "failed: the answer is longer than 65536 bytes"),
    "ten megabytes in chunks": (
        writes(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"186a0\r\n" + b" " * 100_000 + b"\r\n"] * 100),
        "failed: the answer is longer than 65536 bytes",
    ),
    "a zip bomb": (
        says(gzip.compress(b" " * 10_000_000), extra="Content-Encoding: gzip\r\n"),
        "failed: the answer is compressed; it was asked for without",
    ),
    "drips": (
        writes(HEAD + b"Content-Length: 34\r\n\r\n", *[bytes([byte]) for byte in QUEUE], every=0.05),
        "late: no answer in ",
    ),
    "drips headers": (writes(b"HTTP/1.1 200 OK\r\n", *[b"a: b\r\n"] * 99, every=0.05), "late: no answer in "),
    "endless headers": (writes(b"HTTP/1.1 200 OK\r\n", *[b"a: " + b"b" * 9000 + b"\r\n"] * 500), "failed: broke off"),
    "small chunks without end": (
        writes(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\n \r\n" * 1000] * 20),
        "failed: broke off its answer: more than 16384 octets round the body",
    ),
    "always continue": (writes(*[b"HTTP/1.1 100 Continue\r\n\r\n" * 1000] * 20), "failed: broke off its answer: more"),
    "another protocol": (writes(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "failed: broke off its answer: status"),
    "two lengths": (writes(HEAD + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nnull"), "failed: broke off its"),
    "hangs up at once": (writes(close=True), "failed: broke off its answer"),
    "hangs up in its head": (writes(b"HTTP/1.1 200 O", close=True), "failed: broke off its answer"),
    "hangs up in its body": (writes(HEAD + b"Content-Length: 34\r\n\r\n{", close=True), "failed: broke off its answer"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_no_trouble_delays_a_call_past_its_budget_or_stops_it(trouble: str) -> None:
    answer, words = TROUBLES[trouble]
    async with WebhookServer(answer) as server:
        late = words.startswith("late")
        runner = make(server.url, deadline_ms=int((BUDGET if late else TIME) * 1000))
        began = time.monotonic()
        assert await ask(runner) is None
        assert not late or time.monotonic() - began < BUDGET + SLACK
        assert outcome(runner).startswith(words)
        assert runner.errors == 0
        if trouble == "redirects":
            assert [post.path for post in server.posts] == ["/hook"]
        await runner.close()


HOSTILE = "<script>alert(1)</script>\r\nVia: x\u202e"


async def test_a_script_in_a_name_is_text_on_one_line() -> None:
    decision = {"kind": "ring", "targets": ["101"], "display_name": HOSTILE, "instructions": HOSTILE, "tags": [HOSTILE]}
    async with WebhookServer(says(json.dumps(decision).encode())) as server:
        runner = make(server.url)
        found = await ask(runner)
        assert isinstance(found, Ring)
        for text in (found.display_name or "", *found.tags):
            assert text.startswith("<script>alert(1)</script>")
            assert text.isprintable()
        assert outcome(runner) == "ring 101"
        await runner.close()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("targets", "101"), ("targets", [101]), ("targets", [["101"]]), ("targets", {"a": 1}), ("targets", []),
        ("timeout", "20"), ("timeout", True), ("record", "yes"), ("tags", "vip"), ("display_name", ["Anna"]),
        ("otherwise", "proceed"), ("otherwise", []), ("no_such_field", 1), ("alert_info", "x\r\nVia: y"),
    ],
)  # fmt: skip
async def test_another_type_than_is_wanted_is_no_decision(field: str, value: object) -> None:
    body = json.dumps({"kind": "ring", "targets": ["101"]} | {field: value}).encode()
    async with WebhookServer(says(body)) as server:
        runner = make(server.url)
        assert await ask(runner) is None
        assert outcome(runner).startswith(f"failed: wrong answer: {field}")
        await runner.close()


async def test_what_is_posted_is_what_the_published_schema_says() -> None:
    schema = call_notice_schema()
    Draft202012Validator.check_schema(schema)
    async with WebhookServer(says(b"")) as server:
        runner = make(server.url)
        await ask(runner)
        runner.on_answered(ended())
        runner.on_ended(ended())
        await runner.close()
    question, *notices = [json.loads(post.body) for post in server.posts]
    Draft202012Validator(incoming_call_schema()).validate(question)
    assert [notice["type"] for notice in notices] == ["call.answered", "call.ended"]
    for notice in notices:
        Draft202012Validator(schema).validate(notice)
        with pytest.raises(ValidationError):
            Draft202012Validator(schema).validate(notice | {"type": "call.incoming"})


async def test_nobody_listens() -> None:
    async with WebhookServer(says(b"")) as server:
        url = server.url
    runner = make(url)
    assert await ask(runner) is None
    assert outcome(runner).startswith("failed: cannot connect")
    assert runner.states()[0].failed == 1
    await runner.close()


async def test_connections_are_kept_and_bounded() -> None:
    async def thinks(post: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        await says(QUEUE)(post, writer)

    async with WebhookServer(thinks) as server:
        runner = make(server.url)
        for number in range(5):
            assert isinstance(await ask(runner, str(number)), Queue)
        assert server.connections == 1
        await asyncio.gather(*(ask(runner, f"x{number}") for number in range(60)))
        assert len(server.posts) == 65
        assert server.connections <= 32
        await runner.close()


async def test_a_kept_connection_that_the_server_closed_costs_no_call_its_decision() -> None:
    async with WebhookServer(writes(HEAD + b"Content-Length: 34\r\n\r\n" + QUEUE, close=True)) as server:
        runner = make(server.url)
        for number in range(5):
            assert isinstance(await ask(runner, str(number)), Queue)
        await runner.close()


async def test_the_same_message_is_sent_again_when_the_connection_breaks() -> None:
    async def answer(post: Any, writer: asyncio.StreamWriter) -> None:
        if len(server.posts) == 1:
            writer.close()
        else:
            await says(QUEUE)(post, writer)

    async with WebhookServer(answer) as server:
        runner = make(server.url)
        assert isinstance(await ask(runner), Queue)
        await runner.close()
    assert len({post.headers["webhook-id"] for post in server.posts}) == 1
    assert len(server.posts) == 2


async def test_questions_that_were_given_up_leave_the_hook_usable() -> None:
    slow = True

    async def answer(post: Any, writer: asyncio.StreamWriter) -> None:
        if slow:
            await asyncio.sleep(30)
        await says(QUEUE)(post, writer)

    async with WebhookServer(answer) as server:
        runner = make(server.url)
        runner._hard_limit = 0.3
        await asyncio.gather(*(ask(runner, str(number)) for number in range(60)))
        async with asyncio.timeout(TIME):
            while runner.states()[0].in_flight:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        slow, runner._hard_limit = False, TIME
        runner._deciders[0].slot.breaker = Breaker()
        assert isinstance(await ask(runner), Queue)
        await runner.close()


async def test_a_late_answer_still_names_the_caller_on_the_card() -> None:
    async def answer(post: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(BUDGET + 0.1)
        await says(b'{"kind": "proceed", "display_name": "Acme"}')(post, writer)

    async with WebhookServer(answer) as server:
        desk = Desk()
        runner = make(server.url, desk=desk, deadline_ms=int(BUDGET * 1000))
        assert await ask(runner) is None
        async with asyncio.timeout(TIME):
            while not desk.cards["c1"].late:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.02)
        assert desk.cards["c1"].contacts[0].name == "Acme"
        await runner.close()


async def test_no_cookie_is_kept_and_no_proxy_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with WebhookServer(says(QUEUE, extra="Set-Cookie: a=b\r\n")) as server:
        runner = make(server.url)
        for number in range(2):
            assert isinstance(await ask(runner, str(number)), Queue)
        assert "cookie" not in server.posts[1].headers
        await runner.close()


async def test_what_a_stranger_wrote_into_his_name_arrives_as_clean_json() -> None:
    async with WebhookServer(says(b"")) as server:
        runner = make(server.url)
        call = incoming(caller_name='"}\r\nX: \x00\u202e\udcff<script>', headers={"subject": "'; drop table"})
        await driven(runner.on_incoming(call))
        await runner.close()
    data = json.loads(server.posts[0].body)["data"]
    assert data["caller_name"] == '"} X: <script>'
    assert data["headers"] == {"subject": "'; drop table"}
