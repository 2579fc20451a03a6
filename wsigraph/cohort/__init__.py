"""Cohorts: the manifest, predictions joined with follow-up, and statistics of them.

`load` joins predictions with the manifest as one table, and the other functions compute statistics from it. They refuse
patients that the model was trained on. Tables are pandas frames; pandas and lifelines are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsigraph.cohort.statistics.attributions import reasons
    from wsigraph.cohort.statistics.cox import CoxFit, check_proportional, fit_cox
    from wsigraph.cohort.statistics.external_only import by_patient, describe, followed, risk_group, split_follow_up
    from wsigraph.cohort.statistics.frame import load
    from wsigraph.cohort.statistics.horizon import calibration_at, decision_curve, log_rank_by_risk
    from wsigraph.cohort.statistics.incremental import AddedValue, added_value
    from wsigraph.cohort.statistics.paper_tables import export_table, table_one
    from wsigraph.cohort.statistics.scores import (
        brier_score,
        c_index,
        compare_models,
        restricted_mean_survival,
        time_dependent_auc,
    )
    from wsigraph.cohort.statistics.stages import confusion, set_coverage, stage_calibration, stage_scores

_HOMES = {
    "AddedValue": "incremental",
    "CoxFit": "cox",
    "added_value": "incremental",
    "brier_score": "scores",
    "by_patient": "external_only",
    "c_index": "scores",
    "calibration_at": "horizon",
    "check_proportional": "cox",
    "compare_models": "scores",
    "confusion": "stages",
    "decision_curve": "horizon",
    "describe": "external_only",
    "export_table": "paper_tables",
    "fit_cox": "cox",
    "followed": "external_only",
    "load": "frame",
    "log_rank_by_risk": "horizon",
    "reasons": "attributions",
    "restricted_mean_survival": "scores",
    "risk_group": "external_only",
    "set_coverage": "stages",
    "split_follow_up": "external_only",
    "stage_calibration": "stages",
    "stage_scores": "stages",
    "table_one": "paper_tables",
    "time_dependent_auc": "scores",
}

__all__ = [
    "AddedValue",
    "CoxFit",
    "added_value",
    "brier_score",
    "by_patient",
    "c_index",
    "calibration_at",
    "check_proportional",
    "compare_models",
    "confusion",
    "decision_curve",
    "describe",
    "export_table",
    "fit_cox",
    "followed",
    "load",
    "log_rank_by_risk",
    "reasons",
    "restricted_mean_survival",
    "risk_group",
    "set_coverage",
    "split_follow_up",
    "stage_calibration",
    "stage_scores",
    "table_one",
    "time_dependent_auc",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"wsigraph.cohort.statistics.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wsigraph.cohort' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
