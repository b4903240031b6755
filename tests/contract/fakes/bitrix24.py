"""Bitrix24's REST API as far as its documentation says it: an incoming webhook, its right to call each method, required
fields of activities, pages of a fixed size, the leaky bucket, errors as a code and a description."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

SECRET = "abcdef0123456789"
TYPES = {1: "lead", 3: "contact", 4: "company"}
NEEDED = ("SUBJECT", "RESPONSIBLE_ID", "TYPE_ID", "COMMUNICATIONS")
ONLY_APPLICATIONS = ("telephony.externalcall.register", "telephony.externalcall.finish")


def fault(status: int, code: str, words: str) -> Problem:
    return Problem(status, {"error": code, "error_description": words})


class Fake(FakeCrm):
    kind = "bitrix24"
    user = "101"
    page = 20         # 50 there; fewer here, so that no test has to wait for the bucket

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[int, dict[str, Any]]] = {"contact": {}, "lead": {}, "company": {}}
        self.activities: dict[int, dict[str, Any]] = {}
        self.room: float = float("inf")       # requests until the bucket runs over
        self.scopes = {"crm", "user"}
        self._number = 0

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "url": self.url, "api_key": f"1/{SECRET}", "users": [f"101={self.user}"]}

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "1/wrongwrongwrong"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        return self.add("contact", {"NAME": name, "PHONE": [{"VALUE": number} for number in numbers]})

    def add(self, kind: str, fields: dict[str, Any]) -> str:
        self._number += 1
        self.people[kind][self._number] = {"ID": str(self._number), "ASSIGNED_BY_ID": self.user, **fields}
        return f"{kind}/{self._number}"

    def contact_numbers(self) -> list[str]:
        return [row["PHONE"][0]["VALUE"] for row in self.people["contact"].values() if row.get("PHONE")]

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                str(key), row["ORIGIN_ID"], "outbound" if row["DIRECTION"] == 2 else "inbound", row["COMPLETED"] == "Y",
                row.get("DESCRIPTION", ""), self._owner(row), row["RESPONSIBLE_ID"], row["SUBJECT"],
            )
            for key, row in self.activities.items()
        ]  # fmt: skip

    def _owner(self, row: dict[str, Any]) -> str | None:
        kind, key = TYPES[int(row["OWNER_TYPE_ID"])], int(row["OWNER_ID"])
        return None if self.people[kind][key].get("ORIGIN_ID") else f"{kind}/{key}"

    def routes(self) -> list[BaseRoute]:
        return [Route("/rest/{user}/{secret}/{method}", self.call, methods=["POST"])]

    async def call(self, request: Request) -> Response:
        if (request.path_params["user"], request.path_params["secret"]) != ("1", SECRET):
            raise fault(401, "NO_AUTH_FOUND", "Wrong authorization data")
        self.room -= 1
        if self.room < 0:
            raise fault(503, "QUERY_LIMIT_EXCEEDED", "Too many requests")
        method: str = request.path_params["method"].lower()
        if method in ONLY_APPLICATIONS:
            raise fault(403, "WRONG_AUTH_TYPE", "Current authorization type is denied for this method")
        room, _, verb = method.rpartition(".")
        if room.partition(".")[0] not in self.scopes:
            raise fault(403, "insufficient_scope", "The request requires higher privileges than provided")
        asked = await request.json()
        if room == "crm.activity":
            return self._activity(verb, asked)
        if method == "crm.duplicate.findbycomm":
            return JSONResponse({"result": self._find(asked)})
        kind = room.removeprefix("crm.")
        if kind not in self.people or verb not in ("add", "list"):
            raise fault(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        if verb == "add":
            return JSONResponse({"result": int(self.add(kind, asked["fields"]).partition("/")[2])})
        return self._paged(list(self.people[kind].values()), asked)

    # -- methods

    def _find(self, asked: dict[str, Any]) -> dict[str, list[int]] | list[Any]:
        if asked.get("type") not in ("PHONE", "EMAIL"):
            raise fault(400, "Communication type is not defined", "Parameter 'type' is required.")
        if not 0 < len(asked.get("values", ())) <= 20:
            raise fault(400, "Communication values is not defined", "Parameter 'values' is required.")
        wanted = {_digits(value) for value in asked["values"]}
        found = {
            kind.upper(): [key for key, row in rows.items()
                           if any(_digits(one["VALUE"]) in wanted for one in row.get("PHONE", ()))][:20]
            for kind, rows in self.people.items()
        }  # fmt: skip
        return {kind: ids for kind, ids in found.items() if ids} or []

    def _activity(self, verb: str, asked: dict[str, Any]) -> Response:
        if verb == "list":
            return self._paged(sorted(self.activities.values(), key=lambda row: int(row["ID"])), asked)
        if verb == "add":
            self._number += 1
            self.activities[self._number] = {**self._checked(asked["fields"]), "ID": str(self._number)}
            return JSONResponse({"result": self._number})
        row = self.activities.get(int(asked["id"]))
        if row is None:
            raise fault(400, "", "Activity is not found.")
        if verb == "delete":
            del self.activities[int(asked["id"])]
        elif verb == "update":
            row.update(self._checked(asked["fields"]))
        else:
            raise fault(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
        return JSONResponse({"result": True})

    def _checked(self, fields: dict[str, Any]) -> dict[str, Any]:
        for name in NEEDED:
            if not fields.get(name):
                raise fault(400, "", f"The field {name} is not defined or invalid.")
        if len(fields["COMMUNICATIONS"]) > 1:
            raise fault(400, "", "The only one communication is allowed for activity of specified type.")
        kind = TYPES.get(int(fields.get("OWNER_TYPE_ID", 0)), "")
        if int(fields.get("OWNER_ID", 0)) not in self.people.get(kind, {}):
            raise fault(400, "", "Could not build binding. Please ensure that owner info is defined correctly.")
        for name in ("START_TIME", "END_TIME"):
            datetime.fromisoformat(fields[name])
        return fields

    def _paged(self, found: list[dict[str, Any]], asked: dict[str, Any]) -> Response:
        found = [row for row in found if all(_matches(row, *term) for term in asked.get("filter", {}).items())]
        start = asked.get("start", 0)
        select = {"ID", *asked.get("select", ())}
        page = [{name: value for name, value in row.items() if name in select} for row in found[start:][: self.page]]
        more = {"next": start + self.page} if start + self.page < len(found) else {}
        return JSONResponse({"result": page, "total": len(found), **more})


def _digits(number: str) -> str:
    """As its index of duplicates keeps them."""
    return "".join(filter(str.isdigit, number))


def _matches(row: dict[str, Any], name: str, value: Any) -> bool:
    plain = name.lstrip("<>=@")
    has = row.get(plain)
    if name.startswith("@"):
        return int(row["ID"]) in [int(one) for one in value]
    if plain == "START_TIME":
        at, limit = datetime.fromisoformat(str(has)), datetime.fromisoformat(value)
        return at >= limit if name.startswith(">=") else at < limit
    return has == value
