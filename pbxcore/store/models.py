"""The tables. Times are Unix seconds; JSON columns hold plain lists and objects.

The order of the columns of `calls` and `activities` is the order in which the journal binds them.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


OPEN = sa.text("state <> 'ended'")
WAITING = sa.text("state = 'waiting'")
KNOWN = sa.text("contact_id IS NOT NULL")


def counted() -> sa.Column[int]:
    """The order in which rows came, without an index of its own: SQLite's rowid."""
    return sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True)


class Table(SQLModel):
    metadata = sa.MetaData(naming_convention=NAMES)


class CallRow(Table, table=True):
    """One call record, in the order they began: every field of `hooks.CallSnapshot`. `parties` is ` 101 trunk:main `,
    for the search by party."""

    __tablename__ = "calls"
    __table_args__ = (
        sa.Index("ix_calls_open", "call_id", sqlite_where=OPEN, postgresql_where=OPEN),  # what a crash left behind
    )

    id: int | None = Field(default=None, sa_column=counted())
    call_id: str = Field(unique=True)
    state: str
    direction: str
    caller: str
    called: str
    arrived_at: float
    caller_name: str | None = None
    display_name: str | None = None
    trunk: str | None = None
    extension: str | None = None
    contact_id: str | None = None
    instructions: str | None = None
    tags: list[str] = Field(sa_type=sa.JSON)
    ringing_at: float | None = None
    answered_at: float | None = None
    ended_at: float | None = None
    answered_by: str | None = None
    disposition: str
    status: int | None = None
    reason: str | None = None
    hung_up_by: str | None = None
    legs: list[dict[str, Any]] = Field(sa_type=sa.JSON)
    decided_by: str | None = None
    lookup_ms: float | None = None
    from_a: dict[str, Any] | None = Field(default=None, sa_type=sa.JSON)
    from_b: dict[str, Any] | None = Field(default=None, sa_type=sa.JSON)
    parties: str


class ActivityRow(Table, table=True):
    """What the embedded CRM keeps of a call, exactly once. The call writes its part, the agent his: summary, author,
    and the contact once he has settled it (`settled`)."""

    __tablename__ = "activities"
    __table_args__ = (
        sa.Index("ix_activities_agent_id", "agent", "id"),
        sa.Index("ix_activities_contact_id_id", "contact_id", "id", sqlite_where=KNOWN, postgresql_where=KNOWN),
    )

    id: int | None = Field(default=None, sa_column=counted())
    call_id: str = Field(unique=True)
    direction: str
    number: str
    contact_id: str | None = None
    agent: str | None = None
    started_at: float
    answered_at: float | None = None
    ended_at: float | None = None
    disposition: str
    state: str = "open"
    summary: str = ""
    author: str | None = None
    settled: bool = False
    completed_at: float | None = None
    outcome: str | None = None
    follow_up_at: float | None = Field(default=None, index=True)
    follow_up_note: str | None = None
    recording: str | None = None


class OutboxRow(Table, table=True):
    """What one CRM is to be told of one call. The row says that something changed (`version`), never what: the CRM is
    brought to what the activity says when it is told, and `sent` is a digest of what it was told last.

    `state` is waiting, sent or parked. `attempts` counts those since the last that went well, `failed_at` is when they
    began to fail. `contact_id` and `record_id` are the CRM's own.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.UniqueConstraint("call_id", "connector"),
        sa.Index("ix_outbox_waiting", "connector", "due_at", sqlite_where=WAITING, postgresql_where=WAITING),
    )

    id: int | None = Field(default=None, sa_column=counted())
    connector: str
    call_id: str
    called_at: float
    version: int = 1
    state: str = "waiting"
    due_at: float = 0.0
    attempts: int = 0
    failed_at: float | None = None
    record_id: str | None = None
    contact_id: str | None = None
    sent: str = ""
    reason: str = ""


class ContactRow(Table, table=True):
    """A person or company. `search` is its text case-folded, because databases fold ASCII letters only.

    `company` is the company's name; it follows that of `company_id` where there is one. `fields` are the office's own.
    """

    __tablename__ = "contacts"

    id: str = Field(primary_key=True)
    kind: str = "person"
    name: str
    company: str = ""
    company_id: str | None = Field(default=None, index=True)
    email: str = ""
    other_emails: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    addresses: list[dict[str, str]] = Field(default_factory=list, sa_type=sa.JSON)
    owner: str | None = None
    tags: list[str] = Field(default_factory=list, sa_type=sa.JSON)
    instructions: str = ""
    vip: bool = False
    balance: str = ""
    fields: dict[str, str] = Field(default_factory=dict, sa_type=sa.JSON)
    search: str = ""
    created_at: float
    changed_at: float


class ContactNumberRow(Table, table=True):
    """One E.164 number of a contact; several contacts may share one. `place` keeps the order they were given in."""

    __tablename__ = "contact_numbers"

    contact_id: str = Field(primary_key=True, foreign_key="contacts.id", ondelete="CASCADE")
    e164: str = Field(primary_key=True, index=True)
    place: int = 0
    kind: str = "work"


class InstructionRow(Table, table=True):
    """What to tell the agent of calls that meet all that is said here; empty: any. `days` are ISO weekdays, such as
    `12345`; `begins` and `ends` minutes of the office's day."""

    __tablename__ = "instructions"

    id: str = Field(primary_key=True)
    text: str
    number: str = ""
    prefix: str = ""
    tag: str = ""
    called: str = ""
    days: str = ""
    begins: int | None = None
    ends: int | None = None
    created_at: float


class ScheduledCallRow(Table, table=True):
    """A call that an agent is to make. `timezone` is where its time was said; `missed` counts the times it was
    offered and not taken."""

    __tablename__ = "scheduled_calls"
    __table_args__ = (sa.Index("ix_scheduled_calls_state_due_at", "state", "due_at"),)

    id: str = Field(primary_key=True)
    agent: str
    number: str
    contact_id: str | None = Field(default=None, index=True)
    due_at: float
    first_due_at: float
    timezone: str
    note: str = ""
    state: str = "planned"
    missed: int = 0
    reason: str = ""
    call_id: str | None = None
    author: str
    created_at: float
    changed_at: float


class CalendarRow(Table, table=True):
    """The secret in the address of an agent's calendar feed."""

    __tablename__ = "calendars"

    agent: str = Field(primary_key=True)
    token: str = Field(unique=True)


class UserRow(Table, table=True):
    """Who may use the panel. `password` is a hash made by the panel; `role` is admin, supervisor or agent."""

    __tablename__ = "users"

    username: str = Field(primary_key=True)
    password: str
    role: str
    extension: str | None = None
    created_at: float


class BindingRow(Table, table=True):
    """Where a registered phone is reached (RFC 3261 section 10): one contact of an address-of-record."""

    __tablename__ = "bindings"

    aor: str = Field(primary_key=True)
    contact: str = Field(primary_key=True)
    expires_at: float
    received: str = ""
    transport: str = "UDP"
    call_id: str = ""
    cseq: int = Field(default=0, sa_type=sa.BigInteger)
    user_agent: str = ""
    instance: str = ""
    path: list[str] = Field(default_factory=list, sa_type=sa.JSON)


class TextRow(Table, table=True):
    """A text that waits for a phone of its receiver (RFC 3428); `body` is base64."""

    __tablename__ = "texts"

    text_id: str = Field(primary_key=True)
    receiver: str
    sender: str
    content_type: str
    body: str
    sent_at: float
    expires_at: float


class ExtensionRow(Table, table=True):
    """An extension made in the panel, or on the first start; those of the settings file are not here."""

    __tablename__ = "extensions"

    number: str = Field(primary_key=True)
    name: str = ""
    secret: str
    profile: str = ""
    crm_control: str = "third-party"


class ExplainedRow(Table, table=True):
    """What was asked for a call that has ended, and what came of it: `steps` as `crmhooks.explained` writes them."""

    __tablename__ = "explained"

    call_id: str = Field(primary_key=True)
    steps: list[dict[str, Any]] = Field(sa_type=sa.JSON)


class MetaRow(Table, table=True):
    """Server secrets and other single values."""

    __tablename__ = "meta"

    key: str = Field(primary_key=True)
    value: str
