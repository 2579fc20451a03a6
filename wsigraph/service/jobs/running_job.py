"""A job that a worker runs: its task, its progress, and how it is stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsigraph.run.batch.running_slide import RunningSlide
from wsigraph.service.catalogue import file_version
from wsigraph.service.jobs.schema import RESUMING, StoredJob

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


@dataclass(eq=False, kw_only=True)
class RunningJob(RunningSlide):
    """A stored job that runs on a worker, waits for another attempt, or has ended and is not stored yet.

    Attributes
    ----------
    job : StoredJob
        The job as it was claimed.
    stored_at : float
        Time of the last report to the store, s of the monotonic clock.
    is_retry_stored : bool
        Whether the store knows the number of its attempt.
    ending : dict or None
        How the job ended, as arguments of `JobStore.finish`; kept until it is stored.
    sha256 : str
        SHA-256 of the slide, once its worker has computed it.
    file_version : str
        Version of the slide's file when the job started here.
    """

    job: StoredJob
    stored_at: float = float("-inf")
    is_retry_stored: bool = True
    ending: dict[str, str] | None = None
    sha256: str = ""
    file_version: str = ""
    _step_fractions: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.slide_id = self.job.slide_id
        self._step_fractions = STEP_FRACTIONS["explain" if self.job.kind == "explain" else "predict"]
        self.step = RESUMING if self.job.step == RESUMING else self.step
        self.file_version = file_version(Path(self.job.path))

    def update_progress(self, message: Mapping[str, Any]) -> None:
        """Take in a progress message of its worker. The fraction never decreases."""
        self.reported_at, self.worker = time.monotonic(), str(message.get("worker", ""))
        step = str(message["stage"])
        if step not in self._step_fractions:
            return
        steps = list(self._step_fractions)
        before = sum(self._step_fractions[earlier] for earlier in steps[: steps.index(step)])
        within = min(1.0, message["done"] / message["total"]) if message["total"] else 0.0
        self.step = step
        self.fraction = min(0.999, max(self.fraction, before + self._step_fractions[step] * within))

    def note_lost_worker(self, present: Collection[str]) -> None:
        """Note that its worker is not among those that are present: another one resumes it."""
        if self.worker and self.worker not in present:
            self.step = RESUMING
        super().note_lost_worker(present)

    def has_digest(self) -> bool:
        """Return whether its worker has computed the digest of the slide, and the file has not changed since."""
        return bool(self.sha256 and self.file_version) and self.file_version == file_version(Path(self.job.path))


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
