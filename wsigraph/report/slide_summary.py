"""The few numbers that stand for a slide, as plain values.

One dictionary feeds the console's table, ``--json`` and report.json, so that they cannot disagree. It holds what was
found and what the reader must know about it, and neither time, path nor host.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wsigraph import __version__
from wsigraph.records import CoarseGraph, Prediction, SlideInfo, SuperpixelLabels

_LIBRARIES = ("numpy", "numba", "scipy", "torch", "torch-geometric", "matplotlib")


def summary(
    *,
    slide: SlideInfo,
    labels: SuperpixelLabels,
    coarse: CoarseGraph,
    prediction: Prediction,
    files: Iterable[str] = (),
    warnings: Iterable[str] = (),
    is_synthetic: bool = False,
) -> dict[str, Any]:
    """Return what is worth knowing of a slide at a glance.

    Parameters
    ----------
    slide : SlideInfo
        The slide.
    labels : SuperpixelLabels
        Its superpixels; only their number is used.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        What the model reads from them.
    files : iterable of str
        Names of the files written.
    warnings : iterable of str
        Warnings beside those of the slide and the prediction.
    is_synthetic : bool
        Whether the slide is synthetic.

    Returns
    -------
    dict
        Plain JSON values: ``slide_id``, ``is_synthetic``, ``mpp`` (um/px), ``mpp_source``, ``tissue_mm2``,
        ``superpixels``, ``nodes``, ``stage`` (probability by name), ``risk``, ``median_survival_days`` (None where
        not reached), ``survival`` (``time_days``, ``probability`` and, where known, the ends ``low`` and ``high`` of
        its pointwise bootstrap band), ``stage_set``, ``distance`` from the training slides, ``patient`` (whether the
        model knows the patient), ``model``, ``notice``, ``warnings`` without repetition, ``files``.
    """
    graph = coarse.graph
    said = [*slide.warnings, *prediction.warnings, *warnings]
    return {
        "slide_id": slide.slide_id,
        "is_synthetic": is_synthetic,
        "mpp": float(slide.mpp),
        "mpp_source": slide.mpp_source,
        "tissue_mm2": graph.tissue_mm2,
        "superpixels": int(labels.n_superpixels),
        "nodes": graph.n_nodes,
        "stage": {
            name: float(probability)
            for name, probability in zip(prediction.stage_names, prediction.stage_probability, strict=True)
        },
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": (
            None if prediction.median_survival_days is None else float(prediction.median_survival_days)
        ),
        "survival": {
            "time_days": [float(days) for days in prediction.time_days],
            "probability": [float(share) for share in prediction.survival],
            **_band(prediction),
        },
        "stage_set": list(prediction.stage_set),
        "distance": prediction.distance,
        "patient": prediction.relation,
        "model": prediction.model_name,
        "notice": prediction.notice,
        "warnings": list(dict.fromkeys(said)),
        "files": sorted(files),
    }


def _band(prediction: Prediction) -> dict[str, list[float]]:
    if prediction.survival_band is None:
        return {}
    low, high = prediction.survival_band
    return {"low": [float(share) for share in low], "high": [float(share) for share in high]}


def provenance(*, slide: SlideInfo, coarse: CoarseGraph, prediction: Prediction, is_synthetic: bool) -> dict[str, Any]:
    """Return what a result was made from and by, so that it can be made again.

    Parameters
    ----------
    slide : SlideInfo
        The slide, named by its digest and never by its path.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        For the model's name, digest and notice.
    is_synthetic : bool
        Whether the slide is synthetic.

    Returns
    -------
    dict
        Plain JSON values: ``notice``, ``is_synthetic``, digests and versions.
    """
    return {
        "notice": prediction.notice,
        "is_synthetic": is_synthetic,
        "slide_id": slide.slide_id,
        "slide_sha256": slide.sha256,
        "model": prediction.model_name,
        "model_id": prediction.model_id,
        "embedding_id": coarse.embedding_id,
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of wsigraph, Python and the libraries that numbers and pictures come from."""
    found = {"wsigraph": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found
