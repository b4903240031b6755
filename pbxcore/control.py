"""The door for `web`: what a panel may see and do, without knowing who does it.

`PbxControl` is the exchange, `CrmDesk` the CRM that ships with it. Both answer at once from memory where they can;
what must reach a database is a coroutine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict

from pbxcore.faults import ENGLISH
from pbxcore.hooks import CallSnapshot, ExplainStep, Phrase
from pbxcore.plans import CallSchedule as CallSchedule
from pbxcore.plans import Instruction as Instruction
from pbxcore.plans import InstructionBook as InstructionBook
from pbxcore.plans import ScheduledCall as ScheduledCall
from pbxcore.plans import ScheduleState as ScheduleState


class NotFound(Exception):
    """No such call, contact or activity; the message says which."""


class Invalid(Exception):
    """A value that cannot be stored: `field` names it, `code` and `values` (those of `faults.ENGLISH`) say what is
    wrong and what is right; the message does so in English."""

    def __init__(self, field: str, code: str, **values: object) -> None:
        super().__init__(ENGLISH[code].format(**values))
        self.field, self.code, self.values = field, code, values

    @property
    def said(self) -> Phrase:
        """What is wrong, for any language."""
        return self.code, {name: str(value) for name, value in self.values.items()}


AgentState = Literal["ready", "not ready", "after-call work"]
AGENT_STATES: tuple[AgentState, ...] = ("ready", "not ready", "after-call work")


@dataclass(frozen=True, slots=True)
class ExtensionState:
    """An extension as the panel shows it. `phones` are the user agents registered now."""

    number: str
    name: str
    crm_control: Literal["third-party", "first-party"]
    phones: tuple[str, ...]
    busy: bool
    state: AgentState = "ready"


@dataclass(frozen=True, slots=True)
class TrunkState:
    """A trunk as the panel shows it. `reason` says in words why it is not registered or not reachable; empty when all
    is well. A trunk that is not to register is "off"."""

    name: str
    server: str
    calls: int
    registration: Literal["off", "trying", "registered", "failed"] = "off"
    reachable: bool = True
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """A row of the table of rules: `fields` are those of a `[[crm.rule]]`, `decides` is its decision in a phrase. A
    `fixed` one is of the settings file."""

    fields: Mapping[str, Any]
    decides: Phrase
    fixed: bool


class DecisionRules(Protocol):
    """The rules that decide about calls without code."""

    def all(self) -> list[RuleEntry]:
        """In the order in which they are looked through; the fixed ones are first."""
        ...

    async def replace(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Make these the rules that are not fixed. Raises Invalid; its field begins with the rule's place, from 1."""
        ...


@dataclass(frozen=True, slots=True)
class TraceParty:
    """One of the others in a ladder, who has a dialog of his own with the exchange: `name` is his number or name,
    `address` host and port, `side` "a" for who called in, "b" for whom the exchange called."""

    name: str
    address: str
    transport: str
    side: Literal["a", "b"]


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One message: `party` is its place in `Trace.parties`, `at` Unix time, `out` whether the exchange sent it, `text`
    its method or status, `again` whether the same has gone this way before, `message` the whole without secrets."""

    at: float
    party: int
    out: bool
    text: str
    again: bool
    local: str
    remote: str
    transport: str
    message: str


@dataclass(frozen=True, slots=True)
class Trace:
    """The SIP of one call, all of its dialogs together, as far as it is still remembered."""

    call_id: str
    parties: tuple[TraceParty, ...]
    steps: tuple[TraceStep, ...]


class PbxControl(Protocol):
    """The exchange, as a panel or a program controls it."""

    def calls(self) -> list[CallSnapshot]: ...

    def call(self, call_id: str) -> CallSnapshot:
        """One live call. Raises NotFound."""
        ...

    def hang_up(self, call_id: str) -> None:
        """End both legs. Raises NotFound."""
        ...

    def originate(self, agent: str, to: str) -> str:
        """Call an extension, and once it has answered, a number as it would dial it; the call's identifier. Its phone
        answers by itself where its make can. What comes of it is told by events. Raises Invalid."""
        ...

    def transfer(self, call_id: str, to: str, party: str | None = None, notes: str = "") -> None:
        """Transfer an answered call to a number, as the phone of `party` could: that party leaves, the other one stays.
        Without `party` it is the office's own one, of a call between two colleagues the one who was called. A phone
        that shows such things is told the notes. What comes of it is told by events: Transferred, or Failed for who
        could not be reached, and then the call is as it was.

        Raises NotFound, Invalid.
        """
        ...

    def rung_by(self, call_id: str, to: str, party: str | None = None) -> tuple[str, ...]:
        """The extensions that this transfer would ring first. Raises what `transfer` would."""
        ...

    def extensions(self) -> list[ExtensionState]: ...

    def agent_says(self, number: str, state: AgentState) -> None:
        """Make an agent ready, not ready, or busy with after-call work. Raises NotFound."""
        ...

    def summary_written(self, call_id: str) -> None:
        """Whoever wrote about this call is free again."""
        ...

    def trunks(self) -> list[TrunkState]: ...

    async def explain(self, call: CallSnapshot) -> tuple[ExplainStep, ...]:
        """What was asked for a call, live or on record, what came of it and where it rings for it."""
        ...

    def trace(self, call_id: str) -> Trace:
        """The ladder of a live or recent call. Raises NotFound when nothing of it is remembered."""
        ...

    def trace_capture(self, call_id: str) -> bytes:
        """The same as a capture file (pcap), secrets masked. Raises NotFound."""
        ...

    def caller_card(self, token: str) -> bytes:
        """The card (RFC 7095) that a phone was told to fetch there. Raises NotFound when there is none any more."""
        ...


NumberKind = Literal["work", "mobile", "home", "fax", "other"]
AddressKind = Literal["work", "home", "other"]


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address."""

    kind: AddressKind = "work"
    street: str = ""
    city: str = ""
    region: str = ""
    postcode: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """A person or company in the embedded CRM. `numbers` are E.164 with `+`; `owner` is an extension.

    `id` is empty for one that is not stored yet. `number_kinds` stand in the order of `numbers`; those left out are
    "work". A person may belong to a company that is a contact itself (`company_id`): `company` is its name then.
    `balance` is a decimal number as text, such as "-12.50"; `fields` are the office's own.
    """

    id: str
    name: str
    numbers: tuple[str, ...] = ()
    company: str = ""
    email: str = ""
    owner: str | None = None
    tags: tuple[str, ...] = ()
    instructions: str = ""
    vip: bool = False
    kind: Literal["person", "company"] = "person"
    company_id: str | None = None
    number_kinds: tuple[NumberKind, ...] = ()
    other_emails: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    balance: str = ""
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)

    def numbered(self) -> tuple[tuple[str, NumberKind], ...]:
        """Each number with its kind."""
        return tuple((n, self.number_kinds[at] if at < len(self.number_kinds) else "work")
                     for at, n in enumerate(self.numbers))


@dataclass(slots=True)
class Card:
    """What pops on the agent's page. More than one contact means that the number is shared: the agent chooses.

    `number` is E.164 (or as received when it is no telephone number); `recent` are the last activities with it. Not
    changed once it is made; one is made for every call, and being frozen would cost it more.
    """

    call_id: str
    number: str
    contacts: tuple[ContactEntry, ...]
    instructions: str
    recent: tuple[ActivityEntry, ...] = ()
    late: bool = False


@dataclass(frozen=True, slots=True)
class ActivityEntry:
    """A call as the CRM keeps it: `open` until its summary is written.

    `outcome` is what came of it in a word or two; `follow_up_at` is Unix time, None when nothing is to be done any
    more; `recording` says where the recording is. The `summary` of an open one is what was noted so far.
    """

    id: str
    call_id: str
    direction: str
    number: str
    contact_id: str | None
    contact_name: str
    agent: str | None
    started_at: float
    answered_at: float | None
    ended_at: float | None
    disposition: str
    state: Literal["open", "completed"]
    summary: str = ""
    author: str | None = None
    outcome: str = ""
    follow_up_at: float | None = None
    follow_up_note: str = ""
    recording: str = ""


class ActivityChange(TypedDict, total=False):
    """What may be said of an activity besides its summary; what is left out stays."""

    outcome: str
    follow_up_at: float | None
    follow_up_note: str
    recording: str
    notes: str      # the summary so far: it stays open, and whoever goes on with the call goes on with it


@dataclass(frozen=True, slots=True)
class ImportFault:
    """What could not be imported: the line on which it begins, why (in English, and for any language), and its
    text."""

    line: int
    reason: str
    text: str
    said: Phrase


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A number that several contacts have."""

    number: str
    contacts: tuple[ContactEntry, ...]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `merged` went into contacts that were there, or came before; `same` said nothing new;
    `duplicates` are numbers that contacts of different names have now."""

    created: int = 0
    merged: int = 0
    same: int = 0
    faults: tuple[ImportFault, ...] = ()
    duplicates: tuple[Duplicate, ...] = ()


CardFile = Literal["csv", "vcard"]


class ContactPort(Protocol):
    """Contacts from files and into files."""

    async def take_in(self, data: bytes, kind: CardFile, *, merge_all: bool = False) -> ImportReport:
        """Import what is good. A contact with a number, and a name, that is there already is merged into that one;
        `merge_all`: whatever the names. Raises Invalid when it is no such file."""
        ...

    async def give_out(self, kind: CardFile) -> bytes: ...

    def duplicates(self, limit: int = 100) -> list[Duplicate]: ...

    async def merge(self, contact_id: str, other_id: str) -> ContactEntry:
        """Put everything of the other contact, its calls too, into this one. Raises NotFound, Invalid."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """What one CRM is to know of one call. `state` is waiting, sent or parked; `reason` says in words why it waits or
    was parked. `due_at` is when it is tried next, None for now; `record_id` is the CRM's own."""

    id: int
    connector: str
    call_id: str
    called_at: float
    state: str
    attempts: int
    due_at: float | None
    reason: str
    record_id: str | None


@dataclass(frozen=True, slots=True)
class CrmBacklog:
    """How one CRM stands: entries that wait and that are parked, the Unix time of the oldest call among them, and why
    it is not told anything just now (empty: it is)."""

    connector: str
    waiting: int = 0
    parked: int = 0
    oldest_at: float | None = None
    resting: str = ""


class CrmOutbox(Protocol):
    """What waits for the CRMs that are connected."""

    async def backlogs(self) -> list[CrmBacklog]:
        """One for each CRM of the settings, in file order."""
        ...

    async def entries(
        self, *, state: str | None = None, connector: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[OutboxEntry]:
        """Newest first; without a state those that wait or are parked."""
        ...

    async def retry(self, entry_id: int) -> OutboxEntry:
        """Let an entry be told now. Raises NotFound."""
        ...

    async def retry_parked(self, connector: str | None = None) -> int:
        """Let all that is parked be told now, or what is parked for one CRM; how many those were."""
        ...


class CrmDesk(Protocol):
    """The CRM that ships, as the panel works with it. Numbers may come in any spelling of the office's country."""

    @property
    def book(self) -> InstructionBook: ...

    @property
    def port(self) -> ContactPort: ...

    @property
    def schedule(self) -> CallSchedule: ...

    def card(self, call_id: str) -> Card | None:
        """The card of a call that is live or ended lately; None while the look-up is still on its way."""
        ...

    def lookup(self, number: str) -> tuple[ContactEntry, ...]: ...

    def people(self, company_id: str) -> tuple[ContactEntry, ...]:
        """Those who belong to a company, by name."""
        ...

    async def contacts(
        self, search: str = "", limit: int = 50, offset: int = 0, *, companies: bool = False
    ) -> list[ContactEntry]:
        """By name; `companies` keeps those that are one."""
        ...

    async def contact(self, contact_id: str) -> ContactEntry: ...

    async def save_contact(self, entry: ContactEntry) -> ContactEntry:
        """Create (no id) or change. Raises Invalid, NotFound."""
        ...

    async def delete_contact(self, contact_id: str) -> None: ...

    async def activities(
        self,
        *,
        agent: str | None = None,
        contact_id: str | None = None,
        call_id: str | None = None,
        open_only: bool = False,
        overdue: bool = False,
        follow_up: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> list[ActivityEntry]:
        """Newest first; every filter given must match. `overdue` keeps those whose summary is missing an hour after the
        call, or whose follow-up was due; `follow_up` those that have one, the next first."""
        ...

    async def write_summary(
        self,
        call_id: str,
        summary: str,
        author: str,
        contact_id: str | None = None,
        change: ActivityChange | None = None,
    ) -> ActivityEntry:
        """Complete the activity of a call; `contact_id` settles whose call it was. Raises NotFound, Invalid."""
        ...

    async def change_activity(self, call_id: str, change: ActivityChange) -> ActivityEntry:
        """Say more of an activity, open or completed. Raises NotFound, Invalid."""
        ...

    async def history(
        self, *, party: str | None = None, call_id: str | None = None, limit: int = 50, offset: int = 0
    ) -> list[CallSnapshot]:
        """Call records from the journal, newest first; `party` keeps one extension's calls, `call_id` one call."""
        ...
