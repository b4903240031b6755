"""The ring groups, queues, menus and mailboxes of an office, as the dial plan knows them. Values only.

A destination is a text: `101`, `group:front`, `queue:sales`, `ivr:main`, `voicemail:101`, `play:closed`; anything else
is dialled out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Strategy = Literal["all", "in_order", "longest_idle"]


@dataclass(frozen=True, slots=True)
class RingGroup:
    """Extensions that ring together, one after the other, or whoever has been without a call longest first.

    `seconds` is how long each round rings, `otherwise` where the call goes when nobody answers ("": the caller is told
    so).
    """

    name: str
    members: tuple[str, ...]
    strategy: Strategy = "all"
    seconds: float = 20.0
    otherwise: str = ""


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """Callers wait with music until an agent is free. `announce_seconds` is how often they hear their place (0: never),
    `longest_seconds` how long they wait until `otherwise`, `most` how many may wait."""

    name: str
    agents: tuple[str, ...]
    strategy: Strategy = "longest_idle"
    music: str = "music"
    seconds: float = 20.0
    announce_seconds: float = 30.0
    longest_seconds: float = 900.0
    most: int = 100
    otherwise: str = ""


@dataclass(frozen=True, slots=True)
class Menu:
    """What is said, and where each key leads. `say` are names of prompts, or sentences in which `{name}` is a variable
    of the decision that led here."""

    name: str
    say: tuple[str, ...]
    keys: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 6.0
    tries: int = 3
    otherwise: str = ""


@dataclass(frozen=True, slots=True)
class Attend:
    """A step of a route: the exchange itself takes the call. `service` is one of those in `serve.SERVICES`."""

    service: str
    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0

    @property
    def party(self) -> str:
        return f"{self.service}:{self.name}"
