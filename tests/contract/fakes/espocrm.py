"""EspoCRM's REST API as far as its documentation says it: keys, required fields, searches, duplicates."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

KEY = "0123456789abcdef0123456789abcdef"
REQUIRED = {"Call": ("name", "dateStart", "dateEnd", "assignedUserId"), "Contact": ("lastName",)}
ENUMS = {"status": ("Planned", "Held", "Not Held"), "direction": ("Outbound", "Inbound")}
MOST = 200


class Fake(FakeCrm):
    kind = "espocrm"

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[str, dict[str, Any]]] = {"Contact": {}, "Lead": {}, "Account": {}, "Call": {}}

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "url": self.url, "api_key": KEY, "users": [f"101={self.user}"]}

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "wrong-" + KEY}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        row = {"name": name, "accountName": company, "numbers": list(numbers), "assignedUserId": self.user}
        return f"Contact/{self._store('Contact', row)['id']}"

    def contact_numbers(self) -> list[str]:
        return [row["numbers"][0] for row in self.records["Contact"].values()]

    def calls(self) -> list[FakeCall]:
        found = []
        for row in self.records["Call"].values():
            summary, _, external_id = row["description"].rpartition("hookline:")
            parent = f"{row['parentType']}/{row['parentId']}" if row.get("parentId") else None
            found.append(
                FakeCall(
                    row["id"], external_id, row["direction"].lower(), row["status"] == "Held", summary.strip(), parent,
                    row["assignedUserId"], row["name"],
                )
            )  # fmt: skip
        return found

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/api/v1/App/user", self.me),
            Route("/api/v1/{entity}", self.listing, methods=["GET"]),
            Route("/api/v1/{entity}", self.create, methods=["POST"]),
            Route("/api/v1/{entity}/{id}", self.read, methods=["GET"]),
            Route("/api/v1/{entity}/{id}", self.change, methods=["PUT", "PATCH"]),
            Route("/api/v1/{entity}/{id}", self.delete, methods=["DELETE"]),
        ]

    # -- requests

    async def me(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse({"user": {"id": "api-user", "userName": "hookline"}})

    async def listing(self, request: Request) -> Response:
        rows = self._check(request)
        asked = json.loads(request.query_params["searchParams"])
        if asked["maxSize"] > MOST:
            raise Problem(403, {"message": f"Max size should not exceed {MOST}."})
        found = [row for row in rows.values() if all(self._matches(row, where) for where in asked["where"])]
        if asked.get("orderBy"):
            found.sort(key=lambda row: row.get(asked["orderBy"], ""), reverse=asked.get("order") == "desc")
        fields = [*asked.get("select", "id,name").split(","), "phoneNumber"]
        page = found[asked["offset"] : asked["offset"] + asked["maxSize"]]
        shown = [{key: self._shown(row)[key] for key in fields if key in self._shown(row)} for row in page]
        for row in shown:
            row.pop("phoneNumberData", None)     # loaded for a single record only
        return JSONResponse({"total": len(found), "list": shown})

    async def create(self, request: Request) -> Response:
        rows = self._check(request)
        entity = request.path_params["entity"]
        fields = await self._fields(request, entity)
        missing = [name for name in REQUIRED.get(entity, ()) if not fields.get(name)]
        if missing:
            raise Problem(400, {"messageTranslation": {"label": "validationFailure"}, "field": missing[0]})
        if entity == "Contact":
            fields["numbers"] = [fields.pop("phoneNumber")] if fields.get("phoneNumber") else []
            fields["name"] = fields["lastName"]
            if same := [row for row in rows.values() if set(row["numbers"]) & set(fields["numbers"])]:
                raise Problem(409, [self._shown(row) for row in same])
        fields.setdefault("description", "")
        return JSONResponse(self._shown(self._store(entity, fields)))

    async def read(self, request: Request) -> Response:
        return JSONResponse(self._shown(self._row(request)))

    async def change(self, request: Request) -> Response:
        row = self._row(request)
        row.update(await self._fields(request, request.path_params["entity"]))
        return JSONResponse(self._shown(row))

    async def delete(self, request: Request) -> Response:
        del self._check(request)[self._row(request)["id"]]
        return JSONResponse(True)

    # -- what it checks

    def _check(self, request: Request) -> dict[str, dict[str, Any]]:
        """The rows of the entity that is asked for."""
        if request.headers.get("x-api-key") != KEY:
            raise Problem(401, {"message": "Unauthorized"})
        entity = request.path_params.get("entity", "Call")
        if entity not in self.records:
            raise Problem(404, {"message": f"Entity {entity} does not exist"})
        return self.records[entity]

    def _row(self, request: Request) -> dict[str, Any]:
        row = self._check(request).get(request.path_params["id"])
        if row is None:
            raise Problem(404, {"message": "Record not found"})
        return row

    async def _fields(self, request: Request, entity: str) -> dict[str, Any]:
        if request.headers.get("content-type") != "application/json":
            raise Problem(415, {"message": "Unsupported content type"})
        fields: dict[str, Any] = await request.json()
        for name, values in ENUMS.items():
            if name in fields and fields[name] not in values:
                raise Problem(400, {"messageTranslation": {"label": "validationFailure"}, "field": name})
        for name in ("dateStart", "dateEnd"):
            if name in fields and (len(fields[name]) != 19 or "T" in fields[name]):
                raise Problem(400, {"messageTranslation": {"label": "validationFailure"}, "field": name})
        if len(fields.get("name", "")) > 255:
            raise Problem(400, {"messageTranslation": {"label": "validationFailure"}, "field": "name"})
        if fields.get("parentType") and fields.get("parentId") not in self.records.get(fields["parentType"], {}):
            raise Problem(400, {"message": "parent does not exist"})
        fields.pop("id", None)
        return fields

    def _matches(self, row: dict[str, Any], where: dict[str, str]) -> bool:
        kind, attribute, value = where["type"], where["attribute"], where["value"]
        digits = ["".join(filter(str.isdigit, number)) for number in row.get("numbers", [])]
        has = str(row.get(attribute, ""))
        match kind:
            case "endsWith" if attribute == "phoneNumberNumeric":
                return any(number.endswith(value) for number in digits)
            case "equals":
                return has == value
            case "contains":
                return value in has
            case "greaterThanOrEquals":
                return has >= value
            case "lessThan":
                return has < value
        raise Problem(400, {"message": f"Unknown where type {kind}"})

    def _store(self, entity: str, fields: dict[str, Any]) -> dict[str, Any]:
        row = {**fields, "id": self.name()}
        self.records[entity][row["id"]] = row
        return row

    @staticmethod
    def _shown(row: dict[str, Any]) -> dict[str, Any]:
        numbers = row.get("numbers")
        if numbers is None:
            return row
        more = [{"phoneNumber": number, "primary": place == 0} for place, number in enumerate(numbers)]
        return {**row, "phoneNumber": numbers[0] if numbers else None, "phoneNumberData": more}
