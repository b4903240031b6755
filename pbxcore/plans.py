"""What the office plans for its calls, as the panel works with it: instructions, and calls that are to be made.

Part of the door `control`, whose exceptions its methods raise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Instruction:
    """What an agent is told of calls that meet everything said here; what is empty is met by all.

    `number` is E.164, `prefix` the beginning of one, `tag` a segment: a tag of the contact. `called` is the number that
    was called, or what it leads to (`101`, `queue:sales`). `days` are ISO weekdays (`12345`: Monday to Friday);
    `begins` and `ends` are minutes of the office's day, the end not among them, and may span midnight.
    """

    id: str
    text: str
    number: str = ""
    prefix: str = ""
    tag: str = ""
    called: str = ""
    days: str = ""
    begins: int | None = None
    ends: int | None = None


class InstructionBook(Protocol):
    """The instructions of the office."""

    def all(self) -> list[Instruction]:
        """The most specific first, as they are looked through."""
        ...

    async def save(self, instruction: Instruction) -> Instruction:
        """Create (no id) or change. Raises Invalid, NotFound."""
        ...

    async def delete(self, instruction_id: str) -> None:
        """Raises NotFound."""
        ...


ScheduleState = Literal["planned", "offered", "done", "missed", "cancelled"]


@dataclass(frozen=True, slots=True)
class ScheduledCall:
    """A call that an agent is to make at `due_at` (Unix time), said in `timezone`. `missed` counts how often it was not
    taken, `reason` says why the last time, `reason_code` for any language (`faults`, with his extension); it moved from
    `first_due_at` then. `call_id` is the call it was offered by.

    `id` is empty for one that is not stored yet.
    """

    id: str
    agent: str
    number: str
    due_at: float
    timezone: str
    note: str = ""
    contact_id: str | None = None
    contact_name: str = ""
    state: ScheduleState = "planned"
    missed: int = 0
    reason: str = ""
    call_id: str | None = None
    first_due_at: float = 0.0
    author: str = ""
    reason_code: str = ""


class CallSchedule(Protocol):
    """The calls that are planned."""

    async def list(
        self, *, agent: str | None = None, state: ScheduleState | None = None, open_only: bool = False,
        limit: int = 50, offset: int = 0,
    ) -> list[ScheduledCall]:
        """The next first; `open_only` leaves out those that are done or cancelled."""
        ...

    async def find(self, schedule_id: str) -> ScheduledCall: ...

    async def save(self, entry: ScheduledCall) -> ScheduledCall:
        """Plan (no id) or change; one that is changed is planned anew. Raises Invalid, NotFound."""
        ...

    async def close_as(self, schedule_id: str, state: ScheduleState) -> ScheduledCall:
        """Done, or cancelled. Raises NotFound."""
        ...

    async def calendar_token(self, agent: str, *, renew: bool = False) -> str:
        """The secret in the address of this agent's calendar feed; `renew` makes the old one worthless."""
        ...

    async def calendar(self, token: str) -> bytes:
        """The feed (RFC 5545) that has this secret. Raises NotFound."""
        ...
