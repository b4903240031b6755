"""amoCRM's API v4 as far as its documentation says it: one-time refresh tokens, 204 for empty lists, notes that are
neither deleted nor searched by what they say, users and entities as whole numbers."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

CLIENT, SECRET, URI = "11111111-2222-3333-4444-555555555555", "integration-secret", "https://office.example.net/"
FIRST = "def502-first"
LONG_LIVED = "eyJ0-long-lived"
NEEDED = ("uniq", "duration", "source", "phone")
KINDS = ("contacts", "companies", "leads")


def fault(status: int, title: str, detail: str) -> Problem:
    return Problem(status, {"title": title, "type": f"https://httpstatus.es/{status}", "status": status,
                            "detail": detail})  # fmt: skip


class Fake(FakeCrm):
    kind = "amocrm"
    user = "8375357"
    page = 10          # 250 there; fewer here, because of the pace of requests
    subjects = False

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[int, dict[str, Any]]] = {"contacts": {}, "companies": {}}
        self.notes: dict[int, dict[str, Any]] = {}
        self.tokens = {LONG_LIVED}
        self.refresh = FIRST
        self.now = 1_795_400_000
        self._number = 400_000

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "api_key": FIRST, "client_id": CLIENT, "client_secret": SECRET,
            "redirect_uri": URI, "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"client_secret": "wrong-secret"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        return f"contacts/{self.add('contacts', name, *numbers)}"

    def add(self, kind: str, name: str, *numbers: str) -> int:
        values = [{"value": number, "enum_code": "WORK"} for number in numbers]
        fields = [{"field_code": "PHONE", "values": values}] if values else None
        return self._store(self.people[kind], {
            "name": name, "custom_fields_values": fields, "responsible_user_id": int(self.user),
            "_embedded": {"tags": [{"id": 1, "name": "VIP"}]},
        })  # fmt: skip

    def contact_numbers(self) -> list[str]:
        found = (row["custom_fields_values"] for row in self.people["contacts"].values())
        return [fields[0]["values"][0]["value"] for fields in found if fields]

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                f"{row['kind']}/{row['entity_id']}/{key}", params["uniq"],
                "outbound" if row["note_type"] == "call_out" else "inbound",
                bool(params.get("call_result") and params.get("call_status")), params.get("call_result", ""),
                None if self.people[row["kind"]][row["entity_id"]]["name"] == "Unknown callers"
                else f"{row['kind']}/{row['entity_id']}", str(row.get("responsible_user_id", "")), "",
            )
            for key, row in self.notes.items() if (params := row["params"])["uniq"]
        ]  # fmt: skip

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/oauth2/access_token", self.token, methods=["POST"]),
            Route("/api/v4/{kind}/notes", self.list_notes, methods=["GET"]),
            Route("/api/v4/{kind}/notes", self.add_notes, methods=["POST"]),
            Route("/api/v4/{kind}/notes/{note:int}", self.change_note, methods=["PATCH"]),
            Route("/api/v4/{kind}/{entity:int}/notes/{note:int}", self.read_note, methods=["GET"]),
            Route("/api/v4/{kind}", self.list_people, methods=["GET"]),
            Route("/api/v4/{kind}", self.add_people, methods=["POST"]),
        ]

    # -- requests

    async def token(self, request: Request) -> Response:
        asked = await request.json()
        if (asked.get("client_id"), asked.get("client_secret"), asked.get("redirect_uri")) != (CLIENT, SECRET, URI):
            raise Problem(401, {"hint": "Client authentication failed", "title": "Unauthorized", "status": 401})
        if asked.get("grant_type") != "refresh_token" or asked.get("refresh_token") != self.refresh:
            raise Problem(400, {"hint": "Token has been revoked", "title": "Invalid refresh token", "status": 400})
        access, self.refresh = self.name(), self.name()
        self.tokens.add(access)
        return JSONResponse({"token_type": "Bearer", "expires_in": 86400, "access_token": access,
                             "refresh_token": self.refresh})  # fmt: skip

    async def list_people(self, request: Request) -> Response:
        found = list(self._people(request).values())
        query, name = request.query_params.get("query"), request.query_params.get("filter[name][0]")
        if query is not None:
            found = [row for row in found if any(query in number for number in _digits(row))]
        if name is not None:
            found = [row for row in found if row["name"] == name]
        return self._listed(request, request.path_params["kind"], found)

    async def add_people(self, request: Request) -> Response:
        people, made = self._people(request), []
        for fields in await request.json():
            key = self._store(people, {"custom_fields_values": None, **fields})
            made.append({"id": key, "request_id": "0"})
        return JSONResponse({"_embedded": {request.path_params["kind"]: made}})

    async def list_notes(self, request: Request) -> Response:
        self._people(request)
        asked = request.query_params
        types = {value for key, value in asked.items() if key.startswith("filter[note_type]")}
        since = int(asked.get("filter[updated_at][from]", 0))
        found = [row for row in self.notes.values() if row["kind"] == request.path_params["kind"]
                 and row["note_type"] in types and row["updated_at"] >= since]  # fmt: skip
        return self._listed(request, "notes", found)

    async def add_notes(self, request: Request) -> Response:
        people, made = self._people(request), []
        for fields in await request.json():
            if fields.get("entity_id") not in people:
                raise fault(400, "Bad Request", "entity_id: This value is not valid.")
            if fields.get("note_type") not in ("call_in", "call_out"):
                raise fault(400, "Bad Request", "note_type: This value is not valid.")
            self._check_params(fields)
            row = {"created_at": self.now, **fields, "kind": request.path_params["kind"], "updated_at": self.now}
            made.append({"id": self._store(self.notes, row), "entity_id": fields["entity_id"], "request_id": "0"})
        return JSONResponse({"_embedded": {"notes": made}})

    async def read_note(self, request: Request) -> Response:
        row = self._note(request)
        if row["entity_id"] != request.path_params["entity"]:
            raise fault(404, "Not Found", "Note not found")
        return JSONResponse(row)

    async def change_note(self, request: Request) -> Response:
        row, fields = self._note(request), await request.json()
        if fields.get("entity_id") != row["entity_id"]:
            raise fault(400, "Bad Request", "entity_id: This value is not valid.")
        self._check_params(fields)
        row.update({**fields, "updated_at": self.now})
        return JSONResponse({"id": row["id"], "entity_id": row["entity_id"], "updated_at": row["updated_at"]})

    # -- what it checks

    def _people(self, request: Request) -> dict[int, dict[str, Any]]:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise fault(401, "Unauthorized", "Token is not valid")
        kind = request.path_params["kind"]
        if kind not in self.people:
            raise fault(404, "Not Found", f"There is no {kind}")
        return self.people[kind]

    def _note(self, request: Request) -> dict[str, Any]:
        self._people(request)
        row = self.notes.get(request.path_params["note"])
        if row is None or row["kind"] != request.path_params["kind"]:
            raise fault(404, "Not Found", "Note not found")
        return row

    def _check_params(self, fields: dict[str, Any]) -> None:
        params = fields.get("params", {})
        wrong = [name for name in NEEDED if name not in params]
        wrong += [name for name in ("duration", "call_status", "call_responsible")
                  if name in params and not isinstance(params[name], int)]  # fmt: skip
        if not isinstance(fields.get("responsible_user_id", 0), int):
            wrong.append("responsible_user_id")
        if params.get("call_status", 1) not in range(1, 9):
            wrong.append("call_status")
        if wrong:
            errors = [{"code": "NotBlank", "path": f"params.{wrong[0]}", "detail": "This value is not valid."}]
            raise Problem(400, {"validation-errors": [{"request_id": "0", "errors": errors}], "title": "Bad Request",
                                "status": 400, "detail": "Request validation failed"})  # fmt: skip

    def _listed(self, request: Request, key: str, found: list[dict[str, Any]]) -> Response:
        if not found:
            return Response(status_code=204)
        page, size = int(request.query_params.get("page", 1)), self.page
        if int(request.query_params.get("limit", 50)) > 250:
            raise fault(400, "Bad Request", "limit: This value should be 250 or less.")
        shown = sorted(found, key=lambda row: row["id"])[(page - 1) * size : page * size]
        links: dict[str, Any] = {"self": {"href": str(request.url)}}
        if page * size < len(found):
            links["next"] = {"href": str(request.url.include_query_params(page=page + 1))}
        return JSONResponse({"_page": page, "_links": links, "_embedded": {key: shown}}) if shown else Response(
            status_code=204)  # fmt: skip

    def _store(self, rows: dict[int, dict[str, Any]], fields: dict[str, Any]) -> int:
        self._number += 1
        rows[self._number] = {**fields, "id": self._number}
        return self._number


def _digits(row: dict[str, Any]) -> list[str]:
    fields = row["custom_fields_values"] or []
    return ["".join(filter(str.isdigit, value["value"])) for field in fields for value in field["values"]]
