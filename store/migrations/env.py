"""Runs the revisions on the connection, and in the transaction, of ``store.database.migrate``."""

from __future__ import annotations

from alembic import context

from store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
