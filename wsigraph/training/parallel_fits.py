"""Fits side by side in processes of their own, each with one torch thread.

The cohort travels once to every process. Fits do not depend on which process carries them out, so that one worker and
many give the same bytes.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.training.dataset import Cohort
from wsigraph.training.fit import Fitted, fit

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitJob:
    """One fit to carry out.

    Attributes
    ----------
    rows : int64 (n,)
        Rows of the cohort that may be seen.
    config : ModelConfig
        Settings.
    seed : int
        Of the fit.
    checkpoint : Path or None
        Where it notes how far it is.
    device : str
        Where tensors live.
    """

    rows: NDArray[np.int64]
    config: ModelConfig
    seed: int
    checkpoint: Path | None = None
    device: str = "cpu"


def run_fits(
    cohort: Cohort, jobs: Sequence[FitJob], *, workers: int = 1, progress: Progress | None = None
) -> list[Fitted]:
    """Return the fits in the order of the jobs.

    Parameters
    ----------
    cohort : Cohort
        What all of them read.
    jobs : sequence of FitJob
        What to fit.
    workers : int
        Processes; 0 takes one for every core allowed. With 1 everything happens in this process.
    progress : callable, optional
        Told ``("folds", fits done, fits)``; with one worker also every pass of a fit.

    Returns
    -------
    list of Fitted
        Equal for any number of workers.

    Raises
    ------
    ModelError
        If a fit fails.
    """
    n_workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    if n_workers <= 1:
        found = []
        for job in jobs:
            found.append(_carry_out(cohort, job, progress))
            if progress is not None:
                progress("folds", len(found), len(jobs))
        return found
    # a forked child would inherit locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, _take_cohort, (cohort,)) as pool:
        futures = {pool.submit(_carry_out_there, job): number for number, job in enumerate(jobs)}
        results: dict[int, Fitted] = {}
        try:
            for future in as_completed(futures):
                results[futures[future]] = future.result()
                if progress is not None:
                    progress("folds", len(results), len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[number] for number in range(len(jobs))]


def _carry_out(cohort: Cohort, job: FitJob, progress: Progress | None = None) -> Fitted:
    return fit(
        cohort,
        job.rows,
        job.config,
        seed=job.seed,
        checkpoint=job.checkpoint,
        device=job.device,
        progress=progress,
    )


_taken: list[Cohort] = []


def _take_cohort(cohort: Cohort) -> None:
    _taken[:] = [cohort]


def _carry_out_there(job: FitJob) -> Fitted:
    return _carry_out(_taken[0], job)
