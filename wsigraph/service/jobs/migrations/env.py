"""Runs migrations on the connection that `wsigraph.service.jobs.migrations.migrate` holds, in its transaction."""

from __future__ import annotations

from alembic import context

from wsigraph.service.jobs.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
