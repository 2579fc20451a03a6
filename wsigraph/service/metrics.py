"""Prometheus metrics: responses and their times, images, jobs, workers, lost processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

if TYPE_CHECKING:
    from wsigraph.service.context import ServiceContext

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._answers = Counter(
            "wsigraph_answers",
            "Responses by route, method and status",
            ("route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "wsigraph_answer_seconds", "Response time, s", ("route",), buckets=_BUCKETS, registry=registry
        )
        self._jobs = Gauge("wsigraph_jobs", "Jobs by state", ("state",), registry=registry)
        self._workers = Gauge("wsigraph_workers", "Workers that run jobs", registry=registry)
        self._lost = Gauge(
            "wsigraph_slide_processes_lost", "Processes that opened slides and died or were killed", registry=registry
        )
        self._images = Gauge(
            "wsigraph_pictures", "Images found in the cache (found) and rendered (made)", ("how",), registry=registry
        )
        self._image_bytes = Gauge("wsigraph_pictures_bytes", "Size of the image cache, bytes", registry=registry)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one response under the pattern of its route, so that no slide or job identifier becomes a label."""
        route = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PATCH", "DELETE") else "other"
        self._answers.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def render(self, context: ServiceContext) -> tuple[bytes, str]:
        """Return the metrics as text, and their media type."""
        for state, n in context.store.count().items():
            self._jobs.labels(state).set(n)
        self._workers.set(0 if context.supervisor is None else context.supervisor.n_workers)
        self._lost.set(sum(pool.n_lost for pool in (context.pool, context.check_pool, context.digest_pool)))
        encoded = context.images.encoded
        self._images.labels("found").set(encoded.n_found)
        self._images.labels("made").set(encoded.n_made)
        self._image_bytes.set(encoded.n_bytes)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
