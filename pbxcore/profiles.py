"""Interop profiles: what is known of a make of phone or a carrier, read from the data in `sip_profiles`.

A profile is `_base.toml` with what the profile's own file changes. Profiles hold data only; who reads a switch says
in its own code what it does.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["phones", "trunks"]


class PhoneProfile(BaseModel):
    """Switches for one make of phone. Times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    register_seconds: int
    register_min_seconds: int
    register_max_seconds: int


class TrunkProfile(BaseModel):
    """Switches for one carrier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_port: int


def _root() -> Traversable:
    return resources.files("sip_profiles")


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """The profiles there are, in alphabetical order."""
    files = (entry.name for entry in (_root() / kind).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def _read(kind: Kind, name: str) -> dict[str, Any]:
    if name not in names(kind):
        raise KeyError(f"no profile {name!r} in sip_profiles/{kind}; there are {', '.join(names(kind))}")
    base = tomllib.loads((_root() / "_base.toml").read_text("utf-8"))
    own = tomllib.loads((_root() / kind / f"{name}.toml").read_text("utf-8"))
    section: dict[str, Any] = base[kind.removesuffix("s")]
    return section | own


@cache
def phone(name: str) -> PhoneProfile:
    """The phone profile `name`. Raises KeyError."""
    return PhoneProfile.model_validate(_read("phones", name))


@cache
def trunk(name: str) -> TrunkProfile:
    """The trunk profile `name`. Raises KeyError."""
    return TrunkProfile.model_validate(_read("trunks", name))
