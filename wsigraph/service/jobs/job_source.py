"""Stored jobs as slides for the supervisor: which job is next, and how each has ended.

An outcome is noted first and stored afterwards, so a database that does not answer loses none. The claims of the jobs
that run here are renewed; claims that expire, and those of services that have ended on this machine, are released.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from wsigraph.config import Config
from wsigraph.errors import StoreError
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.batch.job import Job, Outcome
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.source import Source
from wsigraph.run.step_tasks import plan_tasks
from wsigraph.service.jobs.instance import is_ended
from wsigraph.service.jobs.running_job import RunningJob, inherit
from wsigraph.service.jobs.schema import CANCELLED, DONE, FAILED, RESUMING, StoredJob
from wsigraph.service.jobs.store import JobStore
from wsigraph.service.upload_store import is_upload

_REPORT_S = 0.5
_TAKE_OVER_S = 2.0
_SWEEP_S = 600.0
_HOUR_S, _DAY_S = 3600.0, 86400.0
_log = logging.getLogger("wsigraph.service")


class JobSource(Source[RunningJob]):
    """The jobs of a store that this service claims.

    Parameters
    ----------
    store : JobStore
        Store of the jobs.
    instance : str
        Identifies this service in the store.
    results : Path
        Directory of the results, on a file system that the workers share.
    config : Config
        Settings.
    model : Path, optional
        Model bundle, at a path that the workers can read.
    """

    until = "page"
    is_endless = True

    def __init__(self, store: JobStore, instance: str, results: Path, config: Config, model: Path | None) -> None:
        self._store = store
        self._instance = instance
        self._results = results
        self._config = config
        self._model = model
        self._jobs: dict[str, RunningJob] = {}
        self._taken_over: list[RunningJob] = []
        self._next_at: dict[str, float] = {}
        self.uses_idle_threads = config.service.sandbox

    def limit(self, n_threads: int) -> int:
        """Return the largest number of running jobs: one for each thread unless ``service.jobs_at_once`` is set."""
        return (self._config.service.jobs_at_once or n_threads) if n_threads else 0

    def claim(self, n: int) -> Iterator[RunningJob]:
        """Claim the oldest queued jobs. Jobs of this service that wait take up places, because they are claimed."""
        n -= sum(running_job.future is None for running_job in self._jobs.values())
        if n <= 0:
            return
        for job in self._store.claim(self._instance, n, self._config.service.claim_s):
            for earlier in self._store.done_before(job.slide_key):
                inherit(self._results / earlier / job.slide_id, self._results / job.job_id / job.slide_id)
            self._jobs[job.job_id] = running_job = self._start(job)
            yield running_job

    def _start(self, job: StoredJob) -> RunningJob:
        last_step = "page" if job.kind == "explain" else "report"
        return RunningJob(
            job=job,
            run_id=f"{self._instance}-{job.job_id}",
            attempt=job.attempts,
            tasks=plan_tasks(last_step, self._config.batch.gpu_steps),
        )

    def make_job(self, slide: RunningJob, seen_stale: Holder | None) -> Job:
        """Return the current task of a job."""
        job, service = slide.job, self._config.service
        return Job(
            run_id=slide.run_id,
            slide_id=job.slide_id,
            path=job.path,
            mpp=job.mpp,
            sha256=job.sha256 or None,
            out=str(self._results / job.job_id),
            config=self._config,
            model=None if self._model is None else str(self._model),
            until=slide.task.until,
            seen_stale=seen_stale,
            explain=ExplanationRequest(target=job.target) if job.kind == "explain" else None,
            must_be_self_contained=is_upload(Path(job.path)),
            max_mpx=service.job_max_mpx,
            max_s=service.job_max_h * _HOUR_S,
            memory_gb=service.job_memory_gb,
        )

    def finish(self, slide: RunningJob, outcome: Outcome) -> None:
        """Note that a job is done, and the digest that its worker has computed."""
        slide.sha256 = outcome.sha256
        slide.ending = {"state": DONE, "sha256": slide.sha256}

    def fail(self, slide: RunningJob, outcome: Outcome) -> None:
        """Note that a job has failed."""
        slide.ending = {"state": FAILED, "step": outcome.step, "error": outcome.error, "message": outcome.message}

    def retry(self, slide: RunningJob) -> None:
        """Note another attempt."""
        slide.step, slide.is_retry_stored = RESUMING, False

    def record(self) -> None:
        """Store the outcomes that were noted, and the progress of running jobs twice a second."""
        for job_id, running_job in list(self._jobs.items()):
            if running_job.ending is not None:
                self._store.finish(job_id, self._instance, **running_job.ending)
                if running_job.has_digest():
                    self._store.save_digest(running_job.file_version, running_job.sha256)
                del self._jobs[job_id]
            elif not running_job.is_retry_stored:
                self._store.record_attempt(job_id, self._instance, running_job.attempt)
                running_job.is_retry_stored = True
            elif time.monotonic() - running_job.stored_at >= _REPORT_S:
                running_job.stored_at = time.monotonic()
                self._store.report_progress(job_id, self._instance, running_job.step, running_job.fraction)

    def maintain(self) -> None:
        """Renew claims, take over those of services that have ended, and remove old jobs."""
        claim_s = self._config.service.claim_s
        if self._is_due("renew", claim_s / 4):
            self._renew()
        if self._is_due("take over", min(_TAKE_OVER_S, claim_s / 4)):
            for instance in self._store.claiming_instances():
                # one that has ended on this machine cannot renew its claims any more
                if is_ended(instance):
                    self._store.release_claims(instance)
            self._store.release_claims()
        if self._is_due("sweep", _SWEEP_S):
            for job_id in self._store.remove_ended(time.time() - self._config.service.retention_days * _DAY_S):
                shutil.rmtree(self._results / job_id, ignore_errors=True)

    def _renew(self) -> None:
        """Renew claims of running jobs, let go of jobs that were taken over, release claims of jobs that do not run."""
        held = self._store.renew(self._instance, self._jobs, self._config.service.claim_s)
        self._store.release_claims(self._instance, but=self._jobs)
        for job_id in self._jobs.keys() - held:
            _log.warning("job %s was taken over by another service and resumes there", job_id)
            self._taken_over.append(self._jobs.pop(job_id))

    def taken_over(self) -> Iterable[RunningJob]:
        """Return the jobs that another service has taken over since the last call."""
        jobs, self._taken_over = self._taken_over, []
        return jobs

    def cancelled(self) -> Iterator[RunningJob]:
        """Yield the running jobs that were cancelled since the last call; the store hears of it with the outcomes."""
        for job_id in self._store.to_cancel(self._instance) if self._jobs else ():
            running_job = self._jobs.get(job_id)
            if running_job is None:
                self._store.finish(job_id, self._instance, CANCELLED)
            elif running_job.ending is None:
                running_job.ending = {"state": CANCELLED}
                yield running_job

    def wait_for_others(self) -> None:
        """Let every service renew its claims before expired ones are released, after the store did not answer."""
        self._next_at = {"take over": time.monotonic() + self._config.service.claim_s}

    def release_all(self) -> None:
        """Let go of all jobs, so that they resume in this or another service."""
        self._jobs.clear()
        self._taken_over.clear()
        self._next_at.clear()
        with suppress(StoreError):
            # if the store does not answer, the claims are released at the next start, or expire
            self._store.release_claims(self._instance)

    def _is_due(self, action: str, every_s: float) -> bool:
        now = time.monotonic()
        if now < self._next_at.get(action, 0.0):
            return False
        self._next_at[action] = now + every_s
        return True


def sandboxed_work(config: Config) -> Callable[[Job], Outcome]:
    """Return the function that workers apply to a job: in a sandbox unless ``service.sandbox`` is off."""
    from wsigraph.run.batch.sandboxed_work import carry_out_sandboxed
    from wsigraph.run.batch.work import carry_out

    return carry_out_sandboxed if config.service.sandbox else carry_out
