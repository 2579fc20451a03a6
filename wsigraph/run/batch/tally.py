"""What has come of a run so far: counts, seconds, pixels, workers, the slowest, the failures.

Memory holds sums, the ten slowest slides and one row a failure, whatever the number of slides.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from wsigraph.run.batch.job import Outcome

N_SLOWEST = 10
_FAILURES_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A slide that could not be done; one row of ``failures.parquet``.

    Attributes
    ----------
    slide_id, patient_id : str
        The slide and whose it is.
    line : int
        Line of the manifest.
    path : str
        Its file.
    stage : str
        Stage that failed last.
    error : str
        Class of the error.
    message : str
        What was met, what was expected and what to do.
    attempts : int
        How often it was tried.
    worker : str
        Where it was tried last.
    """

    slide_id: str
    patient_id: str
    line: int
    path: str
    stage: str
    error: str
    message: str
    attempts: int
    worker: str


@dataclass(slots=True)
class WorkerTally:
    """What one worker has done."""

    slides: int = 0
    busy_s: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class StageTally:
    """What one stage has cost."""

    slides: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0


@dataclass(eq=False)
class Tally:
    """Sums over the slides of a run.

    Attributes
    ----------
    total : int
        Slides of the manifest.
    done : int
        Slides of which at least one stage was carried out.
    skipped : int
        Slides that were found done.
    without_file : int
        Rows of the manifest that name no file.
    failures : list of Failure
        Slides that could not be done.
    mpx : float
        Pixels of level 0 of the slides done, in millions.
    stages : dict of str to StageTally
        Seconds by stage.
    workers : dict of str to WorkerTally
        By address; those of workers that are gone stay.
    """

    total: int
    done: int = 0
    skipped: int = 0
    without_file: int = 0
    failures: list[Failure] = field(default_factory=list)
    mpx: float = 0.0
    stages: dict[str, StageTally] = field(default_factory=dict)
    workers: dict[str, WorkerTally] = field(default_factory=dict)
    retried: int = 0
    _slowest: list[tuple[float, str, dict[str, float]]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time since the first slide was handed out, s."""
        return time.monotonic() - self._started

    @property
    def finished(self) -> int:
        """Slides about which nothing is left to do."""
        return self.done + self.skipped + self.without_file + len(self.failures)

    @property
    def mpx_per_s(self) -> float:
        """Pixels of level 0 a second, in millions."""
        return self.mpx / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at the rate so far, s; None where there is no rate yet."""
        worked_on = self.done + len(self.failures) + self.skipped
        if worked_on == 0:
            return None
        return self.seconds / worked_on * (self.total - self.finished)

    @property
    def slowest(self) -> list[dict[str, Any]]:
        """The ten slides that took longest, the slowest first, each with its seconds by stage."""
        ranked = sorted(self._slowest, key=lambda each: (-each[0], each[1]))
        return [
            {"slide_id": name, "seconds": round(took, 3), "stages": {key: round(s, 3) for key, s in stages.items()}}
            for took, name, stages in ranked
        ]

    def count_attempt(self, outcome: Outcome) -> None:
        """Add what an attempt has cost its workers, whatever came of it."""
        for address, busy_s in outcome.busy_s.items():
            self.workers.setdefault(address, WorkerTally()).busy_s += busy_s
        worker = self.workers.setdefault(outcome.worker, WorkerTally())
        worker.peak_bytes = max(worker.peak_bytes, outcome.peak_bytes)

    def count_skipped(self) -> None:
        """Add a slide of which every stage was found done."""
        self.skipped += 1

    def count_done(self, slide_id: str, worker: str, stages: dict[str, float], mpx: float) -> None:
        """Add a slide of which something was carried out.

        Parameters
        ----------
        slide_id : str
            The slide.
        worker : str
            Address of the worker that finished it.
        stages : dict of str to float
            Seconds of the stages that this run has carried out.
        mpx : float
            Its pixels of level 0, in millions.
        """
        self.done += 1
        self.mpx += mpx
        self.workers.setdefault(worker, WorkerTally()).slides += 1
        for stage, took in stages.items():
            found = self.stages.setdefault(stage, StageTally())
            found.slides += 1
            found.total_s += took
            found.longest_s = max(found.longest_s, took)
        heapq.heappush(self._slowest, (sum(stages.values()), slide_id, dict(stages)))
        if len(self._slowest) > N_SLOWEST:
            heapq.heappop(self._slowest)

    def snapshot(self) -> dict[str, Any]:
        """Return all of it as plain values, with the last failures alone."""
        return {
            "slides": self.total,
            "done": self.done,
            "skipped": self.skipped,
            "without_file": self.without_file,
            "failed": len(self.failures),
            "attempts_repeated": self.retried,
            "seconds": round(self.seconds, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "mpx": round(self.mpx, 3),
            "mpx_per_s": round(self.mpx_per_s, 3),
            "stages": {
                stage: {"slides": one.slides, "total_s": round(one.total_s, 3), "longest_s": round(one.longest_s, 3)}
                for stage, one in self.stages.items()
            },
            "workers": {
                address: {
                    "slides": one.slides,
                    "busy_s": round(one.busy_s, 3),
                    "peak_gb": round(one.peak_bytes / 1e9, 3),
                }
                for address, one in sorted(self.workers.items())
            },
            "slowest": self.slowest,
            "failures": [asdict(failure) for failure in self.failures[-_FAILURES_SHOWN:]],
        }
