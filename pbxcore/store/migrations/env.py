"""Alembic's environment: the connection is given by `migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from pbxcore.store.models import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    transactional_ddl=True,
)
context.run_migrations()
