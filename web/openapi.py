"""The OpenAPI 3.1 document of /api/v1, made from the doors' own dataclasses and the table below."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from pbxcore.control import (
    ActivityEntry,
    ContactEntry,
    Duplicate,
    ExtensionState,
    ImportReport,
    Instruction,
    OutboxEntry,
    RuleEntry,
    ScheduledCall,
    Trace,
    TrunkState,
)
from pbxcore.hooks import CallSnapshot, ExplainStep
from web.bodies import (
    ActivityIn,
    AgentStateIn,
    CallIn,
    ContactIn,
    InstructionIn,
    MergeIn,
    RulesIn,
    ScheduledCallIn,
    SummaryIn,
    TransferIn,
)

VERSION = "1"
NAMED: dict[str, Any] = {
    "Call": CallSnapshot,
    "ExplainStep": ExplainStep,
    "Contact": ContactEntry,
    "Activity": ActivityEntry,
    "Instruction": Instruction,
    "Extension": ExtensionState,
    "Trunk": TrunkState,
    "Trace": Trace,
    "OutboxEntry": OutboxEntry,
    "Rule": RuleEntry,
    "AgentStateIn": AgentStateIn,
    "RulesIn": RulesIn,
    "ContactIn": ContactIn,
    "ActivityIn": ActivityIn,
    "InstructionIn": InstructionIn,
    "MergeIn": MergeIn,
    "ScheduledCall": ScheduledCall,
    "ScheduledCallIn": ScheduledCallIn,
    "ImportReport": ImportReport,
    "Duplicate": Duplicate,
    "SummaryIn": SummaryIn,
    "TransferIn": TransferIn,
    "CallIn": CallIn,
}
PAGING = ("limit", "offset")
FLAGS = frozenset({"own", "merge_all", "renew", "live", "open", "overdue", "follow_up"})


def _list(name: str, of: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [name],
        "properties": {name: {"type": "array", "items": {"$ref": f"#/components/schemas/{of}"}}},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_FAULT = {
    "description": "What is wrong, and with which field.",
    "content": {"application/json": {"schema": _ref("Error")}},
}
CALL_AND_STEPS = {
    "type": "object",
    "required": ["call", "explain"],
    "properties": {"call": _ref("Call"), "explain": {"type": "array", "items": _ref("ExplainStep")}},
}

# path, method, what it does, query parameters, body, answer (status, schema or None)
TABLE: tuple[tuple[str, str, str, tuple[str, ...], str | None, tuple[int, dict[str, Any] | None]], ...] = (
    (
        "/calls",
        "get",
        "Live calls; with live=false call records, newest first.",
        ("live", "party", *PAGING),
        None,
        (200, _list("calls", "Call")),
    ),
    (
        "/calls",
        "post",
        "Order a call: the phone of `from` rings first, then `to`. An agent from his own, a supervisor from any; an "
        "Idempotency-Key in the header makes it safe to ask again.",
        (),
        "CallIn",
        (201, {"type": "object", "required": ["call_id"], "properties": {"call_id": {"type": "string"}}}),
    ),
    (
        "/calls/{call_id}",
        "get",
        "One call, live or on record, and what was asked for it.",
        (),
        None,
        (200, CALL_AND_STEPS),
    ),
    (
        "/calls/{call_id}/trace",
        "get",
        "The SIP ladder of a live or recent call, secrets masked; for administrators.",
        (),
        None,
        (200, _ref("Trace")),
    ),
    (
        "/outbox",
        "get",
        "What waits for the CRMs or was refused by them, newest first; for administrators and supervisors.",
        ("state", "connector", *PAGING),
        None,
        (200, _list("outbox", "OutboxEntry")),
    ),
    (
        "/outbox/retry",
        "post",
        "Let all that is parked be told now, or what is parked for one CRM.",
        ("connector",),
        None,
        (200, {"type": "object", "properties": {"retried": {"type": "integer"}}, "required": ["retried"]}),
    ),
    ("/outbox/{entry_id}/retry", "post", "Let it be told now.", (), None, (200, _ref("OutboxEntry"))),
    ("/calls/{call_id}/hangup", "post", "End both legs.", (), None, (204, None)),
    (
        "/calls/{call_id}/transfer",
        "post",
        "Transfer an answered call to a number; an agent his own, a supervisor any. Card and notes are on the page of "
        "whoever is rung before his phone is. Events tell what comes of it.",
        (),
        "TransferIn",
        (202, None),
    ),
    ("/calls/{call_id}/summary", "post", "Complete the call's activity.", (), "SummaryIn", (200, _ref("Activity"))),
    ("/calls/{call_id}/summary", "put", "Complete the call's activity.", (), "SummaryIn", (200, _ref("Activity"))),
    (
        "/contacts",
        "get",
        "Contacts, by name, company or number.",
        ("search", *PAGING),
        None,
        (200, _list("contacts", "Contact")),
    ),
    ("/contacts", "post", "Create a contact.", (), "ContactIn", (201, _ref("Contact"))),
    ("/contacts/lookup", "get", "Who has this number.", ("number",), None, (200, _list("contacts", "Contact"))),
    (
        "/contacts/import",
        "post",
        "Import contacts: the body is the file, text/csv or text/vcard.",
        ("merge_all",),
        None,
        (200, _ref("ImportReport")),
    ),
    ("/contacts/export", "get", "All contacts as a file: format=csv or vcard.", ("format",), None, (200, None)),
    (
        "/contacts/duplicates",
        "get",
        "Numbers that several contacts have.",
        (),
        None,
        (200, _list("duplicates", "Duplicate")),
    ),
    (
        "/contacts/{contact_id}/merge",
        "post",
        "Put everything of another contact into this one.",
        (),
        "MergeIn",
        (200, _ref("Contact")),
    ),
    ("/contacts/{contact_id}", "get", "One contact.", (), None, (200, _ref("Contact"))),
    ("/contacts/{contact_id}", "put", "Replace a contact.", (), "ContactIn", (200, _ref("Contact"))),
    ("/contacts/{contact_id}", "delete", "Delete a contact.", (), None, (204, None)),
    (
        "/activities",
        "get",
        "Activities, newest first; `overdue` ones want a summary for an hour, or a follow-up was due.",
        ("agent", "contact_id", "call_id", "open", "overdue", "follow_up", *PAGING),
        None,
        (200, _list("activities", "Activity")),
    ),
    (
        "/activities/{call_id}",
        "patch",
        "Say what came of a call, when to follow it up, and where its recording is.",
        (),
        "ActivityIn",
        (200, _ref("Activity")),
    ),
    (
        "/instructions",
        "get",
        "What agents are told of calls, the most specific first.",
        (),
        None,
        (200, _list("instructions", "Instruction")),
    ),
    (
        "/scheduled-calls",
        "get",
        "Planned calls, the next first.",
        ("agent", "state", "open", *PAGING),
        None,
        (200, _list("scheduled_calls", "ScheduledCall")),
    ),
    (
        "/scheduled-calls",
        "post",
        "Plan a call: at its time it is offered to the agent's phone.",
        (),
        "ScheduledCallIn",
        (201, _ref("ScheduledCall")),
    ),
    (
        "/scheduled-calls/calendar",
        "post",
        "The secret address of one's calendar feed (RFC 5545); renew=true makes the old one worthless.",
        ("renew",),
        None,
        (200, {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}),
    ),
    ("/scheduled-calls/{schedule_id}", "get", "One planned call.", (), None, (200, _ref("ScheduledCall"))),
    (
        "/scheduled-calls/{schedule_id}",
        "put",
        "Move a planned call, or change it.",
        (),
        "ScheduledCallIn",
        (200, _ref("ScheduledCall")),
    ),
    ("/scheduled-calls/{schedule_id}", "delete", "Cancel a planned call.", (), None, (204, None)),
    ("/scheduled-calls/{schedule_id}/done", "post", "It is done.", (), None, (200, _ref("ScheduledCall"))),
    ("/instructions", "post", "Add an instruction.", (), "InstructionIn", (201, _ref("Instruction"))),
    (
        "/instructions/{instruction_id}",
        "put",
        "Replace an instruction.",
        (),
        "InstructionIn",
        (200, _ref("Instruction")),
    ),
    ("/instructions/{instruction_id}", "delete", "Delete an instruction.", (), None, (204, None)),
    ("/events", "get", "Events as they happen (text/event-stream); resumes by Last-Event-ID.", ("own",), None,
     (200, None)),
    ("/agents/{number}/state", "get", "Ready, not ready, or in after-call work.", (), None, (200, {"type": "object"})),
    ("/agents/{number}/state", "put", "An agent says his own.", (), "AgentStateIn", (200, {"type": "object"})),
    ("/me", "get", "Who is signed in.", (), None, (200, {"type": "object"})),
    (
        "/extensions",
        "get",
        "Extensions, their phones and whether they are busy.",
        (),
        None,
        (200, _list("extensions", "Extension")),
    ),
    ("/trunks", "get", "Trunks and how many calls they carry.", (), None, (200, _list("trunks", "Trunk"))),
    (
        "/rules",
        "get",
        "The rules that decide without code, in the order in which they are looked through; for administrators.",
        (),
        None,
        (200, _list("rules", "Rule")),
    ),
    ("/rules", "put", "Replace the panel's own rules.", (), "RulesIn", (200, _list("rules", "Rule"))),
    ("/schemas", "get", "The JSON Schemas that HTTP hooks are written against.", (), None, (200, {"type": "object"})),
    ("/schemas/{name}", "get", "One JSON Schema.", (), None, (200, {"type": "object"})),
)


@cache
def document() -> dict[str, Any]:
    """The whole document. Built once."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hookline", "version": VERSION, "description": "The exchange, its calls and its CRM."},
        "servers": [{"url": "/api/v1"}],
        "security": [{"session": []}, {"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Made by `hookline token`. An agent's acts on his own extension, others on any.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "hookline_session",
                    "description": "A signed-in browser. Writes need the session's token in X-CSRF-Token.",
                }
            },
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for path, method, summary, query, body, (status, schema) in TABLE:
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ] + [{"name": name, "in": "query", "schema": _query_type(name)} for name in query]
        answer: dict[str, Any] = {"description": "Done."}
        if schema is not None:
            answer["content"] = {"application/json": {"schema": schema}}
        elif path == "/events":
            answer["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
        operation: dict[str, Any] = {
            "summary": summary,
            "parameters": parameters,
            "responses": {str(status): answer, "default": _FAULT},
        }
        if body is not None:
            operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
        paths.setdefault(path, {})[method] = operation
    return paths


def _query_type(name: str) -> dict[str, Any]:
    if name in PAGING:
        return {"type": "integer", "minimum": 0}
    return {"type": "boolean"} if name in FLAGS else {"type": "string"}


def _schemas() -> dict[str, Any]:
    _, made = TypeAdapter.json_schemas(
        [
            (name, "serialization" if not name.endswith("In") else "validation", TypeAdapter(kind))
            for name, kind in NAMED.items()
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = dict(made.get("$defs", {}))
    own = {NAMED[name].__name__: name for name in NAMED}
    return _renamed(schemas, own) | {
        "Error": {
            "type": "object",
            "required": ["error"],
            "properties": {
                "error": {
                    "type": "object",
                    "required": ["field", "message", "code"],
                    "properties": {
                        "field": {"type": ["string", "null"]},
                        "message": {"type": "string", "description": "In English."},
                        "code": {"type": "string", "description": "What is wrong, for programs; stays as it is."},
                    },
                }
            },
        }
    }


def _renamed(schemas: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Our classes under the names that programs know them by."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: _target(value, names) if key == "$ref" else walk(value) for key, value in node.items()}
        return [walk(item) for item in node] if isinstance(node, list) else node

    return {names.get(name, name): walk(schema) for name, schema in schemas.items()}


def _target(reference: str, names: dict[str, str]) -> str:
    before, _, name = reference.rpartition("/")
    return f"{before}/{names.get(name, name)}"
