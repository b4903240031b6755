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
from pbxcore.faults import ENGLISH

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class InvalidDecision(ValueError):
    """A decision that cannot be followed; `field` is its path, `code` and `values` say what is wrong (`faults`)."""

    def __init__(self, field: str, code: str, **values: Any) -> None:
        message = ENGLISH[code].format(**values)
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.code, self.values = field, code, values


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
            raise InvalidDecision(path, "decision.text", said=shown(value))
        if len(value) > limit:
            raise InvalidDecision(path, "decision.long", count=len(value), most=limit)
        return clean(value) or None

    return Rule(read, {"type": "string", "maxLength": limit, "description": what})


def word(pattern: str, example: str, what: str, limit: int = 64, drop: str = "") -> Rule:
    """Text for the exchange: it matches the pattern or is refused. Characters in `drop` are taken out first."""
    expression = re.compile(pattern)
    without = str.maketrans("", "", drop)

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise InvalidDecision(path, "decision.wordless", example=example, said=shown(value))
        if len(value) > limit:
            raise InvalidDecision(path, "decision.long", count=len(value), most=limit)
        stripped = value.translate(without)
        if expression.fullmatch(stripped) is None:
            raise InvalidDecision(path, "decision.word", said=shown(value), example=example)
        return stripped

    schema: Schema = {"type": "string", "maxLength": limit, "description": what, "examples": [example]}
    if not drop:
        schema["pattern"] = f"^{pattern}$"
    return Rule(read, schema)


def integer(low: int, high: int, what: str, never: frozenset[int] = frozenset(), why: str = "") -> Rule:
    """`why` is the code of what is wrong with those in `never`."""

    def read(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidDecision(path, "decision.whole", least=low, most=high, said=shown(value))
        if value in never:
            raise InvalidDecision(path, why, said=value)
        return value

    schema: Schema = {"type": "integer", "minimum": low, "maximum": high, "description": what}
    if never:
        schema["not"] = {"enum": sorted(never)}
    return Rule(read, schema)


def seconds(low: float, high: float, what: str) -> Rule:
    def read(value: Any, path: str) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value) or not low <= value <= high:
            raise InvalidDecision(path, "decision.seconds", least=f"{low:g}", most=f"{high:g}", said=shown(value))
        return float(value)

    return Rule(read, {"type": "number", "minimum": low, "maximum": high, "description": what})


def flag(what: str) -> Rule:
    def read(value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise InvalidDecision(path, "decision.flag", said=shown(value))
        return value

    return Rule(read, {"type": "boolean", "description": what})


def choice(values: tuple[str, ...], what: str) -> Rule:
    listed = " or ".join(repr(value) for value in values)

    def read(value: Any, path: str) -> str:
        if not isinstance(value, str) or value not in values:
            raise InvalidDecision(path, "decision.choice", choices=listed, said=shown(value))
        return value

    return Rule(read, {"enum": list(values), "description": what})


def several(item: Rule, least: int, most: int, what: str) -> Rule:
    """A list; what is said twice counts once."""

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidDecision(path, "decision.list", said=shown(value))
        if not least <= len(value) <= most:
            raise InvalidDecision(path, "decision.entries", count=len(value), least=least, most=most)
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
            raise InvalidDecision(path, "decision.record", said=shown(value))
        if len(value) > most:
            raise InvalidDecision(path, "decision.entries", count=len(value), least=0, most=most)
        found: dict[str, Any] = {}
        for name, one in value.items():
            if not isinstance(name, str) or expression.fullmatch(name) is None:
                raise InvalidDecision(path, "decision.name", said=shown(name))
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
