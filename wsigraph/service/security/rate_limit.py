"""Rate limit: each client has a token bucket for tiles and one for all other requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cachetools import LRUCache

from wsigraph.config import ServiceConfig
from wsigraph.errors import TooMany

# The clients that were idle longest are forgotten first. Their buckets are full again by then.
_MAX_BUCKETS = 10_000


class RateLimiter:
    """Token buckets of all clients. It is safe to use from several threads.

    Parameters
    ----------
    config : ServiceConfig
        Size and refill rate of the buckets.
    clock : callable, optional
        Returns a monotonic time in seconds.
    """

    def __init__(self, config: ServiceConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = {
            "tiles": (float(config.tiles_burst), config.tiles_per_s),
            "requests": (float(config.requests_burst), config.requests_per_s),
        }
        self._clock = clock
        # tokens left, and the time of the last request
        self._buckets: LRUCache[tuple[str, str], tuple[float, float]] = LRUCache(_MAX_BUCKETS)
        self._lock = threading.Lock()

    def take(self, client: str, path: str) -> None:
        """Count one request.

        Parameters
        ----------
        client : str
            Name of the token, or network address of a client without one.
        path : str
            Path of the request.

        Raises
        ------
        TooMany
            If the bucket is empty.
        """
        kind = (
            "tiles" if "/tiles/" in path or "_files/" in path or path.startswith(("/iiif/", "/viewer/")) else "requests"
        )
        burst, per_s = self._sizes[kind]
        now = self._clock()
        with self._lock:
            left, last_request_at = self._buckets.get((client, kind), (burst, now))
            left = min(burst, left + (now - last_request_at) * per_s)
            self._buckets[client, kind] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
        if left < 1.0:
            raise TooMany(f"more than {per_s:g} {kind} a second; wait {max(1.0 - left, 0.0) / per_s:.1f} s")
