"""Dataverse's Web API as far as its documentation says it: tokens, read-only completed calls, duplicate detection,
OData headers, limits of lengths, paging by links."""

from __future__ import annotations

import re
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

API = "/api/data/v9.2"
CLIENT, SECRET = "11111111-2222-3333-4444-555555555555", "client~secret"
LIMITS = {"subject": 200, "description": 2000, "phonenumber": 200, "subcategory": 250}
KEYS = {"contacts": "contactid", "accounts": "accountid", "leads": "leadid", "phonecalls": "activityid"}
FIELDS = frozenset({
    "activityid", "subject", "description", "phonenumber", "directioncode", "actualstart", "actualend",
    "actualdurationminutes", "scheduledstart", "scheduledend", "leftvoicemail", "prioritycode", "category",
    "subcategory", "regardingobjectid_contact_phonecall@odata.bind", "regardingobjectid_account_phonecall@odata.bind",
    "regardingobjectid_lead_phonecall@odata.bind", "ownerid@odata.bind", "phonecall_activity_parties", "statecode",
    "statuscode",
})  # fmt: skip
BIND = re.compile(r"/(contacts|accounts|leads|systemusers)\(([0-9a-f-]{36})\)\Z")
TERM = re.compile(r"(\w+) (eq|ge|lt) ('(?:[^']|'')*'|[0-9T:Z-]+)\Z")


def fault(status: int, code: str, message: str) -> Problem:
    return Problem(status, {"error": {"code": code, "message": message}})


class Fake(FakeCrm):
    kind = "dataverse"
    spellings = ("+12025550123", "12025550123", "2025550123", "+1 202-555-0123", "(202) 555-0123", "0012025550123")
    user = "0a0a0a0a-0000-4000-8000-000000000101"
    page = 25

    def __init__(self) -> None:
        super().__init__()
        self.sets: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in KEYS}
        self.tokens: set[str] = set()

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "tenant": f"{self.url}/tenant", "client_id": CLIENT,
            "client_secret": SECRET, "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"client_secret": "wrong-secret"}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        key = str(uuid.uuid4())
        fields = dict(zip(("telephone1", "mobilephone", "telephone2"), numbers, strict=False))
        self.sets["contacts"][key] = {"contactid": key, "fullname": name, "_ownerid_value": self.user, **fields}
        return f"contact/{key}"

    def contact_numbers(self) -> list[str]:
        found = self.sets["contacts"].values()
        return [row.get("mobilephone") or row["telephone1"] for row in found]

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                key, row["subcategory"].removeprefix("hookline:"), "outbound" if row["directioncode"] else "inbound",
                row["statecode"] == 1, row.get("description", ""), row.get("regarding"), row.get("owner", ""),
                row["subject"],
            )
            for key, row in self.sets["phonecalls"].items()
        ]  # fmt: skip

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/tenant/oauth2/v2.0/token", self.token, methods=["POST"]),
            Route(API + "/{set:str}({key})", self.read, methods=["GET"]),
            Route(API + "/{set:str}({key})", self.change, methods=["PATCH"]),
            Route(API + "/{set:str}({key})", self.delete, methods=["DELETE"]),
            Route(API + "/{set}", self.listing, methods=["GET"]),
            Route(API + "/{set}", self.create, methods=["POST"]),
        ]

    # -- requests

    async def token(self, request: Request) -> Response:
        form = await request.form()
        asked = (form.get("grant_type"), form.get("client_id"), form.get("scope"))
        if asked != ("client_credentials", CLIENT, f"{self.url}/.default"):
            raise Problem(400, {"error": "invalid_request", "error_description": "AADSTS900144"})
        if form.get("client_secret") != SECRET:
            raise Problem(401, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"})
        token = self.name()
        self.tokens.add(token)
        return JSONResponse({"token_type": "Bearer", "expires_in": 3599, "access_token": token})

    async def listing(self, request: Request) -> Response:
        rows = self._set(request)
        found = [row for row in rows.values() if _matches(row, request.query_params["$filter"])]
        select = request.query_params["$select"].split(",")
        start = int(request.query_params.get("$skiptoken", 0))
        size = self.page if "maxpagesize" in request.headers.get("prefer", "") else 5000
        page = found[start : start + size]
        body: dict[str, Any] = {"value": [{key: row[key] for key in select if key in row} for row in page]}
        if start + size < len(found):
            body["@odata.nextLink"] = str(request.url.include_query_params(**{"$skiptoken": str(start + size)}))
        return JSONResponse(body)

    async def create(self, request: Request) -> Response:
        rows, name = self._set(request), request.path_params["set"]
        fields = await request.json()
        key = fields.setdefault(KEYS[name], str(uuid.uuid4()))
        if key in rows:
            raise fault(412, "0x80040237", "A record with matching key values already exists.")
        if name == "contacts":
            detects = request.headers.get("mscrm.suppressduplicatedetection") == "false"
            if detects and any(row.get("mobilephone") == fields["mobilephone"] for row in rows.values()):
                raise fault(412, "0x80040333", "A record was not created or updated because a duplicate was found.")
            fields["fullname"] = fields["lastname"]
        else:
            if "statecode" in fields or "statuscode" in fields:
                raise fault(400, "0x80048408", "statecode is not valid for create")
            fields = self._checked({}, fields) | {"statecode": 0, "statuscode": 1}
        rows[key] = fields
        if request.headers.get("prefer") == "return=representation":
            return JSONResponse(fields, 201)
        return Response(status_code=204, headers={"odata-entityid": f"{request.url}({key})"})

    async def read(self, request: Request) -> Response:
        return JSONResponse(self._row(request))

    async def change(self, request: Request) -> Response:
        fields = await request.json()
        rows, key = self._set(request), request.path_params["key"]
        if key not in rows and request.headers.get("if-match") != "*":
            rows[key] = {"statecode": 0}      # an upsert that nobody wanted
        row = self._row(request)
        if row["statecode"] != 0:
            raise fault(400, "0x80040203", "This activity is read-only because it is completed or cancelled.")
        if fields.get("statecode") == 1 and fields.get("statuscode") not in (2, 4):
            raise fault(400, "0x80048408", "is not a valid status code for state code Completed")
        row.update(self._checked(row, fields))
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        self._row(request)
        del self._set(request)[request.path_params["key"]]
        return Response(status_code=204)

    # -- what it checks

    def _set(self, request: Request) -> dict[str, dict[str, Any]]:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise fault(401, "0x80040211", "The token is not valid any more.")
        if request.headers.get("odata-version") != "4.0":
            raise fault(400, "0x0", "OData-Version is missing")
        if request.path_params["set"] not in self.sets:
            raise fault(404, "0x8006088a", f"Resource not found for the segment {request.path_params['set']}")
        return self.sets[request.path_params["set"]]

    def _row(self, request: Request) -> dict[str, Any]:
        row = self._set(request).get(request.path_params["key"])
        if row is None:
            raise fault(404, "0x80040217", "phonecall With Id = ... Does Not Exist")
        return row

    def _checked(self, old: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
        if unknown := fields.keys() - FIELDS:
            raise fault(400, "0x80048d19", f"Could not find a property named {sorted(unknown)[0]}")
        for name, limit in LIMITS.items():
            if len(fields.get(name) or "") > limit:
                raise fault(400, "0x80044331", f"The length of {name} exceeded its maximum of {limit}")
        stored = {name: value for name, value in fields.items() if "@" not in name}
        for name, value in fields.items():
            if name.endswith("@odata.bind"):
                bound = BIND.match(value)
                if bound is None:
                    raise fault(400, "0x80048d19", f"{value} is no reference")
                if bound[1] == "systemusers":
                    stored["owner"] = bound[2]
                elif bound[2] not in self.sets[bound[1]]:
                    raise fault(404, "0x80040217", f"{bound[1]} With Id = {bound[2]} Does Not Exist")
                else:
                    stored["regarding"] = f"{bound[1].removesuffix('s')}/{bound[2]}"
        parties = fields.get("phonecall_activity_parties", [])
        if parties and old:
            raise fault(400, "0x80048d19", "Deep update of phonecall_activity_parties is not supported")
        if any(party.get("participationtypemask") not in range(1, 12) for party in parties):
            raise fault(400, "0x80044183", "participationtypemask is missing")
        return stored


def _matches(row: dict[str, Any], where: str) -> bool:
    """Of OData's filters, what is asked: terms joined by `or`, or by `and`."""
    if " or " in where:
        return any(_term(row, term) for term in where.split(" or "))
    return all(_term(row, term) for term in where.split(" and "))


def _term(row: dict[str, Any], term: str) -> bool:
    if begins := re.fullmatch(r"startswith\((\w+),'(.*)'\)", term):
        return str(row.get(begins[1], "")).startswith(begins[2])
    found = TERM.match(term)
    if found is None:
        raise fault(400, "0x80060888", f"Syntax error in {term}")
    name, operator, value = found.groups()
    has, value = str(row.get(name, "")), value.strip("'").replace("''", "'")
    return {"eq": has == value, "ge": has >= value, "lt": has < value}[operator]
