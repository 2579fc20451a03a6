"""A job that a worker runs: its task, its progress, and how it is stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsigraph.config import Config
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.run.batch.job import Job
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.run_state import lease_path
from wsigraph.run.step_tasks import StepTask, plan_tasks
from wsigraph.service.catalogue import file_version
from wsigraph.service.jobs.schema import RESUMING, StoredJob
from wsigraph.service.upload_store import is_upload

STEP_FRACTIONS: Mapping[str, Mapping[str, float]] = {
    "predict": {
        "read": 0.02, "tissue": 0.18, "segment": 0.30, "graph": 0.30, "coarsen": 0.05, "predict": 0.03, "report": 0.12,
    },
    "explain": {
        "read": 0.02, "tissue": 0.12, "segment": 0.20, "graph": 0.20, "coarsen": 0.03, "predict": 0.02, "report": 0.08,
        "explain": 0.21, "page": 0.12,
    },
}  # fmt: skip
"""Rough fraction of a job's time that each step takes. Only used for the displayed progress."""
_HOUR_S = 3600.0


@dataclass(eq=False, kw_only=True)
class RunningJob:
    """A running job.

    Attributes
    ----------
    job : StoredJob
        The job as it was claimed.
    run_id : str
        Identifier in the progress events of its worker.
    future : distributed.Future or None
        Result of the worker.
    step : str
        Step that is running.
    fraction : float
        Completed fraction, 0 to 1.
    worker : str
        Address of its worker; empty before the first progress event.
    last_progress_at : float or None
        Time of the last progress event, s of the monotonic clock; None before the first.
    reported_at : float
        Time of the last report to the store, s of the monotonic clock.
    splits_work : bool
        Whether idle workers help with it.
    lease_holder, holder_seen_at
        Holder of the lease on its directory if that is another process, and since when that lease was not renewed.
    retry_at : float
        When to try again while another process holds the lease, s of the monotonic clock.
    ending : dict or None
        How the job ended, as arguments of `JobStore.finish`; kept until it is stored.
    task_index : int
        Current task among those of `wsigraph.run.steps.plan_tasks`: steps on a GPU are tasks of their own.
    sha256 : str
        SHA-256 of the slide, once its worker has computed it.
    file_version : str
        Version of the slide's file when the job started here.
    """

    job: StoredJob
    run_id: str
    future: Any = None
    step: str = ""
    fraction: float = 0.0
    worker: str = ""
    last_progress_at: float | None = None
    reported_at: float = float("-inf")
    splits_work: bool = False
    lease_holder: Holder | None = None
    holder_seen_at: float = 0.0
    retry_at: float = 0.0
    ending: dict[str, str] | None = None
    task_index: int = 0
    sha256: str = ""
    file_version: str = ""
    _step_fractions: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._step_fractions = STEP_FRACTIONS["explain" if self.job.kind == "explain" else "predict"]
        self.step = RESUMING if self.job.step == RESUMING else self.step
        self.file_version = file_version(Path(self.job.path))

    def update_progress(self, event: Mapping[str, Any]) -> None:
        """Take in a progress event of its worker. The fraction never decreases."""
        self.last_progress_at, self.worker = time.monotonic(), str(event.get("worker", ""))
        step = str(event["stage"])
        if step not in self._step_fractions:
            return
        steps = list(self._step_fractions)
        before = sum(self._step_fractions[earlier] for earlier in steps[: steps.index(step)])
        within = min(1.0, event["done"] / event["total"]) if event["total"] else 0.0
        self.step = step
        self.fraction = min(0.999, max(self.fraction, before + self._step_fractions[step] * within))

    def note_lost_worker(self, present: Collection[str]) -> None:
        """Note that its worker is not among those that are present: another one resumes it."""
        if self.worker and self.worker not in present:
            self.worker, self.step = "", RESUMING

    def has_digest(self) -> bool:
        """Return whether its worker has computed the digest of the slide, and the file has not changed since."""
        return bool(self.sha256 and self.file_version) and self.file_version == file_version(Path(self.job.path))

    def task(self, config: Config) -> StepTask:
        """Return the current task."""
        return self._tasks(config)[self.task_index]

    def advance(self, config: Config) -> bool:
        """Go on to the next task; return False if there is none."""
        if self.task_index + 1 >= len(self._tasks(config)):
            return False
        self.task_index += 1
        return True

    def _tasks(self, config: Config) -> tuple[StepTask, ...]:
        return tuple(plan_tasks("page" if self.job.kind == "explain" else "report", config.batch.gpu_steps))

    def wait_for_lease(self, holder: Holder | None, beat_s: float) -> None:
        """Note that another process holds the lease on its directory, and try again after half a heartbeat of it."""
        now = time.monotonic()
        if holder != self.lease_holder:
            self.lease_holder, self.holder_seen_at = holder, now
        self.retry_at = now + beat_s / 2

    def worker_job(self, results: Path, config: Config, model: Path | None, threads: int = 1) -> Job:
        """Return the task for its worker.

        Parameters
        ----------
        results : Path
            Directory of all results.
        config : Config
            Settings of the service.
        model : Path or None
            Model bundle.
        threads : int
            Number of threads for the pixel steps.

        Returns
        -------
        Job
            One attempt at the job.
        """
        job, service, batch = self.job, config.service, config.batch
        is_stale = self.lease_holder is not None and time.monotonic() - self.holder_seen_at >= batch.lease_stale_s
        return Job(
            run_id=self.run_id,
            slide_id=job.slide_id,
            path=job.path,
            mpp=job.mpp,
            sha256=job.sha256 or None,
            out=str(results / job.job_id),
            config=config,
            model=None if model is None else str(model),
            until=self.task(config).until,
            seen_stale=self.lease_holder if is_stale else None,
            explain=ExplanationRequest(target=job.target) if job.kind == "explain" else None,
            must_be_self_contained=is_upload(Path(job.path)),
            max_mpx=service.job_max_mpx,
            max_s=service.job_max_h * _HOUR_S,
            memory_gb=service.job_memory_gb,
            threads=threads,
        )

    def revoke_lease(self, results: Path) -> None:
        """Remove the lease of its worker, which then stops at its next check."""
        lease_path(results / self.job.job_id, self.job.slide_id).unlink(missing_ok=True)


def inherit(source: Path, target: Path) -> None:
    """Give a job the records of another job on the same slide, so that it resumes after them.

    Files are hard links: records are replaced by renaming, so neither job can change the records of the other.

    Parameters
    ----------
    source, target : Path
        Slide directories. Nothing is done if `target` exists or `source` does not.
    """
    if target.exists() or not source.is_dir():
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, copy_function=_link)
    partial.rename(target)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
