"""Admission: how many requests of one caller are handled at a time, by kind of request.

A caller whose requests exceed its number waits, and others do not. So the threads of the service are never all held by
one caller. Everything here runs in the event loop and needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from wsigraph.config import ServiceConfig
from wsigraph.errors import TooMany, Unavailable
from wsigraph.service.request_context import Priority, RequestContext

_TILE, _IMAGE, _ABLATION, _UPLOAD, _STREAM, _OTHER = "tile", "image", "ablation", "upload", "stream", "other"
_AT_ONCE = {_TILE: 16, _IMAGE: 8, _ABLATION: 4, _UPLOAD: 8, _OTHER: 16}


def kind_of_request(path: str) -> tuple[str, Priority]:
    """Return the kind of a request, and the class of the work that it causes."""
    if "/tiles/" in path or "_files/" in path or (path.startswith("/iiif/") and path.endswith(".jpg")):
        return _TILE, Priority.TILE
    if path.endswith(("/ablation", "/without")):
        return _ABLATION, Priority.REGION
    if path.endswith("/events"):
        return _STREAM, Priority.REGION
    if "/thumbnail" in path or "/associated/" in path:
        return _IMAGE, Priority.THUMBNAIL
    if path.endswith((".jpeg", ".png")) or "/region" in path:
        return _IMAGE, Priority.REGION
    if path.startswith("/v1/uploads"):
        return _UPLOAD, Priority.CHECK
    return _OTHER, Priority.REGION


@dataclass(eq=False)
class _Lane:
    """The requests of one caller and one kind."""

    n_running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def hand_on(self, n_places: int) -> None:
        """Give free places to those that wait."""
        while self.waiting and self.n_running < n_places:
            # the place is taken before the waiting task runs, so that nobody else takes it meanwhile
            self.n_running += 1
            self.waiting.popleft().set_result(None)


class Admission:
    """Admits requests.

    Parameters
    ----------
    config : ServiceConfig
        Limits.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self._config = config
        self._lanes: dict[tuple[str, str], _Lane] = {}
        self._streams: Counter[str] = Counter()
        self._n_requests = 0

    @asynccontextmanager
    async def admit(
        self,
        caller: str,
        kind: str,
        left: Callable[[], Awaitable[None]] | None,
        request: RequestContext | None = None,
    ) -> AsyncIterator[bool]:
        """Wait until a request may be handled, and count it until its response ends.

        Parameters
        ----------
        caller, kind : str
            Who sent it, and its kind.
        left : callable or None
            Returns when its client leaves; None if that cannot be known yet.
        request : RequestContext, optional
            The request, which can give up its place before its response ends.

        Yields
        ------
        bool
            False if the client left meanwhile.

        Raises
        ------
        TooMany
            If the caller, or all callers, have too many event streams open.
        Unavailable
            If the service handles too many requests.
        """
        if kind == _STREAM:
            with self._count_stream(caller):
                yield True
            return
        if self._n_requests >= self._config.requests_at_once:
            raise Unavailable("the service handles as many requests as it can; try again")
        lane = self._lanes.setdefault((caller, kind), _Lane())
        self._n_requests += 1
        is_running = False

        def give_up_place() -> None:
            nonlocal is_running
            if is_running:
                is_running = False
                lane.n_running -= 1
                lane.hand_on(_AT_ONCE[kind])

        try:
            if lane.n_running < _AT_ONCE[kind]:
                lane.n_running += 1
                is_running = True
            else:
                is_running = await _wait(lane, left)
            if request is not None:
                request.give_up_place = give_up_place
            yield is_running
        finally:
            self._n_requests -= 1
            give_up_place()
            lane.hand_on(_AT_ONCE[kind])
            if not lane.n_running and not lane.waiting:
                self._lanes.pop((caller, kind), None)

    def _count_stream(self, caller: str) -> _StreamCount:
        if self._streams[caller] >= self._config.streams_caller_max:
            raise TooMany(
                f"{self._streams[caller]} event streams of this client are open, which is the limit; poll "
                "GET /v1/jobs/JOB_ID instead"
            )
        if self._streams.total() >= self._config.streams_max:
            raise TooMany("too many event streams are open; poll GET /v1/jobs/JOB_ID instead")
        return _StreamCount(self._streams, caller)


class _StreamCount:
    """Counts one event stream while it is open."""

    def __init__(self, streams: Counter[str], caller: str) -> None:
        self._streams, self._caller = streams, caller

    def __enter__(self) -> None:
        self._streams[self._caller] += 1

    def __exit__(self, *_: object) -> None:
        self._streams[self._caller] -= 1
        if not self._streams[self._caller]:
            del self._streams[self._caller]


async def _wait(lane: _Lane, left: Callable[[], Awaitable[None]] | None) -> bool:
    """Wait for a place in a lane. Return False if the client left first."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    leaving = None if left is None else asyncio.ensure_future(left())
    lane.waiting.append(turn)
    try:
        await asyncio.wait([turn] if leaving is None else [turn, leaving], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        lane.n_running -= turn.done()
        raise
    finally:
        with suppress(ValueError):
            lane.waiting.remove(turn)
        if leaving is not None:
            leaving.cancel()
    return turn.done()
