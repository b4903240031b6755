"""What programs write to /api/v1."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from pbxcore.control import (
    ActivityChange,
    Address,
    AddressKind,
    AgentState,
    ContactEntry,
    Instruction,
    Invalid,
    NumberKind,
    ScheduledCall,
)
from web.moments import read_moment


class AddressIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: AddressKind = "work"
    street: str = ""
    city: str = ""
    region: str = ""
    postcode: str = ""
    country: str = ""


class ContactIn(BaseModel):
    """A contact as a program writes it. `number_kinds` stand in the order of `numbers`; without `company_id` a person
    belongs to the company that bears the name `company`, if there is one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    numbers: list[str] = []
    company: str = ""
    email: str = ""
    owner: str | None = None
    tags: list[str] = []
    instructions: str = ""
    vip: bool = False
    kind: Literal["person", "company"] = "person"
    company_id: str | None = None
    number_kinds: list[NumberKind] = []
    other_emails: list[str] = []
    addresses: list[AddressIn] = []
    balance: str = ""
    fields: dict[str, str] = {}

    def entry(self, contact_id: str) -> ContactEntry:
        return ContactEntry(
            id=contact_id,
            name=self.name,
            numbers=tuple(self.numbers),
            company=self.company,
            email=self.email,
            owner=self.owner,
            tags=tuple(self.tags),
            instructions=self.instructions,
            vip=self.vip,
            kind=self.kind,
            company_id=self.company_id,
            number_kinds=tuple(self.number_kinds),
            other_emails=tuple(self.other_emails),
            addresses=tuple(Address(**address.model_dump()) for address in self.addresses),
            balance=self.balance,
            fields=self.fields,
        )


class CallIn(BaseModel):
    """A call to order: the phone of the extension `from` rings first, then `to`, as that phone would dial it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    from_: str = Field(alias="from")
    to: str


class ScheduledCallIn(BaseModel):
    """A call to plan. `due_at` is Unix time, or a date and time (RFC 3339); without an offset it is the wall clock in
    `timezone`, which is the office's when nothing is said. `agent` is the sender's own extension then."""

    model_config = ConfigDict(extra="forbid", strict=True)

    number: str
    due_at: float | str
    timezone: str = ""
    agent: str = ""
    contact_id: str | None = None
    note: str = ""

    def call(self, schedule_id: str, agent: str, timezone: str, author: str) -> ScheduledCall:
        """Raises Invalid."""
        zone = self.timezone or timezone
        due = read_moment("due_at", self.due_at, zone)
        if due is None:
            raise Invalid("due_at", "moment.missing")
        return ScheduledCall(
            schedule_id, self.agent or agent, self.number, due, zone, self.note, self.contact_id, author=author
        )


class TransferIn(BaseModel):
    """Where a call is to go; `party` is the extension that leaves it, `notes` what whoever takes it is to know."""

    model_config = ConfigDict(extra="forbid", strict=True)

    to: str
    party: str | None = None
    notes: str = ""


class ActivityIn(BaseModel):
    """What is said of an activity besides its summary; what is left out stays. `follow_up_at` is Unix time, or a date
    and time (RFC 3339; without an offset the office's), null when nothing is to be done any more. `notes` are the
    summary so far: the activity stays open."""

    model_config = ConfigDict(extra="forbid", strict=True)

    outcome: str = ""
    follow_up_at: float | str | None = None
    follow_up_note: str = ""
    recording: str = ""
    notes: str = ""

    def change(self, timezone: str) -> ActivityChange:
        """What was sent. Raises Invalid."""
        sent = {name: getattr(self, name) for name in ActivityIn.model_fields if name in self.model_fields_set}
        if "follow_up_at" in sent:
            sent["follow_up_at"] = read_moment("follow_up_at", sent["follow_up_at"], timezone)
        return cast(ActivityChange, sent)


class SummaryIn(ActivityIn):
    """What was said in a call; `contact_id` settles whose call it was when a number is shared."""

    summary: str
    contact_id: str | None = None


class AgentStateIn(BaseModel):
    """What an agent is from now on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    state: AgentState


class RulesIn(BaseModel):
    """The panel's rules in their order; each has the keys of a `[[crm.rule]]`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rules: list[dict[str, Any]]


class MergeIn(BaseModel):
    """The contact that is to go into another one."""

    model_config = ConfigDict(extra="forbid", strict=True)

    other: str


class InstructionIn(BaseModel):
    """What an agent is told of calls that meet all of it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    number: str = ""
    prefix: str = ""
    tag: str = ""
    called: str = ""
    days: str = ""
    begins: int | None = None
    ends: int | None = None

    def instruction(self, instruction_id: str) -> Instruction:
        return Instruction(instruction_id, **self.model_dump())
