"""Figures for Prometheus: answers and their times, tiles, jobs, workers, lost processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Scope

if TYPE_CHECKING:
    from wsigraph.service.context import House

_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """The figures of one service, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = within = CollectorRegistry()
        self._answers = Counter(
            "wsigraph_answers", "Answers by route, method and status", ("route", "method", "status"), registry=within
        )
        self._seconds = Histogram(
            "wsigraph_answer_seconds", "Time to answer, s", ("route",), buckets=_BUCKETS, registry=within
        )
        self._jobs = Gauge("wsigraph_jobs", "Jobs by state", ("state",), registry=within)
        self._workers = Gauge("wsigraph_workers", "Workers that run jobs", registry=within)
        self._lost = Gauge(
            "wsigraph_slide_processes_lost", "Processes that opened slides and died or were ended", registry=within
        )
        self._pictures = Gauge("wsigraph_pictures", "Pictures found in memory and made", ("how",), registry=within)
        self._kept = Gauge("wsigraph_pictures_bytes", "Memory of encoded pictures, bytes", registry=within)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answer under its route's pattern, so that no name of a slide or job becomes a label."""
        route = getattr(scope.get("route"), "path", None) or "none"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PATCH", "DELETE") else "other"
        self._answers.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def render(self, house: House) -> tuple[bytes, str]:
        """Return the figures and their media type."""
        for state, n in house.store.count().items():
            self._jobs.labels(state).set(n)
        self._workers.set(0 if house.dispatcher is None else house.dispatcher.n_workers)
        self._lost.set(house.pool.n_lost + house.digesting.n_lost)
        encoded = house.pictures.encoded
        self._pictures.labels("found").set(encoded.n_found)
        self._pictures.labels("made").set(encoded.n_made)
        self._kept.set(encoded.n_bytes)
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
