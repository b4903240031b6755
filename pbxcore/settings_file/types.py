"""What pydantic says of a document, in plain sentences: unknown and missing keys, wrong types, numbers out of range."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from pbxcore.settings import Section, Settings
from pbxcore.settings_file.values import Finding, Findings, Path, did_you_mean

_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
}


def faults(error: ValidationError) -> Findings:
    for details in error.errors(include_url=False):
        path = tuple(part for part in details["loc"] if isinstance(part, str | int))
        if details["type"] == "extra_forbidden":
            yield Finding(path, _unknown(path))
        elif details["type"] == "missing":
            yield Finding(path[:-1], _missing(path))
        elif path and isinstance(path[-1], int) and not isinstance(details["input"], dict):
            yield Finding(path[:-1], _sentence(path, details), details["input"])
        else:
            yield Finding(path, _sentence(path, details))


def _sentence(path: Path, details: ErrorDetails) -> str:
    value, kind = details["input"], details["type"]
    if kind in _LIMITS:
        words, key = _LIMITS[kind]
        return f"must be {words} {details.get('ctx', {})[key]}, and {value} is not"
    if kind == "literal_error":
        known = get_args(_annotation(path))
        return f"{_spelled(value)} is not known{did_you_mean(str(value), known)}"
    if _annotation(path) is SecretStr:
        return "must be text in quotes"
    if kind == "string_type":
        mend = f'; write it in quotes: "{value}"' if isinstance(value, int | float) else ""
        return f"must be text{mend}"
    if kind in ("model_type", "model_attributes_type"):
        return "is a section: " + (f"write [{_dotted(path)}] with single brackets, once" if isinstance(value, list)
                                   else f"write its keys under [{_dotted(path)}]")
    if kind == "dict_type":
        return f'must be a table: {path[-1]} = {{ name = "..." }}'
    if kind == "tuple_type":
        if isinstance(value, dict):
            return f"there may be several of these: write [[{_dotted(path)}]] with two brackets"
        return f"must be a list: [{_spelled(value)}]"
    if kind.startswith(("int_", "float_")):
        whole = "a whole number" if kind.startswith("int_") else "a number"
        return f"must be {whole}, and {_spelled(value)} is none"
    return details["msg"].lower()


def _spelled(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _unknown(path: Path) -> str:
    *place, key = path
    section = section_at(tuple(place))
    known = list(section.model_fields) if section is not None else []
    if not place:
        homes = [name for name in Settings.model_fields if key in _keys_of((name,))]
        if homes:
            return f"{key} belongs under {' or '.join(f'[{home}]' for home in homes)}"
        return f"there is no section [{key}]{did_you_mean(str(key), known)}"
    return f"there is no key {key} here{did_you_mean(str(key), known)}"


def _missing(path: Path) -> str:
    place = _dotted(path[:-1])
    header = f"[[{place}]]" if isinstance(path[-2], int) else f"[{place}]"
    return f"every {header} needs a {path[-1]}: {path[-1]} = {_example(path)}"


def _example(path: Path) -> str:
    examples = {"number": '"101"', "trunks": '["carrier"]', "server": '"sip.example.net"', "to": '"101"'}
    known = get_args(_annotation(path))
    return examples.get(str(path[-1]), f'"{known[0]}"' if known and isinstance(known[0], str) else '"..."')


def _dotted(path: Path) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _annotation(path: Path) -> Any:
    section = section_at(path[:-1])
    field = section.model_fields.get(str(path[-1])) if section is not None else None
    return field.annotation if field is not None else None


def _keys_of(path: Path) -> Mapping[str, object]:
    section = section_at(path)
    return section.model_fields if section is not None else {}


def section_at(path: Path) -> type[Section] | None:
    """The model of the section at `path`; list positions are passed over."""
    section: type[Section] = Settings
    for part in path:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(part)
        candidates = [] if field is None else [field.annotation, *get_args(field.annotation)]
        inner = next((c for c in candidates if isinstance(c, type) and issubclass(c, Section)), None)
        if inner is None:
            return None
        section = inner
    return section


