"""Calls, activities, contacts, users, bindings, extensions, meta."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _calls()
    _activities()
    _contacts()
    op.create_table(
        "users",
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("password", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("extension", sa.String()),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("username", name="pk_users"),
    )
    op.create_table(
        "bindings",
        sa.Column("aor", sa.String(), nullable=False),
        sa.Column("contact", sa.String(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("received", sa.String(), nullable=False),
        sa.Column("transport", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("cseq", sa.BigInteger(), nullable=False),
        sa.Column("user_agent", sa.String(), nullable=False),
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("path", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("aor", "contact", name="pk_bindings"),
    )
    op.create_table(
        "extensions",
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("secret", sa.String(), nullable=False),
        sa.Column("profile", sa.String(), nullable=False),
        sa.Column("crm_control", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_extensions"),
    )
    meta = op.create_table(
        "meta",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )
    op.bulk_insert(meta, [{"key": "contacts.version", "value": "0"}])


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("caller", sa.String(), nullable=False),
        sa.Column("called", sa.String(), nullable=False),
        sa.Column("arrived_at", sa.Float(), nullable=False),
        sa.Column("caller_name", sa.String()),
        sa.Column("display_name", sa.String()),
        sa.Column("trunk", sa.String()),
        sa.Column("extension", sa.String()),
        sa.Column("contact_id", sa.String()),
        sa.Column("instructions", sa.String()),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("ringing_at", sa.Float()),
        sa.Column("answered_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.Column("answered_by", sa.String()),
        sa.Column("disposition", sa.String(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("reason", sa.String()),
        sa.Column("hung_up_by", sa.String()),
        sa.Column("legs", sa.JSON(), nullable=False),
        sa.Column("decided_by", sa.String()),
        sa.Column("lookup_ms", sa.Float()),
        sa.Column("from_a", sa.JSON()),
        sa.Column("from_b", sa.JSON()),
        sa.Column("parties", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calls"),
        sa.UniqueConstraint("call_id", name="uq_calls_call_id"),
    )
    still_open = sa.text("state <> 'ended'")
    op.create_index("ix_calls_open", "calls", ["call_id"], sqlite_where=still_open, postgresql_where=still_open)


def _activities() -> None:
    op.create_table(
        "activities",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("direction", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("contact_id", sa.String()),
        sa.Column("agent", sa.String()),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("answered_at", sa.Float()),
        sa.Column("ended_at", sa.Float()),
        sa.Column("disposition", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("summary", sa.String(), nullable=False),
        sa.Column("author", sa.String()),
        sa.Column("settled", sa.Boolean(), nullable=False),
        sa.Column("completed_at", sa.Float()),
        sa.PrimaryKeyConstraint("id", name="pk_activities"),
        sa.UniqueConstraint("call_id", name="uq_activities_call_id"),
    )
    op.create_index("ix_activities_agent_id", "activities", ["agent", "id"])
    known = sa.text("contact_id IS NOT NULL")
    op.create_index(
        "ix_activities_contact_id_id", "activities", ["contact_id", "id"], sqlite_where=known, postgresql_where=known
    )


def _contacts() -> None:
    op.create_table(
        "contacts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("company", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("instructions", sa.String(), nullable=False),
        sa.Column("vip", sa.Boolean(), nullable=False),
        sa.Column("search", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_contacts"),
    )
    op.create_table(
        "contact_numbers",
        sa.Column("contact_id", sa.String(), nullable=False),
        sa.Column("e164", sa.String(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", "e164", name="pk_contact_numbers"),
        sa.ForeignKeyConstraint(
            ["contact_id"], ["contacts.id"], name="fk_contact_numbers_contact_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_contact_numbers_e164", "contact_numbers", ["e164"])
