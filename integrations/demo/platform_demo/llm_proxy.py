"""The LLM Proxy: the shared key as ever, or an access token with the scope `llm:access`."""

from typing import Annotated

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection

from codelab_auth import Identity
from codelab_auth.fastapi import current_user, require_scopes

from .common import Settings, guard

settings = Settings.of_environment()
app = FastAPI(title="LLM Proxy")
guard(app, settings)


async def may_complete(connection: HTTPConnection) -> Identity:
    """Services of the platform, which show the key and so have no client, and tokens that are good for models."""
    user = await current_user(connection)
    if user.client_id is not None:
        await require_scopes("llm:access")(connection)
    return user


@app.post("/v1/complete")
async def complete(body: dict[str, str], user: Annotated[Identity, Depends(may_complete)]) -> dict[str, str]:
    return {"text": f"echo: {body['prompt']}", "for": user.user_id}
