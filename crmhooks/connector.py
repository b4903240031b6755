"""What the runner asks of others: a CRM's look-up, a hook, and the desk that keeps the cards.

Writing calls into a CRM is the journal's and its outbox's work and not part of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from crmhooks.text import one_line
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

Question = Literal["lookup", "on_incoming", "on_answered", "on_ended"]


class HookError(Exception):
    """A hook that could not be asked, or whose answer cannot be followed; the message says so in plain words."""


def raised(error: BaseException) -> str:
    """What a hook raised, on one line and not too long: `raised ValueError: no such customer`."""
    said = one_line(str(error)[:300])
    return f"raised {type(error).__name__}: {said}" if said else f"raised {type(error).__name__}"


class InvalidHook(ValueError):
    """A `[[crm.hook]]` that cannot work; `key` is its place in the settings, the message says how to mend it."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key


class CrmConnector(Protocol):
    """A CRM that is asked who has a telephone number."""

    name: str

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        """Everybody with this number (E.164 with `+`), best match first; empty when nobody has it.

        The answer must depend on the number alone: it is shared by all calls from it and kept for a while.
        Raises HookError.
        """
        ...


class Hook(Protocol):
    """One `[[crm.hook]]`. `answers` says which of the four it has; the others are never called."""

    name: str
    answers: frozenset[Question]

    async def lookup(self, number: str) -> Sequence[ContactEntry]: ...

    async def on_incoming(self, call: IncomingCall) -> Decision | None:
        """What to do with this call, None for no opinion. Raises HookError."""
        ...

    async def on_answered(self, call: CallSnapshot) -> None: ...

    async def on_ended(self, call: CallSnapshot) -> None: ...

    async def close(self) -> None: ...


class CardDesk(Protocol):
    """The embedded CRM, as far as the runner needs it; all in memory, nothing waits."""

    def card_for(self, call: IncomingCall) -> Card:
        """Look the other party up, keep the card under the call's id, and return it."""
        ...

    def put_card(self, card: Card) -> None:
        """Replace the card of `card.call_id`."""
        ...

    def card(self, call_id: str) -> Card | None: ...

    def lookup(self, number: str) -> tuple[ContactEntry, ...]: ...
