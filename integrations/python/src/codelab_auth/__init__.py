"""Access tokens of the CodeLab Auth Service, for those who receive them and for those who need them.

A service that receives them:

* :class:`TokenVerifier` checks a token offline, against the published key set that :class:`KeySetCache` keeps.
* :class:`JWTAuthMiddleware` does so for every HTTP request and WebSocket of an ASGI application;
  :class:`HybridAuthMiddleware` also takes the shared key of old while services move over.
* :mod:`codelab_auth.fastapi` has the dependencies ``current_user`` and ``require_scopes``.

A tool or service that needs them: :class:`AuthClient` signs in and keeps an access token that can be used.

No token and no key is ever part of an exception's text, a log line or a metric.
"""

from .client import (
    AuthClient,
    AuthError,
    BearerAuth,
    RequestRefused,
    SignedOut,
    TooManyAttempts,
    Unavailable,
    WrongCredentials,
)
from .keys import KeySetCache, KeysUnavailable, PublicKeys
from .metrics import Metrics, PrometheusMetrics
from .middleware import HybridAuthMiddleware, JWTAuthMiddleware
from .storage import FileStorage, MemoryStorage, Tokens, TokenStorage
from .verifier import Identity, Refusal, TokenRefused, TokenVerifier

__all__ = [
    "AuthClient",
    "AuthError",
    "BearerAuth",
    "FileStorage",
    "HybridAuthMiddleware",
    "Identity",
    "JWTAuthMiddleware",
    "KeySetCache",
    "KeysUnavailable",
    "MemoryStorage",
    "Metrics",
    "PrometheusMetrics",
    "PublicKeys",
    "Refusal",
    "RequestRefused",
    "SignedOut",
    "TokenRefused",
    "TokenStorage",
    "TokenVerifier",
    "Tokens",
    "TooManyAttempts",
    "Unavailable",
    "WrongCredentials",
]
