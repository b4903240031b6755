"""Frozen values, made quickly.

A frozen dataclass fills itself through `object.__setattr__`, a call into C for every field, and a phone call makes a
dozen of them. An open twin has the same slots and no lock: it is filled field by field, and then it is given the class
of what it is.
"""

from __future__ import annotations

from typing import Any


def open_twin(kind: type[Any]) -> type[Any]:
    """The open twin of a frozen dataclass with slots. Every field is to be set, and last of all `__class__`."""
    return type(f"Open{kind.__name__}", (), {"__slots__": kind.__slots__})
