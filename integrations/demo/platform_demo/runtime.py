"""The Agent Runtime: sessions, each of a user since the migration that adds `user_id`.

It serves on the schema before that migration and on the one after, so that either may be changed first.
"""

import uuid
from typing import Annotated, Any

import httpx
import sqlalchemy as sa
from codelab_auth import Identity
from codelab_auth.fastapi import current_user
from fastapi import Depends, FastAPI, HTTPException

from .common import INTERNAL, Settings, guard

settings = Settings.of_environment()
app = FastAPI(title="Agent Runtime")
guard(app, settings)

User = Annotated[Identity, Depends(current_user)]

engine = sa.create_engine(settings.database_url)


def _table() -> sa.Table:
    """The sessions as they are at the moment: the migration may come while the service runs."""
    return sa.Table("sessions", sa.MetaData(), autoload_with=engine)


def _of(user: Identity, table: sa.Table) -> sa.ColumnElement[bool]:
    """The sessions that somebody may see: one's own; all of them, as ever, with the shared key."""
    if "user_id" not in table.c or user.client_id is None:
        return sa.true()
    return table.c.user_id == user.user_id


def _find(session: str, user: Identity) -> dict[str, Any]:
    table = _table()
    with engine.connect() as connection:
        found = connection.execute(sa.select(table).where(table.c.id == session, _of(user, table))).mappings().first()
    if found is None:
        # Whose it is, if anybody's, is nobody else's business.
        raise HTTPException(404, "There is no such session.")
    return dict(found)


@app.get("/sessions")
def sessions(user: User) -> list[dict[str, Any]]:
    table = _table()
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.select(table).where(_of(user, table))).mappings()]


@app.post("/sessions")
def begin(body: dict[str, str], user: User) -> dict[str, Any]:
    table = _table()
    row = {"id": str(uuid.uuid4()), "title": body["title"]}
    if "user_id" in table.c:
        row["user_id"] = user.user_id
    with engine.begin() as connection:
        connection.execute(sa.insert(table).values(row))
    return row


@app.post("/sessions/{session}/ask")
def ask(session: str, body: dict[str, str], user: User) -> dict[str, Any]:
    found = _find(session, user)
    # Between these two services the shared key stays.
    shown = {INTERNAL: settings.internal_key}
    answer = httpx.post(f"{settings.llm_url}/v1/complete", headers=shown, json={"prompt": body["text"]}, timeout=10)
    answer.raise_for_status()
    return {"session": found["id"], "text": answer.json()["text"]}
