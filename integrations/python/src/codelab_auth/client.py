"""Signs in, and keeps an access token that can be used. integrations/contracts has what it says and does.

A refresh token is good for one use; presented a second time it ends the whole session, since somebody may have a copy.
So it is never sent again unless it is sure that the server has not taken it, or that the server allows it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import math
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard
from urllib.parse import quote_plus

import httpx

from .storage import MemoryStorage, Tokens, TokenStorage

log = logging.getLogger("codelab_auth")

#: How often a refresh is repeated within the client's retry window.
RETRIES = 2
#: Seconds after a refresh that failed in which none is tried, where the server names no time: while the access token is
#: still good, and when it is not.
PAUSE_WHILE_GOOD = 30.0
PAUSE = 1.0
#: No token lives for longer, in seconds: a hundred years.
LONGEST_LIFETIME = 3_155_760_000


_BEFORE_ANYTHING_IS_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)


class AuthError(Exception):
    """Something about signing in or staying so went wrong. Its text holds no secret."""


class WrongCredentials(AuthError):
    """The user name or the password is wrong."""


class SignedOut(AuthError):
    """There is no session, or it has ended: the user has to sign in."""


class _Later(AuthError):
    def __init__(self, said: str, retry_after: int | None = None) -> None:
        super().__init__(said)
        #: After how many seconds it makes sense to try again, where the server says so.
        self.retry_after = retry_after


class TooManyAttempts(_Later):
    """The account or the address is locked or limited for a while."""


class Unavailable(_Later):
    """It may work later. Nobody has been signed out."""


class RequestRefused(AuthError):
    """The server does not take this client or request."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the server refused the request: {code}")
        #: The `error` of its answer (RFC 6749 section 5.2).
        self.code = code


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back, as far as it is this server's; an empty body where it is somebody else's."""

    status: int
    body: Mapping[str, Any]
    retry_after: int | None

    @property
    def error(self) -> str:
        error = self.body.get("error")
        return error if isinstance(error, str) else ""


class _NothingSent(Exception):
    """There was no connection."""


class _AnswerLost(Exception):
    """The request has gone, and no answer came."""


class AuthClient:
    """One session at one server.

    ``base_url`` is the server's, such as ``https://auth.example.org`` (a prefix such as ``/auth`` is kept).
    An access token is replaced ``refresh_before`` seconds before it expires, or at half of its lifetime where that
    comes later. ``retry_window`` is the ``refresh_retry_window`` that the server has for this client, in seconds.
    """

    def __init__(
        self,
        base_url: str,
        client_id: str,
        *,
        client_secret: str | None = None,
        storage: TokenStorage | None = None,
        refresh_before: float = 300.0,
        retry_window: float = 0.0,
        timeout: float = 10.0,
        http: httpx.AsyncClient | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._storage: TokenStorage = storage or MemoryStorage()
        self._refresh_before = refresh_before
        self._retry_window = retry_window
        self._timeout = timeout
        self._http = http
        self._clock = clock
        #: A refresh token of which it is not known whether the server has taken it.
        self._doubtful: str | None = None
        #: The refresh that is under way: whoever needs one waits for it, and shares what comes of it.
        self._refreshing: asyncio.Task[str] | None = None
        #: No refresh is tried before, since the last one failed.
        self._not_before = float("-inf")
        #: Tokens that the storage would not take, and the refresh token that they replace: it is consumed all the same.
        self._unsaved: tuple[Tokens, str] | None = None

    async def sign_in(self, username: str, password: str, scope: str | None = None) -> None:
        """Signs a user in by the password grant (RFC 6749 section 4.3). It is never repeated by itself.

        :raises WrongCredentials: user name or password are wrong.
        :raises TooManyAttempts: the account or the address is locked or limited.
        :raises Unavailable: the server can't be reached or can't serve.
        :raises RequestRefused: this client may not do so.
        """
        form = {"grant_type": "password", "username": username, "password": password}
        if scope is not None:
            form["scope"] = scope
        async with self._storage.lock():
            try:
                answer = await self._post("/oauth/token", form)
            except (_NothingSent, _AnswerLost):
                raise Unavailable("the server can not be reached") from None
            tokens = self._tokens(answer)
            if tokens is None:
                raise _failed_sign_in(answer)
            self._unsaved = None
            self._not_before = float("-inf")
            await self._storage.save(tokens)

    async def access_token(self, *, refused: str | None = None) -> str:
        """An access token that can be used now; of any number of callers one refreshes, if that is due.

        ``refused`` is one that a service has just refused: it is replaced although it has not expired.

        :raises SignedOut: nobody is signed in, or the session has ended.
        :raises Unavailable: a new one is needed and can't be had now; the session lives on.
        :raises RequestRefused: this client may not refresh.
        """
        tokens = await self._load()
        if tokens is not None and self._unsaved is None and not self._is_due(tokens, refused):
            return tokens.access_token
        if self._refreshing is None:
            self._refreshing = asyncio.get_running_loop().create_task(self._refresh_if_due(refused))
            self._refreshing.add_done_callback(self._refreshed)
        # A task of its own: whoever asked may hang up, and the refresh token is consumed all the same.
        return await asyncio.shield(self._refreshing)

    async def sign_out(self) -> None:
        """Ends the session: the refresh token is revoked (RFC 7009) and the tokens are forgotten, whatever happens.

        Access tokens that were given out are good until they expire.

        :raises Unavailable: the server could not be told; the session lives on there until it expires.
        """
        async with self._storage.lock():
            tokens = await self._load()
            self._unsaved = None
            await self._storage.save(None)
        if tokens is None:
            return
        form = {"token": tokens.refresh_token, "token_type_hint": "refresh_token"}
        try:
            answer = await self._post("/oauth/revoke", form)
        except (_NothingSent, _AnswerLost):
            raise Unavailable("the server can not be reached") from None
        if answer.status != 200:
            raise Unavailable("the server did not revoke the session", answer.retry_after)

    def _refreshed(self, task: asyncio.Task[str]) -> None:
        self._refreshing = None
        if not task.cancelled():
            # Somebody has been told, or nobody is left who wants to know.
            task.exception()

    async def _refresh_if_due(self, refused: str | None) -> str:
        async with self._storage.lock():
            # Another process may have refreshed meanwhile.
            tokens = await self._load()
            if tokens is None:
                raise SignedOut("nobody is signed in")
            if self._unsaved is not None:
                await self._keep(*self._unsaved)
            if not self._is_due(tokens, refused):
                return tokens.access_token
            left = self._not_before - self._clock()
            if left > 0:
                raise Unavailable("the last refresh has failed", math.ceil(left))
            return await self._refresh(tokens, refused)

    async def _load(self) -> Tokens | None:
        stored = await self._storage.load()
        if self._unsaved is None:
            return stored
        tokens, replaced = self._unsaved
        if stored is not None and stored.refresh_token == replaced:
            return tokens
        # Somebody else has signed in or out meanwhile, and is right.
        self._unsaved = None
        return stored

    async def _keep(self, tokens: Tokens, replaced: str) -> None:
        """Stores tokens; where the storage fails, they are kept here until it takes them. Under the lock only."""
        self._unsaved = (tokens, replaced)
        try:
            await self._storage.save(tokens)
        except Exception as fault:
            log.warning("the tokens could not be stored: %s", type(fault).__name__)
        else:
            self._unsaved = None

    def _is_due(self, tokens: Tokens, refused: str | None) -> bool:
        if refused is not None and tokens.access_token == refused:
            return True
        left = tokens.expires_at - self._clock()
        if tokens.refresh_token == self._doubtful or self._clock() < self._not_before:
            return left <= 0
        return left <= min(self._refresh_before, tokens.lifetime / 2)

    async def _refresh(self, tokens: Tokens, refused: str | None) -> str:
        try:
            answer = await self._present(tokens.refresh_token)
        except (_NothingSent, _AnswerLost):
            return self._last_resort(tokens, refused, Unavailable("the server can not be reached"))
        successor = self._tokens(answer)
        if successor is not None:
            # What is stored is followed by several where the storage has failed before.
            await self._keep(successor, self._unsaved[1] if self._unsaved else tokens.refresh_token)
            return successor.access_token
        if answer.status in (400, 401) and answer.error == "invalid_grant":
            with contextlib.suppress(Exception):
                # Where they can't be forgotten, they are refused once more the next time.
                await self._storage.save(None)
            raise SignedOut("the session has ended")
        if 400 <= answer.status < 500 and answer.status != 429 and answer.error:
            return self._last_resort(tokens, refused, RequestRefused(answer.error))
        later = Unavailable("the server does not refresh now", answer.retry_after)
        return self._last_resort(tokens, refused, later)

    def _last_resort(self, tokens: Tokens, refused: str | None, fault: AuthError) -> str:
        """A refresh that fails fails nobody whose access token is still good, and is not tried again at once."""
        is_good = tokens.access_token != refused and tokens.expires_at > self._clock()
        named = getattr(fault, "retry_after", None) or 0
        self._not_before = self._clock() + max(named, PAUSE_WHILE_GOOD if is_good else PAUSE)
        if is_good:
            return tokens.access_token
        raise fault

    async def _present(self, refresh_token: str) -> _Answer:
        """Presents a refresh token, a second time only where that is allowed."""
        begun = self._clock()
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        attempts_left = RETRIES if self._retry_window > 0 else 0
        while True:
            answer = None
            # Until something is known: a process that is ended in the middle knows nothing.
            self._doubtful = refresh_token
            try:
                answer = await self._post("/oauth/token", form)
            except _NothingSent:
                self._doubtful = None
                raise
            except _AnswerLost:
                pass
            # Of a 200 that holds no tokens it is not known whose it is, nor what became of ours.
            is_told = answer is not None and (self._tokens(answer) is not None or _is_refusal(answer))
            if answer is not None and is_told:
                self._doubtful = None
                return answer
            is_in_time = self._clock() - begun < self._retry_window
            if attempts_left == 0 or not is_in_time:
                if answer is None:
                    raise _AnswerLost
                return answer
            attempts_left -= 1

    def _tokens(self, answer: _Answer) -> Tokens | None:
        if answer.status != 200:
            return None
        body = answer.body
        access, refresh, lifetime = body.get("access_token"), body.get("refresh_token"), body.get("expires_in")
        if not (isinstance(access, str) and isinstance(refresh, str) and _is_lifetime(lifetime)):
            return None
        scope = body.get("scope")
        return Tokens(access, refresh, self._clock() + lifetime, lifetime, scope if isinstance(scope, str) else "")

    async def _post(self, path: str, form: dict[str, str]) -> _Answer:
        headers = {"accept": "application/json"}
        if self._client_secret is None:
            form = {**form, "client_id": self._client_id}
        else:
            headers["authorization"] = _basic(self._client_id, self._client_secret)
        try:
            async with self._connection() as http:
                url = self._base + path
                answer = await http.post(url, data=form, headers=headers, timeout=self._timeout, follow_redirects=False)
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
            httpx.InvalidURL,
        ):
            raise _NothingSent from None
        except httpx.HTTPError:
            raise _AnswerLost from None
        return _read(answer)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpx.AsyncClient]:
        if self._http is not None:
            yield self._http
            return
        async with httpx.AsyncClient() as http:
            yield http


class BearerAuth(httpx.Auth):
    """Puts an access token on each request of an ``httpx.AsyncClient``: ``httpx.AsyncClient(auth=BearerAuth(client))``.

    A request that is answered by 401 is sent once more, with a new token: nothing was done for it.
    """

    requires_request_body = True

    def __init__(self, client: AuthClient) -> None:
        self._client = client

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Called by httpx."""
        token = await self._client.access_token()
        request.headers["authorization"] = f"Bearer {token}"
        response = yield request
        if response.status_code == 401 and "invalid_token" in response.headers.get("www-authenticate", ""):
            token = await self._client.access_token(refused=token)
            request.headers["authorization"] = f"Bearer {token}"
            yield request


def _is_lifetime(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < LONGEST_LIFETIME


def _basic(client_id: str, client_secret: str) -> str:
    """HTTP Basic with both parts form-encoded first (RFC 6749 section 2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(client_secret)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _read(answer: httpx.Response) -> _Answer:
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    waited = answer.headers.get("retry-after", "")
    retry_after = int(waited) if re.fullmatch(r"[0-9]{1,9}", waited, re.ASCII) else None
    return _Answer(answer.status_code, body if isinstance(body, dict) else {}, retry_after)


def _is_refusal(answer: _Answer) -> bool:
    """Whether the server itself has refused: by an error of RFC 6749, or by saying that it did nothing."""
    if answer.status == 503:
        return answer.error == "temporarily_unavailable"
    return answer.status == 429 or (400 <= answer.status < 500 and bool(answer.error))


def _failed_sign_in(answer: _Answer) -> AuthError:
    if answer.status == 429:
        return TooManyAttempts("too many attempts", answer.retry_after)
    if answer.status in (400, 401) and answer.error == "invalid_grant":
        return WrongCredentials("the user name or the password is wrong")
    if 400 <= answer.status < 500 and answer.error:
        return RequestRefused(answer.error)
    return Unavailable("the server does not serve now", answer.retry_after)
