"""Contacts with companies, kinds and addresses; outcomes and follow-ups; instructions; scheduled calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _contacts()
    for column in (
        sa.Column("outcome", sa.String()),
        sa.Column("follow_up_at", sa.Float()),
        sa.Column("follow_up_note", sa.String()),
        sa.Column("recording", sa.String()),
    ):
        op.add_column("activities", column)
    op.create_index("ix_activities_follow_up_at", "activities", ["follow_up_at"])
    op.create_table(
        "instructions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("prefix", sa.String(), nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.Column("called", sa.String(), nullable=False),
        sa.Column("days", sa.String(), nullable=False),
        sa.Column("begins", sa.Integer()),
        sa.Column("ends", sa.Integer()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_instructions"),
    )
    _scheduled_calls()


def _contacts() -> None:
    for column in (
        sa.Column("kind", sa.String(), nullable=False, server_default="person"),
        sa.Column("company_id", sa.String()),
        sa.Column("other_emails", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("addresses", sa.JSON(), nullable=False, server_default="[]"),
        sa.Column("balance", sa.String(), nullable=False, server_default=""),
        sa.Column("fields", sa.JSON(), nullable=False, server_default="{}"),
    ):
        op.add_column("contacts", column)
    op.create_index("ix_contacts_company_id", "contacts", ["company_id"])
    op.add_column("contact_numbers", sa.Column("kind", sa.String(), nullable=False, server_default="work"))


def _scheduled_calls() -> None:
    op.create_table(
        "scheduled_calls",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("contact_id", sa.String()),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("first_due_at", sa.Float(), nullable=False),
        sa.Column("timezone", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("call_id", sa.String()),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scheduled_calls"),
    )
    op.create_index("ix_scheduled_calls_state_due_at", "scheduled_calls", ["state", "due_at"])
    op.create_index("ix_scheduled_calls_contact_id", "scheduled_calls", ["contact_id"])
    op.create_table(
        "calendars",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("token", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("agent", name="pk_calendars"),
        sa.UniqueConstraint("token", name="uq_calendars_token"),
    )
