"""Fits in parallel processes, each with one torch thread.

The cohort is sent to every process once. A fit does not depend on the process that runs it, so any number of workers
gives the same bytes.
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
    """One fit to run.

    Attributes
    ----------
    rows : int64 (n,)
        Rows of the cohort to fit to.
    config : ModelConfig
        Settings.
    seed : int
        Of the fit.
    checkpoint : Path or None
        File for the state of training.
    device : str
        Where tensors are.
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
        Data of all fits.
    jobs : sequence of FitJob
        The fits.
    workers : int
        Processes; 0 uses one per available core, 1 this process alone.
    progress : callable, optional
        Called with ``("folds", fits done, fits)``; with one worker also after every epoch of a fit.

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
        results = []
        if progress is not None:
            progress("folds", 0, len(jobs))
        for job in jobs:
            results.append(_run_fit(cohort, job, progress))
            if progress is not None:
                progress("folds", len(results), len(jobs))
        return results
    # a forked child would inherit locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, _receive_cohort, (cohort,)) as pool:
        futures = {pool.submit(_run_fit_in_worker, job): number for number, job in enumerate(jobs)}
        by_number: dict[int, Fitted] = {}
        if progress is not None:
            progress("folds", 0, len(jobs))
        try:
            for future in as_completed(futures):
                by_number[futures[future]] = future.result()
                if progress is not None:
                    progress("folds", len(by_number), len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [by_number[number] for number in range(len(jobs))]


def _run_fit(cohort: Cohort, job: FitJob, progress: Progress | None = None) -> Fitted:
    return fit(
        cohort,
        job.rows,
        job.config,
        seed=job.seed,
        checkpoint=job.checkpoint,
        device=job.device,
        progress=progress,
    )


_received: list[Cohort] = []


def _receive_cohort(cohort: Cohort) -> None:
    _received[:] = [cohort]


def _run_fit_in_worker(job: FitJob) -> Fitted:
    return _run_fit(_received[0], job)
