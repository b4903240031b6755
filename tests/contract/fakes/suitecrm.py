"""SuiteCRM's V8 API as far as its documentation and its source say it: OAuth2, required fields, filters that compare
a field once by an operator and know no LIKE, pages by number, every fault a 400, keys that are never free again."""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

CLIENT, SECRET = "3d55a713-12be-62ea-c814-5aaf591e94d6", "client-secret"
MEDIA_TYPE = "application/vnd.api+json"
PERSON = frozenset({"first_name", "last_name", "account_name", "phone_work", "phone_mobile", "phone_home",
                    "phone_other", "assigned_user_id", "description"})  # fmt: skip
FIELDS = {
    "Contacts": PERSON,
    "Leads": PERSON,
    "Accounts": frozenset({"name", "phone_office", "phone_alternate", "assigned_user_id", "description"}),
    "Calls": frozenset({"name", "date_start", "date_end", "duration_hours", "duration_minutes", "status", "direction",
                        "parent_type", "parent_id", "description", "assigned_user_id", "outlook_id",
                        "hookline_id_c"}),
}  # fmt: skip
REQUIRED = {"Calls": ("name", "date_start", "duration_hours", "status"), "Contacts": ("last_name",)}
ENUMS = {"status": ("Planned", "Held", "Not Held"), "direction": ("Inbound", "Outbound")}
OPERATORS = {
    "EQ": lambda has, value: has == value,
    "NEQ": lambda has, value: has != value,
    "GT": lambda has, value: has > value,
    "GTE": lambda has, value: has >= value,
    "LT": lambda has, value: has < value,
    "LTE": lambda has, value: has <= value,
}
TERM = re.compile(r"filter\[(\w+)\](?:\[(\w+)\])?\Z")


def fault(detail: str, status: int = 400) -> Problem:
    return Problem(status, {"errors": {"status": status, "title": None, "detail": detail}})


class Fake(FakeCrm):
    kind = "suitecrm"
    spellings = ("+12025550123", "12025550123", "2025550123", "+1 202-555-0123", "(202) 555-0123", "0012025550123")
    user = "0a0a0a0a-0000-4000-8000-000000000101"
    page = 100

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in FIELDS}
        self.deleted: set[str] = set()
        self.related: dict[str, set[str]] = {}
        self.tokens: set[str] = set()

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": f"{self.url}/legacy", "client_id": CLIENT, "client_secret": SECRET,
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"client_secret": "wrong-secret"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        key = str(uuid.uuid4())
        fields = dict(zip(("phone_work", "phone_mobile", "phone_home"), numbers, strict=False))
        first, _, last = name.partition(" ")
        has = {"first_name": first, "last_name": last, "account_name": company, "assigned_user_id": self.user}
        self.records["Contacts"][key] = has | fields
        return f"Contacts/{key}"

    def contact_numbers(self) -> list[str]:
        return [row["phone_work"] for row in self.records["Contacts"].values()]

    def calls(self) -> list[FakeCall]:
        found = []
        for key, row in self.records["Calls"].items():
            summary, _, external_id = row["description"].rpartition("hookline:")
            if row.get("hookline_id_c"):
                summary, external_id = row["description"], row["hookline_id_c"]
            parent = f"{row['parent_type']}/{row['parent_id']}" if row.get("parent_id") else None
            assert parent is None or self.related[key] == {parent}
            found.append(
                FakeCall(
                    key, external_id, row["direction"].lower(), row["status"] == "Held", summary.strip(), parent,
                    row.get("assigned_user_id", ""), row["name"],
                )
            )  # fmt: skip
        return found

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def routes(self) -> list[BaseRoute]:
        api = "/legacy/Api"
        return [
            Route(f"{api}/access_token", self.token, methods=["POST"]),
            Route(f"{api}/V8/module", self.create, methods=["POST"]),
            Route(f"{api}/V8/module", self.change, methods=["PATCH"]),
            Route(f"{api}/V8/module/{{module}}", self.listing, methods=["GET"]),
            Route(f"{api}/V8/module/{{module}}/{{id}}", self.delete, methods=["DELETE"]),
            Route(f"{api}/V8/module/{{module}}/{{id}}/relationships/{{link}}", self.relate, methods=["POST"]),
        ]

    # -- requests

    async def token(self, request: Request) -> Response:
        form = await request.form()
        if form.get("grant_type") != "client_credentials":
            raise Problem(400, {"error": "unsupported_grant_type", "message": "The grant type is not supported"})
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            raise Problem(401, {"error": "invalid_client", "message": "Client authentication failed"})
        token = self.name()
        self.tokens.add(token)
        return JSONResponse({"token_type": "Bearer", "expires_in": 3600, "access_token": token})

    async def listing(self, request: Request) -> Response:
        self._check(request)
        module = request.path_params["module"]
        asked = dict(request.query_params.multi_items())     # PHP takes the last of each name
        fields = asked.pop(f"fields[{module}]").split(",")
        if unknown := set(fields) - FIELDS[module]:
            raise fault(f"The following fields in {module} module are not found: {', '.join(unknown)}")
        size, number = int(asked.pop("page[size]")), int(asked.pop("page[number]", 1))
        asked.pop("sort", None)
        found = [(key, row) for key, row in self.records[module].items() if _matches(module, key, row, asked)]
        page = found[(number - 1) * size : number * size]
        data = [
            {"type": module, "id": key, "attributes": {name: _shown(row.get(name, "")) for name in fields}}
            for key, row in page
        ]
        if not data:
            meta: dict[str, Any] = {"message": "Request was successful, but there is no result"}
            return JSONResponse({"meta": meta, "data": []}, media_type=MEDIA_TYPE)
        meta = {"total-pages": -(-len(found) // size), "records-on-this-page": len(data)}
        return JSONResponse({"meta": meta, "data": data}, media_type=MEDIA_TYPE)

    async def create(self, request: Request) -> Response:
        module, key, fields = await self._sent(request)
        if key is not None and (key in self.records[module] or key in self.deleted):
            raise fault(f"Bean {module} with id {key} is already exist")
        missing = [name for name in REQUIRED[module] if fields.get(name) in (None, "")]
        if missing:
            raise fault(f"Required fields are missing: {missing[0]}")
        key = key or str(uuid.uuid4())
        self.records[module][key] = fields
        return JSONResponse({"data": {"type": module, "id": key, "attributes": fields}}, 201, media_type=MEDIA_TYPE)

    async def change(self, request: Request) -> Response:
        module, key, fields = await self._sent(request)
        row = self._row(module, key)
        row.update(fields)
        return JSONResponse({"data": {"type": module, "id": key, "attributes": row}}, 201, media_type=MEDIA_TYPE)

    async def delete(self, request: Request) -> Response:
        self._check(request)
        module, key = request.path_params["module"], request.path_params["id"]
        self._row(module, key)
        del self.records[module][key]
        self.deleted.add(key)
        return JSONResponse({"meta": {"message": f"Record with id {key} is deleted"}, "data": []})

    async def relate(self, request: Request) -> Response:
        self._check(request)
        self._row(request.path_params["module"], request.path_params["id"])
        data = (await request.json())["data"]
        if data["type"].lower() != request.path_params["link"]:
            raise fault("Link field has not found in Calls to determine relationship")
        self._row(data["type"], data["id"])
        self.related.setdefault(request.path_params["id"], set()).add(f"{data['type']}/{data['id']}")
        return JSONResponse({"meta": {"message": "added"}, "data": []}, 201, media_type=MEDIA_TYPE)

    # -- what it checks

    def _check(self, request: Request) -> None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Problem(401, {"error": "access_denied", "message": "The resource owner denied the request."})
        if request.path_params.get("module", "Calls") not in self.records:
            raise fault(f"Module {request.path_params['module']} does not exist")

    def _row(self, module: str, key: str | None) -> dict[str, Any]:
        row = self.records[module].get(key or "")
        if row is None:
            raise fault(f"{module} module with id {key} is not found")
        return row

    async def _sent(self, request: Request) -> tuple[str, str | None, dict[str, Any]]:
        self._check(request)
        if request.headers.get("content-type") != MEDIA_TYPE:
            raise fault("Content-Type must be application/vnd.api+json", 415)
        data = (await request.json())["data"]
        module, key, fields = data["type"], data.get("id"), data["attributes"]
        if key is not None and str(uuid.UUID(key)) != key:
            raise fault('The option "id" is invalid')
        if unknown := fields.keys() - FIELDS[module]:
            raise fault(f"Property {sorted(unknown)[0]} in {module} module is invalid")
        for name, values in ENUMS.items():
            if name in fields and fields[name] not in values:
                raise fault(f"{name} has no {fields[name]}")
        if "date_start" in fields:
            datetime.strptime(fields["date_start"], "%Y-%m-%d %H:%M:%S")
        if len(fields.get("name", "")) > 50 or fields.get("duration_hours", 0) > 99:
            raise fault("Database failure. Please refer to suitecrm.log for details.")
        return module, key, fields


def _matches(module: str, key: str, row: dict[str, Any], asked: dict[str, str]) -> bool:
    every = asked.get("filter[operator]", "and").upper() == "AND"
    results = []
    for name, value in asked.items():
        term = TERM.match(name)
        if term is None:
            raise fault(f"The option {name} does not exist")
        field, operator = term.groups()
        if operator is None:
            continue
        if field != "id" and field not in FIELDS[module]:
            raise fault(f"Filter field {field} in {module} module is not found")
        if operator.upper() not in OPERATORS:
            raise fault(f"Filter operator {operator} is invalid")
        results.append(OPERATORS[operator.upper()](key if field == "id" else str(row.get(field) or ""), value))
    return all(results) if every else any(results)


def _shown(value: Any) -> Any:
    """Times are told in ISO 8601."""
    if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", value):
        return value.replace(" ", "T") + "+00:00"
    return value
