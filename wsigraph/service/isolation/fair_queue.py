"""Fair queue: hands a few workers to many callers, by class of work and then in equal shares.

References
----------
P. Goyal, H. Vin, H. Cheng, "Start-time fair queueing", IEEE/ACM Transactions on Networking 5(5), 1997.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cachetools import LRUCache

from wsigraph.service.request_context import RequestContext

T = TypeVar("T")
_PROMOTE_S = 2.0
"""After this wait a request counts as one class more urgent, so that no class waits for ever."""
_SLOW_S = 0.5
"""Mean time of a request from which a subject counts as slow."""
_MAX_KNOWN = 4096
_SMOOTHING = 0.3


@dataclass(eq=False, kw_only=True)
class Lease(Generic[T]):
    """A worker in use. Give it back with `FairQueue.release`."""

    worker: T
    caller: str
    subject: str
    estimate_s: float
    started_at: float
    is_slow: bool


@dataclass(eq=False, kw_only=True)
class _Waiter(Generic[T]):
    priority: int
    caller: str
    subject: str
    since: float
    ready: threading.Event = field(default_factory=threading.Event)
    lease: Lease[T] | None = None


class FairQueue(Generic[T]):
    """Workers, and the requests that wait for one. It is safe to use from several threads.

    Of the waiting requests the most urgent class goes first. Within a class, the caller that has used least worker time
    goes first. Requests about slow subjects never use all workers, if there are several.

    Parameters
    ----------
    workers : iterable
        The workers. The one that was used last is handed out first.
    clock : callable, optional
        Returns a monotonic time in seconds.
    """

    def __init__(self, workers: Iterable[T], clock: Callable[[], float] = time.monotonic) -> None:
        self._idle = list(workers)
        self._n_workers = len(self._idle)
        self._clock = clock
        self._waiters: list[_Waiter[T]] = []
        self._n_slow = 0
        # worker time of each caller in s, and where a caller that was idle starts
        self._used: LRUCache[str, float] = LRUCache(_MAX_KNOWN)
        self._start = 0.0
        self._mean_s: LRUCache[str, float] = LRUCache(_MAX_KNOWN)
        self._lock = threading.Lock()

    def empty(self) -> bool:
        """Return whether all workers are in use."""
        return not self._idle

    @property
    def n_waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._waiters)

    def acquire(
        self, priority: int, caller: str, subject: str, timeout_s: float, request: RequestContext | None = None
    ) -> Lease[T] | None:
        """Wait for a worker.

        Parameters
        ----------
        priority : int
            Class of work; the lowest number goes first.
        caller : str
            Who asks.
        subject : str
            What the work is about, for example the path of a slide.
        timeout_s : float
            Longest wait, s.
        request : RequestContext, optional
            Its client; the wait ends when it leaves.

        Returns
        -------
        Lease or None
            The worker; None if there was none in time, or the client left.
        """
        waiter: _Waiter[T] = _Waiter(priority=priority, caller=caller, subject=subject, since=self._clock())
        with self._lock:
            self._used[caller] = max(self._used.get(caller, 0.0), self._start)
            self._waiters.append(waiter)
            self._hand_out()
        if request is not None:
            request.call_when_left(waiter.ready.set)
        waiter.ready.wait(timeout_s)
        if request is not None:
            request.forget(waiter.ready.set)
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        return waiter.lease

    def release(self, lease: Lease[T]) -> None:
        """Give a worker back."""
        seconds = self._clock() - lease.started_at
        with self._lock:
            self._used[lease.caller] = self._used.get(lease.caller, self._start) + seconds - lease.estimate_s
            mean_s = self._mean_s.get(lease.subject, seconds)
            self._mean_s[lease.subject] = mean_s + _SMOOTHING * (seconds - mean_s)
            self._n_slow -= lease.is_slow
            self._idle.append(lease.worker)
            self._hand_out()

    def _hand_out(self) -> None:
        """Give the idle workers to those that go first."""
        while self._idle and self._waiters:
            now = self._clock()
            waiters = [waiter for waiter in self._waiters if self._may_start(waiter)]
            if not waiters:
                return
            first = min(waiters, key=lambda waiter: self._rank(waiter, now))
            self._waiters.remove(first)
            estimate_s = self._mean_s.get(first.subject, 0.0)
            self._start = self._used.get(first.caller, self._start)
            self._used[first.caller] = self._start + estimate_s
            is_slow = estimate_s > _SLOW_S
            self._n_slow += is_slow
            first.lease = Lease(
                worker=self._idle.pop(),
                caller=first.caller,
                subject=first.subject,
                estimate_s=estimate_s,
                started_at=now,
                is_slow=is_slow,
            )
            first.ready.set()

    def _may_start(self, waiter: _Waiter[T]) -> bool:
        is_slow = self._mean_s.get(waiter.subject, 0.0) > _SLOW_S
        return not is_slow or self._n_slow < max(1, self._n_workers - 1)

    def _rank(self, waiter: _Waiter[T], now: float) -> tuple[int, float, float]:
        promoted = int((now - waiter.since) / _PROMOTE_S)
        return max(0, waiter.priority - promoted), self._used.get(waiter.caller, 0.0), waiter.since
