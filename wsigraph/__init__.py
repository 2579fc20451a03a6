"""Whole-slide images as graphs of tissue regions: stage, survival and the reasons for both.

One slide, step by step: `read`, `find_tissue`, `segment`, `build_graph`, `coarsen`, `predict`, `explain`; or all of it
at once and stored: `run_slide`. A cohort: `train`, `evaluate`, `scores_from` for
predictions made anywhere, and `simulate` for one with known truth. `synthesize`
paints tissue that a graph describes. `view` shows a slide in a notebook. The classes are the records that pass between
the steps.

Each name is imported when it is first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsigraph.explanation.explain import explain
    from wsigraph.graph.build import build_graph
    from wsigraph.graph.coarsening.coarsen import coarsen
    from wsigraph.graph.superpixel.segment import segment
    from wsigraph.graph.tissue.mask import find_tissue
    from wsigraph.model.predict import predict
    from wsigraph.records import (
        CoarseGraph,
        Curves,
        Explanation,
        LazyArray,
        Level,
        Prediction,
        SlideInfo,
        StainBasis,
        SuperpixelLabels,
        TissueGraph,
        TissueMap,
    )
    from wsigraph.run.simulated_cohort import simulate
    from wsigraph.run.steps import run_slide
    from wsigraph.run.train_cohort import train
    from wsigraph.service.notebook import view
    from wsigraph.slide.reader import Slide, read
    from wsigraph.synthesis.diffusion.synthesize import synthesize
    from wsigraph.training.evaluation.evaluate import evaluate
    from wsigraph.training.evaluation.other_predictions import scores_from

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(
        (
            "CoarseGraph",
            "Curves",
            "Explanation",
            "LazyArray",
            "Level",
            "Prediction",
            "SlideInfo",
            "StainBasis",
            "SuperpixelLabels",
            "TissueGraph",
            "TissueMap",
        ),
        "wsigraph.records",
    ),
    "Slide": "wsigraph.slide.reader",
    "build_graph": "wsigraph.graph.build",
    "coarsen": "wsigraph.graph.coarsening.coarsen",
    "evaluate": "wsigraph.training.evaluation.evaluate",
    "explain": "wsigraph.explanation.explain",
    "find_tissue": "wsigraph.graph.tissue.mask",
    "predict": "wsigraph.model.predict",
    "read": "wsigraph.slide.reader",
    "run_slide": "wsigraph.run.steps",
    "scores_from": "wsigraph.training.evaluation.other_predictions",
    "segment": "wsigraph.graph.superpixel.segment",
    "simulate": "wsigraph.run.simulated_cohort",
    "synthesize": "wsigraph.synthesis.diffusion.synthesize",
    "train": "wsigraph.run.train_cohort",
    "view": "wsigraph.service.notebook",
}

__all__ = [
    "CoarseGraph",
    "Curves",
    "Explanation",
    "LazyArray",
    "Level",
    "Prediction",
    "Slide",
    "SlideInfo",
    "StainBasis",
    "SuperpixelLabels",
    "TissueGraph",
    "TissueMap",
    "__version__",
    "build_graph",
    "coarsen",
    "evaluate",
    "explain",
    "find_tissue",
    "predict",
    "read",
    "run_slide",
    "scores_from",
    "segment",
    "simulate",
    "synthesize",
    "train",
    "view",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'wsigraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
