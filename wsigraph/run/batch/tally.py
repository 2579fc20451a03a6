"""Counts of a run so far: slides, seconds, pixels, workers, the slowest slides, the failures.

Memory holds sums, the ten slowest slides and one row per failure, whatever the number of slides.
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
    """A slide that failed; one row of ``failures.parquet``.

    Attributes
    ----------
    slide_id, patient_id : str
        Names of the slide and its patient.
    line : int
        Its line in the manifest.
    path : str
        Slide file.
    step : str
        Step that failed in the last attempt.
    error : str
        Class of the error.
    message : str
        What is wrong, what was expected, and what to do.
    attempts : int
        Number of attempts.
    worker : str
        Address of the worker of the last attempt.
    """

    slide_id: str
    patient_id: str
    line: int
    path: str
    step: str
    error: str
    message: str
    attempts: int
    worker: str


@dataclass(slots=True)
class WorkerTally:
    """Counts of one worker."""

    slides: int = 0
    busy_s: float = 0.0
    peak_bytes: int = 0


@dataclass(slots=True)
class StepTally:
    """Time of one step over all slides."""

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
        Slides of which at least one step was carried out.
    skipped : int
        Slides that were already done.
    without_file : int
        Rows of the manifest without a file.
    failures : list of Failure
        Slides that failed.
    mpx : float
        Pixels of level 0 of the slides done, in millions.
    steps : dict of str to StepTally
        Times by step.
    workers : dict of str to WorkerTally
        Counts by address; workers that are gone are kept.
    marked : dict of str to str
        Slides that are no H&E sections and were forced, each with what its outputs say.
    withheld : dict of str to str
        Slides whose prediction is withheld, each with the reason. They count as done.
    """

    total: int
    done: int = 0
    skipped: int = 0
    without_file: int = 0
    failures: list[Failure] = field(default_factory=list)
    mpx: float = 0.0
    steps: dict[str, StepTally] = field(default_factory=dict)
    workers: dict[str, WorkerTally] = field(default_factory=dict)
    retried: int = 0
    marked: dict[str, str] = field(default_factory=dict)
    withheld: dict[str, str] = field(default_factory=dict)
    _slowest: list[tuple[float, str, dict[str, float]]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall time since the first slide was submitted, s."""
        return time.monotonic() - self._started

    @property
    def finished(self) -> int:
        """Number of slides that need no more work."""
        return self.done + self.skipped + self.without_file + len(self.failures)

    @property
    def mpx_per_s(self) -> float:
        """Pixels of level 0 a second, in millions."""
        return self.mpx / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated remaining time at the present rate, s; None before the first slide has finished."""
        worked_on = self.done + len(self.failures) + self.skipped
        if worked_on == 0:
            return None
        return self.seconds / worked_on * (self.total - self.finished)

    @property
    def slowest(self) -> list[dict[str, Any]]:
        """The ten slides that took longest, the slowest first, each with its seconds by step."""
        ranked = sorted(self._slowest, key=lambda slide: (-slide[0], slide[1]))
        return [
            {"slide_id": name, "seconds": round(took, 3), "steps": {key: round(s, 3) for key, s in steps.items()}}
            for took, name, steps in ranked
        ]

    def count_attempt(self, outcome: Outcome) -> None:
        """Add the time and memory of an attempt to its workers, whether or not it succeeded."""
        for address, busy_s in outcome.busy_s.items():
            self.workers.setdefault(address, WorkerTally()).busy_s += busy_s
        worker = self.workers.setdefault(outcome.worker, WorkerTally())
        worker.peak_bytes = max(worker.peak_bytes, outcome.peak_bytes)

    def count_skipped(self) -> None:
        """Count a slide whose steps were all done already."""
        self.skipped += 1

    def count_done(self, slide_id: str, worker: str, seconds: dict[str, float], mpx: float) -> None:
        """Count a slide of which at least one step was carried out.

        Parameters
        ----------
        slide_id : str
            Name of the slide.
        worker : str
            Address of the worker that finished it.
        seconds : dict of str to float
            Wall time in s of the steps that this run has carried out.
        mpx : float
            Its pixels of level 0, in millions.
        """
        self.done += 1
        self.mpx += mpx
        self.workers.setdefault(worker, WorkerTally()).slides += 1
        for step, took in seconds.items():
            tally = self.steps.setdefault(step, StepTally())
            tally.slides += 1
            tally.total_s += took
            tally.longest_s = max(tally.longest_s, took)
        heapq.heappush(self._slowest, (sum(seconds.values()), slide_id, dict(seconds)))
        if len(self._slowest) > N_SLOWEST:
            heapq.heappop(self._slowest)

    def snapshot(self) -> dict[str, Any]:
        """Return all counts as JSON values, with the last failures only."""
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
            "steps": {
                step: {"slides": one.slides, "total_s": round(one.total_s, 3), "longest_s": round(one.longest_s, 3)}
                for step, one in self.steps.items()
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
            "marked": [{"slide_id": name, "mark": text} for name, text in sorted(self.marked.items())],
            "withheld": [{"slide_id": name, "reason": text} for name, text in sorted(self.withheld.items())],
            "failures": [asdict(failure) for failure in self.failures[-_FAILURES_SHOWN:]],
        }
