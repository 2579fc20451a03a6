"""Hands the stored jobs to the workers of a cluster and notes what comes of them.

One thread looks after everything; the cluster is started in it, so that slides are served meanwhile. Where the cluster
goes away it is joined or started anew, and what was running is queued again. A job that a worker's death took down is
tried again elsewhere, and begins after its last finished stage. Where the database goes away, workers work on; what
ended meanwhile is noted once the database is back, and claims of jobs that do not run here are given back.
"""

from __future__ import annotations

import logging
import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsigraph.config import Config
from wsigraph.errors import ClusterError, StoreError, WsigraphError
from wsigraph.service.jobs.schema import CANCELLED, DONE, FAILED, QUEUED
from wsigraph.service.jobs.store import JobStore

if TYPE_CHECKING:
    from wsigraph.run.batch.job import Job, Outcome
    from wsigraph.run.cluster import Cluster
    from wsigraph.service.jobs.running_job import Flight

_LOOK_S = 0.25
_TELL_S = 0.5
_COUNT_S = 2.0
_AGAIN_S = 15.0
_RESTOCK_S = 20.0
_RESTART_S = 600.0
_SWEEP_S = 600.0
_STORE_AGAIN_S = 1.0
_END_S = 12.0
_DAY_S = 86400.0
# what another worker may survive, or another moment
_PASSING = frozenset(
    {"KilledWorker", "CancelledError", "FutureCancelledError", "LeaseLost", "CommClosedError", "TimeoutError"}
)
_log = logging.getLogger("wsigraph.service")


class Dispatcher:
    """Runs the jobs of a store.

    Parameters
    ----------
    store : JobStore
        The jobs.
    results : Path
        Directory of their results, on a file system that the workers share.
    config : Config
        Settings; ``cluster`` says where the workers are.
    model : Path, optional
        Model bundle, as the workers see it.
    work : callable, optional
        What a worker does with a job; ``wsigraph.run.batch.work.carry_out`` where left out.

    Attributes
    ----------
    instance : str
        Stands for this service in the store.
    n_workers : int
        Workers there are.
    detail : str
        What keeps jobs from being run.
    """

    def __init__(
        self,
        store: JobStore,
        results: Path,
        config: Config,
        model: Path | None = None,
        *,
        work: Callable[[Job], Outcome] | None = None,
    ) -> None:
        self.instance = secrets.token_hex(8)
        self.n_workers = 0
        self.detail = "workers are being started"
        self._store = store
        self._results = results
        self._config = config
        self._model = model
        self._work = work
        self._flights: dict[str, Flight] = {}
        self._told: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._woken = threading.Event()
        self._ending = threading.Event()
        self._due: dict[str, float] = {}
        self._restarts = ThreadPoolExecutor(1, "wsigraph-restart")
        self._thread = threading.Thread(target=self._run, name="wsigraph-jobs", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def close(self) -> None:
        """Stop; what runs is queued again and goes on when a service starts."""
        self._ending.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)
        self._restarts.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        from wsigraph.run.cluster import connect

        while not self._ending.is_set():
            try:
                with connect(self._config.cluster) as cluster:
                    self.detail = ""
                    self._look_after(cluster)
            except WsigraphError as error:
                self.detail = str(error)
                _log.error("%s", error)
            except Exception as error:  # noqa: BLE001  (the thread must outlive what a cluster's libraries raise)
                self.detail = f"unexpected {type(error).__name__}: {error}"
                _log.exception("jobs are not run at the moment")
            finally:
                self.n_workers = 0
                self._give_back()
            self._ending.wait(_AGAIN_S)

    def _give_back(self) -> None:
        self._flights.clear()
        with suppress(StoreError):
            # where the store does not answer, they are given back at the next beginning, or run out where there is none
            self._store.take_back(self.instance)

    def _look_after(self, cluster: Cluster) -> None:
        self._due.clear()
        try:
            while not self._ending.is_set():
                try:
                    self._turn(cluster)
                except StoreError as error:
                    self._outlast(error)
                else:
                    self._woken.wait(_LOOK_S)
                    self._woken.clear()
        finally:
            self._leave(cluster)

    def _outlast(self, error: StoreError) -> None:
        """Wait for a database that does not answer; what runs goes on, and each step of a turn can be done again."""
        if self.detail != str(error):
            self.detail = str(error)
            _log.error("%s; what runs goes on", error)
        # claims may have run out meanwhile, those of other services too: each holds on to its own first
        self._due = {"take over": time.monotonic() + self._config.service.claim_s}
        self._ending.wait(_STORE_AGAIN_S)

    def _turn(self, cluster: Cluster) -> None:
        self._note_ends(cluster)
        self._keep_books(cluster)
        self._cancel(cluster)
        self._hand_out(cluster)
        self._listen()
        for flight in list(self._flights.values()):
            if flight.future is not None and flight.future.done():
                self._settle(flight)
        self._end_hanging(cluster)
        self._note_ends(cluster)
        self._share(cluster)
        self.detail = ""

    def _keep_books(self, cluster: Cluster) -> None:
        """Count workers, hold on to what is claimed, take over what nobody looks after, remove what is old."""
        claim_s = self._config.service.claim_s
        if self._is_due("count", _COUNT_S):
            if cluster.client.status != "running":
                raise ClusterError("the scheduler is gone; jobs go on once there is one")
            self.n_workers = sum(cluster.workers().values())
        if self._is_due("restock", _RESTOCK_S) and cluster.restock is not None:
            cluster.restock()
        if self._is_due("renew", claim_s / 4):
            self._renew(cluster)
        if self._is_due("take over", claim_s / 4):
            self._store.take_back()
        if self._is_due("sweep", _SWEEP_S):
            self._sweep()

    def _renew(self, cluster: Cluster) -> None:
        """Hold on to what runs here, let go of what another has taken over, give back what is claimed and not run."""
        held = self._store.renew(self.instance, self._flights, self._config.service.claim_s)
        self._store.take_back(self.instance, but=self._flights)
        for job_id in self._flights.keys() - held:
            flight = self._flights[job_id]
            _log.warning("job %s is no longer this service's to run; it goes on elsewhere", job_id)
            # its lease stays: the worker gives it back, and the other begins after what is finished by then
            if flight.future is not None:
                cluster.client.cancel([flight.future], force=True)
            self._drop(cluster, flight)

    def _hand_out(self, cluster: Cluster) -> None:
        settings = self._config.service
        room = (settings.jobs_at_once or self.n_workers) - len(self._flights)
        if room > 0 and self.n_workers:
            for job in self._store.claim(self.instance, room, settings.claim_s):
                self._begin(cluster, job)
        for flight in list(self._flights.values()):
            if flight.future is None and flight.ending is None and time.monotonic() >= flight.ask_again_at:
                self._submit(cluster, flight)

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(what, 0.0):
            return False
        self._due[what] = now + every_s
        return True

    def _begin(self, cluster: Cluster, job: Any) -> None:
        from wsigraph.run.batch.work import topic
        from wsigraph.service.jobs.running_job import Flight, inherit

        flight = Flight(job=job, run_id=f"{self.instance}-{job.job_id}")
        for earlier in self._store.done_before(job.slide_key):
            inherit(self._results / earlier / job.slide_id, self._results / job.job_id / job.slide_id)
        cluster.client.subscribe_topic(
            topic(flight.run_id), lambda event: self._told.put({**event[1], "job": job.job_id})
        )
        self._flights[job.job_id] = flight
        self._submit(cluster, flight)

    def _submit(self, cluster: Cluster, flight: Flight) -> None:
        if self._work is None:
            from wsigraph.run.batch.work import carry_out

            self._work = carry_out
        flight.future = cluster.client.submit(
            self._work,
            flight.order(self._results, self._config, self._model),
            key=f"job-{flight.run_id}-{secrets.token_hex(4)}",
            pure=False,
        )
        flight.future.add_done_callback(lambda _: self._woken.set())

    def _listen(self) -> None:
        while not self._told.empty():
            told = self._told.get_nowait()
            if (flight := self._flights.get(told["job"])) is not None:
                flight.hear(told)
        now = time.monotonic()
        for flight in self._flights.values():
            if now - flight.told_at >= _TELL_S:
                flight.told_at = now
                self._store.tell(flight.job.job_id, self.instance, flight.stage, flight.fraction)

    def _settle(self, flight: Flight) -> None:
        """Take in what came of a job."""
        future, flight.future = flight.future, None
        if future.status == "finished":
            outcome = future.result()
            if outcome.status == "held":
                flight.hold(outcome.holder)
                return
            stage, error, message = outcome.stage, outcome.error, outcome.message
        else:
            stage, error, message = flight.stage, *_of_cluster(future)
        self._end(flight, stage, error, message)

    def _end(self, flight: Flight, stage: str, error: str, message: str) -> None:
        flight.future = None
        if not error:
            flight.ending = {"state": DONE}
        elif error in _PASSING and flight.job.attempts < self._config.service.attempts:
            flight.ending = {"state": QUEUED}
        else:
            flight.ending = {"state": FAILED, "stage": stage, "error": error, "message": message}

    def _note_ends(self, cluster: Cluster) -> None:
        """Have the store note what has ended; one that does not answer is asked again at the next turn."""
        for flight in [each for each in self._flights.values() if each.ending is not None]:
            self._store.finish(flight.job.job_id, self.instance, **(flight.ending or {}))
            self._drop(cluster, flight)
            self._woken.set()

    def _end_hanging(self, cluster: Cluster) -> None:
        """Give up what has shown no progress for too long; its worker's process is begun anew."""
        stall_s, now = self._config.batch.stall_s, time.monotonic()
        for flight in list(self._flights.values()):
            if not stall_s or flight.future is None or flight.heard_at is None or now - flight.heard_at < stall_s:
                continue
            cluster.client.cancel([flight.future], force=True)
            flight.stop(self._results)
            if flight.worker and cluster.kind != "threads":
                again = partial(
                    cluster.client.restart_workers, [flight.worker], timeout=_RESTART_S, raise_for_error=False
                )
                # not waited for: the worker may be slow to begin, or its cluster gone by then
                self._restarts.submit(again)
            what = (
                f"no progress for {stall_s:g} s, and its worker was restarted; raise batch.stall_s if it needs longer"
            )
            self._end(flight, flight.stage, "TimeoutError", what)

    def _cancel(self, cluster: Cluster) -> None:
        for job_id in self._store.to_cancel(self.instance) if self._flights else ():
            flight = self._flights.get(job_id)
            if flight is None:
                self._store.finish(job_id, self.instance, CANCELLED)
            elif flight.ending is None:
                if flight.future is not None:
                    cluster.client.cancel([flight.future], force=True)
                flight.stop(self._results)
                flight.future, flight.ending = None, {"state": CANCELLED}

    def _drop(self, cluster: Cluster, flight: Flight) -> None:
        from wsigraph.run.batch.work import topic

        self._flights.pop(flight.job.job_id, None)
        cluster.client.unsubscribe_topic(topic(flight.run_id))

    def _share(self, cluster: Cluster) -> None:
        """Let workers that would idle help with what runs."""
        from distributed import Event

        from wsigraph.run.batch.split_work import idle_event

        is_idle = len(self._flights) < self.n_workers
        for flight in self._flights.values():
            if flight.is_shared != is_idle:
                flight.is_shared = is_idle
                event = Event(idle_event(flight.run_id), client=cluster.client)
                event.set() if is_idle else event.clear()

    def _leave(self, cluster: Cluster) -> None:
        """Stop what runs, so that it can go on elsewhere."""
        if cluster.client.status != "running":
            return
        cluster.client.cancel([each.future for each in self._flights.values() if each.future is not None], force=True)
        for flight in self._flights.values():
            flight.stop(self._results)

    def _sweep(self) -> None:
        """Remove what has been kept long enough."""
        for job_id in self._store.remove_ended(time.time() - self._config.service.retention_days * _DAY_S):
            shutil.rmtree(self._results / job_id, ignore_errors=True)


def _of_cluster(future: Any) -> tuple[str, str]:
    """Return class and sentence of what a cluster gave a task up for."""
    if future.status != "error":
        return "CancelledError", "the cluster gave the job up; start it again"
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        return "KilledWorker", (
            "the workers that tried it died, most likely for want of memory; give workers more memory or set "
            "runtime.memory_gb"
        )
    return type(error).__name__, " ".join(str(error).split()) or "no message"
