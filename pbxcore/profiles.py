"""Interop profiles: what is known of a make of phone or a carrier, read from the data in `sip_profiles`.

A profile is `_base.toml` with what the profile's own file changes. Profiles hold data only; who reads a switch says
in its own code what it does.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Kind = Literal["phones", "trunks"]
Amount = Annotated[int, Field(ge=0)]
Reliable = Literal["avoid", "offer", "demand"]
SessionTimers = Literal["avoid", "answer", "ask"]
LONGEST_AGENT = 200   # characters of a User-Agent that are looked at


class BadProfile(Exception):
    """A profile file that cannot be used: the message names file and key and says what is right."""


class PhoneProfile(BaseModel):
    """Switches for one make of phone. `_base.toml` says what each of them does. Times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    user_agent: str
    register_seconds: Annotated[int, Field(ge=1)]
    register_min_seconds: Amount
    register_max_seconds: Annotated[int, Field(ge=1)]
    register_contacts: Literal["all", "own"]
    replaces: Literal["contact", "instance", "host"]
    reach: Literal["source", "contact"]
    identity: Literal["none", "asserted", "remote-party"]
    plus: Annotated[str, Field(pattern=r"^(\+|[0-9]{0,4})$")]
    display_ascii: bool
    display_characters: Amount
    alert_info: Literal["as-said", "info"]
    alert_source: bool
    connected: Literal["none", "asserted", "remote-party"]
    caller_card: Literal["none", "data", "url"]
    call_reason: bool
    x_hookline_call: bool
    auto_answer: Literal["none", "call-info", "alert-info"]
    reliable: Reliable
    session_timer: SessionTimers
    foreign_headers: bool
    compact: bool
    sdp_drop: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")], ...]


REGISTRARS = frozenset({"user_agent", "register_seconds", "register_min_seconds", "register_max_seconds",
                        "register_contacts", "replaces"})  # fmt: skip
"""Switches that are the registrar's alone: a call does not look at them."""


class TrunkProfile(BaseModel):
    """Switches for one carrier. `_base.toml` says what each of them does. Times are seconds, 0 for not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default_port: int
    transport: Literal["", "udp", "tcp", "tls"]
    proxy_in_route: bool
    register_seconds: int
    keepalive_seconds: int
    service_route: bool
    calls_follow_registration: bool
    options_seconds: int
    options_retry_seconds: int
    options_down_after: int
    answer_seconds: int
    called_in: Literal["request-uri", "to", "p-called-party-id"]
    dial: Literal["as-dialed", "+", "00", "digits"]
    from_user: Literal["number", "username"]
    from_host: Literal["own", "server"]
    identity: Literal["none", "asserted", "preferred", "remote-party"]
    anonymous: Literal["from", "from-and-privacy", "privacy"]
    diversion: Literal["none", "diversion", "history-info"]
    reliable: Reliable
    session_timer: SessionTimers
    refer: bool


P = TypeVar("P", bound=BaseModel)


def _root() -> Traversable:
    return resources.files("sip_profiles")


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """The profiles there are, in alphabetical order."""
    files = (entry.name for entry in (_root() / kind).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def read(root: Traversable, kind: Kind, name: str, model: type[P]) -> P:
    """One profile of a directory like `sip_profiles`. Raises BadProfile."""
    section = kind.removesuffix("s")
    base = _table(root / "_base.toml").get(section)
    if not isinstance(base, dict):
        raise BadProfile(f"sip_profiles/_base.toml: the table [{section}] is missing; put it back")
    _check(base, model, "sip_profiles/_base.toml")
    path = f"sip_profiles/{kind}/{name}.toml"
    own = _table(root / kind / f"{name}.toml", path)
    for key in own:
        if key not in base:
            close = get_close_matches(key, base, n=1)
            hint = f'did you mean "{close[0]}"?' if close else f"there are {', '.join(base)}"
            raise BadProfile(f'{path}: there is no switch "{key}"; {hint}')
    return _check(base | own, model, path)


def _table(file: Traversable, path: str = "sip_profiles/_base.toml") -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise BadProfile(f"{path}: cannot be read ({error.strerror}); put it back") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadProfile(f"{path}: this is not TOML: {error}") from None


def _check(values: dict[str, Any], model: type[P], path: str) -> P:
    lists = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    try:
        found = model.model_validate(lists)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])
        message = first["msg"][0].lower() + first["msg"][1:]
        if first["type"] == "missing":
            raise BadProfile(f"{path}: {key} is required and not there; put it back") from None
        raise BadProfile(f"{path}: {key} = {first['input']!r} will not do: {message}") from None
    if isinstance(found, PhoneProfile):
        _check_phone(found, path)
    return found


def _check_phone(profile: PhoneProfile, path: str) -> None:
    try:
        re.compile(profile.user_agent)
    except re.error as error:
        raise BadProfile(f"{path}: user_agent is no regular expression: {error}") from None
    if not profile.register_min_seconds <= profile.register_seconds <= profile.register_max_seconds:
        raise BadProfile(
            f"{path}: register_seconds = {profile.register_seconds} must lie between register_min_seconds = "
            f"{profile.register_min_seconds} and register_max_seconds = {profile.register_max_seconds}"
        )


def _named(kind: Kind, name: str, model: type[P]) -> P:
    if name not in names(kind):
        raise KeyError(f"no profile {name!r} in sip_profiles/{kind}; there are {', '.join(names(kind))}")
    return read(_root(), kind, name, model)


@cache
def phone(name: str) -> PhoneProfile:
    """The phone profile `name`. Raises KeyError, BadProfile."""
    return _named("phones", name, PhoneProfile)


@cache
def trunk(name: str) -> TrunkProfile:
    """The trunk profile `name`. Raises KeyError, BadProfile."""
    return _named("trunks", name, TrunkProfile)


@cache
def _by_agent() -> tuple[tuple[re.Pattern[str], str], ...]:
    patterns = ((phone(name).user_agent, name) for name in names("phones"))
    return tuple((re.compile(pattern), name) for pattern, name in patterns if pattern)


@lru_cache(maxsize=1024)
def phone_of(user_agent: str) -> PhoneProfile:
    """The profile of a phone that calls itself so; the generic one when none knows it."""
    text = user_agent[:LONGEST_AGENT]
    for pattern, name in _by_agent():
        if pattern.search(text):
            return phone(name)
    return phone("generic")


@lru_cache(maxsize=256)
def is_plain(profile: PhoneProfile) -> bool:
    """Whether a call with this phone needs nothing that a call with any other does not."""
    base = phone("generic")
    return all(
        getattr(profile, key) == getattr(base, key) for key in PhoneProfile.model_fields if key not in REGISTRARS
    )


def check_all() -> None:
    """Reads every profile of a phone. Raises BadProfile."""
    phone_of("")
