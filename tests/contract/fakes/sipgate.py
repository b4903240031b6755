"""A web application that takes sipgate.io's push requests, as their reference has them: forms in, XML out, events to
the addresses that it asked for."""

from __future__ import annotations

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeReceiver, Problem
from tests.contract.fakes.zammad import CAUSES

PASSWORD = "push-secret"
COMMON = {"event", "from", "to", "direction", "callId"}
FIELDS = {
    "newCall": {"user[]"}, "answer": {"user", "answeringNumber"}, "hangup": {"cause", "answeringNumber"},
}  # fmt: skip


class Fake(FakeReceiver):
    kind = "sipgate"
    yes_says_nothing = False      # it says so in XML

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self.action = ""              # inside of <Response>
        self.wants = ("onAnswer", "onHangup")
        self.elsewhere = ""           # where it wants these to go, when not to itself

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": f"{self.url}/push", "username": "office", "password": PASSWORD,
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"password": "wrong-password"}

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                key, key, {"in": "inbound", "out": "outbound"}[row["direction"]], row["state"] == "hangup", "", None,
                row.get("user", row.get("user[]", "")), "",
            )
            for key, row in self.log.items()
            if row.get("cause") != "forwarded"
        ]  # fmt: skip

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/push", self.new_call, methods=["POST"]),
            Route("/later/{event}", self.later, methods=["POST"]),
        ]

    async def new_call(self, request: Request) -> Response:
        told = await self._told(request, "newCall")
        self.log[told["callId"]] = {**self.log.get(told["callId"], {}), **told, "state": "newCall"}
        base = self.elsewhere or self.url
        places = "".join(f' {name}="{base}/later/{name[2:].lower()}"' for name in self.wants)
        answer = f'<?xml version="1.0" encoding="UTF-8"?><Response{places}>{self.action}</Response>'
        return Response(answer, media_type="application/xml")

    async def later(self, request: Request) -> Response:
        told = await self._told(request, request.path_params["event"])
        if told["event"] == "hangup" and told.get("cause") not in CAUSES:
            raise Problem(400, {})
        self.log[told["callId"]].update(told, state=told["event"])
        return Response("thanks", media_type="text/plain")

    async def _told(self, request: Request, event: str) -> dict[str, Any]:
        pair = base64.b64encode(f"office:{PASSWORD}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            raise Problem(401, {})
        if request.headers["content-type"] != "application/x-www-form-urlencoded":
            raise Problem(415, {})
        told = dict((await request.form()).items())
        if told["event"] != event or told["direction"] not in ("in", "out") or told.keys() - COMMON - FIELDS[event]:
            raise Problem(400, {})
        self.events.append(told)
        return told
