"""Dependencies for FastAPI (the extra ``fastapi``), over what the middleware has found out.

>>> @app.get("/me")
... async def me(user: Annotated[Identity, Depends(current_user)]): ...
>>> @app.delete("/everything", dependencies=[Depends(require_scopes("api:admin"))])
... async def clear(): ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import HTTPException
from starlette.requests import HTTPConnection

from .middleware import challenge
from .verifier import Identity

__all__ = ["current_user", "require_scopes"]


async def current_user(connection: HTTPConnection) -> Identity:
    """Who is asking; 401 on a public path where nobody has authenticated."""
    identity = getattr(connection.state, "identity", None)
    if not isinstance(identity, Identity):
        raise HTTPException(401, "A bearer token is needed.", {"WWW-Authenticate": challenge("codelab")})
    return identity


def require_scopes(*scopes: str) -> Callable[[HTTPConnection], Awaitable[Identity]]:
    """Lets only those through whose token has all of these scopes; 403 ``insufficient_scope`` (RFC 6750 section 3.1).

    The scope ``internal`` of the shared key is a scope like any other here, so no client may be given it. Who
    has shown the key is known better by having no ``client_id``.
    """
    needed = frozenset(scopes)

    async def checked(connection: HTTPConnection) -> Identity:
        identity = await current_user(connection)
        if not needed <= identity.scopes:
            named = challenge("codelab", error="insufficient_scope", scope=" ".join(scopes))
            raise HTTPException(403, "The access token does not allow this.", {"WWW-Authenticate": named})
        return identity

    return checked
