"""What is posted to a hook: the envelope of Standard Webhooks (`type`, `timestamp`, `data`) round a call.

Every text is cleaned first (`crmhooks.text`): what a stranger wrote into his SIP display name ends up in a CRM.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from crmhooks.rules import DIALECT, Schema
from crmhooks.text import one_line, paragraphs
from pbxcore.hooks import CallSnapshot, IncomingCall

INCOMING = "call.incoming"
ANSWERED = "call.answered"
ENDED = "call.ended"

_known: dict[type, tuple[str, ...]] = {}    # fields by dataclass


def payload(kind: str, call: IncomingCall | CallSnapshot, at: float) -> dict[str, Any]:
    """The JSON body of one post. `at` is Unix time in seconds."""
    return {"type": kind, "timestamp": _instant(at), "data": _plain(call)}


def cleaned(call: IncomingCall) -> IncomingCall:
    """The call with every text on one line and free of controls."""
    return dataclasses.replace(
        call,
        caller=one_line(call.caller),
        called=one_line(call.called),
        caller_name=None if call.caller_name is None else one_line(call.caller_name) or None,
        headers={one_line(name): one_line(value) for name, value in call.headers.items()},
    )


def _instant(at: float) -> str:
    """RFC 3339, in UTC, milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: Any, name: str = "") -> Any:
    if value is None or type(value) is float:  # what most fields are
        return value
    if isinstance(value, str):  # a StrEnum too
        return paragraphs(value) if name == "instructions" else one_line(str(value))
    names = _names(type(value))
    if names:
        return {field: _plain(getattr(value, field), field) for field in names}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {one_line(str(key)): _plain(one) for key, one in value.items()}
    return value


def _names(kind: type) -> tuple[str, ...]:
    """Fields of a dataclass; of anything else none."""
    names = _known.get(kind)
    if names is None:
        fields = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
        names = _known[kind] = tuple(field.name for field in fields)
    return names


def incoming_call_schema() -> Schema:
    """JSON Schema (draft 2020-12) of the post that asks for a decision."""
    text: Schema = {"type": "string"}
    maybe: Schema = {"type": ["string", "null"]}
    call = {
        "call_id": text | {"description": "The call's identifier for its whole life; `explain-...` for a try-out."},
        "caller": text | {"description": "User part as received, such as +15550100."},
        "called": text | {"description": "User part as received, such as 101."},
        "direction": {
            "enum": ["inbound", "outbound", "internal"],
            "description": "From a trunk, to a trunk, or between extensions.",
        },
        "received_at": {"type": "number", "description": "Unix time in seconds."},
        "caller_name": maybe | {"description": "The name that the caller's side sent; anyone can send any name."},
        "trunk": maybe | {"description": "The trunk it came in on."},
        "extension": maybe | {"description": "The extension that calls."},
        "headers": {"type": "object", "additionalProperties": text, "description": "SIP headers handed on to hooks."},
    }
    return {
        "$schema": DIALECT,
        "title": "IncomingCall",
        "description": "Posted when a call is being set up; signed by Standard Webhooks. Answer with a Decision, or"
        " with 204, null or {} for none. An answer past the deadline still fills in the agent's card.",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": INCOMING},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"type": "object", "required": list(call), "properties": call},
        },
    }


def call_notice_schema() -> Schema:
    """JSON Schema (draft 2020-12) of the posts that tell of a call: answered, and ended."""
    call: Schema = TypeAdapter(CallSnapshot).json_schema(mode="serialization")
    definitions = call.pop("$defs")
    return {
        "$schema": DIALECT,
        "title": "CallNotice",
        "description": "Posted when a call was answered and when it has ended; signed as the question is. What is"
        " answered is not read; any status of 200 to 299 will do. Posts of one hook come in order.",
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"enum": [ANSWERED, ENDED]},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": call,
        },
        "$defs": definitions,
    }
