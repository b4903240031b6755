"""Zammad's generic CTI interface, as its documentation and its caller log (`Cti::Log.process`) have it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeReceiver, Problem

TOKEN = "PhXp3ZG63QyJfcb1pVOnBKJWIbI"
CAUSES = ("normalClearing", "busy", "cancel", "noAnswer", "congestion", "notFound", "forwarded")
UNKNOWN = {"error": "Error ID x8Jw2A: Please contact your administrator."}    # what it says of what it did not expect


class Fake(FakeReceiver):
    kind = "zammad"

    def __init__(self) -> None:
        super().__init__()
        self.log: dict[str, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []      # as they came
        self.blocked: set[str] = set()
        self.caller_ids: dict[str, str] = {}        # number -> what outbound calls to it show
        self.enabled = True

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "url": self.url, "api_key": TOKEN, "users": [f"101={self.user}"]}

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "wrong-token"}

    def calls(self) -> list[FakeCall]:
        """A call that was forwarded goes on as another one."""
        return [
            FakeCall(
                key, key, {"in": "inbound", "out": "outbound"}[row["direction"]], row["state"] == "hangup", "", None,
                row["user"], "",
            )
            for key, row in self.log.items()
            if row["comment"] != "forwarded"
        ]  # fmt: skip

    def routes(self) -> list[BaseRoute]:
        return [Route("/api/v1/cti/{token}", self.event, methods=["POST"])]

    async def event(self, request: Request) -> Response:
        if not self.enabled:
            raise Problem(422, {"error": "Feature is disabled, please contact your administrator!"})
        if request.path_params["token"] != TOKEN:
            raise Problem(401, {"error": "Invalid token, please contact your admin!"})
        told = await request.json()
        if told.get("direction") not in ("in", "out"):
            raise Problem(422, {"error": "Invalid direction!"})
        if unknown := told.keys() - {
            "event", "from", "to", "direction", "callId", "user", "queue", "cause", "answeringNumber",
        }:  # fmt: skip
            raise Problem(422, {"error": f"unknown {sorted(unknown)}"})
        self.events.append(told)
        self._process(told)
        if told["event"] == "newCall" and told["direction"] == "in" and told["from"] in self.blocked:
            return JSONResponse({"action": "reject", "reason": "busy"})
        if told["event"] == "newCall" and told["direction"] == "out" and told["to"] in self.caller_ids:
            return JSONResponse({"action": "dial", "caller_id": self.caller_ids[told["to"]], "number": told["to"]})
        return JSONResponse({})

    def _process(self, told: dict[str, Any]) -> None:
        row = self.log.get(told["callId"])
        match told["event"]:
            case "newCall":
                if row is not None:
                    raise Problem(500, {"error": "Object already exists!"})
                self.log[told["callId"]] = {**told, "state": "newCall", "comment": "", "user": told.get("user", "")}
                return
            case "answer" | "hangup":
                if row is None:
                    raise Problem(500, UNKNOWN)
            case _:
                raise Problem(422, UNKNOWN)
        if told["event"] == "answer":
            if row["state"] != "hangup":
                row.update(state="answer", user=told.get("user", row["user"]))
            return
        if told.get("cause") not in CAUSES:
            raise Problem(422, {"error": "no such cause"})
        row.update(state="hangup", comment=told["cause"])
