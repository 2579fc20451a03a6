"""Compare penalties and calibrations of the stage offset on simulated small cohorts.

    python -m pipelines.choose_calibration [--draws 1.0] [--seed 1] [--layout NAME ...]

Cohorts of scenario ``few_patients`` (``wsigraph/synthesis/simulation/few_patients.py``) are drawn in eight layouts: one
patient left out at a time with several images each, folds by patient with one image each, whole sites left out, and
folds by patient of larger cohorts, each with two and with four stages. The ridges are those of the offset
(``wsigraph/training/fixed_offset.py``) on area-weighted means, with weak or strong penalties; slope and thresholds are
free, the ridge's own, or have a prior. Scores are over all rows, so that folds on different scales cost. Prints JSON:
mean AUC, log loss and median calibration slope, and differences from the first arm, which is what the offset did
before, with 95 % intervals over cohorts. ``--draws`` multiplies the numbers of cohorts, which are fewer where a cohort
takes longer.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds
from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.simulation.few_patients import FewPatientsDesign, sample_few_patients
from wsigraph.training.cox_ridge import Table, units
from wsigraph.training.dataset import Cohort
from wsigraph.training.earned_fraction import stage_losses
from wsigraph.training.evaluation.evaluation_document import mean_over
from wsigraph.training.evaluation.pooled import means_and_stds
from wsigraph.training.inner_parts import inner_parts
from wsigraph.training.ordinal_ridge import ordinal_ridge
from wsigraph.training.stage_calibration import CalibrationPrior, calibrate_stage

_FIXED, _FREE = 1e-4, 1e4
WEAK, STRONG = (0.01, 0.1, 1.0), (0.1, 1.0, 10.0)
"""Penalties of the ridges that are averaged: before, and now."""
FREE = CalibrationPrior(slope_sd=_FREE, threshold_sd=_FREE)
OWN = CalibrationPrior(slope_sd=_FIXED, threshold_sd=_FIXED)
ARMS = {
    "weak, slope and thresholds free": (WEAK, FREE),
    "weak, the ridge's own": (WEAK, OWN),
    "weak, slope 0.6 (fixed)": (WEAK, CalibrationPrior(slope=0.6, slope_sd=_FIXED, threshold_sd=_FIXED)),
    "weak, slope 0.6 (0.1), thresholds (0.2)": (WEAK, CalibrationPrior(slope=0.6, slope_sd=0.1, threshold_sd=0.2)),
    "strong, slope and thresholds free": (STRONG, FREE),
    "strong, the ridge's own": (STRONG, OWN),
    "strong, slope 1 (fixed), thresholds free": (STRONG, CalibrationPrior(slope_sd=_FIXED, threshold_sd=_FREE)),
    "strong, slope 1 (0.1), thresholds (0.2)": (STRONG, CalibrationPrior(slope_sd=0.1, threshold_sd=0.2)),
    "strong, slope 1 (0.2), thresholds (0.2)": (STRONG, CalibrationPrior(slope_sd=0.2, threshold_sd=0.2)),
    "strong, slope 1 (0.2), thresholds (0.4)": (STRONG, CalibrationPrior(slope_sd=0.2, threshold_sd=0.4)),
    "strong, slope 1 (0.4), thresholds (0.4)": (STRONG, CalibrationPrior(slope_sd=0.4, threshold_sd=0.4)),
}
"""Penalties and prior of every arm; standard deviations of the priors stand in brackets."""
TODAY = next(iter(ARMS))
"""What the offset did before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A kind of cohort and how it is divided.

    Attributes
    ----------
    design : FewPatientsDesign
        Of the cohorts.
    n_folds : int
        0 leaves every ``site`` out in turn.
    cohorts : int
        How many are drawn.
    """

    design: FewPatientsDesign
    n_folds: int
    cohorts: int


def layouts() -> dict[str, Layout]:
    """Return the layouts by name."""
    named: dict[str, Layout] = {}
    for k in (2, 4):
        one_image = FewPatientsDesign(n_stages=k, mean_images=1.0, n_patients=(20, 60))
        sites = FewPatientsDesign(n_stages=k, mean_images=30.0, max_images=80, n_patients=(7, 15), between=(0.03, 0.2))
        large = replace(one_image, n_patients=(150, 300))
        named |= {
            f"one patient left out, {k} stages": Layout(design=FewPatientsDesign(n_stages=k), n_folds=0, cohorts=100),
            f"folds by patient, {k} stages": Layout(design=one_image, n_folds=5, cohorts=200),
            f"one site left out, {k} stages": Layout(design=sites, n_folds=0, cohorts=40),
            f"folds of 150 to 300 patients, {k} stages": Layout(design=large, n_folds=5, cohorts=40),
        }
    return named


@one_thread()
def score_cohort(layout: Layout, *, seed: int) -> dict[str, tuple[float, float, float]]:
    """Return AUC, log loss and calibration slope of every arm on one cohort."""
    cohort = sample_few_patients(layout.design, seed=seed)
    both = means_and_stds(cohort)
    means, stage = both[:, : both.shape[1] // 2], cohort.stage
    if layout.n_folds:
        cohort = replace(cohort, site=np.full(cohort.n_rows, ""))
        fold = folds(
            cohort.patient.tolist(),
            n_folds=layout.n_folds,
            stage=stage.tolist(),
            event=cohort.event.tolist(),
            seed=seed,
        )
    else:
        fold = np.unique(cohort.site, return_inverse=True)[1]
    logits = {name: np.zeros((len(stage), layout.design.n_stages - 1)) for name in ARMS}
    for number in np.unique(fold):
        train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        for penalties in (WEAK, STRONG):
            fitted = Ridge(x=means, stage=stage, n_stages=layout.design.n_stages, penalties=penalties)
            left_out = scores_out_of_part(cohort, fitted, train, seed=seed)
            threshold, score = fitted.predict(train, test)
            for name, (own, prior) in ARMS.items():
                if own == penalties:
                    slope, edges = calibrate_stage(left_out, stage[train], threshold, prior)
                    logits[name][test] = slope * score[:, None] - edges
    return {name: measures(values, stage) for name, values in logits.items()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ridge:
    """The offset's ridge on a table.

    Attributes
    ----------
    x : float64 (n, p)
        Means.
    stage : int64 (n,)
        All known.
    n_stages : int
        K.
    penalties : tuple of float
        Averaged.
    """

    x: Table
    stage: NDArray[np.int64]
    n_stages: int
    penalties: tuple[float, ...]

    def predict(self, train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[Table, Table]:
        """Return the thresholds of a ridge fitted to some rows, and its scores of others."""
        centre, std, varies = units(self.x[train])
        z = np.clip(np.where(varies, (self.x - centre) / np.where(varies, std, 1.0), 0.0), -6.0, 6.0)
        weight, threshold = ordinal_ridge(z[train], self.stage[train], self.n_stages, self.penalties)
        return threshold, np.asarray(z[test] @ weight)


def scores_out_of_part(cohort: Cohort, fitted: Ridge, train: NDArray[np.int64], *, seed: int) -> Table:
    """Return the scores of training rows by ridges of the other inner parts."""
    parts = inner_parts(cohort, train, seed=seed)
    score = np.zeros(len(train))
    for number in range(parts.n_parts):
        inside, outside = train[parts.part != number], train[parts.part == number]
        score[parts.part == number] = fitted.predict(inside, outside)[1]
    return score


def measures(logits: Table, stage: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return AUC and calibration slope, each the mean over thresholds, and between them the log loss."""
    aucs, slopes = [], []
    for number in range(logits.shape[1]):
        beyond, value = stage > number, logits[:, number]
        above, below = value[beyond][:, None], value[~beyond]
        aucs.append(float(np.mean((above > below) + 0.5 * (above == below))))
        slopes.append(float(ordinal_ridge(value[:, None], beyond.astype(np.int64), 2, (1e-4,))[0][0]))
    return float(np.mean(aucs)), float(stage_losses(logits, stage).mean()), float(np.mean(slopes))


def summarise(rows: list[dict[str, tuple[float, float, float]]]) -> dict[str, Any]:
    """Return the means over cohorts, and the differences from the first arm."""
    table = {}
    for name in ARMS:
        values, today = (np.array([row[key] for row in rows]) for key in (name, TODAY))
        table[name] = {
            "auc": round(float(values[:, 0].mean()), 4),
            "auc_above": mean_over((values - today)[:, 0].tolist()),
            "log_loss": round(float(values[:, 1].mean()), 4),
            "log_loss_above": mean_over((values - today)[:, 1].tolist()),
            "median_calibration_slope": round(float(np.median(values[:, 2])), 3),
        }
    return table


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe."""
    known = layouts()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=float, default=1.0, help="factor of the numbers of cohorts")
    parser.add_argument("--seed", type=int, default=1, help="of the first cohort")
    parser.add_argument("--layout", choices=list(known), action="append", default=None, help="all by default")
    options = parser.parse_args(arguments)
    shown: dict[str, Any] = {}
    for name in options.layout or known:
        n = max(2, round(options.draws * known[name].cohorts))
        rows = [score_cohort(known[name], seed=options.seed + number) for number in range(n)]
        shown[name] = {"cohorts": n, **summarise(rows)}
        print(f"{name}: {n} cohorts", file=sys.stderr, flush=True)
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
