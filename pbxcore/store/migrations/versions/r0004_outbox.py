"""What CRMs are to be told of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("connector", sa.String(), nullable=False),
        sa.Column("call_id", sa.String(), nullable=False),
        sa.Column("called_at", sa.Float(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.Float()),
        sa.Column("record_id", sa.String()),
        sa.Column("contact_id", sa.String()),
        sa.Column("sent", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("call_id", "connector", name="uq_outbox_call_id_connector"),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "ix_outbox_waiting", "outbox", ["connector", "due_at"], sqlite_where=waiting, postgresql_where=waiting
    )
