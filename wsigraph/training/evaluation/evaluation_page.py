"""evaluation.html: the evaluation of a model on held-out patients as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps
from wsigraph.cohort.metrics.kaplan_meier import SurvivalSteps, kaplan_meier
from wsigraph.figures.page import templates
from wsigraph.figures.page.charts import calibration_chart
from wsigraph.figures.page.survival_chart import survival_by_group_chart
from wsigraph.training.evaluation.competing_events import incidence_charts
from wsigraph.training.held_out import HeldOut

_TITLES = {
    "c_index": "Harrell's C, pairs within a fold",
    "uno_c": "Uno's C, until nine tenths of the events",
    "integrated_brier": "Integrated Brier score",
    "auc": "Stage AUC, one against the rest",
    "balanced_accuracy": "Balanced accuracy",
    "quadratic_kappa": "Quadratic kappa",
    "brier": "Brier score of stages",
    "calibration_intercept": "Calibration intercept (0 is right)",
    "calibration_slope": "Calibration slope (1 is right)",
}


def render_page(
    document: Mapping[str, Any], held_out: HeldOut, incidence: Mapping[str, IncidenceSteps] | None = None
) -> str:
    """Return the page of an evaluation.

    Parameters
    ----------
    document : mapping
        The output of ``wsigraph evaluate --json``.
    held_out : HeldOut
        The out-of-fold predictions, for the curves.
    incidence : mapping of str to IncidenceSteps, optional
        Cumulative incidences, where there are competing events.

    Returns
    -------
    str
        HTML, with its charts inside.
    """
    groups = risk_groups(held_out)
    curve = document["stage"].get("calibration_curve") if held_out.has_stage and document["stage"] else None
    return templates.render_page(
        "evaluation.html",
        document=document,
        scores=[
            (title, score_rows(document[part]))
            for part, title in (("survival", "Survival"), ("stage", "Stage"))
            if document[part]
        ],
        groups=groups,
        incidence_charts=incidence_charts(incidence or {}),
        survival_chart=survival_by_group_chart(groups) if groups else None,
        calibration_chart=curve and calibration_chart(np.array(curve["stated"]), np.array(curve["observed"])),
        baselines=[baseline_row(name, scores) for name, scores in document["baselines"].items()],
        folds=[_fold_row(fold) for fold in document["folds"]],
        over_sites=[
            (f"{_TITLES[name]}, mean over sites", interval_and_count(of[name]))
            for of in document["over_sites"].values()
            for name in ("c_index", "auc")
            if name in of
        ],
        coverage=[coverage_row(name, row) for name, row in document["stage_sets"].get("coverage", {}).items()],
    )


def interval(score: Mapping[str, Any] | None, sign: str = "") -> str:
    """Return a score with its confidence interval, e.g. ``0.712 (0.650 to 0.770)``; a dash if it has no interval."""
    if not score or score.get("value") is None or score.get("low") is None:
        return "-"
    return f"{score['value']:{sign}.3f} ({score['low']:{sign}.3f} to {score['high']:{sign}.3f})"


def interval_and_count(score: Mapping[str, Any] | None) -> str:
    """Return a score with its interval and the pairs or patients that it rests on; a dash if it has no interval."""
    text = interval(score)
    if text == "-" or score is None:
        return text
    counts = [f"{score[name]:,} {word}" for name, word in (("n_pairs", "pairs"), ("n", "patients")) if name in score]
    if "n_sites" in score:
        counts.append(f"{score['n_sites']} sites, which count like {score['effective_sites']:.1f} of equal size")
    return ", ".join([text, *counts])


def score_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts of a model's own scores."""
    rows = [(text, interval_and_count(scores[name])) for name, text in _TITLES.items() if name in scores]
    rows += [(f"AUC at day {score['day']:,.0f}", interval_and_count(score)) for score in scores.get("time_auc", ())]
    if "d_calibration" in scores:
        test = scores["d_calibration"]
        rows.append(("D-calibration, largest deviation", f"{test['largest_deviation']:.3f} (p = {test['p']:.3g})"))
    if "log_rank" in scores:
        test = scores["log_rank"]
        text = f"{test['statistic']:.1f} (p = {test['p']:.2g}; {test['n_high']} high)"
        rows.append(("Log-rank, high against low risk", text))
    if "permutation_p" in scores:
        rows.append(("Permutation p of the C-index", f"{scores['permutation_p']:.3g}"))
    return rows


def baseline_row(name: str, scores: Mapping[str, Any]) -> tuple[str, str | None, list[str]]:
    """Return a baseline's name, why it was left out or None, and its cells."""
    label = name.replace("_", " ")
    if "left_out" in scores:
        return label, str(scores["left_out"]), []
    cells = []
    for part, score in (("survival", "c_index"), ("stage", "auc")):
        cells.append(interval(scores.get(part, {}).get(score)))
        cells.append(interval(scores["model_above"].get(part, {}).get(score), "+"))
    return label, None, cells


def _fold_row(fold: Mapping[str, Any]) -> list[str]:
    scores = [fold.get(name) for name in ("c_index", "stage_auc")]
    sites = ", ".join(fold["sites"][:8]) or "-"
    texts = [interval_and_count(score) for score in scores]
    return [str(fold["fold"]), str(fold["n_patients"]), str(fold["n_events"]), sites, *texts]


def coverage_row(name: str, row: Mapping[str, Any]) -> list[str]:
    """Return the cells of a row on stage sets: stage, coverage with interval, mean size and patients."""
    covered = f"{row['covered']:.3f} ({row['low']:.3f} to {row['high']:.3f})"
    return [name, covered, f"{row['mean_size']:.2f}", str(row["n"])]


def risk_groups(held_out: HeldOut) -> dict[str, SurvivalSteps]:
    """Return the survival of patients at low and at high risk; empty if the model does not predict survival."""
    if not held_out.has_survival:
        return {}
    is_high = held_out.risk > held_out.risk_cut[held_out.fold]
    return {
        name: kaplan_meier(held_out.time_days[rows], held_out.event[rows])
        for name, rows in (("low risk", ~is_high), ("high risk", is_high))
    }
