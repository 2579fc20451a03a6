"""Pictures of a cohort in the field's customary forms, each drawn on matplotlib axes and returned.

What they show is computed in `wsigraph.cohort`; here it is only drawn. Every function takes ``ax`` and makes axes where
none are given, so that pictures can be put beside one another. Patients the model was trained on are refused.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsigraph.figures.confusion_matrix import plot_confusion
    from wsigraph.figures.hazard import plot_forest
    from wsigraph.figures.part import plot_attributions, plot_regions
    from wsigraph.figures.probability import plot_calibration, plot_decision_curve, plot_stage_calibration
    from wsigraph.figures.survival_curves import plot_kaplan_meier

_HOMES = {
    "plot_attributions": "part",
    "plot_calibration": "probability",
    "plot_confusion": "confusion_matrix",
    "plot_decision_curve": "probability",
    "plot_forest": "hazard",
    "plot_kaplan_meier": "survival_curves",
    "plot_regions": "part",
    "plot_stage_calibration": "probability",
}

__all__ = [
    "plot_attributions",
    "plot_calibration",
    "plot_confusion",
    "plot_decision_curve",
    "plot_forest",
    "plot_kaplan_meier",
    "plot_regions",
    "plot_stage_calibration",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"wsigraph.figures.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'wsigraph.figures' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
