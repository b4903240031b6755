"""The file that tells a connector of kind "rest" how to ask: its tables, its placeholders, and what is wrong with it.

Requests are tables (`lookup`, `create`, `open`, ...) whose `path`, `params`, `headers` and `body` name what is put
into them as `{number}`. What is read from answers are dotted paths: `data.id`, `phones.*.value`, `0.name`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbxcore.settings_file.lines import Lines
from pbxcore.settings_file.values import did_you_mean

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TIMES = ("iso", "utc", "unix", "milliseconds")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
SECRETS = ("api_key", "username", "password", "basic")
NUMBER = ("number", "digits", "national")
CALL = (
    "external_id", "direction", *NUMBER, "subject", "contact_id", "user", "agent", "started_at", "answered_at",
    "ended_at", "seconds", "minutes", "disposition", "summary",
)  # fmt: skip
PAGES = ("page", "offset", "size")
GIVEN = {      # what each request may be given
    "lookup": (*NUMBER, *PAGES),
    "create": (*NUMBER, "name", "user"),
    "open": CALL,
    "update": (*CALL, "record_id"),
    "complete": (*CALL, "record_id"),
    "remove": ("record_id",),
    "find": ("external_id", *PAGES),
    "list": ("since", "until", *PAGES),
}
NEEDED = ("lookup", "create", "open", "complete", "find", "list")
LISTS = ("lookup", "find", "list")
REQUEST = ("method", "path", "params", "headers", "body", "form", "confirms")
READS: dict[str, tuple[str, ...]] = {     # of answers; the first ones must be there
    "contact": ("id", "name", "numbers", "company", "email", "owner", "tags", "instructions"),
    "record": ("id", "external_id", "started_at", "completed", "completed_when"),
}
MUST = {"contact": ("id", "name", "numbers"), "record": ("id", "external_id", "started_at", "completed")}
SITE = ("headers", "rate", "times", "parallel", "lag")
EXAMPLES = {"path": 'path = "/contacts"', "id": 'id = "data.id"'}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `confirms` is what its answer must have, or the path of an id; `items` leads to the list in it."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    form: Mapping[str, str] | None = None
    confirms: str = ""
    items: str = ""
    size: int = 0               # of a page; 0: all in one answer
    first_page: int = 1
    each_spelling: bool = False


@dataclass(frozen=True, slots=True)
class Template:
    """`times` is how the CRM writes time, `words` what it calls our directions and dispositions."""

    requests: Mapping[str, Ask]
    complete: tuple[Ask, ...]
    contact: Mapping[str, tuple[str, ...]]
    record: Mapping[str, tuple[str, ...]]
    headers: Mapping[str, str]
    words: Mapping[str, Mapping[str, Any]]
    times: str = "iso"
    rate: float = 0.0
    parallel: int = 4
    lag: float = 0.0


class TemplateError(ValueError):
    """A template that cannot be used: `FILE, line N: complete[1].path: ...`, one line a fault."""


def read(file: str) -> Template:
    """Raises TemplateError."""
    try:
        text = Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "is not UTF-8 text").lower()
        raise TemplateError(f"{file} cannot be read: {reason}") from None
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TemplateError(f"{file}: {error}") from None
    lines = Lines(text)
    faults = [
        (lines.find(path), ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in path), said)
        for path, said in _faults(raw)
    ]
    if faults:
        said = (f"{file}, line {line}: {key.replace('.[', '[')}: {words}" for line, key, words in sorted(faults))
        raise TemplateError("\n".join(said))
    return _template(raw)


Faults = Iterator[tuple[tuple[str | int, ...], str]]


def _faults(raw: Mapping[str, Any]) -> Faults:
    known = ("site", "words", *GIVEN, *READS)
    for name in raw:
        if name not in known:
            yield (name,), f"there is no such table{did_you_mean(name, known)}"
    for name in (*NEEDED, *READS):
        if name not in raw:
            yield (), f"the table [{name}] is missing"
    yield from _site(raw.get("site", {}))
    for name in GIVEN:
        for path, request in _requests(raw, name):
            if isinstance(request, dict):
                yield from _request(path, name, request)
            else:
                yield path, "must be a table"
    for name, keys in READS.items():
        yield from _reading(name, raw.get(name, {}), keys)
    words = raw.get("words", {})
    if not (isinstance(words, dict) and all(isinstance(one, dict) for one in words.values())):
        yield ("words",), 'must be tables: [words.direction] with inbound = "In"'
    else:
        for name in words:
            if name not in ("direction", "disposition"):
                yield ("words", name), f"has no words{did_you_mean(name, ('direction', 'disposition'))}"


def _requests(raw: Mapping[str, Any], name: str) -> list[tuple[tuple[str | int, ...], Any]]:
    """`complete` may be several, one after the other."""
    found = raw.get(name)
    if name == "complete" and isinstance(found, list):
        return [((name, place), one) for place, one in enumerate(found)]
    return [] if found is None else [((name,), found)]


def _site(site: Any) -> Faults:
    if not isinstance(site, dict):
        yield ("site",), "must be a table"
        return
    for key, value in site.items():
        if key not in SITE:
            yield ("site", key), f"there is no such key{did_you_mean(key, SITE)}"
        elif key == "headers":
            yield from _texts(("site", key), value, SECRETS)
        elif key == "times":
            if value not in TIMES:
                yield ("site", key), f"must be one of {', '.join(TIMES)}"
        elif isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or (
            key == "parallel" and (value < 1 or not isinstance(value, int))
        ):
            yield ("site", key), "must be a number, and not below 0 (parallel: a whole number, not below 1)"


def _request(path: tuple[str | int, ...], name: str, request: Mapping[str, Any]) -> Faults:
    listing = ("items", "size", "first_page", *(("each_spelling",) if name == "lookup" else ()))
    known = (*REQUEST, *(listing if name in LISTS else ()))
    for key, value in request.items():
        if key not in known:
            yield (*path, key), f"there is no such key{did_you_mean(key, known)}"
        elif key in ("path", "params", "body", "form"):
            yield from _texts((*path, key), value, GIVEN[name])
        elif key == "headers":
            yield from _texts((*path, key), value, (*GIVEN[name], *SECRETS))
        elif key == "method":
            if value not in METHODS:
                yield (*path, key), f"must be one of {', '.join(METHODS)}"
        elif key == "each_spelling":
            if not isinstance(value, bool):
                yield (*path, key), "must be true or false"
        elif key in ("size", "first_page"):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                yield (*path, key), "must be a whole number"
        elif not isinstance(value, str):
            yield (*path, key), "must be a text"
    for key in ("path", *(("confirms",) if name in ("create", "open") else ())):
        if not isinstance(request.get(key), str) or not request[key]:
            mend = EXAMPLES["path"] if key == "path" else 'the path of the new id: confirms = "data.id"'
            yield path, f"{key} is missing; {mend}"
    for key in ("params", "headers", "form"):
        if key in request and not isinstance(request[key], dict):
            yield (*path, key), "must be a table of texts"
    if "body" in request and "form" in request:
        yield (*path, "form"), "there is a body already: one of them"
    if request.get("size") and not any(f"{{{one}}}" in str(request) for one in ("page", "offset")):
        yield (*path, "size"), "needs {page} or {offset} in params, or each page is the first"


def _texts(path: tuple[str | int, ...], value: Any, given: tuple[str, ...]) -> Faults:
    """Placeholders in all texts of it."""
    if isinstance(value, str):
        for name in PLACEHOLDER.findall(value):
            if name not in given:
                known = did_you_mean(name, given) or f"; there is {', '.join(given)}"
                yield path, f"{{{name}}} is not known here{known}"
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _texts((*path, key), one, given)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(path, one, given)


def _reading(name: str, paths: Any, known: tuple[str, ...]) -> Faults:
    if not isinstance(paths, dict):
        yield (name,), "must be a table"
        return
    for key, value in paths.items():
        if key not in known:
            yield (name, key), f"there is no such key{did_you_mean(key, known)}"
        elif not (isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))):
            yield (name, key), "must be a text, or a list of texts"
    for key in MUST[name]:
        if paths and not paths.get(key):
            yield (name,), f'{key} is missing: where it is in an answer, {key} = "{key}"'


def _template(raw: Mapping[str, Any]) -> Template:
    site = raw.get("site", {})
    requests = {name: _ask(found) for name in GIVEN for path, found in _requests(raw, name) if name != "complete"}
    return Template(
        requests,
        tuple(_ask(found) for _, found in _requests(raw, "complete")),
        {key: _several(value) for key, value in raw["contact"].items()},
        {key: _several(value) for key, value in raw["record"].items()},
        site.get("headers", {}),
        raw.get("words", {}),
        site.get("times", "iso"),
        float(site.get("rate", 0.0)),
        site.get("parallel", 4),
        float(site.get("lag", 0.0)),
    )


def _ask(request: Mapping[str, Any]) -> Ask:
    return Ask(**({"method": "POST" if "body" in request or "form" in request else "GET"} | dict(request)))


def _several(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
