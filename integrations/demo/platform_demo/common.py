"""What the three services have in common: their settings, who may come in, and their metrics."""

import os
from dataclasses import dataclass, field

import httpx
import prometheus_client
from fastapi import FastAPI, Response

from codelab_auth import (
    HybridAuthMiddleware,
    Identity,
    JWTAuthMiddleware,
    KeySetCache,
    PrometheusMetrics,
    TokenVerifier,
)

#: The header of the shared key.
INTERNAL = "X-Internal-Auth"
#: How long one service waits for another, in seconds: longer than any machine is busy.
PATIENCE = 60.0
#: Connections are not kept: a neighbour that is exchanged closes them when it likes.
NO_KEEPING = httpx.Limits(max_keepalive_connections=0)


@dataclass(frozen=True)
class Settings:
    """What differs between the stages of the migration, and where the others are."""

    internal_key: str = field(repr=False)
    #: The switch: whether access tokens are looked at.
    use_jwt_auth: bool
    #: Whether the shared key still opens this service.
    accept_internal_key: bool
    auth_url: str
    issuer: str
    runtime_url: str
    llm_url: str
    database_url: str

    @classmethod
    def of_environment(cls) -> "Settings":
        """Reads them; the switches are off and on as they were before the migration."""

        def is_on(name: str, default: str) -> bool:
            return os.environ.get(name, default).lower() == "true"

        return cls(
            internal_key=os.environ["INTERNAL_API_KEY"],
            use_jwt_auth=is_on("USE_JWT_AUTH", "false"),
            accept_internal_key=is_on("ACCEPT_INTERNAL_KEY", "true"),
            auth_url=os.environ.get("AUTH_URL", "http://127.0.0.1:8003"),
            issuer=os.environ.get("JWT_ISSUER", "https://auth.codelab.local"),
            runtime_url=os.environ.get("RUNTIME_URL", "http://127.0.0.1:8001"),
            llm_url=os.environ.get("LLM_URL", "http://127.0.0.1:8002"),
            database_url=os.environ.get("DATABASE_URL", "sqlite:///runtime.db"),
        )


def guard(app: FastAPI, settings: Settings) -> None:
    """Lets nobody into a service who may not, and publishes how they came."""
    metrics = PrometheusMetrics()
    keys = KeySetCache(f"{settings.auth_url}/.well-known/jwks.json", metrics=metrics)
    verifier = TokenVerifier(keys, issuer=settings.issuer, metrics=metrics)
    shared = {"verifier": verifier, "metrics": metrics, "public_paths": ["/health", "/metrics"]}
    if settings.accept_internal_key:
        hybrid = {"internal_key": settings.internal_key, "use_jwt": settings.use_jwt_auth}
        app.add_middleware(HybridAuthMiddleware, **shared, **hybrid)
    else:
        app.add_middleware(JWTAuthMiddleware, **shared)

    @app.get("/health")
    async def health() -> dict[str, str | int]:
        return {"status": "healthy", "pid": os.getpid()}

    @app.get("/metrics")
    async def metrics_page() -> Response:
        return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)


def credentials(identity: Identity, settings: Settings, authorization: str | None) -> dict[str, str]:
    """What a service shows to the next: the user's own token, or the shared key where there is no user."""
    if identity.client_id is not None and authorization is not None:
        return {"Authorization": authorization}
    return {INTERNAL: settings.internal_key}
