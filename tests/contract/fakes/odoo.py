"""Odoo as far as its documentation and its source say it: models by JSON-2 or by execute_kw, domains, unknown fields
and records refused, activities that turn into messages when they are done."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from tests.contract.fakes.base import FakeCall, FakeCrm, Problem

KEY = "d4b3f0c2a1e89756d4b3f0c2a1e89756d4b3f0c2"
DATABASE, USERNAME, USER_ID = "office", "hookline", 2
NOW = "2027-01-31 12:00:00"
PARTNER_MODEL, PHONE_TYPE = 91, 4
STATUS = {"MissingError": 404, "AccessDenied": 401, "AccessError": 403, "NotFound": 404}
FIELDS: dict[str, set[str]] = {
    "res.partner": {"name", "phone", "mobile", "email", "parent_id", "user_id", "comment", "ref", "is_company",
                    "phone_mobile_search"},
    "mail.activity": {"summary", "note", "date_deadline", "user_id", "res_model_id", "res_id", "activity_type_id",
                      "active"},
    "mail.message": {"body", "model", "res_id"},
    "mail.activity.type": {"name", "category"},
    "ir.model": {"name", "model"},
    "crm.phonecall": {"name", "date", "duration", "partner_phone", "direction", "description", "partner_id", "user_id",
                      "state", "x_call"},
}  # fmt: skip
MANY2ONE = {"parent_id", "user_id", "partner_id"}
SELECTIONS = {"state": {"open", "cancel", "pending", "done"}, "direction": {"in", "out"}}
NEEDED = {
    "res.partner": {"name"}, "mail.activity": {"res_model_id", "res_id"}, "crm.phonecall": {"name", "direction"},
}  # fmt: skip


class OdooError(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name if "." in name else f"odoo.exceptions.{name}"


class Fake(FakeCrm):
    """Odoo 19: JSON-2, done activities are archived."""

    kind = "odoo"
    user = "7"
    phonecalls: ClassVar[bool] = False
    archives: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.fields = {model: {"id", "create_date", *names} for model, names in FIELDS.items()}
        if not self.phonecalls:
            del self.fields["crm.phonecall"]
        if not self.archives:
            self.fields["mail.activity"].remove("active")
        self.tables: dict[str, dict[int, dict[str, Any]]] = {model: {} for model in self.fields}
        self.tables["ir.model"][PARTNER_MODEL] = {"id": PARTNER_MODEL, "model": "res.partner"}
        self.tables["mail.activity.type"][PHONE_TYPE] = {"id": PHONE_TYPE, "category": "phonecall"}
        self._next = 100

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "api_key": KEY, "database": DATABASE, "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"api_key": "wrong-" + KEY}

    def add_contact(self, name: str, *numbers: str, company: str = "") -> str:
        row = {"name": name, "user_id": int(self.user), **dict(zip(("phone", "mobile"), numbers, strict=False))}
        if company:
            row["parent_id"] = self._store("res.partner", {"name": company})
        return str(self._store("res.partner", row))

    def contact_numbers(self) -> list[str]:
        return [row["phone"] for row in self.tables["res.partner"].values() if row.get("phone")]

    def calls(self) -> list[FakeCall]:
        if self.phonecalls:
            return [self._phonecall(row) for row in self.tables["crm.phonecall"].values()]
        messages = list(self.tables["mail.message"].values())
        done = [self._activity(row, f"m{row['id']}", row["body"]) for row in messages]
        archived = [row for row in self.tables["mail.activity"].values() if row.get("active") is False]
        assert len(done) == len(archived) or not self.archives
        still = [row for row in self.tables["mail.activity"].values() if row.get("active") is not False]
        return done + [self._activity(row, str(row["id"]), row["note"]) for row in still]

    def routes(self) -> list[BaseRoute]:
        return [Route("/json/2/{model}/{method}", self.json2, methods=["POST"])]

    # -- the two ways in

    async def json2(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"bearer {KEY}":
            raise Problem(401, {"name": "werkzeug.exceptions.Unauthorized", "message": "Invalid apikey"})
        if request.headers.get("x-odoo-database") != DATABASE:
            raise Problem(404, {"name": "werkzeug.exceptions.NotFound", "message": "Not Found"})
        named = await request.json()
        ids = named.pop("ids", None)
        try:
            return JSONResponse(self.call(request.path_params["model"], request.path_params["method"], ids, named))
        except OdooError as error:
            status = STATUS.get(error.name.rpartition(".")[2], 422)
            raise Problem(status, {"name": error.name, "message": str(error), "arguments": [], "debug": ""}) from None

    async def jsonrpc(self, request: Request) -> Response:
        asked = await request.json()
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        params = asked["params"]
        args = params["args"]
        try:
            if params["service"] == "common":
                answer["result"] = USER_ID if args == [DATABASE, USERNAME, KEY] else False
            else:
                answer["result"] = self._execute_kw(*args)
        except OdooError as error:
            data = {"name": error.name, "message": str(error), "arguments": [], "context": {}, "debug": ""}
            answer["error"] = {"code": 200, "message": "Odoo Server Error", "data": data}
        return JSONResponse(answer)

    def _execute_kw(self, *args: Any) -> Any:
        database, user, password, model, method, plain, named = args
        if [database, user, password] != [DATABASE, USER_ID, KEY]:
            raise OdooError("AccessDenied", "Access Denied")
        if method == "create":
            [rows] = plain
            return self.call(model, method, None, {"vals_list": rows} | named)
        return self.call(model, method, plain[0] if plain else None, named)

    # -- its models

    def call(self, model: str, method: str, ids: list[int] | None, named: dict[str, Any]) -> Any:
        if model not in self.tables:
            raise OdooError("werkzeug.exceptions.NotFound", f"the model '{model}' does not exist")
        match method:
            case "fields_get":
                return {name: {"type": "char"} for name in self.fields[model]}
            case "search_read":
                return self._search_read(model, **named)
            case "create":
                return [self._create(model, row) for row in named["vals_list"]]
            case "write":
                self._check(model, named["vals"])
                for row in self._browse(model, ids):
                    row.update(named["vals"])
                return True
            case "unlink":
                for row in self._browse(model, ids):
                    del self.tables[model][row["id"]]
                return True
            case "action_feedback" if model == "mail.activity":
                return next(self._feedback(row, **named) for row in self._browse(model, ids))
        raise OdooError("werkzeug.exceptions.NotFound", f"{model} has no {method}")

    def _create(self, model: str, row: dict[str, Any]) -> int:
        self._check(model, row)
        if missing := {name for name in NEEDED[model] if not row.get(name)}:
            raise OdooError("ValidationError", f"Missing required value for the field {min(missing)}")
        if model == "mail.activity":
            assert (row["res_model_id"], row["activity_type_id"]) == (PARTNER_MODEL, PHONE_TYPE)
            row = {"user_id": USER_ID, **row} | ({"active": True} if self.archives else {})
        return self._store(model, row)

    def _check(self, model: str, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name not in self.fields[model]:
                raise OdooError("builtins.ValueError", f"Invalid field '{name}' on model '{model}'")
            if name in MANY2ONE and type(value) is not int:
                raise OdooError("builtins.TypeError", f"{name} takes an id")
            if name in SELECTIONS and value not in SELECTIONS[name]:
                raise OdooError("builtins.ValueError", f"Wrong value for {model}.{name}: {value!r}")
        if "res_id" in row and row["res_id"] not in self.tables["res.partner"]:
            raise OdooError("MissingError", "Record does not exist or has been deleted.")

    def _browse(self, model: str, ids: list[int] | None) -> list[dict[str, Any]]:
        table = self.tables[model]
        if not ids or any(key not in table for key in ids):
            raise OdooError("MissingError", "Record does not exist or has been deleted.")
        return [table[key] for key in ids]

    def _feedback(self, row: dict[str, Any], feedback: str) -> int:
        assert row.get("active") is not False, "it is done already: that would be a second message"
        said = "<br>".join(map(escape, feedback.split("\n")))
        body = f"<p><span>Call</span> done</p><p>Feedback: {said}</p><div>Original note:</div>{row['note']}"
        message = {"body": body, "model": "res.partner", "res_id": row["res_id"]}
        made = self._store("mail.message", message | {"user": row["user_id"], "subject": row["summary"]})
        if self.archives:
            row["active"] = False
        else:
            del self.tables["mail.activity"][row["id"]]
        return made

    def _search_read(
        self, model: str, domain: list[Any], fields: list[str], offset: int = 0, limit: int = 0, order: str = "id",
        context: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        assert order == "id"
        self._check(model, dict.fromkeys(set(fields) - MANY2ONE - SELECTIONS.keys() - {"res_id"}))
        hidden = (context or {}).get("active_test", True)
        rows = [row for row in self.tables[model].values() if not (hidden and row.get("active") is False)]
        chosen = [row for row in rows if self._fits(model, row, domain)][offset:]
        shown = chosen[:limit] if limit else chosen
        return [{"id": row["id"], **{name: self._shown(row, name) for name in fields}} for row in shown]

    def _shown(self, row: dict[str, Any], name: str) -> Any:
        value = row.get(name, False)
        if name not in MANY2ONE or value is False:
            return value
        partner = self.tables["res.partner"].get(value, {})
        return [value, partner.get("name", "Somebody")]

    def _fits(self, model: str, row: dict[str, Any], domain: list[Any]) -> bool:
        """A domain is in Polish notation; terms that nothing joins must all be true."""
        stack: list[bool] = []
        for term in reversed(domain):
            stack.append(stack.pop() | stack.pop() if term == "|" else self._is(model, row, *term))
        return all(stack)

    def _is(self, model: str, row: dict[str, Any], name: str, operator: str, value: Any) -> bool:
        if name not in self.fields[model]:
            raise OdooError("builtins.ValueError", f"Invalid field {model}.{name} in leaf")
        if name == "phone_mobile_search":
            assert operator == "="
            return any(_same(row.get(field) or "", value) for field in ("phone", "mobile"))
        has = row.get(name, False)
        match operator:
            case "=":
                return bool(has == value)
            case "in":
                return has in value
            case "like":
                return value in (has or "")
            case ">=":
                return bool(has >= value)
            case "<":
                return bool(has < value)
        raise OdooError("builtins.ValueError", f"Invalid operator {operator!r}")

    def _store(self, model: str, row: dict[str, Any]) -> int:
        self._next += 1
        self.tables[model][self._next] = {**row, "id": self._next, "create_date": NOW}
        return self._next

    def _partner(self, key: int) -> str | None:
        return None if self.tables["res.partner"][key].get("ref") else str(key)

    def _activity(self, row: dict[str, Any], own: str, note: str) -> FakeCall:
        external_id = note.rpartition("hookline:")[2].split()[0]
        feedback = re.search(r"<p>Feedback: (.*?)</p>", note)
        return FakeCall(
            f"{own}/{external_id}", external_id, "outbound" if "<p>To " in note else "inbound", feedback is not None,
            unescape(feedback[1].replace("<br>", "\n")) if feedback else "", self._partner(row["res_id"]),
            str(row.get("user_id") or row["user"]), row.get("summary") or row["subject"],
        )  # fmt: skip

    def _phonecall(self, row: dict[str, Any]) -> FakeCall:
        summary, _, external_id = row["description"].rpartition("hookline:")
        contact = str(row["partner_id"]) if row.get("partner_id") else None
        return FakeCall(
            str(row["id"]), external_id, {"in": "inbound", "out": "outbound"}[row["direction"]], row["state"] == "done",
            summary.strip(), contact, str(row.get("user_id", USER_ID)), row["name"],
        )  # fmt: skip


class Older(Fake):
    """Odoo 16: execute_kw, done activities are deleted."""

    archives = False

    def settings(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "url": self.url, "database": DATABASE, "username": USERNAME, "password": KEY,
            "users": [f"101={self.user}"],
        }  # fmt: skip

    def wrong_credentials(self) -> dict[str, Any]:
        return self.settings() | {"password": "wrong-" + KEY}

    def routes(self) -> list[BaseRoute]:
        return [Route("/jsonrpc", self.jsonrpc, methods=["POST"])]


class WithPhonecalls(Older):
    """The same with the module crm_phonecall."""

    phonecalls = True


FAKES = (Fake, Older, WithPhonecalls)


def _same(stored: str, wanted: str) -> bool:
    """Of phone_validation: blanks, dots, brackets and dashes do not count, and 00 is a plus."""
    has, value = (re.sub(r"[\s\\./()\-]", "", number) for number in (stored, wanted))
    assert len(value) >= 3
    return bool(has) and re.sub(r"^00", "+", has) == re.sub(r"^00", "+", value)
