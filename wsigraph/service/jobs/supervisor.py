"""Job supervisor: submits stored jobs to the workers of a cluster and stores their outcome.

One thread does all of this. It also starts the cluster, so slides are served meanwhile. If the cluster is lost, the
supervisor joins or starts another and queues the running jobs again. A job whose worker died is tried on another
worker, and resumes after its last finished step. If the database is lost, workers continue. Outcomes are stored when
the database is back, and claims of jobs that do not run here are released.
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
from wsigraph.run.batch.retry import describe_failure, describe_stall, may_retry
from wsigraph.service.jobs.instance import is_ended, new_instance
from wsigraph.service.jobs.schema import CANCELLED, DONE, FAILED, QUEUED, RESUMING
from wsigraph.service.jobs.store import JobStore

if TYPE_CHECKING:
    from wsigraph.run.batch.job import Job, Outcome
    from wsigraph.run.cluster import Cluster
    from wsigraph.service.jobs.running_job import RunningJob

_POLL_S = 0.25
_REPORT_S = 0.5
_COUNT_WORKERS_S = 2.0
_RECONNECT_S = 2.0
_TAKE_OVER_S = 2.0
_RESTOCK_S = 20.0
_RESTART_S = 600.0
_SWEEP_S = 600.0
_STORE_RETRY_S = 1.0
_END_S = 12.0
_DAY_S = 86400.0
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
        Function that a worker runs for a job; ``wsigraph.run.batch.work.carry_out`` if left out.

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
        self._running_jobs: dict[str, RunningJob] = {}
        self._progress_events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._wake_event = threading.Event()
        self._stopping = threading.Event()
        self._next_at: dict[str, float] = {}
        self._avoid: dict[str, set[str]] = {}
        self._restarts = ThreadPoolExecutor(1, "wsigraph-restart")
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
        self._restarts.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        from wsigraph.run.cluster import connect

        while not self._stopping.is_set():
            try:
                with connect(self._config.cluster) as cluster:
                    self.detail = ""
                    self._supervise(cluster)
            except WsigraphError as error:
                self.detail = str(error)
                _log.error("%s", error)
            except Exception as error:  # noqa: BLE001  (the thread must survive whatever the cluster libraries raise)
                self.detail = f"unexpected {type(error).__name__}: {error}"
                _log.exception("jobs are not running at the moment")
            finally:
                self.n_workers = 0
                self._release_all()
            self._stopping.wait(_RECONNECT_S)

    def _release_all(self) -> None:
        self._running_jobs.clear()
        with suppress(StoreError):
            # if the store does not answer, the claims are released at the next start, or expire
            self._store.release_claims(self.instance)

    def _supervise(self, cluster: Cluster) -> None:
        cluster.check_gpus(self._config.batch.gpu_steps)
        self._next_at.clear()
        try:
            while not self._stopping.is_set():
                try:
                    self._poll(cluster)
                except StoreError as error:
                    self._wait_for_store(error)
                else:
                    self._wake_event.wait(_POLL_S)
                    self._wake_event.clear()
        finally:
            self._stop_jobs(cluster)

    def _wait_for_store(self, error: StoreError) -> None:
        """Wait for a database that does not answer. Running jobs continue, and every action can be repeated."""
        if self.detail != str(error):
            self.detail = str(error)
            _log.error("%s; running jobs continue", error)
        # claims may have expired meanwhile, also those of other instances; let every instance renew its own first
        self._next_at = {"take over": time.monotonic() + self._config.service.claim_s}
        self._stopping.wait(_STORE_RETRY_S)

    def _poll(self, cluster: Cluster) -> None:
        self._store_outcomes(cluster)
        self._maintain(cluster)
        self._cancel_jobs(cluster)
        self._submit_jobs(cluster)
        self._read_progress()
        for running_job in list(self._running_jobs.values()):
            if running_job.future is not None and running_job.future.done():
                self._handle_result(running_job)
        self._end_stalled(cluster)
        self._store_outcomes(cluster)
        self._offer_idle_workers(cluster)
        self.detail = ""

    def _maintain(self, cluster: Cluster) -> None:
        """Count workers, renew claims, take over expired claims, and remove old jobs."""
        claim_s = self._config.service.claim_s
        if self._is_due("count", _COUNT_WORKERS_S):
            if cluster.client.status != "running":
                raise ClusterError("the scheduler is not running; jobs resume when there is one")
            workers = cluster.workers()
            self.n_workers = sum(workers.values())
            for running_job in self._running_jobs.values():
                running_job.note_lost_worker(workers)
        if self._is_due("restock", _RESTOCK_S) and cluster.restock is not None:
            cluster.restock()
        if self._is_due("renew", claim_s / 4):
            self._renew(cluster)
        if self._is_due("take over", min(_TAKE_OVER_S, claim_s / 4)):
            for instance in self._store.claiming_instances():
                # one that has ended on this machine cannot renew its claims any more
                if is_ended(instance):
                    self._store.release_claims(instance)
            self._store.release_claims()
        if self._is_due("sweep", _SWEEP_S):
            self._sweep()

    def _renew(self, cluster: Cluster) -> None:
        """Renew claims of running jobs, drop jobs that were taken over, and release claims of jobs that do not run."""
        held = self._store.renew(self.instance, self._running_jobs, self._config.service.claim_s)
        self._store.release_claims(self.instance, but=self._running_jobs)
        for job_id in self._running_jobs.keys() - held:
            running_job = self._running_jobs[job_id]
            _log.warning("job %s was taken over by another service and resumes there", job_id)
            # its lease is not removed: the worker releases it, and the other service resumes after the finished steps
            if running_job.future is not None:
                cluster.client.cancel([running_job.future], force=True)
            self._drop(cluster, running_job)

    def _submit_jobs(self, cluster: Cluster) -> None:
        settings = self._config.service
        n_free = (settings.jobs_at_once or self.n_workers) - len(self._running_jobs)
        if n_free > 0 and self.n_workers:
            for job in self._store.claim(self.instance, n_free, settings.claim_s):
                self._start_job(cluster, job)
        for running_job in list(self._running_jobs.values()):
            if running_job.future is None and running_job.ending is None and time.monotonic() >= running_job.retry_at:
                self._submit(cluster, running_job)

    def _is_due(self, action: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next_at.get(action, 0.0):
            return False
        self._next_at[action] = now + every_s
        return True

    def _start_job(self, cluster: Cluster, job: Any) -> None:
        from wsigraph.run.batch.work import topic
        from wsigraph.service.jobs.running_job import RunningJob, inherit

        running_job = RunningJob(job=job, run_id=f"{self.instance}-{job.job_id}")
        for earlier in self._store.done_before(job.slide_key):
            inherit(self._results / earlier / job.slide_id, self._results / job.job_id / job.slide_id)
        cluster.client.subscribe_topic(
            topic(running_job.run_id), lambda event: self._progress_events.put({**event[1], "job": job.job_id})
        )
        self._running_jobs[job.job_id] = running_job
        self._submit(cluster, running_job)

    def _submit(self, cluster: Cluster, running_job: RunningJob) -> None:
        from wsigraph.run.cluster import GPU

        if self._work is None:
            self._work = _default_work(self._config)
        task = running_job.task(self._config)
        avoided = self._avoid.get(running_job.job.job_id, set())
        elsewhere = [address for address in cluster.workers() if address not in avoided] if avoided else []
        job = running_job.worker_job(self._results, self._config, self._model, self._threads(cluster))
        running_job.future = cluster.client.submit(
            self._work,
            job,
            key=f"job-{running_job.run_id}-{secrets.token_hex(4)}",
            pure=False,
            resources={GPU: 1} if task.on_gpu else None,
            workers=elsewhere or None,
            allow_other_workers=bool(elsewhere),
        )
        running_job.future.add_done_callback(lambda _: self._wake_event.set())

    def _threads(self, cluster: Cluster) -> int:
        """Return the number of threads of a job that starts now: its part of this machine's idle workers.

        A job in a sandbox is not split among workers.
        """
        if cluster.kind not in ("local", "threads") or not self._config.service.sandbox:
            return 1
        return max(1, self.n_workers // max(1, len(self._running_jobs)))

    def _read_progress(self) -> None:
        while not self._progress_events.empty():
            event = self._progress_events.get_nowait()
            if (running_job := self._running_jobs.get(event["job"])) is not None:
                running_job.update_progress(event)
        now = time.monotonic()
        for running_job in self._running_jobs.values():
            if now - running_job.reported_at >= _REPORT_S:
                running_job.reported_at = now
                self._store.report_progress(
                    running_job.job.job_id, self.instance, running_job.step, running_job.fraction
                )

    def _handle_result(self, running_job: RunningJob) -> None:
        """Handle the result of a worker."""
        future, running_job.future = running_job.future, None
        if future.status == "finished":
            outcome = future.result()
            if outcome.status == "held":
                running_job.wait_for_lease(outcome.holder, self._config.batch.lease_beat_s)
                return
            running_job.worker = outcome.worker or running_job.worker
            running_job.sha256 = outcome.sha256 or running_job.sha256
            if outcome.status == "done" and running_job.advance(self._config):
                return
            step, error, message = outcome.step, outcome.error, outcome.message
        else:
            step, error, message = running_job.step, *describe_failure(future)
        self._end(running_job, step, error, message)

    def _end(self, running_job: RunningJob, step: str, error: str, message: str) -> None:
        running_job.future = None
        job = running_job.job
        if not error:
            running_job.ending = {"state": DONE, "sha256": running_job.sha256}
        elif may_retry(error, job.attempts, self._config.batch):
            if running_job.worker:
                self._avoid.setdefault(job.job_id, set()).add(running_job.worker)
            running_job.ending = {"state": QUEUED, "step": RESUMING}
        else:
            running_job.ending = {"state": FAILED, "step": step, "error": error, "message": message}
        if running_job.ending["state"] != QUEUED:
            self._avoid.pop(job.job_id, None)

    def _store_outcomes(self, cluster: Cluster) -> None:
        """Store the outcome of ended jobs. If the store does not answer, the next poll tries again."""
        for running_job in [job for job in self._running_jobs.values() if job.ending is not None]:
            self._store.finish(running_job.job.job_id, self.instance, **(running_job.ending or {}))
            if running_job.has_digest():
                self._store.save_digest(running_job.file_version, running_job.sha256)
            self._drop(cluster, running_job)
            self._wake_event.set()

    def _end_stalled(self, cluster: Cluster) -> None:
        """Give up jobs without progress for too long, and restart their workers."""
        stall_s, now = self._config.batch.stall_s, time.monotonic()
        for running_job in list(self._running_jobs.values()):
            if (
                not stall_s
                or running_job.future is None
                or running_job.last_progress_at is None
                or now - running_job.last_progress_at < stall_s
            ):
                continue
            cluster.client.cancel([running_job.future], force=True)
            running_job.revoke_lease(self._results)
            if running_job.worker and cluster.kind != "threads":
                restart = partial(
                    cluster.client.restart_workers, [running_job.worker], timeout=_RESTART_S, raise_for_error=False
                )
                # not waited for: the worker may be slow to start, or the cluster may be gone
                self._restarts.submit(restart)
            self._end(running_job, running_job.step, *describe_stall(stall_s, running_job.worker))

    def _cancel_jobs(self, cluster: Cluster) -> None:
        for job_id in self._store.to_cancel(self.instance) if self._running_jobs else ():
            running_job = self._running_jobs.get(job_id)
            if running_job is None:
                self._store.finish(job_id, self.instance, CANCELLED)
            elif running_job.ending is None:
                if running_job.future is not None:
                    cluster.client.cancel([running_job.future], force=True)
                running_job.revoke_lease(self._results)
                running_job.future, running_job.ending = None, {"state": CANCELLED}

    def _drop(self, cluster: Cluster, running_job: RunningJob) -> None:
        from wsigraph.run.batch.work import topic

        self._running_jobs.pop(running_job.job.job_id, None)
        cluster.client.unsubscribe_topic(topic(running_job.run_id))

    def _offer_idle_workers(self, cluster: Cluster) -> None:
        """Let idle workers help with running jobs."""
        from distributed import Event

        from wsigraph.run.batch.split_work import idle_event

        is_idle = len(self._running_jobs) < self.n_workers
        for running_job in self._running_jobs.values():
            if running_job.splits_work != is_idle:
                running_job.splits_work = is_idle
                event = Event(idle_event(running_job.run_id), client=cluster.client)
                event.set() if is_idle else event.clear()

    def _stop_jobs(self, cluster: Cluster) -> None:
        """Stop the running jobs, so that they can resume elsewhere."""
        if cluster.client.status != "running":
            return
        cluster.client.cancel([job.future for job in self._running_jobs.values() if job.future is not None], force=True)
        for running_job in self._running_jobs.values():
            running_job.revoke_lease(self._results)

    def _sweep(self) -> None:
        """Remove jobs and results that are older than the retention time."""
        for job_id in self._store.remove_ended(time.time() - self._config.service.retention_days * _DAY_S):
            shutil.rmtree(self._results / job_id, ignore_errors=True)


def _default_work(config: Config) -> Callable[[Job], Outcome]:
    from wsigraph.run.batch.sandboxed_work import carry_out_sandboxed
    from wsigraph.run.batch.work import carry_out

    return carry_out_sandboxed if config.service.sandbox else carry_out
