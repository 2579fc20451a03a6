"""What a job found, as plain JSON values: outlines, numbers to colour them by, the prediction, and why.

Numbers are written with as many digits as they deserve; outlines are whole level-0 pixels, each point as its step from
the one before, which gzip makes small.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.region_facts import unit_words
from wsigraph.explanation.tissue_clusters import feature_label
from wsigraph.geometry import px_to_mm2, um_to_px_exact
from wsigraph.graph.feature.interpret import interpret
from wsigraph.outline.outline import Outlines
from wsigraph.records import Curves, Prediction
from wsigraph.run.page_step import FACTS
from wsigraph.service.results import ExplainedSlide
from wsigraph.store import read_document

_DIGITS = 5
_COHORT_POINTS = 240


def outlines_of(slide: ExplainedSlide, level: int) -> dict[str, Any]:
    """Return the outlines of all regions at a zoom level.

    Parameters
    ----------
    slide : ExplainedSlide
        The records of a job.
    level : int
        Zoom level, see `ExplainedSlide.outlines`.

    Returns
    -------
    dict
        Plain JSON values; ``outlines`` holds a list of polygons a region, each a list of rings, the outer one first,
        each a flat list: x and y of its first point in level-0 px, then steps.
    """
    level = slide.settled_level(level)
    found, size = slide.outlines(level), slide.info.levels[0].size
    return {
        "slide_id": slide.info.slide_id,
        "level": level,
        "coarsest_level": slide.settled_level(slide.coarsest_level),
        "tolerance_um": _short(slide.tolerance_um(level)),
        "mpp": float(slide.info.mpp),
        "width": size.width,
        "height": size.height,
        "n_regions": slide.n_regions,
        "outlines": [_polygons(found, node) for node in range(slide.n_regions)],
    }


def values_of(slide: ExplainedSlide) -> dict[str, Any]:
    """Return what regions may be coloured by.

    Parameters
    ----------
    slide : ExplainedSlide
        The records of a job.

    Returns
    -------
    dict
        Plain JSON values: ``targets`` with attributions and the order of importance, ``kind``, ``features``,
        ``area_mm2`` and ``centre`` in level-0 px.
    """
    graph, own = slide.coarse.graph, slide.explanation
    area = px_to_mm2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)
    centre = um_to_px_exact(1.0, slide.info.mpp) * graph.centroid_um
    table = interpret(graph)
    return {
        "targets": [
            {
                "target": target,
                "unit": slide.unit(target),
                "attribution": _shorts(node),
                "order": slide.orders[target].tolist(),
            }
            for target, node in slide.attributions.items()
        ],
        "kind": None if own is None else {"names": list(own.cluster_names), "of": own.cluster.tolist()},
        "features": [
            {
                "feature": name,
                "name": feature_label(name),
                "unit": unit_words(name),
                "group": group,
                "values": _shorts(table.values[:, column]),
            }
            for column, (name, group) in enumerate(zip(table.names, table.groups, strict=True))
        ],
        "area_mm2": _shorts(area),
        "centre": np.rint(centre).astype(np.int64).tolist(),
    }


def prediction_of(prediction: Prediction) -> dict[str, Any]:
    """Return a prediction as plain JSON values."""
    band = prediction.survival_band
    return {
        "stage": {
            name: _short(share, 6)
            for name, share in zip(prediction.stage_names, prediction.stage_probability.tolist(), strict=True)
        },
        "stage_set": list(prediction.stage_set),
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": prediction.median_survival_days,
        "survival": {
            "time_days": prediction.time_days.tolist(),
            "probability": prediction.survival.tolist(),
            "low": None if band is None else band[0].tolist(),
            "high": None if band is None else band[1].tolist(),
        },
        "distance": prediction.distance,
        "relation": prediction.relation,
        "model": prediction.model_name,
        "notice": prediction.notice,
        "warnings": list(prediction.warnings),
    }


def explanation_of(slide: ExplainedSlide) -> dict[str, Any] | None:
    """Return how sure an explanation is and how it was tested, as plain JSON values; None where there is none."""
    own = slide.explanation
    if own is None:
        return None
    return {
        "target": own.target,
        "unit": own.unit,
        "value": own.value,
        "baseline_value": own.reference_value,
        "baseline": own.reference_input_id,
        "output_sd": own.output_sd,
        "gap": own.completeness_error,
        "gap_limit": own.completeness_limit,
        "is_complete": own.is_complete,
        "n_steps": own.n_steps,
        "without_edges": own.edge_ablation_value,
        "members": {
            "n": len(own.member_value),
            "low": float(own.member_value.min()),
            "high": float(own.member_value.max()),
            "agreement": own.member_agreement,
        },
        "groups": {name: _short(value) for name, value in own.groups().items()},
        "curves": {name: _curve(curve) for name, curve in own.curves.items()},
        "text": _text(slide.directory / FACTS),
        "warnings": list(dict.fromkeys(own.warnings)),
    }


def cohort_of(slide: ExplainedSlide) -> dict[str, Any] | None:
    """Return the survival of the training cohort as plain JSON values, thinned; None where the model brings none."""
    if slide.reference is None:
        return None
    curve = slide.reference.survival
    n_times = len(curve.time_days)
    kept = np.unique(np.linspace(0, max(0, n_times - 1), min(n_times, _COHORT_POINTS)).astype(np.int64))
    return {
        "n_patients": curve.n_patients,
        "n_events": curve.n_events,
        **{name: _shorts(getattr(curve, name)[kept]) for name in ("time_days", "survival", "low", "high")},
    }


def _curve(curve: Curves) -> dict[str, Any]:
    return {
        "area_fraction": _shorts(curve.area_fraction),
        "output": {name: _shorts(output) for name, output in curve.output.items()},
        "gain": {name: _short(gain) for name, gain in curve.gain.items()},
        "towards": _short(curve.towards),
        "random_beaten": curve.random_beaten,
        "n_random": curve.n_random,
        "n_members": curve.n_members,
    }


def _text(path: Path) -> list[str]:
    """Return the sentences of an explanation; none where it was stopped before its page."""
    return [str(sentence) for sentence in read_document(path)[1]["text"]] if path.is_file() else []


def _polygons(outlines: Outlines, node: int) -> list[list[list[int]]]:
    return [[_steps(ring) for ring in polygon] for polygon in outlines.polygons(node)]


def _steps(ring: NDArray[np.float64]) -> list[int]:
    points = np.rint(ring).astype(np.int64)
    steps: list[int] = np.diff(points, axis=0, prepend=0).reshape(-1).tolist()
    return steps


def _short(value: float, digits: int = _DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def _shorts(values: NDArray[np.float64]) -> list[float]:
    return [_short(value) for value in values.astype(np.float64).tolist()]
