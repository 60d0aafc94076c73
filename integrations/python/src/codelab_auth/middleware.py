"""Pure ASGI middleware, so that WebSockets are covered as well as HTTP.

It answers as RFC 6750 says: 401 with a bare challenge where nobody authenticated, 401 ``invalid_token``, 400
``invalid_request`` where it is not clear which token is meant; and 503 while there is no key to judge by.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from .keys import KeysUnavailable
from .metrics import Metrics, NoMetrics
from .verifier import Identity, TokenRefused, TokenVerifier

log = logging.getLogger("codelab_auth")

#: A path, or all below one that is not the root.
_PUBLIC = re.compile(r"/[^*]*|/[^*]+/\*")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

#: The subprotocol under which a browser, which can set no header, brings its token: ``["bearer", TOKEN]``.
SUBPROTOCOL = "bearer"
#: What a WebSocket is closed by: 1008, a violation of policy (RFC 6455 section 7.4.1).
CLOSE_CODE = 1008
#: Seconds after which somebody may come again who could not be judged.
RETRY_AFTER = 5
#: Who shows the shared key of old.
SYSTEM = Identity(user_id="system", client_id=None, scope="internal", expires_at=None, claims={})


@dataclass(frozen=True, slots=True)
class Denial:
    """An answer to somebody who is not let in."""

    status: int
    error: str | None
    description: str
    challenge: str | None


def challenge(realm: str, **parameters: str) -> str:
    """A ``WWW-Authenticate`` of the scheme Bearer (RFC 6750 section 3)."""
    given = {"realm": realm, **parameters}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in given.items())


class JWTAuthMiddleware:
    """Lets nobody through without a good access token, and says who it is.

    In ``request.state`` are then ``user_id``, ``client_id``, ``scope`` (a text) and ``identity``
    (an :class:`~codelab_auth.Identity`). Paths in ``public_paths`` are let through as they come; one that ends in
    ``/*`` stands for all below. Preflight requests of browsers (CORS) carry no token: put the middleware that answers
    them outside of this one, so add it after.

    A WebSocket's token is in its ``Authorization`` header, or the second of two subprotocols,
    ``new WebSocket(url, ["bearer", token])``; never in the URL, which ends up in logs. It is closed when the token
    expires.
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifier,
        *,
        public_paths: Collection[str] = (),
        realm: str = "codelab",
        metrics: Metrics | None = None,
    ) -> None:
        self._app = app
        self._verifier = verifier
        _check_paths(public_paths)
        self._exact = frozenset(path for path in public_paths if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in public_paths if path.endswith("*"))
        self._realm = realm
        self._metrics = metrics or NoMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_public(scope):
            await self._app(scope, receive, send)
            return
        method, outcome = await self._authenticate(scope)
        is_let_in = isinstance(outcome, Identity)
        self._metrics.authenticated(method, "accepted" if is_let_in else "refused")
        if not isinstance(outcome, Identity):
            await _deny(scope, receive, send, outcome)
            return
        _tell(scope, outcome)
        if scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send, outcome)
        else:
            await self._app(scope, receive, send)

    def _is_public(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path in self._exact or (bool(self._prefixes) and path.startswith(self._prefixes))

    async def _authenticate(self, scope: Scope) -> tuple[str, Identity | Denial]:
        """How it was tried to authenticate, and what came of it."""
        tokens = _bearer_tokens(scope)
        if not tokens:
            return "none", Denial(401, None, "A bearer token is needed.", challenge(self._realm))
        if len(tokens) > 1:
            return "jwt", self._denial(400, "invalid_request", "The request brings more than one token.")
        return "jwt", await self._judge(tokens[0])

    async def _judge(self, token: str) -> Identity | Denial:
        try:
            return await self._verifier.verify(token)
        except TokenRefused as refused:
            log.info("access token refused: %s", refused)
            return self._denial(401, "invalid_token", "The access token is invalid or has expired.")
        except KeysUnavailable:
            return Denial(503, "temporarily_unavailable", "Tokens can not be checked at the moment.", None)

    def _denial(self, status: int, error: str, description: str) -> Denial:
        named = challenge(self._realm, error=error, error_description=description)
        return Denial(status, error, description, named)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send, identity: Identity) -> None:
        connection = _WebSocket(receive, send, brought=_hide_token(scope))
        if identity.expires_at is None:
            await self._app(scope, connection.receive, connection.send)
            return
        left = identity.expires_at + self._verifier.leeway - self._verifier.now()
        closing = asyncio.get_running_loop().create_task(connection.close_in(left))
        try:
            await self._app(scope, connection.receive, connection.send)
        finally:
            await connection.end(closing)


class HybridAuthMiddleware(JWTAuthMiddleware):
    """For the time of transition: a good access token, or the shared key in ``X-Internal-Auth``.

    Whoever shows the key is ``user_id = "system"``, ``scope = "internal"``. Where a token comes along it alone decides,
    good or not: a user whose token has expired must not become the system by way of a service that adds the key to all
    it sends. ``use_jwt = False`` (the switch ``USE_JWT_AUTH``) is the way back: then tokens are not looked at.
    """

    def __init__(
        self,
        app: ASGIApp,
        verifier: TokenVerifier,
        *,
        internal_key: str,
        use_jwt: bool = True,
        public_paths: Collection[str] = (),
        realm: str = "codelab",
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__(app, verifier, public_paths=public_paths, realm=realm, metrics=metrics)
        if not internal_key.strip():
            raise ValueError("internal_key is empty: everybody would know it")
        self._internal_key = internal_key.encode()
        self._use_jwt = use_jwt

    async def _authenticate(self, scope: Scope) -> tuple[str, Identity | Denial]:
        # Whatever is in Authorization, spoiled or of another scheme, is no reason to fall back on the key.
        has_authorization = any(name == b"authorization" for name, _ in scope["headers"])
        if self._use_jwt and (has_authorization or _offered_tokens(scope)):
            return await super()._authenticate(scope)
        keys = [value for name, value in scope["headers"] if name == b"x-internal-auth"]
        if not keys:
            return "none", Denial(401, None, "Authentication is needed.", challenge(self._realm))
        # Compared even where there are several, so that their number is not told by the time.
        is_right = [hmac.compare_digest(key, self._internal_key) for key in keys] == [True]
        if is_right:
            return "internal", SYSTEM
        return "internal", Denial(401, None, "Authentication failed.", challenge(self._realm))


def _check_paths(paths: Collection[str]) -> None:
    """A forgotten comma or a lone star must not make everything public."""
    if isinstance(paths, str):
        raise TypeError("public_paths is a list of paths, not a text")
    for path in paths:
        if not _PUBLIC.fullmatch(path):
            raise ValueError(f"{path!r} is neither a path such as /health nor all below one, such as /docs/*")


def _bearer_tokens(scope: Scope) -> list[str]:
    """Every bearer token that a request brings (RFC 6750 section 2.1); other schemes are not ours to judge."""
    tokens = []
    for name, value in scope["headers"]:
        scheme, _, token = value.decode("latin-1").partition(" ")
        if name == b"authorization" and scheme.lower() == "bearer":
            tokens.append(token.strip(" "))
    return tokens + _offered_tokens(scope)


def _offered_tokens(scope: Scope) -> list[str]:
    offered: Iterable[str] = scope.get("subprotocols", ()) if scope["type"] == "websocket" else ()
    names = list(offered)
    if not names or names[0].lower() != SUBPROTOCOL:
        return []
    return names[1:2] or [""]


def _hide_token(scope: Scope) -> str | None:
    """Takes the token out of the subprotocols, which applications choose from and log.

    Where it was there, the name that it came under is told, as the browser spells it.
    """
    if not _offered_tokens(scope):
        return None
    brought: str = scope["subprotocols"][0]
    scope["subprotocols"] = scope["subprotocols"][2:]
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"sec-websocket-protocol"]
    return brought


def _tell(scope: Scope, identity: Identity) -> None:
    scope["state"] = {
        **scope.get("state", {}),
        "identity": identity,
        "user_id": identity.user_id,
        "client_id": identity.client_id,
        "scope": identity.scope,
    }


async def _deny(scope: Scope, receive: Receive, send: Send, denial: Denial) -> None:
    if scope["type"] == "http":
        await _answer(send, "http.response", denial)
        return
    await receive()  # websocket.connect
    if "websocket.http.response" in scope.get("extensions", {}):
        await _answer(send, "websocket.http.response", denial)
    else:
        # The server answers 403 then: there is no other word before the handshake.
        await send({"type": "websocket.close", "code": CLOSE_CODE, "reason": denial.error or "unauthorized"})


async def _answer(send: Send, kind: str, denial: Denial) -> None:
    error = denial.error or "unauthorized"
    body = json.dumps({"error": error, "error_description": denial.description}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    if denial.challenge:
        headers.append((b"www-authenticate", denial.challenge.encode()))
    if denial.status == 503:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    await send({"type": f"{kind}.start", "status": denial.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


class _WebSocket:
    """A connection that can be closed from outside the application, which is then told that it is."""

    def __init__(self, receive: Receive, send: Send, *, brought: str | None) -> None:
        self._receive = receive
        self._send = send
        #: The subprotocol that the token came under.
        self._brought = brought
        self._is_begun = False
        self._is_closed = False
        self._closing = asyncio.Event()
        self._pending: asyncio.Task[Message] | None = None

    async def close_in(self, seconds: float) -> None:
        """Closes the connection after a time."""
        await asyncio.sleep(max(seconds, 0.0))
        self._closing.set()
        if not self._is_closed:
            self._is_closed = True
            await self._send({"type": "websocket.close", "code": CLOSE_CODE, "reason": "token expired"})

    async def end(self, closing: asyncio.Task[None]) -> None:
        """Leaves nothing running behind."""
        left = [task for task in (closing, self._pending) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def receive(self) -> Message:
        """What the other side says next; ``websocket.disconnect`` once the connection has been closed."""
        if not self._is_begun:
            # `websocket.connect`, which is there already.
            self._is_begun = True
            return await self._receive()
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_task(_awaited(self._receive()))
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({self._pending, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if self._closing.is_set() and not self._pending.done():
            self._pending.cancel()
            self._pending = None
            return {"type": "websocket.disconnect", "code": CLOSE_CODE, "reason": "token expired"}
        message, self._pending = self._pending.result(), None
        if message["type"] == "websocket.disconnect":
            self._is_closed = True
        return message

    async def send(self, message: Message) -> None:
        """Passes on what the application says.

        :raises OSError: once the connection has been closed because of the token (ASGI 2.4).
        """
        if self._closing.is_set():
            raise OSError("the access token has expired")
        if message["type"] == "websocket.accept":
            if self._brought is not None and not message.get("subprotocol"):
                # A browser hangs up where none of what it offers is chosen.
                message = {**message, "subprotocol": self._brought}
        elif message["type"] == "websocket.close":
            self._is_closed = True
        await self._send(message)


async def _awaited(message: Awaitable[Message]) -> Message:
    return await message
