"""Serializers: the results of a job as JSON values for the viewer and other clients.

Numbers are rounded to a few significant digits. Outlines are integer level-0 pixels, and each point is stored as the
step from the point before, which compresses well. This module does not import torch, so that the service starts
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.tissue_clusters import feature_label
from wsigraph.geometry import px_to_mm2, um_to_px_exact
from wsigraph.graph.feature.interpret import known_features
from wsigraph.outline.outline import Outlines
from wsigraph.records import Curves

if TYPE_CHECKING:
    from wsigraph.service.results import JobResults

_DIGITS = 5
_MAX_COHORT_POINTS = 240


def serialize_outlines(results: JobResults, level: int) -> dict[str, Any]:
    """Return the outlines of all regions at a zoom level.

    Parameters
    ----------
    results : JobResults
        Results of the job.
    level : int
        Zoom level, see `JobResults.outlines`.

    Returns
    -------
    dict
        JSON values. ``origin`` is the place of the scanned area on the file's plane, (x, y) in level-0 px; all
        coordinates count from it. ``outlines`` has a list of polygons for every region. A polygon is a list of rings,
        the outer ring first. A ring is a flat list: x and y of its first point in level-0 px, then the steps to each
        next point.
    """
    level = results.outline_level(level)
    outlines, size = results.outlines(level), results.info.levels[0].size
    return {
        "slide_id": results.info.slide_id,
        "level": level,
        "coarsest_level": results.outline_level(results.coarsest_level),
        "tolerance_um": _round(results.tolerance_um(level)),
        "mpp": float(results.info.mpp),
        "width": size.width,
        "height": size.height,
        "origin": list(results.info.origin),
        "n_regions": results.n_regions,
        "outlines": [_serialize_polygons(outlines, node) for node in range(results.n_regions)],
    }


def serialize_region_values(results: JobResults) -> dict[str, Any]:
    """Return the values that regions can be coloured by.

    Parameters
    ----------
    results : JobResults
        Results of the job.

    Returns
    -------
    dict
        JSON values: ``targets`` with attributions and the ranking of the regions, ``tissue_clusters``, ``features``,
        ``area_mm2`` and ``centre`` in level-0 px.
    """
    graph, explanation = results.coarse.graph, results.explanation
    area = px_to_mm2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)
    centre = um_to_px_exact(1.0, results.info.mpp) * graph.centroid_um
    table = known_features(graph)
    columns = zip(table.names, table.groups, table.units, strict=True)
    return {
        "targets": [
            {
                "target": target,
                "unit": results.unit(target),
                "attribution": _round_all(node),
                "order": results.rankings[target].tolist(),
            }
            for target, node in results.attributions.items()
        ],
        "tissue_clusters": None
        if explanation is None
        else {"names": list(explanation.cluster_names), "of": explanation.cluster.tolist()},
        "features": [
            {
                "feature": name,
                "name": feature_label(name),
                "unit": results.unit_label(unit),
                "group": group,
                "values": _round_all(table.values[:, column]),
            }
            for column, (name, group, unit) in enumerate(columns)
        ],
        "area_mm2": _round_all(area),
        "centre": np.rint(centre).astype(np.int64).tolist(),
    }


def serialize_region(results: JobResults, node: int) -> dict[str, Any]:
    """Return one region: features with training percentiles, attributions, neighbours, and the box of its image.

    Parameters
    ----------
    results : JobResults
        Results of the job.
    node : int
        Number of the region.

    Returns
    -------
    dict
        JSON values. ``fraction`` is an attribution divided by the sum of the absolute attributions of all regions.
    """
    region = _rename_region(results.describer.region(node))
    box = results.crop_box(node)
    return {
        **region,
        "neighbours": [_rename_region(neighbour) for neighbour in results.describer.neighbours(node)],
        "targets": [
            {
                "target": target,
                "unit": results.unit(target),
                "attribution": float(values[node]),
                "fraction": float(values[node] / (np.abs(values).sum() or 1.0)),
                "rank": int(np.flatnonzero(results.rankings[target] == node)[0]) + 1,
            }
            for target, values in results.attributions.items()
        ],
        "crop": {"x": box.x0, "y": box.y0, "width": box.width, "height": box.height},
    }


def serialize_explanation(results: JobResults) -> dict[str, Any] | None:
    """Return an explanation and its faithfulness tests as JSON values; None for a job without explanation."""
    explanation = results.explanation
    if explanation is None:
        return None
    return {
        "target": explanation.target,
        "unit": explanation.unit,
        "value": explanation.value,
        "reference_value": explanation.reference_value,
        "reference": explanation.reference_input_id,
        "output_sd": explanation.output_sd,
        "completeness_error": explanation.completeness_error,
        "completeness_error_limit": explanation.completeness_limit,
        "is_complete": explanation.is_complete,
        "n_steps": explanation.n_steps,
        "edge_ablation_value": explanation.edge_ablation_value,
        "members": {
            "n": len(explanation.member_value),
            "low": float(explanation.member_value.min()),
            "high": float(explanation.member_value.max()),
            "agreement": explanation.member_agreement,
        },
        "groups": {name: _round(value) for name, value in explanation.groups().items()},
        "curves": {name: _serialize_curve(curve) for name, curve in explanation.curves.items()},
        "text": results.sentences,
        "warnings": list(dict.fromkeys(explanation.warnings)),
    }


def serialize_cohort_survival(results: JobResults) -> dict[str, Any] | None:
    """Return the survival curve of the training cohort, thinned; None if the model has no reference cohort."""
    if results.reference is None:
        return None
    curve = results.reference.survival
    n_times = len(curve.time_days)
    rows = np.unique(np.linspace(0, max(0, n_times - 1), min(n_times, _MAX_COHORT_POINTS)).astype(np.int64))
    return {
        "n_patients": curve.n_patients,
        "n_events": curve.n_events,
        **{name: _round_all(getattr(curve, name)[rows]) for name in ("time_days", "survival", "low", "high")},
    }


def _rename_region(region: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a region under the names of the HTTP interface."""
    names = {"cluster": "tissue_cluster", "broad_cluster": "broad_tissue_cluster"}
    return {names.get(name, name): value for name, value in region.items()}


def _serialize_curve(curve: Curves) -> dict[str, Any]:
    return {
        "area_fraction": _round_all(curve.area_fraction),
        "output": {name: _round_all(output) for name, output in curve.output.items()},
        "gain": {name: _round(gain) for name, gain in curve.gain.items()},
        "towards": _round(curve.towards),
        "random_beaten": curve.random_beaten,
        "n_random": curve.n_random,
        "n_members": curve.n_members,
    }


def _serialize_polygons(outlines: Outlines, node: int) -> list[list[list[int]]]:
    return [[_steps(ring) for ring in polygon] for polygon in outlines.polygons(node)]


def _steps(ring: NDArray[np.float64]) -> list[int]:
    points = np.rint(ring).astype(np.int64)
    steps: list[int] = np.diff(points, axis=0, prepend=0).reshape(-1).tolist()
    return steps


def _round(value: float, digits: int = _DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def _round_all(values: NDArray[np.float64]) -> list[float]:
    return [_round(value) for value in values.astype(np.float64).tolist()]
