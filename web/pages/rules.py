"""The table of rules: what decides about calls without code. Those of the file are shown, the others edited."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from pbxcore.control import Invalid, RuleEntry
from pbxcore.explained import say
from web.panel import Refused, invalid_words, page, panel_of, see_other, words_of
from web.words import Words

TARGETS = {
    "ring": "targets",
    "dial": "number",
    "queue": "name",
    "ivr": "name",
    "voicemail": "box",
    "play": "prompt",
    "reject": "status",
    "redirect": "uri",
}
KINDS = ("ring", "proceed", *(kind for kind in TARGETS if kind != "ring"))
TEXTS = ("name", "direction", "trunk", "tag", "days", "hours")
FLAGS = ("known", "vip", "owner_present")
LISTS = ("caller", "called")
SAID = ("display_name", "instructions")
_PARTS = re.compile(r"[,;\n]+")


@dataclass(frozen=True, slots=True)
class Line:
    """A row as the page shows it; `place` counts the panel's own from 1 and is 0 for those of the file."""

    place: int
    name: str
    conditions: list[str]
    decides: str
    fields: Mapping[str, Any]


def lines(words: Words, entries: list[RuleEntry]) -> list[Line]:
    own = 0
    found = []
    for entry in entries:
        own += not entry.fixed
        decides = say([entry.decides], lambda code: words(f"explain.{code}"))
        name = str(entry.fields.get("name", ""))
        found.append(Line(0 if entry.fixed else own, name, conditions(words, entry.fields), decides, entry.fields))
    return found


def conditions(words: Words, fields: Mapping[str, Any]) -> list[str]:
    """What must be so, a phrase each."""
    said = [words(f"rules.if.{name}", what=", ".join(fields[name])) for name in LISTS if fields.get(name)]
    if fields.get("direction"):
        said.append(words(f"direction.{fields['direction']}"))
    texts = ("trunk", "tag", "days", "hours")
    said += [words(f"rules.if.{name}", what=fields[name]) for name in texts if fields.get(name)]
    said += [
        words(f"rules.if.{name}.{'yes' if fields[name] else 'no'}") for name in FLAGS if fields.get(name) is not None
    ]
    return said


async def listing(request: Request) -> Response:
    return _page(request)


async def save(request: Request) -> Response:
    """Add a rule at the end, or change the one of that place."""
    form = {name: str(value) for name, value in (await request.form()).items()}
    own = _own(request)
    place = _place(form.get("place", ""), len(own)) if form.get("place") else 0
    try:
        rule = read(form)
        if place:
            own[place - 1] = rule
        else:
            own.append(rule)
        await panel_of(request).rules.replace(own)
    except Invalid as error:
        return _page(request, 422, typed=form, errors={_field(error.field, form): invalid_words(request, error)})
    return see_other(request, "/rules", "rule")


async def change(request: Request) -> Response:
    """Take a rule away, or move it up."""
    own = _own(request)
    place = _place(request.path_params["place"], len(own))
    if request.path_params["deed"] == "delete":
        del own[place - 1]
    elif request.path_params["deed"] == "up" and place > 1:
        own[place - 2], own[place - 1] = own[place - 1], own[place - 2]
    await panel_of(request).rules.replace(own)
    return see_other(request, "/rules", "rule")


def read(form: Mapping[str, str]) -> dict[str, Any]:
    """The rule of a form. Raises Invalid where it cannot be read; what it says is checked by the book."""
    rule: dict[str, Any] = {name: form[name].strip() for name in TEXTS if form.get(name, "").strip()}
    for name in LISTS:
        parts = [part.strip() for part in _PARTS.split(form.get(name, "")) if part.strip()]
        if parts:
            rule[name] = parts
    for name in FLAGS:
        if form.get(name) in ("yes", "no"):
            rule[name] = form[name] == "yes"
    rule["then"] = _decision(form)
    return rule


def _decision(form: Mapping[str, str]) -> Any:
    if form.get("json", "").strip():
        try:
            return from_json(form["json"])
        except ValueError as error:
            raise Invalid("json", "rule.json", why=error) from None
    kind = form.get("kind", "ring")
    decision: dict[str, Any] = {"kind": kind}
    target = form.get("target", "").strip()
    if kind == "ring":
        decision["targets"] = [part for part in re.split(r"[,;\s]+", target) if part]
    elif kind == "reject":
        if target:
            decision["status"] = int(target) if target.isdecimal() and len(target) == 3 else target
    elif kind in TARGETS:
        decision[TARGETS[kind]] = target
    return decision | {name: form[name].strip() for name in SAID if form.get(name, "").strip()}


def as_form(fields: Mapping[str, Any]) -> dict[str, str]:
    """A rule as its form shows it: the decision in fields where they can hold it, else as JSON."""
    form = {name: str(fields[name]) for name in TEXTS if fields.get(name)}
    form |= {name: ", ".join(fields[name]) for name in LISTS if fields.get(name)}
    form |= {name: "yes" if fields[name] else "no" for name in FLAGS if fields.get(name) is not None}
    then = dict(fields["then"])
    kind = str(then.pop("kind", ""))
    target = then.pop(TARGETS.get(kind, ""), "")
    form |= {name: str(then.pop(name)) for name in SAID if name in then}
    if then or kind not in KINDS:
        return form | {"json": to_json(fields["then"]).decode()}
    return form | {"kind": kind, "target": ", ".join(target) if isinstance(target, list | tuple) else str(target)}


def _own(request: Request) -> list[dict[str, Any]]:
    return [dict(entry.fields) for entry in panel_of(request).rules.all() if not entry.fixed]


def _place(text: str, most: int) -> int:
    if not text.isdecimal() or len(text) > 4 or not 1 <= int(text) <= most:
        raise Refused(404, "no_rule")
    return int(text)


def _field(where: str, form: Mapping[str, str]) -> str:
    """The field of the form that holds `where` of a rule (`2.then.targets`)."""
    name, _, part = where.partition(".")[2].partition(".")
    if name in (*TEXTS, *LISTS, *FLAGS):
        return name
    if name and form.get("json", "").strip():
        return "json"
    return part if part in SAID else "target" if name else "json"


def _page(
    request: Request, status: int = 200, *, typed: Mapping[str, str] | None = None, errors: dict[str, str] | None = None
) -> Response:
    panel, words = panel_of(request), words_of(request)
    entries = panel.rules.all()
    if typed is None:
        asked = request.query_params.get("edit", "")
        own = [entry for entry in entries if not entry.fixed]
        typed = as_form(own[_place(asked, len(own)) - 1].fields) | {"place": asked} if asked else {}
    return page(
        request,
        "rules.html",
        status,
        lines=lines(words, entries),
        typed=typed,
        errors=errors or {},
        kinds=[(kind, words(f"rules.kind.{kind}")) for kind in KINDS],
        note=request.query_params.get("note", ""),
    )
