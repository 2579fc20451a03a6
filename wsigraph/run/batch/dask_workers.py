"""The workers of a run as its client sees them: how many there are, whether they would idle, which to restart."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

from wsigraph.errors import ClusterError
from wsigraph.run.batch.split_work import idle_event
from wsigraph.run.cluster import Cluster

_EVERY_S = 2.0
_LOST_S = 15.0
_RESTOCK_S = 20.0
# a nanny that is cut short while it begins a process anew stays without one, and a busy machine is slow to begin
_RESTART_S = 600.0
_AGAIN = "and run the same command again to go on"


class Workers:
    """The workers of one run.

    Parameters
    ----------
    cluster : Cluster
        Where they are.
    run_id : str
        The run.
    wait_s : float
        How long there may be none, s; 0 is for ever.

    Attributes
    ----------
    threads : int
        Threads of all of them, as of the last look.
    """

    def __init__(self, cluster: Cluster, run_id: str, wait_s: float) -> None:
        self.threads = 0
        self._cluster = cluster
        self._run_id = run_id
        self._wait_s = wait_s
        self._addresses: tuple[str, ...] = ()
        self._looked_at = float("-inf")
        self._seen_at = time.monotonic()
        self._reached_at = self._restocked_at = time.monotonic()
        self._is_idle: bool | None = None
        self._restarts = ThreadPoolExecutor(1)

    def look(self) -> None:
        """Count the workers anew, every two seconds.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or there have been no workers for too long.
        """
        now = time.monotonic()
        if now - self._looked_at < _EVERY_S:
            return
        self._looked_at = now
        if self._cluster.client.status != "running":
            if self._cluster.client.status == "closed" or now - self._reached_at > _LOST_S:
                self.tell_lost()
            return
        found = self._cluster.workers()
        self._reached_at = now
        self._addresses, self.threads = tuple(found), sum(found.values())
        if self._cluster.restock is not None and now - self._restocked_at > _RESTOCK_S:
            self._restocked_at = now
            self._cluster.restock()
        if found:
            self._seen_at = now
        elif self._wait_s and now - self._seen_at > self._wait_s:
            raise ClusterError(
                f"there has been no worker for {self._wait_s:g} s; start some {_AGAIN}, or raise cluster.wait_s"
            )

    def tell_lost(self) -> NoReturn:
        """End the run where its scheduler has gone.

        Raises
        ------
        ClusterError
            Always.
        """
        raise ClusterError(f"the scheduler is gone; start one {_AGAIN}")

    def other_than(self, avoided: Collection[str]) -> list[str]:
        """Return the addresses of workers that are not to be avoided; none where nothing is to be avoided."""
        return [address for address in self._addresses if address not in avoided] if avoided else []

    def tell_idle(self, is_idle: bool) -> None:
        """Let the workers know whether some of them would idle."""
        from distributed import Event

        if is_idle != self._is_idle:
            self._is_idle = is_idle
            event = Event(idle_event(self._run_id), client=self._cluster.client)
            event.set() if is_idle else event.clear()

    def restart(self, address: str) -> None:
        """Have a worker's process ended and begun anew by the nanny that stands beside it, without waiting for it.

        A thread of this process cannot be ended; the slide goes to another all the same.
        """
        if self._cluster.kind != "threads":
            again = partial(self._cluster.client.restart_workers, [address], timeout=_RESTART_S, raise_for_error=False)
            self._restarts.submit(again)

    def close(self) -> None:
        """Leave the workers to themselves."""
        self._restarts.shutdown(wait=False, cancel_futures=True)
