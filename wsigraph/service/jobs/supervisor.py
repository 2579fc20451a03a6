"""The thread of a service that runs its stored jobs on a cluster.

It starts or joins the cluster, so slides are served meanwhile, and runs the loop that cohorts use too
(`wsigraph.run.batch.slide_supervisor`). If the cluster is lost, it joins or starts another, and the jobs resume after
their last finished step. If the database is lost, workers continue, and outcomes are stored when it is back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wsigraph.config import Config
from wsigraph.errors import StoreError, WsigraphError
from wsigraph.service.jobs.instance import is_ended, new_instance
from wsigraph.service.jobs.store import JobStore

if TYPE_CHECKING:
    from wsigraph.run.batch.job import Job, Outcome
    from wsigraph.run.cluster import Cluster
    from wsigraph.service.jobs.job_source import JobSource

_RECONNECT_S = 2.0
_STORE_RETRY_S = 1.0
_END_S = 12.0
_log = logging.getLogger("wsigraph.service")


class JobSupervisor:
    """Runs the jobs of a store on a cluster.

    Parameters
    ----------
    store : JobStore
        Store of the jobs.
    results : Path
        Directory of the results, on a file system that the workers share.
    config : Config
        Settings. ``cluster`` says where the workers are.
    model : Path, optional
        Model bundle, at a path that the workers can read.
    work : callable, optional
        Function that a worker runs for a job; that of ``service.sandbox`` if left out.

    Attributes
    ----------
    instance : str
        Identifies this service in the store.
    n_workers : int
        Number of workers.
    detail : str
        Why jobs are not running; empty if they are.
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
        self.instance = new_instance()
        self.n_workers = 0
        self.detail = "workers are starting"
        self._store = store
        self._results = results
        self._config = config
        self._model = model
        self._work = work
        self._wake_event = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="wsigraph-jobs", daemon=True)

    def start(self) -> None:
        """Start the supervisor thread."""
        self._thread.start()

    def wake(self) -> None:
        """Check the store now instead of at the next poll."""
        self._wake_event.set()

    def close(self) -> None:
        """Stop. Running jobs are queued again and resume when a service starts."""
        self._stopping.set()
        self._wake_event.set()
        if self._thread.is_alive():
            self._thread.join(_END_S)

    def _run(self) -> None:
        # at once, so that these jobs say that they resume while the workers start
        with suppress(StoreError):
            for instance in filter(is_ended, self._store.claiming_instances()):
                self._store.release_claims(instance)
        # imported by the thread: the steps take seconds to import
        from wsigraph.run.cluster import connect
        from wsigraph.service.jobs.job_source import JobSource

        source = JobSource(self._store, self.instance, self._results, self._config, self._model)
        while not self._stopping.is_set():
            try:
                with connect(self._config.cluster) as cluster:
                    self.detail = ""
                    self._supervise(cluster, source)
            except WsigraphError as error:
                self.detail = str(error)
                _log.error("%s", error)
            except Exception as error:  # noqa: BLE001  (the thread must survive whatever the cluster libraries raise)
                self.detail = f"unexpected {type(error).__name__}: {error}"
                _log.exception("jobs are not running at the moment")
            finally:
                self.n_workers = 0
                source.release_all()
            self._stopping.wait(_RECONNECT_S)

    def _supervise(self, cluster: Cluster, source: JobSource) -> None:
        from wsigraph.run.batch.slide_supervisor import SlideSupervisor
        from wsigraph.service.jobs.job_source import sandboxed_work

        work = self._work or sandboxed_work(self._config)
        supervisor = SlideSupervisor(cluster, source, self._config, work=work, wake=self._wake_event)
        try:
            while not self._stopping.is_set():
                try:
                    supervisor.turn()
                    self.detail = ""
                except StoreError as error:
                    self._wait_for_store(error, source)
                self.n_workers = supervisor.n_threads
        finally:
            supervisor.leave()

    def _wait_for_store(self, error: StoreError, source: JobSource) -> None:
        """Wait for a database that does not answer. Running jobs continue, and every action can be repeated."""
        if self.detail != str(error):
            self.detail = str(error)
            _log.error("%s; running jobs continue", error)
        # claims may have expired meanwhile, also those of other instances
        source.wait_for_others()
        self._stopping.wait(_STORE_RETRY_S)
