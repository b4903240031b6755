"""HubSpot's CRM API as far as its documentation says it: objects of properties, unique properties, typed associations,
searches with their limits, whose index comes later (`lag`, off unless told)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from html import unescape
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

API = "/crm/v3"
TOKEN = "pat-na1-00000000-aaaa-bbbb-cccc-000000000000"
SEARCHES_A_SECOND = 5
STATUSES = frozenset({"BUSY", "CALLING_CRM_USER", "CANCELED", "COMPLETED", "CONNECTING", "FAILED", "IN_PROGRESS",
                      "MISSED", "NO_ANSWER", "QUEUED", "RINGING"})  # fmt: skip
PROPERTIES = {
    "contacts": {"firstname", "lastname", "phone", "mobilephone", "company", "email", "hubspot_owner_id",
                 "hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number"},
    "companies": {"name", "phone", "hubspot_owner_id", "description"},
    "calls": {"hs_timestamp", "hs_call_title", "hs_call_body", "hs_call_direction", "hs_call_disposition",
              "hs_call_duration", "hs_call_from_number", "hs_call_to_number", "hs_call_status",
              "hs_call_recording_url", "hubspot_owner_id"},
}  # fmt: skip
TYPES = {"contacts": 194, "companies": 182}


def fault(status: int, category: str, message: str) -> Problem:
    return Problem(status, {"status": "error", "category": category, "message": message, "correlationId": "0"})


class Fake(FakeCrm):
    kind = "hubspot"
    user = "41629779"
    page = 50

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PROPERTIES}
        self.associations: dict[str, set[str]] = {}
        self.unique: dict[str, bool] = {}       # properties of calls that were added
        self.token = TOKEN
        self.may_add_properties = True
        self.searches: list[float] = []
        self.unindexed: set[str] = set()
        self.lag = False
        self._next = 100

    def settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "url": self.url, "api_key": TOKEN, "users": [f"101={self.user}"]}

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "pat-na1-wrong"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        fields = dict(zip(("phone", "mobilephone"), numbers, strict=False))
        first, _, last = name.partition(" ")
        has = {"firstname": first, "lastname": last, "company": company, "hubspot_owner_id": self.user}
        return f"contacts/{self._store('contacts', has | fields)}"

    def contact_numbers(self) -> list[str]:
        return [row["phone"] for row in self.objects["contacts"].values()]

    def calls(self) -> list[FakeCall]:
        found = []
        for key, row in self.objects["calls"].items():
            body, status = row.get("hs_call_body", ""), row["hs_call_status"]
            related = self.associations.get(key, set())
            assert len(related) < 2
            found.append(
                FakeCall(
                    key, row.get("hookline_call_id", ""), row["hs_call_direction"].lower(),
                    bool(body) and status not in ("RINGING", "IN_PROGRESS"), unescape(body.replace("<br>", "\n")),
                    next(iter(related), None), row.get("hubspot_owner_id", ""), row["hs_call_title"],
                )
            )  # fmt: skip
        return found

    def routes(self) -> list[BaseRoute]:
        return [
            Route(API + "/properties/calls", self.add_property, methods=["POST"]),
            Route(API + "/properties/calls/{name}", self.property, methods=["GET"]),
            Route(API + "/objects/{kind}/search", self.search, methods=["POST"]),
            Route(API + "/objects/{kind}", self.create, methods=["POST"]),
            Route(API + "/objects/{kind}/{id}", self.read, methods=["GET"]),
            Route(API + "/objects/{kind}/{id}", self.change, methods=["PATCH"]),
            Route(API + "/objects/{kind}/{id}", self.archive, methods=["DELETE"]),
            Route(API + "/objects/calls/{id}/associations/{to}/{to_id}/{type}", self.associate, methods=["PUT"]),
        ]

    # -- requests

    async def property(self, request: Request) -> Response:
        self._check(request)
        name = request.path_params["name"]
        if name not in PROPERTIES["calls"] and name not in self.unique:
            raise fault(404, "OBJECT_NOT_FOUND", f"Property {name} does not exist")
        unique = self.unique.get(name, False)
        return JSONResponse({"name": name, "groupName": "call", "type": "string", "hasUniqueValue": unique})

    async def add_property(self, request: Request) -> Response:
        self._check(request)
        if not self.may_add_properties:
            raise fault(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes")
        field = await request.json()
        if field["groupName"] != "call" or not {"name", "label", "type", "fieldType"} <= field.keys():
            raise fault(400, "VALIDATION_ERROR", "Property group does not exist")
        if field["name"] in self.unique:
            raise fault(409, "CONFLICT", "Property already exists")
        self.unique[field["name"]] = field.get("hasUniqueValue", False)
        return JSONResponse(field, 201)

    async def search(self, request: Request) -> Response:
        self._check(request)
        now = time.monotonic()
        self.searches = [*(at for at in self.searches if at > now - 1), now]
        if len(self.searches) > SEARCHES_A_SECOND:
            body = {"status": "error", "message": "You have reached your secondly limit.", "errorType": "RATE_LIMIT"}
            raise Problem(429, body)
        kind, asked = request.path_params["kind"], await request.json()
        groups = [group["filters"] for group in asked["filterGroups"]]
        if len(groups) > 5 or any(len(group) > 6 for group in groups) or sum(map(len, groups)) > 18:
            raise fault(400, "VALIDATION_ERROR", "too many filters")
        if not 0 < asked["limit"] <= 200 or len(asked["sorts"]) > 1:
            raise fault(400, "VALIDATION_ERROR", "limit must be at most 200")
        found = [
            key for key, row in self.objects[kind].items()
            if key not in self.unindexed
            and any(all(self._matches(kind, key, row, term) for term in group) for group in groups)
        ]  # fmt: skip
        found.sort(key=int)
        size = min(asked["limit"], self.page)
        body: dict[str, Any] = {
            "total": len(found),
            "results": [self._shown(kind, key, asked["properties"]) for key in found[:size]],
        }
        if len(found) > size:
            body["paging"] = {"next": {"after": str(size)}}
        return JSONResponse(body)

    async def create(self, request: Request) -> Response:
        self._check(request)
        kind, sent = request.path_params["kind"], await request.json()
        fields = self._checked(kind, None, sent["properties"])
        if kind == "calls" and "hs_timestamp" not in fields:
            raise fault(400, "VALIDATION_ERROR", "hs_timestamp is required")
        links = sent.get("associations", [])
        for link in links:
            [named] = link["types"]
            self._related(link["to"]["id"], named["associationTypeId"])
        key = self._store(kind, fields)
        if self.lag:
            self.unindexed.add(key)
        self.associations[key] = {
            self._related(link["to"]["id"], link["types"][0]["associationTypeId"]) for link in links
        }
        return JSONResponse(self._shown(kind, key, list(fields)), 201)

    async def read(self, request: Request) -> Response:
        self._check(request)
        kind, key = request.path_params["kind"], request.path_params["id"]
        if by := request.query_params.get("idProperty"):
            if not self.unique.get(by):
                raise fault(400, "VALIDATION_ERROR", f"{by} is not a unique property")
            key = next((own for own, row in self.objects[kind].items() if row.get(by) == key), "")
        self._row(kind, key)
        return JSONResponse(self._shown(kind, key, request.query_params["properties"].split(",")))

    async def change(self, request: Request) -> Response:
        self._check(request)
        kind, key = request.path_params["kind"], request.path_params["id"]
        row = self._row(kind, key)
        row.update(self._checked(kind, key, (await request.json())["properties"]))
        return JSONResponse(self._shown(kind, key, list(row)))

    async def archive(self, request: Request) -> Response:
        self._check(request)
        self.objects[request.path_params["kind"]].pop(request.path_params["id"], None)
        return Response(status_code=204)

    async def associate(self, request: Request) -> Response:
        self._check(request)
        key, to = request.path_params["id"], request.path_params["to"]
        self._row("calls", key)
        if TYPES.get(to) != int(request.path_params["type"]):
            raise fault(400, "VALIDATION_ERROR", "No such association type")
        self.associations[key] = {self._related(request.path_params["to_id"], TYPES[to])}
        return JSONResponse(self._shown("calls", key, []))

    # -- what it checks

    def _check(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            raise fault(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if request.path_params.get("kind", "calls") not in self.objects:
            raise fault(400, "VALIDATION_ERROR", f"Unable to infer object type from: {request.path_params['kind']}")

    def _row(self, kind: str, key: str) -> dict[str, Any]:
        row = self.objects[kind].get(key)
        if row is None:
            raise fault(404, "OBJECT_NOT_FOUND", "resource not found")
        return row

    def _related(self, key: str, type_id: int) -> str:
        kind = next((name for name, own in TYPES.items() if own == type_id), "")
        if key not in self.objects.get(kind, {}):
            raise fault(400, "VALIDATION_ERROR", f"{key} cannot be associated by type {type_id}")
        return f"{kind}/{key}"

    def _checked(self, kind: str, key: str | None, fields: dict[str, str]) -> dict[str, str]:
        known = PROPERTIES[kind] | (set(self.unique) if kind == "calls" else set())
        if unknown := fields.keys() - known:
            raise fault(400, "VALIDATION_ERROR", f'Property "{sorted(unknown)[0]}" does not exist')
        if fields.get("hs_call_status", "RINGING") not in STATUSES:
            raise fault(400, "VALIDATION_ERROR", f"{fields['hs_call_status']} was not one of the allowed options")
        if not fields.get("hs_timestamp", "0").isdecimal() or not fields.get("hs_call_duration", "0").isdecimal():
            raise fault(400, "VALIDATION_ERROR", "was not a valid long")
        if len(fields.get("hs_call_body", "")) > 65_536:
            raise fault(400, "VALIDATION_ERROR", "hs_call_body is longer than 65536")
        for name, unique in self.unique.items():
            if kind != "calls" or not unique or name not in fields:
                continue
            same = [own for own, row in self.objects["calls"].items() if row.get(name) == fields[name]]
            if same not in ([], [key]):
                raise fault(409, "CONFLICT", f"{name} {fields[name]} is already used by {same[0]}")
        return fields

    def _matches(self, kind: str, key: str, row: dict[str, Any], term: dict[str, Any]) -> bool:
        name, operator = term["propertyName"], term["operator"]
        known = PROPERTIES[kind] | {"hs_object_id"} | set(self.unique)
        if name not in known:
            raise fault(400, "VALIDATION_ERROR", f'There was a problem with the request: no property "{name}"')
        has = key if name == "hs_object_id" else str(row.get(name, ""))
        if name.startswith("hs_searchable_calculated_"):
            of = "mobilephone" if "mobile" in name else "phone"
            digits = "".join(filter(str.isdigit, row.get(of, "")))
            has = digits.removeprefix("1") if row.get(of, "").startswith("+1") else digits   # without the country
        match operator:
            case "EQ":
                return has == term["value"]
            case "IN":
                return has in term["values"]
            case "HAS_PROPERTY":
                return bool(has)
            case "GTE":
                return int(has or 0) >= int(term["value"])
            case "GT":
                return int(has or 0) > int(term["value"])
            case "LT":
                return int(has or 0) < int(term["value"])
        raise fault(400, "VALIDATION_ERROR", f"Unknown operator {operator}")

    def _store(self, kind: str, fields: dict[str, Any]) -> str:
        self._next += 1
        self.objects[kind][str(self._next)] = fields
        return str(self._next)

    def _shown(self, kind: str, key: str, names: list[str]) -> dict[str, Any]:
        """Times are told in ISO 8601; properties without a value are null."""
        row = self.objects[kind][key]
        shown = {name: row.get(name) for name in names} | {"hs_object_id": key}
        if shown.get("hs_timestamp"):
            at = datetime.fromtimestamp(int(shown["hs_timestamp"]) / 1000, UTC)
            shown["hs_timestamp"] = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"
        return {"id": key, "properties": shown, "archived": False}
