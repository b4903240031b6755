"""HTTP hooks without a socket: the settings they are made from, what they send, and how often they try.

What real servers do to them is in tests/contract/test_http_hook.py.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any, NamedTuple

import pytest

from crmhooks.build import build_runner
from crmhooks.connector import HookError, InvalidHook
from crmhooks.connectors.http import HttpHook, make, read_secret
from crmhooks.decisions import MAX_BYTES
from crmhooks.posts.answer import BadAnswer, Broken, Reader
from crmhooks.posts.pool import CannotConnect
from pbxcore.bus import Bus
from pbxcore.hooks import IncomingCall, Queue
from pbxcore.settings import Settings
from tests.unit.crmhooks.virtual import Desk, ended, incoming

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


class Sent(NamedTuple):
    line: str
    headers: dict[str, str]
    body: bytes


class Postman:
    """Answers with what it was given, one after the other; exceptions are raised."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self.answers = list(answers)
        self.sent: list[Sent] = []
        self.closed = False

    async def post(self, request: bytes) -> Reader:
        head, _, body = request.partition(b"\r\n\r\n")
        line, *rows = head.decode("ascii").split("\r\n")
        headers = [row.split(": ", 1) for row in rows]
        self.sent.append(Sent(line, {name.lower(): value for name, value in headers}, body))
        assert len(self.sent[-1].headers) == len(headers)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        reader = Reader(MAX_BYTES)
        reader.feed(answer)
        assert reader.done
        return reader

    async def close(self) -> None:
        self.closed = True


def hook(*answers: bytes | Exception, url: str = "https://crm.example.net/hook") -> tuple[HttpHook, Postman]:
    postman = Postman(*answers)
    made = HttpHook("office", url, [KEY], wall=lambda: 1_700_000_000.9, token=lambda: "t", pool=postman)
    return made, postman


def says(body: bytes, head: str = "Content-Type: application/json\r\n", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_the_headers_of_standard_webhooks() -> None:
    made, postman = hook(NOTHING)
    assert run(made.on_incoming(incoming())) is None
    line, headers, body = postman.sent[0]
    assert line == "POST /hook HTTP/1.1"
    signed = hmac.digest(KEY, b"c1.incoming.t.1700000000." + body, "sha256")
    assert headers == {
        "host": "crm.example.net",
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "user-agent": "Hookline",
        "webhook-id": "c1.incoming.t",
        "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{base64.b64encode(signed).decode()}",
        "content-length": str(len(body)),
    }


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("http://127.0.0.1:9000", "/", "127.0.0.1:9000"),
        ("http://crm.example.net:80/a/../b?c=d&e=%41#f", "/b?c=d&e=%41", "crm.example.net"),
        ("http://user:word@crm.example.net/", "/", "crm.example.net"),
        ("http://[::1]:8080/h", "/h", "[::1]:8080"),
        ("https://bücher.example:443/ü", "/%C3%BC", "xn--bcher-kva.example"),
    ],
)
def test_where_it_is_posted_to(url: str, target: str, host: str) -> None:
    made, postman = hook(NOTHING, url=url)
    run(made.on_incoming(incoming()))
    assert postman.sent[0].line == f"POST {target} HTTP/1.1"
    assert postman.sent[0].headers["host"] == host
    assert "authorization" not in postman.sent[0].headers


def test_each_event_has_its_type() -> None:
    made, postman = hook(NOTHING)
    run(made.on_incoming(incoming()))
    run(made.on_answered(ended()))
    run(made.on_ended(ended()))
    kinds = [json.loads(sent.body)["type"] for sent in postman.sent]
    assert kinds == ["call.incoming", "call.answered", "call.ended"]


@pytest.mark.parametrize("call_id", ["a\r\nx: y", "a\nb", "ü", "a\0", "a\x7f"])
def test_a_call_that_cannot_be_named_in_a_header_is_not_posted(call_id: str) -> None:
    made, postman = hook(NOTHING)
    with pytest.raises(HookError, match="identifier"):
        run(made.on_ended(ended(call_id)))
    assert not postman.sent


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CannotConnect("Connection refused"), "cannot connect: Connection refused"),
        (Broken("the connection ended"), "broke off its answer: the connection ended"),
        (BadAnswer("the answer is longer than 65536 bytes"), "the answer is longer than 65536 bytes"),
        (TimeoutError(), "no answer in 15 s"),
        (says(b"", status="302 Found"), "answered 302; redirects are not followed, put the final address into `url`"),
        (says(b"x", status="503 Busy\x1b\u202e " + "y" * 100), "answered 503 Busy " + "y" * 75),
        (says(b"", status="404 "), "answered 404"),
        (says(b"{}", "Content-Encoding: br\r\n"), "the answer is compressed; it was asked for without"),
        (says(b"{}", "Content-Type: " + "x" * 99 + "\r\n"),
         f"answered with content type {'x' * 80}; application/json is wanted"),
        (says(b"{}", ""), "answered with content type none; application/json is wanted"),
        (says(b"[]"), "wrong answer: "),
    ],
)  # fmt: skip
def test_what_went_wrong_is_said_in_words(fault: Exception | bytes, words: str) -> None:
    made, postman = hook(fault)
    with pytest.raises(HookError) as caught:
        run(made.on_incoming(incoming()))
    assert str(caught.value).startswith(words)
    assert len(postman.sent) == 1


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/x+json"])
def test_content_types_of_json(kind: str) -> None:
    made, _ = hook(says(b'{"kind": "queue", "name": "sales"}', f"Content-Type: {kind}\r\n"))
    assert run(made.on_incoming(incoming())) == Queue("sales")


def test_closing_closes_the_connections() -> None:
    made, postman = hook(NOTHING)
    run(made.close())
    assert postman.closed


def test_secrets_with_and_without_their_prefix_and_two_at_once() -> None:
    bare = SECRET.removeprefix("whsec_")
    assert read_secret("k", SECRET) == read_secret("k", bare) == [KEY]
    assert read_secret("k", f" {SECRET} {bare} ") == [KEY, KEY]


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "is missing"),
        (" ", "is missing"),
        ("whsec_", "holds 0 bytes; Standard Webhooks wants 24 to 64"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "holds 23 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "holds 65 bytes"),
        ("whsec_pass-word!", "is not base64"),
        ("whsec_пароль", "is not base64"),
        (f"{SECRET} whsec_x", "is not base64"),
    ],
)
def test_a_bad_secret_is_refused_without_showing_it_and_with_a_good_one_to_take(secret: str, words: str) -> None:
    with pytest.raises(InvalidHook) as caught:
        read_secret("crm.hook[1].secret", secret)
    message = str(caught.value)
    assert message.startswith(f"crm.hook[1].secret: {words}")
    assert KEY.hex() not in message
    assert "pass-word" not in message
    fresh = message.rpartition(' "')[2].rstrip('"')
    assert len(read_secret("k", fresh)[0]) == 32


@pytest.mark.parametrize(
    "url",
    ["", "crm.example.net/hook", "ftp://crm.example.net", "http://", "http:///x", "http://a b/", "https://crm:port/",
     "http://[::1", "https://crm.example.net/\r\nX: y"],
)  # fmt: skip
def test_a_bad_url_names_its_key(url: str) -> None:
    with pytest.raises(InvalidHook, match=r"^crm\.hook\[1\]\.url: "):
        make("crm.hook[1]", "office", url, SECRET)


# -- from the settings


def build(*hooks: dict[str, Any], **crm: Any) -> Any:
    settings = Settings.model_validate({"crm": {"hook": hooks, **crm}})
    return build_runner(settings, Desk(), Bus())


def test_a_runner_from_the_settings() -> None:
    runner = build(
        {"kind": "http", "url": "http://127.0.0.1:1/", "secret": SECRET, "deadline_ms": 100},
        {"kind": "python", "target": "tests.unit.crmhooks.test_http_hook:Office"},
        deadline_ms=250,
    )
    assert [state.name for state in runner.states()] == ["http hook 1", "tests.unit.crmhooks.test_http_hook:Office"]
    assert [decider.slot.deadline for decider in runner._deciders] == [0.1, 0.25]
    run(runner.close())


@pytest.mark.parametrize(
    ("hook_settings", "key"),
    [
        ({"kind": "http", "secret": SECRET}, "crm.hook[1].url"),
        ({"kind": "http", "url": "http://127.0.0.1/"}, "crm.hook[1].secret"),
        ({"kind": "http", "url": "http://127.0.0.1/", "secret": SECRET, "target": "a:B"}, "crm.hook[1].target"),
        ({"kind": "python"}, "crm.hook[1].target"),
        ({"kind": "python", "target": "a:B", "url": "http://127.0.0.1/"}, "crm.hook[1].url"),
        ({"kind": "python", "target": "a:B", "secret": "x"}, "crm.hook[1].url"),
    ],
)
def test_what_cannot_work_is_found_at_start(hook_settings: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidHook) as caught:
        build(hook_settings)
    assert caught.value.key == key


class Office:
    """What `target` names above."""

    async def on_incoming(self, call: IncomingCall) -> None: ...
