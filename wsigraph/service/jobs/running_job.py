"""One job in the hands of a worker: what it was given, how far it is, and how it is stopped."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsigraph.config import Config
from wsigraph.explanation.request import Question
from wsigraph.run.batch.job import Job
from wsigraph.run.batch.lease import Holder
from wsigraph.run.batch.run_state import lease_path
from wsigraph.service.jobs.schema import StoredJob
from wsigraph.service.upload_store import is_upload

SHARES: Mapping[str, Mapping[str, float]] = {
    "predict": {
        "read": 0.02, "tissue": 0.18, "segment": 0.30, "graph": 0.30, "coarsen": 0.05, "predict": 0.03, "report": 0.12,
    },
    "explain": {
        "read": 0.02, "tissue": 0.12, "segment": 0.20, "graph": 0.20, "coarsen": 0.03, "predict": 0.02, "report": 0.08,
        "explain": 0.21, "page": 0.12,
    },
}  # fmt: skip
"""What share of a job's time each stage takes, roughly; for the fraction that is shown alone."""
_BEAT_S = 2.0
_STALE_S = 60.0


@dataclass(eq=False, kw_only=True)
class Flight:
    """A job that runs.

    Attributes
    ----------
    job : StoredJob
        As it was claimed.
    run_id : str
        Under which its worker tells of it.
    future : distributed.Future or None
        What the worker will return.
    stage : str
        What is being done.
    fraction : float
        Share done.
    worker : str
        Address of its worker; empty until that has told of it.
    heard_at : float or None
        When its worker told of it last, s of the monotonic clock; None where it has not yet.
    told_at : float
        When the store was told last, s of the monotonic clock.
    is_shared : bool
        Whether workers that idle help with it.
    held_by, held_since
        Who else works in its directory, and since when that has shown no life.
    ask_again_at : float
        When to try again where somebody else does.
    ending : dict or None
        What the store is to note of its end, once it has one; kept until the store has noted it.
    """

    job: StoredJob
    run_id: str
    future: Any = None
    stage: str = ""
    fraction: float = 0.0
    worker: str = ""
    heard_at: float | None = None
    told_at: float = float("-inf")
    is_shared: bool = False
    held_by: Holder | None = None
    held_since: float = 0.0
    ask_again_at: float = 0.0
    ending: dict[str, str] | None = None
    _shares: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self._shares = SHARES["explain" if self.job.kind == "explain" else "predict"]

    def hear(self, told: Mapping[str, Any]) -> None:
        """Take in what its worker tells; the fraction never goes back."""
        self.heard_at, self.worker = time.monotonic(), str(told.get("worker", ""))
        stage = str(told["stage"])
        if stage not in self._shares:
            return
        stages = list(self._shares)
        before = sum(self._shares[each] for each in stages[: stages.index(stage)])
        within = min(1.0, told["done"] / told["total"]) if told["total"] else 0.0
        self.stage = stage
        self.fraction = min(0.999, max(self.fraction, before + self._shares[stage] * within))

    def hold(self, holder: Holder | None) -> None:
        """Note that somebody else works in its directory, and ask again soon."""
        now = time.monotonic()
        if holder != self.held_by:
            self.held_by, self.held_since = holder, now
        self.ask_again_at = now + _BEAT_S

    def order(self, results: Path, config: Config, model: Path | None) -> Job:
        """Return what its worker is to do.

        Parameters
        ----------
        results : Path
            Directory of all results.
        config : Config
            Settings.
        model : Path or None
            Model bundle.

        Returns
        -------
        Job
            One attempt.
        """
        job = self.job
        is_stale = self.held_by is not None and time.monotonic() - self.held_since >= _STALE_S
        beat = {"lease_beat_s": _BEAT_S, "lease_stale_s": _STALE_S}
        return Job(
            run_id=self.run_id,
            slide_id=job.slide_id,
            path=job.path,
            mpp=job.mpp,
            sha256=job.sha256,
            out=str(results / job.job_id),
            config=config.model_copy(update={"batch": config.batch.model_copy(update=beat)}),
            model=None if model is None else str(model),
            until="report",
            seen_stale=self.held_by if is_stale else None,
            explain=Question(target=job.target) if job.kind == "explain" else None,
            must_be_self_contained=is_upload(Path(job.path)),
        )

    def stop(self, results: Path) -> None:
        """Take its worker's lease away, at which it stops at its next step."""
        lease_path(results / self.job.job_id, self.job.slide_id).unlink(missing_ok=True)


def inherit(source: Path, target: Path) -> None:
    """Give a job the records of another on the same slide, so that it begins after them.

    Files are linked, not copied: records are replaced by renaming, so neither job can change the other's.

    Parameters
    ----------
    source, target : Path
        Slide directories; nothing is done where the second is there already or the first is not.
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
