"""Run by alembic for every command: over the connection, and inside the transaction, that the caller opened."""

from __future__ import annotations

from alembic import context

from balancer.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes tables by making them anew.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
