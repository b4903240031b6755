"""What the runner and the outbox ask of others: a CRM, a hook, and the desk that keeps the cards.

A CRM is asked with values and answers with values; what went wrong is one of three errors, because the outbox does
one of three things about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from crmhooks.text import one_line
from pbxcore.control import Card, ContactEntry
from pbxcore.hooks import CallSnapshot, Decision, IncomingCall

Question = Literal["lookup", "on_incoming", "on_answered", "on_ended"]

Ability = Literal["lookup", "create", "follow", "revise", "list", "remove"]
"""lookup: knows who has a number. create: takes somebody new. follow: is told of a call before its end, too. revise: a
record is brought up to date whenever something changes, the summary above all; without it each stage of a call is told
once, and what changes later is not. list: shows its records (`find_activity`, `activities`); without it a call is told
once at least, not exactly once, and `hookline reconcile` can only say that it was told. remove: takes a record back."""
EVERYTHING: frozenset[Ability] = frozenset(("lookup", "create", "follow", "revise", "list", "remove"))


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


class CrmError(HookError):
    """A CRM did not do what it was asked. The message is for people, and names no secret."""


class TryAgain(CrmError):
    """It will not do it now: throttled, overloaded, locked. `after` is in how many seconds it wants to be asked again
    (Retry-After); None when it did not say. It may have done it."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Refused(CrmError):
    """It will never do this, however often it is asked: a field that is wrong, a record that is read-only or gone."""


class Unreachable(CrmError):
    """Nothing is wrong with what was asked: the CRM is down, silent, answers with what is no answer, or does not take
    our credentials. It may have done it."""


@dataclass(frozen=True, slots=True)
class NewContact:
    """Somebody whom the CRM does not know yet. `number` is E.164 with `+`; `name` is never empty; `agent` is the
    extension that had him on the phone."""

    number: str
    name: str
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class CrmActivity:
    """A call as a CRM is told of it, as far as it is known by now; times are Unix seconds.

    `external_id` is the call's id: the record carries it, and is found by it. `number` is the other party's, E.164 or
    as it was received. `contact_id` is the CRM's own id of the contact; `agent` is an extension: the connector knows
    whose. `ended_at` is None while the call is up; `answered_at` stays None for one that nobody answered.
    `summary` is what the agent wrote, empty until then. `name` is what the other party is called, `own_number` the
    number on our side, as it was dialled or as the call came from it; both may be empty.
    """

    external_id: str
    direction: Literal["inbound", "outbound"]
    number: str
    started_at: float
    subject: str
    contact_id: str | None = None
    agent: str | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    disposition: str = "open"
    summary: str = ""
    name: str = ""
    own_number: str = ""

    @property
    def seconds(self) -> int:
        """How long they talked."""
        if self.answered_at is None or self.ended_at is None:
            return 0
        return max(0, round(self.ended_at - self.answered_at))


@dataclass(frozen=True, slots=True)
class CrmRecord:
    """A record of a call that a CRM has. `external_id` is empty for one that is not ours."""

    record_id: str
    external_id: str
    started_at: float
    completed: bool = False


class NumberLookup(Protocol):
    """Somebody who is asked who has a telephone number."""

    name: str

    async def lookup(self, number: str) -> Sequence[ContactEntry]:
        """Everybody with this number (E.164 with `+`), best match first; empty when nobody has it. Of a number that
        several share all are given: who of them calls is the agent's to say.

        The answer must depend on the number alone: it is shared by all calls from it and kept for a while.
        Raises HookError.
        """
        ...


class CrmConnector(NumberLookup, Protocol):
    """A CRM: one `[[crm.connector]]`. Whatever it is asked, it raises TryAgain, Refused or Unreachable, nothing else.

    Ids of contacts in `lookup`'s answers begin with the connector's name and a colon (`contact_ref`); everywhere else
    they are the CRM's own. Nothing is asked twice at the same time about the same call, and at most `parallel`
    questions at once. What it is not able to (`can`) it is not asked for; asked all the same, it finds nobody and
    raises Refused.
    """

    can: frozenset[Ability]
    instructs: str    # its field of a contact that whoever answers is shown (of a template: the key); empty: none
    lag: float        # seconds for which a search may not show what the CRM has stored; 0 for most
    parallel: int
    announcer: Hook | None    # asked before a call rings, where the CRM is told of it then and may decide

    async def create_contact(self, contact: NewContact) -> str:
        """Store somebody new; the id. The outbox has looked the number up before, and asks for one number once."""
        ...

    async def find_activity(self, external_id: str) -> Sequence[CrmRecord]:
        """The records of this call, the oldest first: none, one, or several when something went wrong."""
        ...

    async def open_activity(self, activity: CrmActivity) -> str:
        """Make a record that is not completed, whatever the activity says already; the id. One that cannot `revise` is
        told all that there is to tell by now, and gives an empty id where it wants to be told nothing of this call.

        When the outbox does not know what became of an earlier attempt it asks `find_activity` first. A CRM that can
        tell a second record by the external id itself gives the id of the first one.
        """
        ...

    async def update_activity(self, record_id: str, activity: CrmActivity) -> None:
        """Bring the record to what is known now: contact, agent, times, disposition. Doing it twice does no harm."""
        ...

    async def complete_activity(self, record_id: str, activity: CrmActivity) -> None:
        """The call is over and its summary written: store all of it, then complete the record, in the order that the
        CRM demands. Doing it twice does no harm, also when the first time got half way."""
        ...

    async def remove_activity(self, record_id: str) -> None:
        """Take back a record that stands for no call of its own; none is fine too."""
        ...

    async def activities(self, since: float, until: float) -> Sequence[CrmRecord]:
        """All our records of calls that started in this span of Unix time, `until` excluded; all pages of them."""
        ...

    async def close(self) -> None: ...


def contact_ref(connector: str, contact_id: str) -> str:
    """How a CRM's contact is called outside of its connector."""
    return f"{connector}:{contact_id}"


def own_id(connector: str, reference: str | None) -> str | None:
    """The CRM's own id in `contact_ref`; None for a contact of somebody else."""
    prefix = f"{connector}:"
    return reference[len(prefix) :] if reference is not None and reference.startswith(prefix) else None


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

    def card_of(self, call: IncomingCall) -> Card:
        """The card as it would be; nothing is kept."""
        ...

    def put_card(self, card: Card) -> None:
        """Replace the card of `card.call_id`."""
        ...

    def card(self, call_id: str) -> Card | None: ...

    def lookup(self, number: str) -> tuple[ContactEntry, ...]: ...
