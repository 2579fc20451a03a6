"""The workers of a cluster: how many there are, whether some are idle, and restarting one that hangs."""

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
# a nanny that is interrupted while it starts a process has none afterwards, and a busy machine is slow to start one
_RESTART_S = 600.0
_AGAIN = "and run the same command again to continue"


class Workers:
    """The workers of one cluster.

    Parameters
    ----------
    cluster : Cluster
        The cluster that they belong to.
    wait_s : float
        Longest time without any worker, s; 0 is unlimited.

    Attributes
    ----------
    threads : int
        Number of threads of all workers, as last counted.
    addresses : tuple of str
        Their addresses.
    """

    def __init__(self, cluster: Cluster, wait_s: float) -> None:
        self.threads = 0
        self._cluster = cluster
        self._wait_s = wait_s
        self.addresses: tuple[str, ...] = ()
        self._counted_at = float("-inf")
        self._present_at = time.monotonic()
        self._reached_at = self._restocked_at = time.monotonic()
        self._announced: dict[str, bool] = {}
        self._restarts = ThreadPoolExecutor(1)

    def refresh(self) -> bool:
        """Count the workers again, at most every two seconds.

        Returns
        -------
        bool
            Whether they were counted.

        Raises
        ------
        ClusterError
            If the scheduler is gone, or there have been no workers for longer than `wait_s`.
        """
        now = time.monotonic()
        if now - self._counted_at < _EVERY_S:
            return False
        self._counted_at = now
        if self._cluster.client.status != "running":
            if self._cluster.client.status == "closed" or now - self._reached_at > _LOST_S:
                self.raise_lost()
            return False
        threads = self._cluster.workers()
        self._reached_at = now
        self.addresses, self.threads = tuple(threads), sum(threads.values())
        if self._cluster.restock is not None and now - self._restocked_at > _RESTOCK_S:
            self._restocked_at = now
            self._cluster.restock()
        if threads:
            self._present_at = now
        elif self._wait_s and now - self._present_at > self._wait_s:
            raise ClusterError(
                f"there has been no worker for {self._wait_s:g} s; start some {_AGAIN}, or raise cluster.wait_s"
            )
        return True

    def raise_lost(self) -> NoReturn:
        """Raise that the scheduler is gone.

        Raises
        ------
        ClusterError
            Always.
        """
        raise ClusterError(f"the scheduler is gone; start one {_AGAIN}")

    def other_than(self, avoided: Collection[str]) -> list[str]:
        """Return the addresses of the workers that are not in `avoided`; an empty list if `avoided` is empty."""
        return [address for address in self.addresses if address not in avoided] if avoided else []

    def announce_idle(self, is_idle: bool, run_ids: Collection[str]) -> None:
        """Set the events by which slides of some runs learn that workers are idle; clear those of other runs."""
        from distributed import Event

        for run_id in {*run_ids, *self._announced}:
            should = is_idle and run_id in run_ids
            if self._announced.get(run_id) is not should:
                event = Event(idle_event(run_id), client=self._cluster.client)
                event.set() if should else event.clear()
                self._announced[run_id] = should
            if run_id not in run_ids:
                del self._announced[run_id]

    def restart(self, address: str) -> None:
        """Restart the process of a worker through its nanny, without waiting for it.

        A thread of this process cannot be ended; its slide goes to another worker all the same.
        """
        if address and self._cluster.kind != "threads":
            again = partial(self._cluster.client.restart_workers, [address], timeout=_RESTART_S, raise_for_error=False)
            self._restarts.submit(again)

    def close(self) -> None:
        """Stop restarting workers."""
        self._restarts.shutdown(wait=False, cancel_futures=True)
