"""What makes an access token good. The rules and their order are those of integrations/contracts."""

from __future__ import annotations

import enum
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import jwt
from jwt.utils import base64url_decode, base64url_encode

from .keys import KeysUnavailable, PublicKeys
from .metrics import Metrics, NoMetrics

#: The one algorithm that is accepted, whatever a header says (RFC 8725 section 3.1).
ALGORITHM = "RS256"
#: Longer tokens are not looked at, in characters.
MAX_LENGTH = 8_192
#: What `typ` may be (RFC 9068 section 2.1; `JWT` for clients that ask the server for it).
TYPES = frozenset({"at+jwt", "application/at+jwt", "jwt"})

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)


class Refusal(enum.StrEnum):
    """Why a token is not accepted: for logs and metrics, not for whoever sent it."""

    MALFORMED = "malformed"
    ALGORITHM = "algorithm"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    TYPE = "type"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    CLAIMS = "claims"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"


class TokenRefused(Exception):
    """The token is not good. Its text is the word of the refusal, and no part of the token."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is asking, and what for."""

    #: The user's id; ``"system"`` where the shared key of old was shown.
    user_id: str
    #: The client that the user signed in by; ``None`` with the shared key.
    client_id: str | None
    #: What may be done, as it stands in the token: names with spaces between them.
    scope: str
    #: When this ends, in seconds since 1970; ``None`` with the shared key.
    expires_at: float | None
    #: All claims of the token.
    claims: Mapping[str, Any]

    @property
    def scopes(self) -> frozenset[str]:
        """What may be done, one by one."""
        return frozenset(self.scope.split(" ")) - {""}


class TokenVerifier:
    """Judges access tokens of one issuer for one audience.

    ``leeway`` is how many seconds the clocks of the two machines may differ.
    """

    def __init__(
        self,
        keys: PublicKeys,
        *,
        issuer: str,
        audience: str = "codelab-api",
        leeway: float = 5.0,
        clock: Callable[[], float] = time.time,
        metrics: Metrics | None = None,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway
        self._clock = clock
        self._metrics = metrics or NoMetrics()

    @property
    def leeway(self) -> float:
        """How many seconds the clocks may differ."""
        return self._leeway

    def now(self) -> float:
        """The time that tokens are judged by, in seconds since 1970."""
        return self._clock()

    async def verify(self, token: str) -> Identity:
        """Judges a token.

        :raises TokenRefused: where it is not good.
        :raises KeysUnavailable: where that can't be known for want of keys.
        """
        begun = time.perf_counter()
        # Of who hangs up meanwhile.
        result = "abandoned"
        try:
            identity = await self._verify(token)
            result = "accepted"
            return identity
        except TokenRefused as refused:
            result = refused.refusal.value
            raise
        except KeysUnavailable:
            result = "keys_unavailable"
            raise
        finally:
            self._metrics.validated(result, time.perf_counter() - begun)

    async def _verify(self, token: str) -> Identity:
        header, claims = _parts(token)
        if header.get("alg") != ALGORITHM:
            raise TokenRefused(Refusal.ALGORITHM)
        kid = header.get("kid")
        key = await self._keys.find(kid) if isinstance(kid, str) else None
        if key is None:
            raise TokenRefused(Refusal.UNKNOWN_KEY)
        _check_signature(token, key)
        self._check_place(header, claims)
        return self._identity(claims)

    def _check_place(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> None:
        """Whether it is an access token, from our issuer, for us."""
        typ = header.get("typ")
        if not isinstance(typ, str) or typ.lower() not in TYPES or claims.get("type") != "access":
            raise TokenRefused(Refusal.TYPE)
        if claims.get("iss") != self._issuer:
            raise TokenRefused(Refusal.ISSUER)
        audiences = claims.get("aud")
        if self._audience not in (audiences if isinstance(audiences, list) else [audiences]):
            raise TokenRefused(Refusal.AUDIENCE)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        expires_at, begins_at = _time(claims, "exp"), _time(claims, "nbf")
        user_id, client_id, scope = claims.get("sub"), claims.get("client_id"), claims.get("scope", "")
        if expires_at is None or not _is_name(user_id) or not _is_name(client_id) or not isinstance(scope, str):
            raise TokenRefused(Refusal.CLAIMS)
        now = self._clock()
        if expires_at + self._leeway <= now:
            raise TokenRefused(Refusal.EXPIRED)
        if begins_at is not None and begins_at - self._leeway > now:
            raise TokenRefused(Refusal.NOT_YET_VALID)
        return Identity(user_id, client_id, scope, expires_at, claims)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, not trusted yet."""
    if len(token) > MAX_LENGTH or not _COMPACT.fullmatch(token):
        raise TokenRefused(Refusal.MALFORMED)
    try:
        decoded = [_decoded(part) for part in token.split(".")]
        parsed = [
            json.loads(part.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number)
            for part in decoded[:2]
        ]
    # RecursionError: brackets within brackets, by the thousand.
    except (ValueError, RecursionError):
        raise TokenRefused(Refusal.MALFORMED) from None
    # `crit` names what must be understood (RFC 7515 section 4.1.11), and we understand none of it.
    if not all(isinstance(part, dict) for part in parsed) or "crit" in parsed[0]:
        raise TokenRefused(Refusal.MALFORMED)
    return parsed[0], parsed[1]


def _decoded(part: str) -> bytes:
    """Of base64url one spelling alone (RFC 4648 section 3.5): a token must not be another one to who keeps a list."""
    data = base64url_decode(part)
    if base64url_encode(data).decode("ascii") != part:
        raise ValueError("not canonical")
    return data


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two members of one name others may take the other one (RFC 8259 section 4)."""
    named = dict(members)
    if len(named) != len(members):
        raise ValueError("a member is there twice")
    return named


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _check_signature(token: str, key: Any) -> None:
    try:
        jwt.api_jws.decode_complete(token, key, algorithms=[ALGORITHM])
    except jwt.InvalidSignatureError:
        raise TokenRefused(Refusal.SIGNATURE) from None
    except (jwt.PyJWTError, ValueError):
        raise TokenRefused(Refusal.MALFORMED) from None


def _is_name(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2); ``None`` where there is none."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e15:
        raise TokenRefused(Refusal.CLAIMS)
    return float(value)
