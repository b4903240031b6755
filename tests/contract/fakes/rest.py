"""A CRM of nobody's make, as `rest.toml` describes it: bearer keys, pages by offset, calls that are closed for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

TEMPLATE = Path(__file__).with_suffix(".toml")
KEY = "rest-secret-key"
FIELDS = frozenset((
    "external_id", "kind", "subject", "contact", "user_id", "started", "phone", "seconds", "result", "note",
))  # fmt: skip


class Fake(FakeCrm):
    kind = "rest"
    page = 20
    most = 25          # records in an answer, whatever is asked for

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.records: dict[str, dict[str, Any]] = {}

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "api_key": KEY, "template": str(TEMPLATE),
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "wrong-key"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        first, _, last = name.partition(" ")
        return self._person({
            "first_name": first, "last_name": last, "phones": [{"number": number} for number in numbers],
            "company": {"name": company} if company else None, "owner_id": self.user,
        })  # fmt: skip

    def contact_numbers(self) -> list[str]:
        return [_numbers(row)[0] for row in self.people.values()]

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                key, row["external_id"], {"in": "inbound", "out": "outbound"}[row["kind"]], row["state"] == "closed",
                row.get("note", ""), row.get("contact", {}).get("id"), row.get("user_id", ""), row["subject"],
            )
            for key, row in self.records.items()
        ]  # fmt: skip

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/contacts", self.list_contacts, methods=["GET"]),
            Route("/contacts", self.add_person, methods=["POST"]),
            Route("/calls", self.list_calls, methods=["GET"]),
            Route("/calls", self.add_call, methods=["POST"]),
            Route("/calls/{id}", self.change_call, methods=["PATCH"]),
            Route("/calls/{id}", self.delete_call, methods=["DELETE"]),
            Route("/calls/{id}/close", self.close_call, methods=["POST"]),
        ]

    # -- requests

    async def list_contacts(self, request: Request) -> Response:
        self._check(request)
        ending = request.query_params["phone"]
        digits = {key: ["".join(filter(str.isdigit, one)) for one in _numbers(row)] for key, row in self.people.items()}
        found = [row for key, row in self.people.items() if any(one.endswith(ending) for one in digits[key])]
        return _paged(request, found)

    async def add_person(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse({"data": {"id": self._person(await request.json())}}, 201)

    async def list_calls(self, request: Request) -> Response:
        self._check(request)
        asked = request.query_params
        found = list(self.records.values())
        if "external_id" in asked:
            found = [row for row in found if row["external_id"] == asked["external_id"]]
        if "from" in asked:
            found = [row for row in found if int(asked["from"]) <= row["started"] < int(asked["to"])]
        return _paged(request, found)

    async def add_call(self, request: Request) -> Response:
        self._check(request)
        fields = self._fields(await request.json())
        if request.headers.get("idempotency-key") != fields["external_id"]:
            raise Problem(400, {"error": {"message": "Idempotency-Key is missing"}})
        if any(row["external_id"] == fields["external_id"] for row in self.records.values()):
            raise Problem(409, {"error": {"message": "This call is known"}})
        key = self.name()
        self.records[key] = {**fields, "id": key, "state": "open"}
        return JSONResponse({"data": {"id": key}}, 201)

    async def change_call(self, request: Request) -> Response:
        row, fields = self._call(request), self._fields(await request.json())
        if row["state"] == "closed" and any(row.get(name) != value for name, value in fields.items()):
            raise Problem(422, {"error": {"message": "A closed call cannot be changed"}})
        row.update(fields)
        return JSONResponse({"data": {"id": row["id"]}})

    async def close_call(self, request: Request) -> Response:
        row = self._call(request)
        row["state"] = "closed"
        return JSONResponse({"data": {"id": row["id"]}})

    async def delete_call(self, request: Request) -> Response:
        del self.records[self._call(request)["id"]]
        return JSONResponse({"deleted": True})

    # -- what it checks

    def _check(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Problem(401, {"error": {"message": "Who are you?"}})

    def _call(self, request: Request) -> dict[str, Any]:
        self._check(request)
        row = self.records.get(request.path_params["id"])
        if row is None:
            raise Problem(404, {"error": {"message": "There is no such call"}})
        return row

    def _fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        if unknown := fields.keys() - FIELDS:
            raise Problem(422, {"error": {"message": f"There is no {sorted(unknown)[0]}"}})
        whom = fields.get("contact", {}).get("id")
        if whom is not None and whom not in self.people:
            raise Problem(422, {"error": {"message": "There is no such contact"}})
        for name in ("started", "seconds"):
            if name in fields and not isinstance(fields[name], int):
                raise Problem(422, {"error": {"message": f"{name} must be a number"}})
        return fields

    def _person(self, fields: dict[str, Any]) -> str:
        key = self.name()
        self.people[key] = {**fields, "id": key}
        return key


def _numbers(row: dict[str, Any]) -> list[str]:
    return [*filter(None, [row.get("phone")]), *(one["number"] for one in row.get("phones", ()))]


def _paged(request: Request, found: list[dict[str, Any]]) -> Response:
    start, size = int(request.query_params.get("offset", 0)), int(request.query_params.get("limit", 100))
    size = min(size, Fake.most)
    return JSONResponse({"data": found[start : start + size], "total": len(found)})
