"""Runs the migrations of the Agent Runtime's database, DATABASE_URL."""

import os

from alembic import context

from platform_demo.database import engine_of

with engine_of(os.environ["DATABASE_URL"]).connect() as connection:
    # SQLite changes a table by making another in its place: in one transaction, so that nobody meets half of it.
    context.configure(connection=connection, render_as_batch=True, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
