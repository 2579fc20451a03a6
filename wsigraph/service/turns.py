"""Turns of slides: which image is rendered next, so that one slow slide never delays another.

A process that opens slides handles one request at a time. A slide that has not answered yet, or that is slow at the
moment, therefore gets one process and its other requests wait in the event loop, without a thread. Thumbnails are
rendered one at a time, so that a folder of new slides leaves a process for the tiles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache

_SLOW_S = 0.5
_MAX_KNOWN = 10_000
_Result = TypeVar("_Result")


class SlideTurns:
    """Runs functions that render images in threads. All methods belong to the event loop of the service.

    Parameters
    ----------
    processes : int
        Number of processes that open slides.
    limiter : CapacityLimiter
        Threads that wait for these processes.

    Attributes
    ----------
    limiter : CapacityLimiter
        The same threads, for images that do not belong to a slide.
    """

    def __init__(self, processes: int, limiter: CapacityLimiter) -> None:
        self._at_once = 2 * processes
        self.limiter = limiter
        self._started: dict[str, list[float]] = {}
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._quick: LRUCache[str, bool] = LRUCache(_MAX_KNOWN)
        self._thumbnails: asyncio.Lock | None = None

    async def run(self, version: str, render: Callable[[], _Result]) -> _Result:
        """Run a function when it is the turn of its slide.

        Parameters
        ----------
        version : str
            Version of the slide.
        render : callable
            Waits for a process that opens slides.

        Returns
        -------
        object
            What `render` returns.
        """
        while not self._may_start(version):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(version, []).append(turn)
            await turn
        started = time.monotonic()
        self._started.setdefault(version, []).append(started)
        try:
            result = await to_thread.run_sync(render, limiter=self.limiter)
            self._quick[version] = time.monotonic() - started < _SLOW_S
            return result
        finally:
            self._end(version, started)

    async def run_thumbnail(self, version: str, render: Callable[[], _Result]) -> _Result:
        """Run a function as `run` does, one at a time among all slides."""
        self._thumbnails = self._thumbnails or asyncio.Lock()
        async with self._thumbnails:
            return await self.run(version, render)

    def _may_start(self, version: str) -> bool:
        started = self._started.get(version)
        if not started:
            return True
        is_quick = self._quick.get(version, False) and time.monotonic() - min(started) < _SLOW_S
        return is_quick and len(started) < self._at_once

    def _end(self, version: str, started: float) -> None:
        self._started[version].remove(started)
        if not self._started[version]:
            del self._started[version]
        for turn in self._waiting.pop(version, []):
            if not turn.done():
                turn.set_result(None)
