"""HTTP hooks without a socket: the settings they are made from, what they send, and how often they try.

What real servers do to them is in tests/contract/test_http_hook.py.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from typing import Any

import httpx2
import pytest

from crmhooks.build import build_runner
from crmhooks.connector import HookError, InvalidHook
from crmhooks.connectors.http import HttpHook, make, read_secret
from pbxcore.bus import Bus
from pbxcore.hooks import IncomingCall, Queue
from pbxcore.settings import Settings
from tests.unit.crmhooks.virtual import Desk, ended, incoming

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
JSON = {"content-type": "application/json"}
NOTHING = (204, b"")


class Transport(httpx2.AsyncBaseTransport):
    """Answers with what the function makes of each request; exceptions are raised."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx2.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer[0], headers=JSON, stream=httpx2.ByteStream(answer[1]))

    async def aclose(self) -> None:
        self.closed = True


def hook(*answers: tuple[int, bytes] | Exception) -> tuple[HttpHook, Transport]:
    transport = Transport(*answers)
    url = "https://crm.example.net/hook"
    made = HttpHook("office", url, [KEY], wall=lambda: 1_700_000_000.9, token=lambda: "t", transport=transport)
    return made, transport


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def test_the_headers_of_standard_webhooks() -> None:
    made, transport = hook(NOTHING)
    assert run(made.on_incoming(incoming())) is None
    headers, body = transport.requests[0].headers, transport.requests[0].content.decode()
    assert headers["webhook-id"] == "c1.incoming.t"
    assert headers["webhook-timestamp"] == "1700000000"
    signed = hmac.digest(KEY, f"c1.incoming.t.1700000000.{body}".encode(), "sha256")
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    assert headers["accept-encoding"] == "identity"
    assert headers["host"] == "crm.example.net"
    assert "authorization" not in headers
    assert transport.requests[0].method == "POST"


def test_each_event_has_its_type() -> None:
    made, transport = hook(NOTHING)
    run(made.on_incoming(incoming()))
    run(made.on_answered(ended()))
    run(made.on_ended(ended()))
    kinds = [json.loads(request.content)["type"] for request in transport.requests]
    assert kinds == ["call.incoming", "call.answered", "call.ended"]


@pytest.mark.parametrize("fault", [httpx2.RemoteProtocolError("gone"), httpx2.ReadError("x"), httpx2.WriteError("x")])
def test_a_broken_connection_is_tried_once_more_and_no_more(fault: Exception) -> None:
    made, transport = hook(fault, (200, b'{"kind": "queue", "name": "sales"}'))
    assert run(made.on_incoming(incoming())) == Queue("sales")
    made, transport = hook(fault)
    with pytest.raises(HookError):
        run(made.on_incoming(incoming()))
    assert len(transport.requests) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (httpx2.ConnectError("All connection attempts failed"), "cannot connect: All connection attempts failed"),
        (httpx2.ConnectError(""), "cannot connect: refused"),
        (httpx2.ConnectTimeout(""), "ConnectTimeout"),
        (httpx2.ProxyError("x"), "ProxyError: x"),
    ],
)
def test_what_cannot_be_reached_is_not_tried_again_and_said_in_words(fault: Exception, words: str) -> None:
    made, transport = hook(fault)
    with pytest.raises(HookError) as caught:
        run(made.on_incoming(incoming()))
    assert str(caught.value) == words
    assert len(transport.requests) == 1


def test_closing_closes_the_connections() -> None:
    made, transport = hook(NOTHING)
    run(made.close())
    assert transport.closed


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
