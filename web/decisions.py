"""A hook's decision in words, for the page that explains a call."""

from __future__ import annotations

from dataclasses import fields

from pbxcore.hooks import Decision

COMMON = frozenset(field.name for field in fields(Decision))


def in_words(decision: Decision) -> str:
    """`Ring targets=101, 102 strategy=all timeout=30.0`, what is left out is not said."""
    said = [type(decision).__name__]
    names = sorted((field.name for field in fields(decision)), key=lambda name: name in COMMON)
    for name in names:
        value = getattr(decision, name)
        if value is None or value in ((), {}):
            continue
        if isinstance(value, Decision):
            said.append(f"{name}=({in_words(value)})")
        else:
            said.append(f"{name}={', '.join(map(str, value)) if isinstance(value, tuple) else value}")
    return " ".join(said)
