"""Decisions as JSON, both ways, and the JSON Schemas that the panel serves.

Reading is strict: an unknown field, a wrong type or a value that could not be put into a SIP message is refused with
the field's path and what would be right, because a decision half understood rings the wrong phone. Text for people is
cleaned instead (`crmhooks.text`). Not done here: whether an extension, queue or trunk exists; the call logic knows.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any

from crmhooks.payloads import call_notice_schema, incoming_call_schema
from crmhooks.rules import (
    DIALECT,
    InvalidDecision,
    Rule,
    Schema,
    choice,
    flag,
    integer,
    mapping,
    seconds,
    several,
    shown,
    text,
    word,
)
from pbxcore.hooks import Decision, Dial, Ivr, Play, Proceed, Queue, Redirect, Reject, Ring, Voicemail

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "InvalidDecision",
    "call_notice_schema",
    "check",
    "decision_schema",
    "from_json",
    "incoming_call_schema",
    "parse",
    "to_json",
]

MAX_BYTES = 65536      # of a hook's answer
MAX_DEPTH = 5          # decisions along `otherwise`, the first one counted

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_URI = r"[A-Za-z][A-Za-z0-9+.-]*:[!#-;=?-~]+"
_PARAMETERS = r"(;[A-Za-z0-9_.!%*+`'~-]+(=([A-Za-z0-9_.!%*+`'~:\[\]-]+|\"[ !#-\[\]-~]*\"))?)*"
_HOST = r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)"
_SIP_URI = r"[sS][iI][pP][sS]?:([A-Za-z0-9_.!~*'()&=+$,;?/%#-]+@)?" + _HOST + r"(:[0-9]{1,5})?" + _PARAMETERS
_TEL_URI = r"[tT][eE][lL]:\+?[0-9*#().-]+" + _PARAMETERS

_COMMON: dict[str, Rule] = {
    "display_name": text(128, "The name that the ringing phone shows."),
    "alert_info": word(
        f"(<{_URI}>{_PARAMETERS}|{_URI})",
        "<urn:alert:source:external>",
        "The ring tone: a value of Alert-Info (RFC 3261 section 20.4, URNs of RFC 7462).",
        limit=200,
    ),
    "instructions": text(4000, "What the agent's card tells him to do.", several_lines=True),
    "contact_id": word(r"[A-Za-z0-9][A-Za-z0-9_.:/@+=-]*", "42", "The contact's identifier in the CRM.", limit=128),
    "tags": several(text(64, "One tag."), 0, 16, "Words kept with the call's record."),
    "record": flag("Record this call, or do not."),
}

_target = word(r"[A-Za-z0-9+*#][A-Za-z0-9+*#_.-]*", "101", "An extension.")
_name = word(_NAME, "sales", "A name from the settings.")

# 401 and 407 ask for a password; without the challenge that a decision cannot carry they break RFC 3261 section 22.
_challenges = frozenset((401, 407))

_KINDS: dict[str, tuple[type[Decision], dict[str, Rule], frozenset[str]]] = {
    "proceed": (Proceed, {}, frozenset()),
    "ring": (
        Ring,
        {
            "targets": several(_target, 1, 32, "The extensions to ring."),
            "strategy": choice(("all", "in_order"), "All at once, or one after the other."),
            "timeout": seconds(1, 600, "How long each round rings."),
        },
        frozenset(("targets",)),
    ),
    "dial": (
        Dial,
        {
            "number": word(r"\+?[0-9*#]{1,32}", "+15550100", "The number to dial; ( ) - . and blanks are left out.",
                           drop=" ().-\u00a0"),
            "trunk": word(_NAME, "carrier", "Dial through this trunk, not by the outbound rules."),
        },
        frozenset(("number",)),
    ),
    "queue": (
        Queue,
        {"name": _name, "priority": integer(-1000, 1000, "Higher is served earlier.")},
        frozenset(("name",)),
    ),
    "ivr": (
        Ivr,
        {
            "name": _name,
            "variables": mapping(r"[A-Za-z_][A-Za-z0-9_]{0,63}", text(500, "What is spoken."), 32,
                                 "What the menu's announcements may speak."),
        },
        frozenset(("name",)),
    ),
    "voicemail": (Voicemail, {"box": _target}, frozenset(("box",))),
    "play": (
        Play,
        {"prompt": word(r"[A-Za-z0-9_-]+([./][A-Za-z0-9_-]+)*", "closed", "A prompt's name.", limit=128)},
        frozenset(("prompt",)),
    ),
    "reject": (
        Reject,
        {
            "status": integer(400, 699, "The SIP status.", _challenges, "decision.challenge"),
            "reason": text(64, "The reason phrase; by default the status's own."),
        },
        frozenset(),
    ),
    "redirect": (
        Redirect,
        {
            "uri": word(f"({_SIP_URI}|{_TEL_URI})", "sip:anna@example.net",
                        "A sip, sips or tel URI without headers.", limit=256),
        },
        frozenset(("uri",)),
    ),
}  # fmt: skip
_kind_of = {cls: kind for kind, (cls, _, _) in _KINDS.items()}

# RFC 3261 section 21; a phone shows the phrase, and "486 Decline" would be a lie.
_PHRASES = {
    400: "Bad Request", 403: "Forbidden", 404: "Not Found", 408: "Request Timeout", 410: "Gone",
    480: "Temporarily Unavailable", 484: "Address Incomplete", 486: "Busy Here", 488: "Not Acceptable Here",
    500: "Server Internal Error", 503: "Service Unavailable", 600: "Busy Everywhere", 603: "Decline",
    604: "Does Not Exist Anywhere", 606: "Not Acceptable", 607: "Unwanted", 608: "Rejected",
}  # fmt: skip


def parse(body: bytes) -> Decision | None:
    """A hook's answer: one decision as JSON, or nothing, `null` or `{}` for no opinion. Raises InvalidDecision."""
    if len(body) > MAX_BYTES:
        raise InvalidDecision("", "decision.large", most=MAX_BYTES)
    if not body.strip():
        return None
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
    except InvalidDecision:
        raise
    except UnicodeDecodeError:
        raise InvalidDecision("", "decision.utf8") from None
    except (ValueError, RecursionError):  # RecursionError: brackets nested by the thousand
        raise InvalidDecision("", "decision.json", said=shown(body[:60])) from None
    return None if value is None or value == {} else from_json(value)


def _no_constant(name: str) -> None:
    raise InvalidDecision("", "decision.no_number", said=name)


def from_json(value: Any) -> Decision:
    """A decision from decoded JSON, cleaned. Raises InvalidDecision."""
    return _read(value, "", 1)


def _read(value: Any, path: str, depth: int) -> Decision:
    where = path.removesuffix(".")
    if not isinstance(value, dict):
        raise InvalidDecision(where, "decision.object", said=shown(value))
    if depth > MAX_DEPTH:
        raise InvalidDecision(where, "decision.chain", most=MAX_DEPTH)
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        if kind is None:
            raise InvalidDecision(f"{path}kind", "decision.kindless", kinds=kinds)
        raise InvalidDecision(f"{path}kind", "decision.kind", said=shown(kind), kinds=kinds)
    cls, own, required = _KINDS[kind]
    fields: dict[str, Any] = {}
    for name, one in value.items():
        rule = own.get(name) or _COMMON.get(name)
        if rule is None and name not in ("kind", "otherwise"):
            raise _no_field(f"{path}{shown(name)[1:-1]}", kind, name, own)
        if one is None or name == "kind":
            continue
        found: Any = _read(one, f"{path}otherwise.", depth + 1) if rule is None else rule.read(one, f"{path}{name}")
        if name == "alert_info" and not found.startswith("<"):
            found = f"<{found}>"  # the header's grammar wants the brackets
        if found is not None:
            fields[name] = found
    for name in required:
        if name not in fields:
            raise InvalidDecision(f"{path}{name}", "decision.missing", kind=kind)
    if kind == "reject" and "reason" not in fields:
        fields["reason"] = _PHRASES.get(fields.get("status", 603), "Rejected")
    return cls(**fields)


def _no_field(where: str, kind: str, name: Any, own: dict[str, Rule]) -> InvalidDecision:
    takes = [*own, *_COMMON, "otherwise"]
    close = difflib.get_close_matches(str(name)[:64], takes, 1)
    if close:
        return InvalidDecision(where, "decision.field_meant", kind=kind, meant=close[0])
    return InvalidDecision(where, "decision.field", kind=kind, fields=", ".join(takes))


def to_json(decision: Decision) -> dict[str, Any]:
    """The decision as JSON values; what was not said is left out. Raises InvalidDecision for no known kind."""
    return _write(decision, 1)


def _write(decision: Decision, depth: int) -> dict[str, Any]:
    kind = _kind_of.get(type(decision))
    if kind is None:
        classes = ", ".join(cls.__name__ for cls in _kind_of)
        raise InvalidDecision("", "decision.class", said=shown(decision), kinds=classes)
    if depth > MAX_DEPTH:
        raise InvalidDecision("otherwise", "decision.chain", most=MAX_DEPTH)
    out: dict[str, Any] = {"kind": kind}
    for name in (*_KINDS[kind][1], *_COMMON):
        value = getattr(decision, name)
        if isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        if value is not None and value != [] and value != {}:
            out[name] = value
    if decision.otherwise is not None:
        out["otherwise"] = _write(decision.otherwise, depth + 1)
    return out


def check(decision: Any) -> Decision:
    """A decision made by Python code, held to the same rules as one from the wire. Raises InvalidDecision."""
    return from_json(to_json(decision))


def decision_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a hook's decision."""
    kinds: dict[str, Schema] = {}
    for kind, (cls, own, required) in _KINDS.items():
        properties: dict[str, Schema] = {"kind": {"const": kind}}
        for name, rule in own.items():
            properties[name] = rule.schema if name in required else _or_null(rule.schema)
        properties |= {name: _or_null(rule.schema) for name, rule in _COMMON.items()}
        properties["otherwise"] = _or_null({"$ref": "#/$defs/decision"})
        kinds[kind] = {
            "type": "object",
            "description": (cls.__doc__ or "").split("\n\n")[0],
            "properties": properties,
            "required": ["kind", *sorted(required)],
            "additionalProperties": False,
        }
    return {
        "$schema": DIALECT,
        "title": "Decision",
        "description": "What to do with a call. What is left out stays as the dial plan says. `otherwise` is done when"
        f" this fails; at most {MAX_DEPTH} decisions may follow each other so.",
        "$ref": "#/$defs/decision",
        "$defs": {"decision": {"oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}, **kinds},
    }


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}
