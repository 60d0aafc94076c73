"""What is counted while tokens are validated. Nothing that a stranger sends becomes a label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


class Metrics(Protocol):
    """Told of each validation. The default tells nobody; :class:`PrometheusMetrics` tells Prometheus."""

    def validated(self, result: str, seconds: float) -> None:
        """A token was looked at: ``accepted``, the word for its fault, ``keys_unavailable`` or ``abandoned``."""

    def key_looked_up(self, hit: bool) -> None:
        """A key was asked for; ``hit`` where it was known without a request."""

    def authenticated(self, method: str, result: str) -> None:
        """A request was let in or not: method ``jwt``, ``internal`` or ``none``; result ``accepted`` or ``refused``."""


class NoMetrics:
    """Tells nobody."""

    def validated(self, result: str, seconds: float) -> None:
        pass

    def key_looked_up(self, hit: bool) -> None:
        pass

    def authenticated(self, method: str, result: str) -> None:
        pass


class PrometheusMetrics:
    """Metrics of ``prometheus_client`` (the extra ``prometheus``). Make one for each registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        from prometheus_client import REGISTRY, Counter, Histogram

        where = REGISTRY if registry is None else registry
        self._validations = Counter(
            "jwt_validation", "Access tokens looked at, by what came of it.", ["result"], registry=where
        )
        self._durations = Histogram(
            "jwt_validation_duration_seconds",
            "Seconds that looking at an access token took, fetching keys included.",
            buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0),
            registry=where,
        )
        self._hits = Counter("jwks_cache_hits", "Keys that were known without a request.", registry=where)
        self._misses = Counter("jwks_cache_misses", "Keys that were not known without a request.", registry=where)
        self._methods = Counter(
            "auth_method",
            "Requests by how they authenticated: the migration is over when `internal` stands still.",
            ["method", "result"],
            registry=where,
        )
        for method in ("jwt", "internal", "none"):
            for result in ("accepted", "refused"):
                self._methods.labels(method, result)

    def validated(self, result: str, seconds: float) -> None:
        self._validations.labels(result).inc()
        self._durations.observe(seconds)

    def key_looked_up(self, hit: bool) -> None:
        (self._hits if hit else self._misses).inc()

    def authenticated(self, method: str, result: str) -> None:
        self._methods.labels(method, result).inc()
