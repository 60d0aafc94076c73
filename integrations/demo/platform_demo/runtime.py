"""The Agent Runtime: sessions, each of a user since the migration that adds `user_id`.

It serves on the schema before that migration and on the one after, so that either may be changed first. The schema is
looked at in the transaction that goes by it: the migration may come between any two, and come back.
"""

import contextlib
import uuid
from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import sqlalchemy as sa
from fastapi import Depends, FastAPI, HTTPException

from codelab_auth import Identity
from codelab_auth.fastapi import current_user

from .common import INTERNAL, NO_KEEPING, PATIENCE, Settings, guard
from .database import engine_of

settings = Settings.of_environment()
app = FastAPI(title="Agent Runtime")
guard(app, settings)

User = Annotated[Identity, Depends(current_user)]

engine = engine_of(settings.database_url)
llm = httpx.Client(base_url=settings.llm_url, limits=NO_KEEPING, timeout=PATIENCE)


@contextlib.contextmanager
def _sessions() -> Iterator[tuple[sa.Connection, sa.Table]]:
    """The sessions as they are at the moment, and remain for as long as the transaction lasts."""
    with engine.begin() as connection:
        yield connection, sa.Table("sessions", sa.MetaData(), autoload_with=connection)


def _of(user: Identity, table: sa.Table) -> sa.ColumnElement[bool]:
    """The sessions that somebody may see: one's own; all of them, as ever, with the shared key."""
    if "user_id" not in table.c or user.client_id is None:
        return sa.true()
    return table.c.user_id == user.user_id


def _find(session: str, user: Identity) -> dict[str, Any]:
    with _sessions() as (connection, table):
        found = connection.execute(sa.select(table).where(table.c.id == session, _of(user, table))).mappings().first()
    if found is None:
        # Whose it is, if anybody's, is nobody else's business.
        raise HTTPException(404, "There is no such session.")
    return dict(found)


@app.get("/sessions")
def sessions(user: User) -> list[dict[str, Any]]:
    with _sessions() as (connection, table):
        return [dict(row) for row in connection.execute(sa.select(table).where(_of(user, table))).mappings()]


@app.post("/sessions")
def begin(body: dict[str, str], user: User) -> dict[str, Any]:
    row = {"id": str(uuid.uuid4()), "title": body["title"]}
    with _sessions() as (connection, table):
        if "user_id" in table.c:
            row["user_id"] = user.user_id
        connection.execute(sa.insert(table).values(row))
    return row


@app.post("/sessions/{session}/ask")
def ask(session: str, body: dict[str, str], user: User) -> dict[str, Any]:
    found = _find(session, user)
    # Between these two services the shared key stays.
    answer = llm.post("/v1/complete", headers={INTERNAL: settings.internal_key}, json={"prompt": body["text"]})
    answer.raise_for_status()
    return {"session": found["id"], "text": answer.json()["text"]}
