"""The Runtime's database, for the Runtime and for its migrations."""

from typing import Any

import sqlalchemy as sa

#: How long one waits for another who is writing, in seconds.
PATIENCE = 60


def engine_of(url: str) -> sa.Engine:
    """An engine whose transactions are whole: nobody else changes anything, the schema included, while one lasts.

    Python's driver for SQLite begins one late, and not at all before a statement that changes the schema.
    """
    engine = sa.create_engine(url, connect_args={"timeout": PATIENCE})

    @sa.event.listens_for(engine, "connect")
    def leave_beginning_to_us(connection: Any, _record: object) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # IMMEDIATE, so that whoever has read may write: it waits at the beginning, and is never refused in the middle.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
