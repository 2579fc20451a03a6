"""How often a caller may ask: a bucket for tiles and one for everything else, refilled as time goes by."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from wsigraph.config import ServiceConfig
from wsigraph.errors import TooMany

_CALLERS = 10_000


class Buckets:
    """Token buckets of all callers; safe to use from several threads.

    Parameters
    ----------
    config : ServiceConfig
        Their sizes and how fast they fill.
    clock : callable, optional
        Seconds that go on.
    """

    def __init__(self, config: ServiceConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._sizes = {
            "tiles": (float(config.tiles_burst), config.tiles_per_s),
            "requests": (float(config.requests_burst), config.requests_per_s),
        }
        self._clock = clock
        self._left: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, caller: str, path: str) -> None:
        """Count one request.

        Parameters
        ----------
        caller : str
            Who asks: the name of a token, or an address.
        path : str
            What for.

        Raises
        ------
        TooMany
            If the bucket is empty.
        """
        kind = "tiles" if "/tiles/" in path or path.startswith("/viewer/") else "requests"
        burst, per_s = self._sizes[kind]
        now = self._clock()
        with self._lock:
            left, seen_at = self._left.pop((caller, kind), (burst, now))
            left = min(burst, left + (now - seen_at) * per_s)
            self._left[caller, kind] = (max(left - 1.0, 0.0) if left >= 1.0 else left, now)
            while len(self._left) > _CALLERS:
                self._left.popitem(last=False)
        if left < 1.0:
            raise TooMany(f"more than {per_s:g} {kind} a second; wait {max(1.0 - left, 0.0) / per_s:.1f} s")
