"""What one field of a decision may hold: each rule reads a value and states itself as JSON Schema (draft 2020-12).

One table of rules makes both the reader and the served schema, so that they cannot tell different stories. Patterns
are in the part of regular expressions that Python and ECMA-262 share.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from crmhooks.text import one_line, paragraphs

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class InvalidDecision(ValueError):
    """A decision that cannot be followed; `field` is its path, the message says what is wrong and what is right."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class Rule:
    """Reads one value. `read(value, path)` returns it cleaned, or raises InvalidDecision naming `path`."""

    __slots__ = ("read", "schema")

    def __init__(self, read: Callable[[Any, str], Any], schema: Schema) -> None:
        self.read = read
        self.schema = schema


def shown(value: object) -> str:
    """A value as an error message may quote it: one line, not too long."""
    text = one_line(repr(value)[:80])
    return text if len(text) <= 40 else text[:39] + "…"


def text(limit: int, what: str, *, several_lines: bool = False) -> Rule:
    """Text for people: controls and bidirectional marks are taken out; nothing left counts as not said."""
    clean = paragraphs if several_lines else one_line

    def read(value: Any, path: str) -> str | None:
        if not isinstance(value, str):
            raise InvalidDecision(path, f"must be text, not {shown(value)}")
        if len(value) > limit:
            raise InvalidDecision(path, f"is {len(value)} characters long; at most {limit} are taken")
        return clean(value) or None

    return Rule(read, {"type": "string", "maxLength": limit, "description": what})


def word(pattern: str, example: str, what: str, limit: int = 64, drop: str = "") -> Rule:
    """Text for the exchange: it matches the pattern or is refused. Characters in `drop` are taken out first."""
    expression = re.compile(pattern)
    without = str.maketrans("", "", drop)

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise InvalidDecision(path, f"must be text such as {example!r}, not {shown(value)}")
        if len(value) > limit:
            raise InvalidDecision(path, f"is {len(value)} characters long; at most {limit} are taken")
        stripped = value.translate(without)
        if expression.fullmatch(stripped) is None:
            raise InvalidDecision(path, f"{shown(value)} will not do; write for instance {example!r}")
        return stripped

    schema: Schema = {"type": "string", "maxLength": limit, "description": what, "examples": [example]}
    if not drop:
        schema["pattern"] = f"^{pattern}$"
    return Rule(read, schema)


def integer(low: int, high: int, what: str, never: frozenset[int] = frozenset(), why: str = "") -> Rule:
    def read(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidDecision(path, f"must be a whole number from {low} to {high}, not {shown(value)}")
        if value in never:
            raise InvalidDecision(path, f"{value} {why}")
        return value

    schema: Schema = {"type": "integer", "minimum": low, "maximum": high, "description": what}
    if never:
        schema["not"] = {"enum": sorted(never)}
    return Rule(read, schema)


def seconds(low: float, high: float, what: str) -> Rule:
    def read(value: Any, path: str) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or not low <= value <= high:
            raise InvalidDecision(path, f"must be seconds from {low:g} to {high:g}, not {shown(value)}")
        return float(value)

    return Rule(read, {"type": "number", "minimum": low, "maximum": high, "description": what})


def flag(what: str) -> Rule:
    def read(value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise InvalidDecision(path, f"must be true or false, not {shown(value)}")
        return value

    return Rule(read, {"type": "boolean", "description": what})


def choice(values: tuple[str, ...], what: str) -> Rule:
    listed = " or ".join(repr(value) for value in values)

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise InvalidDecision(path, f"must be {listed}, not {shown(value)}")
        return value

    return Rule(read, {"enum": list(values), "description": what})


def several(item: Rule, least: int, most: int, what: str) -> Rule:
    """A list; what is said twice counts once."""

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidDecision(path, f"must be a list, not {shown(value)}")
        if not least <= len(value) <= most:
            raise InvalidDecision(path, f"holds {len(value)} entries; {least} to {most} are taken")
        found = [item.read(one, f"{path}[{index}]") for index, one in enumerate(value)]
        return tuple(dict.fromkeys(one for one in found if one is not None))

    schema: Schema = {"type": "array", "items": item.schema, "maxItems": most, "description": what}
    if least:
        schema["minItems"] = least
    return Rule(read, schema)


def mapping(key: str, item: Rule, most: int, what: str) -> Rule:
    expression = re.compile(key)

    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise InvalidDecision(path, f"must be an object, not {shown(value)}")
        if len(value) > most:
            raise InvalidDecision(path, f"holds {len(value)} entries; at most {most} are taken")
        found: dict[str, Any] = {}
        for name, one in value.items():
            if not isinstance(name, str) or expression.fullmatch(name) is None:
                raise InvalidDecision(path, f"{shown(name)} is no name; use letters, digits and _")
            found[name] = item.read(one, f"{path}.{name}") or ""
        return found

    return Rule(
        read,
        {
            "type": "object",
            "additionalProperties": item.schema,
            "propertyNames": {"pattern": f"^{key}$"},
            "maxProperties": most,
            "description": what,
        },
    )
