"""What every connector needs: its tools, whose extension is whose in the CRM, and who really has a number."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import httpx2

from crmhooks.connector import (
    EVERYTHING,
    Ability,
    CrmActivity,
    CrmRecord,
    Hook,
    NewContact,
    Refused,
    Unreachable,
    contact_ref,
)
from crmhooks.connectors.site import TIMEOUT
from crmhooks.numbers import Number, normalise
from crmhooks.text import one_line, paragraphs
from pbxcore.control import ContactEntry
from pbxcore.settings import CrmConnector

EVERYBODY = "*"
MOST_CONTACTS = 50
LONGEST_NAME = 200
MAX_INSTRUCTIONS = 4000


@dataclass(frozen=True, slots=True)
class Tools:
    """`country` and `zone` are the office's; `clock` monotonic seconds, `wall` Unix time; `timeout` seconds for an
    answer; `transport` takes the network's place; `beside` is what the names of files begin with that a connector
    keeps."""

    country: str = ""
    timeout: float = TIMEOUT
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    transport: httpx2.AsyncBaseTransport | None = field(default=None, compare=False)
    beside: Path | None = None
    zone: tzinfo = UTC


class Users:
    """Extensions and the CRM's own ids of their users, from `users = ["101=...", "*=..."]`; `*` is everybody else."""

    def __init__(self, pairs: Iterable[str]) -> None:
        split = [pair.partition("=") for pair in pairs]
        self._ids = {extension.strip(): own.strip() for extension, _, own in split}
        self._extensions = {own: extension for extension, own in self._ids.items() if extension != EVERYBODY}

    def id_of(self, extension: str | None) -> str | None:
        return self._ids.get(extension or EVERYBODY, self._ids.get(EVERYBODY))

    def extension_of(self, user_id: object) -> str | None:
        return self._extensions.get(user_id) if isinstance(user_id, str) else None


class Account(ABC):
    """What every connector is: an account at a CRM, with its name, and whose user is whose there. `can`, `instructs`,
    `lag`, `parallel` and `announcer` as in `connector.CrmConnector`."""

    can: frozenset[Ability] = EVERYTHING
    instructs = ""
    lag = 0.0
    parallel = 4
    announcer: Hook | None = None

    def __init__(self, settings: CrmConnector, tools: Tools) -> None:
        self.name = settings.name or settings.kind
        self._country = tools.country
        self._users = Users(settings.users)

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        wanted = normalise(number, self._country)
        return () if wanted is None else await self._who_has(wanted)

    @abstractmethod
    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        """Everybody with this number; raises as `lookup` does."""


class Receiver(Account):
    """One that is told of calls and shows no records of them: what all of these have to refuse."""

    can: frozenset[Ability] = frozenset()

    async def _who_has(self, wanted: Number) -> Sequence[ContactEntry]:
        return ()

    async def create_contact(self, contact: NewContact) -> str:
        raise Refused("it takes no contacts")

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        raise Refused("it shows no records of calls")

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        raise Refused("it shows no records of calls")

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        raise Refused("what it was told of a call cannot be changed")

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        raise Refused("what it was told of a call cannot be changed")

    async def remove_activity(self, record_id: str) -> None:
        raise Refused("what it was told of a call cannot be taken back")


@dataclass(frozen=True, slots=True)
class Found:
    """Somebody that a CRM found, as it said so: `numbers` in whatever spelling."""

    contact_id: str
    name: str
    numbers: tuple[str, ...]
    company: str = ""
    email: str = ""
    owner: str | None = None       # an extension
    tags: tuple[str, ...] = ()
    instructions: str = ""


def having(connector: str, number: Number, country: str, found: Iterable[Found]) -> list[ContactEntry]:
    """Those that really have this number: CRMs find by parts of a number, and one may find another tenant's contact.
    What they say is made fit to be shown."""
    entries: dict[str, ContactEntry] = {}
    for one in found:
        numbers = _numbers(one.numbers, country)
        name = one_line(one.name)[:LONGEST_NAME] or one_line(one.company)[:LONGEST_NAME]
        if number.e164 not in numbers or not one.contact_id or not name:
            continue
        reference = contact_ref(connector, one.contact_id)
        entries[reference] = ContactEntry(
            reference,
            name,
            numbers,
            company=one_line(one.company)[:LONGEST_NAME],
            email=one_line(one.email)[:LONGEST_NAME],
            owner=one.owner,
            tags=tuple(dict.fromkeys(tag for tag in map(one_line, one.tags) if tag)),
            instructions=paragraphs(one.instructions)[:MAX_INSTRUCTIONS],
        )
    return list(entries.values())[:MOST_CONTACTS]


def has(number: Number, country: str, spellings: Iterable[object]) -> bool:
    """Whether one of these is the number."""
    return number.e164 in _numbers(spellings, country)


def _numbers(spellings: Iterable[object], country: str) -> tuple[str, ...]:
    read = [_number(text.strip(), country) for text in spellings if isinstance(text, str)]
    return tuple(dict.fromkeys(number.e164 for number in read if number is not None))


def _number(text: str, country: str) -> Number | None:
    """CRMs keep numbers with 00 also where that is not what one dials."""
    found = normalise(text, country)
    return normalise(f"+{text[2:]}", country) if found is None and text.startswith("00") else found


def utc(at: float) -> str:
    """`2026-11-23 02:43:30`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float) -> str:
    """`2026-11-23T02:43:30Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: object) -> float:
    """Unix time of either form, taken as UTC where it names no zone; 0 for what is none."""
    if not isinstance(text, str):
        return 0.0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def rows(body: Any, key: str) -> list[Mapping[str, Any]]:
    """The objects in the list `body[key]`. Raises Unreachable for an answer of another shape."""
    found = body.get(key) if isinstance(body, dict) else None
    if not isinstance(found, list):
        raise Unreachable(f'its answer has no list "{key}": is the url right?')
    return [row for row in found if isinstance(row, dict)]


def text(row: Mapping[str, Any], key: str) -> str:
    """A text of a row; numbers are written out, all else is empty."""
    value = row.get(key)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def needed(row: Any, key: str) -> str:
    """The same, but it must be there. Raises Unreachable."""
    found = text(row, key) if isinstance(row, dict) else ""
    if not found:
        raise Unreachable(f'its answer has no "{key}": is the url right?')
    return found
