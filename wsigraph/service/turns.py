"""Turns of slides: which image is rendered next, so that one slow slide never delays another.

A process that opens slides handles one request at a time. A slide that has not answered yet, or that is slow at the
moment, therefore gets one process and its other requests wait in the event loop, without a thread. Thumbnails are
rendered one at a time, so that a folder of new slides leaves a process for the tiles.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from cachetools import LRUCache

from wsigraph.errors import Unavailable
from wsigraph.service.request_context import current_request

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
        self._waiting: dict[str, list[tuple[str, asyncio.Future[None]]]] = {}
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

        Raises
        ------
        Unavailable
            If the client has left meanwhile.
        """
        while not self._may_start(version):
            await self._wait(version)
        started = time.monotonic()
        self._started.setdefault(version, []).append(started)
        try:
            result = await to_thread.run_sync(render, limiter=self.limiter)
            self._quick[version] = time.monotonic() - started < _SLOW_S
            return result
        finally:
            self._end(version, started)

    @property
    def n_waiting(self) -> int:
        """Number of requests that wait for the turn of their slide."""
        return sum(map(len, self._waiting.values()))

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
        # callers take turns, as all that wait are woken and the first ones start
        n_before: Counter[str] = Counter()
        ranked = []
        for caller, turn in self._waiting.pop(version, []):
            ranked.append((n_before[caller], turn))
            n_before[caller] += 1
        for _, turn in sorted(ranked, key=lambda pair: pair[0]):
            _wake(turn)

    async def _wait(self, version: str) -> None:
        request = current_request()
        # it holds no place among those of its caller, or a slow slide would keep the caller from all others
        request.give_up_place()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(version, [])
        waiting.append((request.caller, turn))
        wake = partial(_wake, turn)
        request.call_when_left(wake)
        try:
            await turn
        finally:
            request.forget(wake)
            with suppress(ValueError):
                waiting.remove((request.caller, turn))
        if request.has_left:
            raise Unavailable("the client has left")


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
