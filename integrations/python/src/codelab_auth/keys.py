"""The published key set (RFC 7517): fetched rarely, by one request at a time, and kept while the server is away."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import httpx
import jwt
from jwt.algorithms import RSAAlgorithm

from .metrics import Metrics, NoMetrics

log = logging.getLogger("codelab_auth")

#: Seconds for which a key set is taken without asking again: the `max-age` that the server gives it.
LIFETIME = 3_600.0
#: Seconds between two requests that unknown keys may cause, however many tokens name such.
REFETCH_INTERVAL = 30.0
#: Seconds for which keys are used at most while the server can't be asked. All tokens of theirs are long expired then.
MAX_STALENESS = 86_400.0
#: Seconds between two attempts while there is no key at all.
RETRY_INTERVAL = 1.0
#: A longer answer is no key set.
MAX_BYTES = 256 * 1024


class KeysUnavailable(Exception):
    """No key set could be had so far, or the one there is has become too old: nobody can be judged."""


class PublicKeys(Protocol):
    """Where a verifier finds the key that a token names."""

    async def find(self, kid: str) -> Any | None:
        """The public key of this id; ``None`` where there is none.

        :raises KeysUnavailable: where that can't be known.
        """


def parse(document: object) -> dict[str, Any]:
    """The keys of a key set that may check RS256 signatures, by id; others are passed over (RFC 7517 section 5).

    :raises ValueError: where it is no key set, or has no such key.
    """
    if not isinstance(document, Mapping) or not isinstance(document.get("keys"), list):
        raise ValueError("this is not a key set")
    keys = {}
    for jwk in document["keys"]:
        if isinstance(jwk, Mapping) and _may_verify(jwk):
            try:
                keys[jwk["kid"]] = RSAAlgorithm.from_jwk(dict(jwk))
            except (jwt.InvalidKeyError, ValueError, TypeError):
                continue
    if not keys:
        raise ValueError("the key set has no RSA key for signatures")
    return keys


def _may_verify(jwk: Mapping[str, object]) -> bool:
    return (
        jwk.get("kty") == "RSA"
        and jwk.get("use", "sig") == "sig"
        and jwk.get("alg", "RS256") == "RS256"
        and isinstance(jwk.get("kid"), str)
        # A private key in a key set would be a grave mistake of somebody's; it is nothing to rely on.
        and "d" not in jwk
    )


class KeySetCache:
    """The key set at a URL, such as ``https://auth.example.org/.well-known/jwks.json``.

    * For an hour no request is made. After it the next token causes one in the background, and goes by the old keys.
    * A token that names an unknown key waits for one request, of which there is at most one in ``refetch_interval``.
    * Of any number of waiting tokens one makes the request.
    * While the server can't be asked, the keys that are known serve on, up to ``max_staleness``.

    It belongs to one event loop. Times are seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        http: httpx.AsyncClient | None = None,
        lifetime: float = LIFETIME,
        refetch_interval: float = REFETCH_INTERVAL,
        max_staleness: float = MAX_STALENESS,
        timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
    ) -> None:
        self._url = url
        self._http = http
        self._lifetime = lifetime
        self._refetch_interval = refetch_interval
        self._max_staleness = max(max_staleness, lifetime)
        self._timeout = timeout
        self._clock = clock
        self._metrics = metrics or NoMetrics()
        self._keys: dict[str, Any] = {}
        self._fetched_at: float | None = None
        self._attempted_at: float | None = None
        #: When an unknown key last caused a request: the ones that age causes don't count.
        self._asked_for_unknown_at: float | None = None
        self._fetching: asyncio.Task[bool] | None = None

    async def find(self, kid: str) -> Any | None:
        """The public key of this id; ``None`` where there is none.

        :raises KeysUnavailable: where no key set could be had, or the last is older than ``max_staleness``.
        """
        if not self._is_usable():
            self._metrics.key_looked_up(False)
            if self._fetching is not None or self._is_past(self._attempted_at, RETRY_INTERVAL):
                await self._fetched()
            if not self._is_usable():
                raise KeysUnavailable(f"no key set could be had from {self._url}")
            return self._keys.get(kid)
        key = self._keys.get(kid)
        self._metrics.key_looked_up(key is not None)
        if key is not None:
            if self._age() >= self._lifetime and self._is_past(self._attempted_at, self._refetch_interval):
                self._begin()
            return key
        if self._fetching is None and self._is_past(self._asked_for_unknown_at, self._refetch_interval):
            self._asked_for_unknown_at = self._clock()
            self._begin()
        if self._fetching is not None:
            await self._fetched()
        return self._keys.get(kid)

    async def prefetch(self) -> bool:
        """Fetches the key set now, as an application may at its start; tells whether that went well."""
        return await self._fetched()

    async def aclose(self) -> None:
        """Ends a request that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._clock() - self._fetched_at

    def _is_usable(self) -> bool:
        return self._age() < self._max_staleness

    def _is_past(self, when: float | None, interval: float) -> bool:
        return when is None or self._clock() - when >= interval

    async def _fetched(self) -> bool:
        # Whoever waits may hang up; the request is everybody's.
        return await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[bool]:
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
            self._fetching.add_done_callback(self._done)
        return self._fetching

    def _done(self, _: asyncio.Task[bool]) -> None:
        self._fetching = None

    async def _fetch(self) -> bool:
        self._attempted_at = self._clock()
        try:
            keys = parse(await self._download())
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError) as fault:
            log.warning("the key set could not be fetched from %s: %s", self._url, type(fault).__name__)
            return False
        self._keys, self._fetched_at = keys, self._clock()
        return True

    async def _download(self) -> object:
        try:
            async with asyncio.timeout(self._timeout):
                if self._http is not None:
                    return json.loads(await self._read(self._http))
                async with httpx.AsyncClient(timeout=self._timeout) as http:
                    return json.loads(await self._read(http))
        except TimeoutError as late:
            raise ValueError("too late") from late

    async def _read(self, http: httpx.AsyncClient) -> bytes:
        # A redirect is not followed: who may name our keys is a matter of configuration.
        async with http.stream("GET", self._url, follow_redirects=False) as answer:
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}")
            body = bytearray()
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise ValueError("too long")
            return bytes(body)
