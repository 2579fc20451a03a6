"""The summary of a slide as plain JSON values.

One dictionary is used for the console's table, ``--json`` and report.json, so that they agree. It holds results and
warnings, but no time, path or host name.
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
    """Return the summary of a slide.

    Parameters
    ----------
    slide : SlideInfo
        The slide.
    labels : SuperpixelLabels
        Its superpixels; only their number is used.
    coarse : CoarseGraph
        Its regions.
    prediction : Prediction
        The prediction.
    files : iterable of str
        Names of the files written.
    warnings : iterable of str
        Further warnings, after those of the slide and the prediction.
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
    texts = [*slide.warnings, *prediction.warnings, *warnings]
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
            "probability": [float(probability) for probability in prediction.survival],
            **_band(prediction),
        },
        "stage_set": list(prediction.stage_set),
        "distance": prediction.distance,
        "risk_parts": prediction.risk_parts(),
        "patient": prediction.relation,
        "model": prediction.model_name,
        "notice": prediction.notice,
        "warnings": list(dict.fromkeys(texts)),
        "files": sorted(files),
    }


def _band(prediction: Prediction) -> dict[str, list[float]]:
    if prediction.survival_band is None:
        return {}
    low, high = prediction.survival_band
    return {"low": [float(probability) for probability in low], "high": [float(probability) for probability in high]}


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
    installed = {"wsigraph": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            installed[name] = "absent"
    return installed
