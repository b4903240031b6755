"""Salesforce's REST API as far as its documentation says it: client credentials, SOSL whose index comes later (`lag`,
off unless told), the SOQL that is asked, upserts by an external id, lists of errors, the limit of requests a day."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

API = "/services/data/v62.0"
CLIENT, SECRET = "3MVG9client", "client-secret"
PREFIXES = {"Contact": "003", "Lead": "00Q", "Account": "001", "Task": "00T"}
PHONES = ("Phone", "MobilePhone", "HomePhone", "OtherPhone")
FIELDS = frozenset({"Subject", "Status", "Priority", "ActivityDate", "WhoId", "WhatId", "OwnerId", "TaskSubtype",
                    "CallType", "CallDurationInSeconds", "CallDisposition", "CallObject", "Description"})  # fmt: skip
LIMITS = {"Subject": 255, "CallDisposition": 255, "CallObject": 255, "Description": 32_000}
TERM = re.compile(r"(\w+) (=|>=|<=|LIKE) ('(?:[^'\\]|\\.)*'|[0-9-]{10})\Z")


def fault(status: int, code: str, message: str) -> Problem:
    return Problem(status, [{"errorCode": code, "message": message}])


class Fake(FakeCrm):
    kind = "salesforce"
    spellings = ("+12025550123", "12025550123", "2025550123", "+1 202-555-0123", "(202) 555-0123", "202.555.0123")
    user = "005000000000101AAA"
    page = 30

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in PREFIXES}
        self.tokens: set[str] = set()
        self.unindexed: set[str] = set()
        self.lag = False
        self.external_id = ""         # a field of Task
        self.refuses: tuple[int, str] | None = None
        self.cursors: dict[str, list[dict[str, Any]]] = {}

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "client_id": CLIENT, "client_secret": SECRET,
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"client_secret": "wrong-secret"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        fields: dict[str, Any] = dict(zip(PHONES, numbers, strict=False))
        fields |= {"Name": name, "OwnerId": self.user, "Account": {"Name": company} if company else None}
        return f"Contact/{self._store('Contact', fields)}"

    def contact_numbers(self) -> list[str]:
        return [row["Phone"] for row in self.records["Contact"].values()]

    def calls(self) -> list[FakeCall]:
        found = []
        for key, row in self.records["Task"].items():
            assert row["TaskSubtype"] == "Call"
            external_id = row["CallObject"].removeprefix("hookline:").rpartition("@")[0]
            contact = f"Contact/{row['WhoId']}" if row.get("WhoId") else None
            found.append(
                FakeCall(
                    key, external_id, row["CallType"].lower(), row["Status"] == "Completed", row.get("Description", ""),
                    contact, row.get("OwnerId", ""), row["Subject"],
                )
            )  # fmt: skip
        return found

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/services/oauth2/token", self.token, methods=["POST"]),
            Route(API + "/search", self.search, methods=["GET"]),
            Route(API + "/query", self.query, methods=["GET"]),
            Route(API + "/query/{cursor}", self.more, methods=["GET"]),
            Route(API + "/sobjects/{kind}", self.create, methods=["POST"]),
            Route(API + "/sobjects/{kind}/{id}", self.change, methods=["PATCH"]),
            Route(API + "/sobjects/{kind}/{id}", self.delete, methods=["DELETE"]),
            Route(API + "/sobjects/{kind}/{field}/{value}", self.upsert, methods=["PATCH"]),
        ]

    # -- requests

    async def token(self, request: Request) -> Response:
        form = await request.form()
        if form.get("grant_type") != "client_credentials":
            raise Problem(400, {"error": "unsupported_grant_type", "error_description": "grant type not supported"})
        if (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET):
            raise Problem(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        token = self.name()
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "instance_url": self.url, "token_type": "Bearer"})

    async def search(self, request: Request) -> Response:
        self._check(request)
        asked = re.fullmatch(r"FIND \{(.+)\} IN PHONE FIELDS RETURNING (.+) LIMIT 50", request.query_params["q"])
        if asked is None:
            raise fault(400, "MALFORMED_SEARCH", "unexpected token")
        terms = asked[1].split(" OR ")
        if any(re.fullmatch(r'"[0-9 ]+"', term) is None for term in terms):
            raise fault(400, "MALFORMED_SEARCH", "reserved characters must be escaped")
        words = {"".join(filter(str.isdigit, term)) for term in terms}
        found = []
        for kind, fields in re.findall(r"(\w+)\(([^()]+?)(?: WHERE IsConverted = false)?\)", asked[2]):
            for key, row in self.records[kind].items():
                digits = {"".join(filter(str.isdigit, row.get(name) or "")) for name in PHONES}
                if digits & words and key not in self.unindexed:
                    found.append(self._shown(kind, key, fields.split(", ")))
        return JSONResponse({"searchRecords": found})

    async def query(self, request: Request) -> Response:
        self._check(request)
        soql = re.fullmatch(
            r"SELECT (.+?) FROM (\w+) WHERE (.+?)(?: ORDER BY CreatedDate ASC, Id ASC| LIMIT 50)",
            request.query_params["q"],
        )
        if soql is None:
            raise fault(400, "MALFORMED_QUERY", "unexpected token")
        fields, kind, where = soql[1].split(", "), soql[2], soql[3]
        found = [
            self._shown(kind, key, fields) for key, row in self.records[kind].items() if self._matches(row, where)
        ]
        return self._page(found, len(found))

    async def more(self, request: Request) -> Response:
        self._check(request)
        rest = self.cursors.pop(request.path_params["cursor"])
        return self._page(rest, len(rest))

    async def create(self, request: Request) -> Response:
        self._check(request)
        kind, fields = request.path_params["kind"], await request.json()
        key = self._create(kind, fields)
        return JSONResponse({"id": key, "success": True, "errors": []}, 201)

    async def upsert(self, request: Request) -> Response:
        self._check(request)
        kind, field, value = (request.path_params[name] for name in ("kind", "field", "value"))
        if not self.external_id or field != self.external_id:
            raise fault(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
        fields = await request.json()
        if field in fields:
            raise fault(400, "INVALID_FIELD", "the external id must not be in the body")
        same = [key for key, row in self.records[kind].items() if row.get(field) == value]
        if same:
            self.records[kind][same[0]].update(self._checked(fields))
            return JSONResponse({"id": same[0], "success": True, "errors": [], "created": False})
        key = self._create(kind, fields)
        self.records[kind][key][field] = value
        return JSONResponse({"id": key, "success": True, "errors": [], "created": True}, 201)

    async def change(self, request: Request) -> Response:
        self._check(request)
        row = self._row(request)
        fields = await request.json()
        if "TaskSubtype" in fields:
            raise fault(400, "INVALID_FIELD_FOR_INSERT_UPDATE", "Unable to update fields: TaskSubtype")
        row.update(self._checked(fields))
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        self._check(request)
        self._row(request)
        del self.records[request.path_params["kind"]][request.path_params["id"]]
        return Response(status_code=204)

    # -- what it checks

    def _check(self, request: Request) -> None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise fault(401, "INVALID_SESSION_ID", "Session expired or invalid")
        if self.refuses is not None:
            raise fault(*self.refuses, "not now")
        if request.path_params.get("kind", "Task") not in self.records:
            raise fault(404, "NOT_FOUND", "The requested resource does not exist")

    def _row(self, request: Request) -> dict[str, Any]:
        row = self.records[request.path_params["kind"]].get(request.path_params["id"])
        if row is None:
            raise fault(404, "ENTITY_IS_DELETED", "entity is deleted")
        return row

    def _create(self, kind: str, fields: dict[str, Any]) -> str:
        if kind == "Contact":
            if not fields.get("LastName"):
                raise fault(400, "REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]")
            return self._store(kind, fields | {"Name": fields["LastName"]})
        return self._store(kind, self._checked(fields))

    def _checked(self, fields: dict[str, Any]) -> dict[str, Any]:
        if unknown := fields.keys() - FIELDS:
            raise fault(400, "INVALID_FIELD", f"No such column '{sorted(unknown)[0]}' on sobject of type Task")
        for name, limit in LIMITS.items():
            if len(fields.get(name) or "") > limit:
                raise fault(400, "STRING_TOO_LONG", f"{name}: data value too large")
        if fields.get("CallType", "Inbound") not in ("Inbound", "Outbound", "Internal"):
            raise fault(400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "Call Type: bad value")
        for name, kinds in (("WhoId", ("Contact", "Lead")), ("WhatId", ("Account",))):
            if name in fields and not any(fields[name] in self.records[kind] for kind in kinds):
                raise fault(400, "MALFORMED_ID", f"{name}: id value of incorrect type: {fields[name]}")
        return fields

    def _matches(self, row: dict[str, Any], where: str) -> bool:
        for term in where.split(" AND "):
            found = TERM.match(term)
            if found is None or (found[1] not in FIELDS | set(PHONES) and found[1] != self.external_id):
                raise fault(400, "INVALID_FIELD", f"No such column in {term}")
            name, operator, literal = found.groups()
            has = str(row.get(name) or "")
            if operator == "LIKE":
                parts = re.findall(r"\\.|.", literal[1:-1])
                pattern = "".join({"%": ".*", "_": "."}.get(part) or re.escape(part[-1]) for part in parts)
                true = re.fullmatch(pattern, has, re.IGNORECASE) is not None
            else:
                value = re.sub(r"\\(.)", r"\1", literal.strip("'"))
                true = {"=": has.lower() == value.lower(), ">=": has >= value, "<=": has <= value}[operator]
            if not true:
                return False
        return True

    def _page(self, found: list[dict[str, Any]], total: int) -> Response:
        body: dict[str, Any] = {"totalSize": total, "done": len(found) <= self.page, "records": found[: self.page]}
        if not body["done"]:
            cursor = self.name()
            self.cursors[cursor] = found[self.page :]
            body["nextRecordsUrl"] = f"{API}/query/{cursor}"
        return JSONResponse(body)

    def _store(self, kind: str, fields: dict[str, Any]) -> str:
        self._names += 1
        key = f"{PREFIXES[kind]}{self._names:012d}AAA"
        self.records[kind][key] = fields
        if self.lag:
            self.unindexed.add(key)
        return key

    def _shown(self, kind: str, key: str, fields: list[str]) -> dict[str, Any]:
        row = self.records[kind][key] | {"Id": key}
        shown = {name.partition(".")[0]: row.get(name.partition(".")[0]) for name in fields}
        return {"attributes": {"type": kind, "url": f"{API}/sobjects/{kind}/{key}"}, **shown}
