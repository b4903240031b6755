"""CRMs with 3CX templates: that of `threecx.xml` has JSON and a sign-in, that of `threecx_xml.xml` XML and a key."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from crmhooks.connector import Ability
from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

TEMPLATE = Path(__file__).with_suffix(".xml")
SECRET = "three-secret&key"
FIELDS = {"id", "type", "subject", "number", "contact", "user", "started", "seconds", "note"}
TYPES = {"Inbound": "inbound", "Missed": "inbound", "Outbound": "outbound", "Notanswered": "outbound"}


class Fake(FakeCrm):
    kind = "3cx"
    template = TEMPLATE
    cannot: frozenset[Ability] = frozenset(("follow", "revise", "list", "remove"))
    yes_says_nothing = True

    def __init__(self) -> None:
        super().__init__()
        self.people: dict[str, dict[str, Any]] = {}
        self.reports: dict[str, dict[str, Any]] = {}
        self.tokens: set[str] = set()
        self.keys: list[str] = []        # Idempotency-Key of every report

    def settings(self) -> dict[str, Any]:
        return self._settings(SECRET)

    def wrong_credentials(self) -> dict[str, Any]:
        return self._settings("wrong-secret")

    def _settings(self, secret: str) -> dict[str, Any]:
        return {
            "kind": self.kind, "template": str(self.template), "users": [f"101={self.user}"],
            "parameters": {"URL": self.url, "ClientSecret": secret},
        }  # fmt: skip

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        first, _, last = name.partition(" ")
        kinds = ("Work", "Mobile", "Home")
        phones = [{"type": kind, "number": number} for kind, number in zip(kinds, numbers, strict=False)]
        return self._named(self._person({"first": first, "last": last, "company": company, "phones": phones}))

    def _named(self, key: str) -> str:
        return f"Person/{key}"

    def contact_numbers(self) -> list[str]:
        return [row["phones"][0]["number"] for row in self.people.values()]

    def calls(self) -> list[FakeCall]:
        return [
            FakeCall(
                key, key, TYPES[row["type"]], True, row["note"], row.get("contact"), row.get("user", ""),
                row.get("subject", ""),
            )
            for key, row in self.reports.items()
        ]  # fmt: skip

    def expire_tokens(self) -> None:
        self.tokens.clear()

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/oauth/token", self.token, methods=["POST"]),
            Route("/contacts", self.search, methods=["GET"]),
            Route("/contacts", self.create, methods=["POST"]),
            Route("/contacts/{id}", self.show, methods=["GET"]),
            Route("/calls", self.report, methods=["POST"]),
        ]

    async def token(self, request: Request) -> Response:
        asked = dict((await request.form()).items())
        if asked != {"grant_type": "client_credentials", "client_id": "hookline", "client_secret": SECRET}:
            raise Problem(400, {"error": "invalid_client"})
        token = self.name()
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer"})

    async def search(self, request: Request) -> Response:
        self._check(request)
        wanted = _digits(request.query_params["phone"])[-10:]
        if not request.query_params["phone"].startswith("+"):
            raise Problem(400, {"error": {"message": "A number begins with +"}})
        return JSONResponse({"contacts": self._having(wanted)})

    async def create(self, request: Request) -> Response:
        self._check(request)
        person = (await request.json())["person"]
        if not person.keys() <= {"first", "last", "phones"} or "" in person.values():
            raise Problem(422, {"message": "What is empty is left out"})
        return JSONResponse({"id": self._person({"first": "", "company": "", **person})}, 201)

    async def show(self, request: Request) -> Response:
        self._check(request)
        person = self.people.get(request.path_params["id"])
        if person is None:
            raise Problem(404, {"message": "There is nobody"})
        return JSONResponse({"contact": person})

    async def report(self, request: Request) -> Response:
        self._check(request)
        told = await request.json()
        if unknown := told.keys() - FIELDS:
            raise Problem(422, {"message": f"There is no {sorted(unknown)[0]}"})
        if not isinstance(told["seconds"], int):
            raise Problem(422, {"message": "seconds is a number"})
        datetime.strptime(told["started"], "%Y-%m-%dT%H:%M:%SZ")
        self._store(request, told)
        return JSONResponse({"ok": True})

    def _store(self, request: Request, told: dict[str, Any]) -> None:
        """A call that is told twice is the same call."""
        self.keys.append(request.headers["idempotency-key"])
        self.reports[told["id"]] = told

    def _check(self, request: Request) -> None:
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Problem(401, {"message": "Sign in first"})

    def _having(self, digits: str) -> list[dict[str, Any]]:
        return [
            row for row in self.people.values() if any(_digits(one["number"]).endswith(digits) for one in row["phones"])
        ]

    def _person(self, fields: dict[str, Any]) -> str:
        key = self.name()
        self.people[key] = {"id": key, **fields}
        return key


class Xml(Fake):
    """One that takes no contacts."""

    template = TEMPLATE.with_name("threecx_xml.xml")
    cannot: frozenset[Ability] = Fake.cannot | {"create"}
    subjects = False

    def _settings(self, secret: str) -> dict[str, Any]:
        return super()._settings(secret) | {"parameters": {"Server": self.url, "Key": secret}}

    def _named(self, key: str) -> str:
        return f"@/{self.url}/people/{key}"

    async def search(self, request: Request) -> Response:
        self._check(request)
        if len(request.query_params["phone"]) != 10:
            raise Problem(400, {"message": "Ten digits"})
        return _xml(f"<contacts>{''.join(map(_contact, self._having(request.query_params['phone'])))}</contacts>")

    async def report(self, request: Request) -> Response:
        self._check(request)
        if request.headers["content-type"] != "application/xml":
            raise Problem(415, {"message": "XML"})
        root = ElementTree.fromstring(await request.body())  # noqa: S314 - our own connector wrote it
        told = dict(root.attrib) | {child.tag: child.text or "" for child in root}
        int(told["seconds"])
        self._store(request, {name: value for name, value in told.items() if value} | {"note": told["note"]})
        return _xml("<ok/>")

    def _check(self, request: Request) -> None:
        pair = base64.b64encode(f"token:{SECRET}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {pair}":
            raise Problem(401, {"message": "Who are you?"})


FAKES = (Fake, Xml)


def _contact(row: dict[str, Any]) -> str:
    name = "".join(sign for sign in f"{row['first']} {row['last']}" if sign.isprintable() or sign in "\r\n")
    phones = "".join(f"<phone type='{one['type']}'><number>{one['number']}</number></phone>" for one in row["phones"])
    return f"<contact id='{row['id']}'><name>{escape(name)}</name>{phones}</contact>"


def _xml(text: str) -> Response:
    return Response(f'<?xml version="1.0" encoding="utf-8"?>{text}', media_type="application/xml")


def _digits(text: str) -> str:
    return "".join(sign for sign in text if sign.isdigit())
