"""No fake: a real Tryton (`tests.contract.tryton_server`) behind a proxy that can be told to misbehave. It is started
once, and emptied before each test."""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.conftest import require_module
from tests.contract.fakes.base import FakeCall, FakeCrm
from tests.contract.tryton_server import DATABASE, PASSWORD, USER
from tests.ports import free_port

ROOT = Path(__file__).parents[3]
EMPTY = (
    "DELETE FROM ir_note_read", "DELETE FROM ir_note", "DELETE FROM party_contact_mechanism",
    "DELETE FROM party_address", "DELETE FROM party_party", "DELETE FROM ir_session",
)  # fmt: skip


class Server:
    """The process, and what a test does in it past the proxy."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")  # noqa: S108 - SQLite waits for the disk at each of its commits
        made = tempfile.mkdtemp(prefix="hookline-tryton-", dir=memory if memory.is_dir() else None)
        self.directory = Path(made)
        self.port = free_port()
        command = [sys.executable, "-m", "tests.contract.tryton_server", str(self.directory), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        atexit.register(self.stop)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        self.process.communicate()     # the end of its input is its end
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, *statements: str, values: tuple[object, ...] = ()) -> None:
        with contextlib.closing(sqlite3.connect(self.directory / f"{DATABASE}.sqlite", timeout=60)) as database:
            for statement in statements:
                database.execute(statement, values)
            database.commit()

    def empty(self) -> None:
        self.sql(*EMPTY)
        self.user, self.key, _ = self.call("common.db.login", USER, {"password": PASSWORD}, signed=False)

    def call(self, method: str, *params: Any, signed: bool = True) -> Any:
        headers = {"content-type": "application/json"}
        if signed:
            params = (*params, {})
            headers["authorization"] = "Session " + b64encode(f"{USER}:{self.user}:{self.key}".encode()).decode()
        body = json.dumps({"id": 1, "method": method, "params": params}).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}/{DATABASE}/rpc/", body, headers)
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310 - our own server
            told = json.load(answer)
        assert "result" in told, told
        return told["result"]


@lru_cache
def server() -> Server:
    require_module("trytond")
    return Server()


class Fake(FakeCrm):
    kind = "tryton"
    user = "anna"
    page = 100

    def __init__(self) -> None:
        super().__init__()
        self.server = server()
        self._to = httpx2.AsyncHTTPTransport(trust_env=False)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        self.server.empty()
        async with super().serving() as url:
            yield url
        await self._to.aclose()
        self._to = httpx2.AsyncHTTPTransport(trust_env=False)

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "database": DATABASE, "username": USER, "password": PASSWORD,
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"password": "wrong-secret"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        mechanisms = [{"type": "phone", "value": number} for number in numbers]
        party = {"name": "Somebody", "contact_mechanisms": [["create", mechanisms]]}
        [made] = self.server.call("model.party.party.create", [party])
        self.server.sql("UPDATE party_party SET name = ? WHERE id = ?", values=(name, made))   # it takes no line breaks
        return str(made)

    def contact_numbers(self) -> list[str]:
        fields = ["value"]
        found = self.server.call("model.party.contact_mechanism.search_read", [], 0, None, [["id", "ASC"]], fields)
        return [row["value"] for row in found]

    def calls(self) -> list[FakeCall]:
        fields = ["message", "resource"]
        found = self.server.call("model.ir.note.search_read", [], 0, None, [["id", "ASC"]], fields)
        return [_call(row) for row in found]

    def expire_tokens(self) -> None:
        self.server.sql("DELETE FROM ir_session WHERE key <> ?", values=(self.server.key,))

    def routes(self) -> list[BaseRoute]:
        return [Route("/{path:path}", self.forward, methods=["POST"])]

    async def forward(self, request: Request) -> Response:
        kept = {name: value for name, value in request.headers.items() if name in ("authorization", "content-type")}
        url = f"http://127.0.0.1:{self.server.port}{request.url.path}"
        asked = httpx2.Request("POST", url, headers=kept, content=await request.body())
        answer = await self._to.handle_async_request(asked)
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
        await answer.aclose()
        return Response(body, answer.status_code, {"content-type": answer.headers.get("content-type", "")})


def _call(row: dict[str, Any]) -> FakeCall:
    subject, facts, *rest = row["message"].split("\n")
    *summary, last = rest
    external_id, _, state = last.removeprefix("hookline:").rsplit(" ", 2)
    told = facts.split(", ")
    model, _, key = row["resource"].partition(",")
    return FakeCall(
        external_id, external_id, told[1], state == "completed", "\n".join(summary).strip(),
        key if model == "party.party" else None, "anna" if "anna" in told else "", subject,
    )  # fmt: skip
