"""The findings of an explanation as plain JSON values: what the text, the page and the viewer are made of.

They hold the most important regions and those against the prediction, with position, area, features compared with the
training cohort, and their signed fraction of all attribution; neighbourhoods of one tissue cluster; feature groups; and
the checks of the explanation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.reference import Reference
from wsigraph.explanation.region_facts import RegionDescriber
from wsigraph.records import CoarseGraph, Explanation, Prediction

ASSOCIATION = (
    "A pathological stage also rests on gross, nodal and metastatic findings; a stage read from one slide is an "
    "association, not a staging."
)
"""Part of every text."""
RESEARCH = "For research use only; not for any decision about a patient."
"""Part of every text."""
_N_FEATURES = 3


def gather_facts(
    explanation: Explanation,
    coarse: CoarseGraph,
    prediction: Prediction,
    reference: Reference | None = None,
    *,
    top: int = 6,
) -> dict[str, Any]:
    """Return the facts of an explanation.

    Parameters
    ----------
    explanation : Explanation
        Attributions and their checks.
    coarse : CoarseGraph
        The regions.
    prediction : Prediction
        The explained prediction.
    reference : Reference, optional
        The training cohort, for percentiles.
    top : int
        Regions to describe that support the prediction; half as many that are against it.

    Returns
    -------
    dict
        Plain JSON values. ``fraction`` is an attribution over the sum of the absolute attributions of all regions.
    """
    difference = explanation.value - explanation.reference_value
    sign = 1.0 if difference >= 0 else -1.0
    whole = float(np.abs(explanation.node).sum()) or 1.0
    describe = RegionDescriber(coarse, explanation, reference)
    support, against = (_nodes_towards(explanation.node, direction) for direction in (sign, -sign))
    sd = explanation.output_sd
    return {
        "slide_id": explanation.slide_id,
        "target": explanation.target,
        "unit": explanation.unit,
        "reference_input": explanation.reference_input_id,
        "value": explanation.value,
        "reference_value": explanation.reference_value,
        "difference": difference,
        "difference_in_sd": None if not sd else difference / sd,
        "direction": "above" if difference >= 0 else "below",
        "completeness": {
            "error": explanation.completeness_error,
            "limit": explanation.completeness_limit,
            "is_complete": explanation.is_complete,
            "n_steps": explanation.n_steps,
        },
        "parts": {
            "between_clusters": float(explanation.cluster_attribution.sum()),
            "within_clusters": float(explanation.feature.sum() - explanation.cluster_attribution.sum()),
            "boundaries": float(explanation.edge.sum()),
        },
        "clusters": _clusters(explanation),
        "groups": _groups(explanation),
        "regions": [describe.region(node, n_features=_N_FEATURES) for node in support[:top]],
        "against": [describe.region(node, n_features=_N_FEATURES) for node in against[: max(1, top // 2)]],
        "neighbourhoods": _neighbourhoods(explanation, coarse, whole)[:3],
        "edges": {
            "ablated": explanation.edge_ablation_value,
            "change": explanation.edge_ablation_value - explanation.value,
        },
        "members": {
            "n": len(explanation.member_value),
            "low": float(explanation.member_value.min()),
            "high": float(explanation.member_value.max()),
            "agreement": explanation.member_agreement,
        },
        "reference_agreement": dict(explanation.reference_agreement),
        "curves": {
            name: {
                "towards": curve.towards,
                "gain": dict(curve.gain),
                "random_beaten": curve.random_beaten,
                "n_random": curve.n_random,
                "n_members": curve.n_members,
            }
            for name, curve in explanation.curves.items()
        },
        "prediction": _prediction(prediction),
        "warnings": list(dict.fromkeys([*prediction.warnings, *explanation.warnings])),
        "association": ASSOCIATION,
        "research": RESEARCH,
        "notice": explanation.notice,
    }


def _nodes_towards(node: NDArray[np.float64], sign: float) -> list[int]:
    """Return the regions whose attribution has a sign, the strongest first."""
    return [int(region) for region in np.argsort(-sign * node, kind="stable") if sign * node[region] > 0]


def _clusters(explanation: Explanation) -> dict[str, Any]:
    """Return the tissue clusters of the reference input, and the broad ones within which regions are replaced."""
    names, broad = list(explanation.cluster_names), list(explanation.broad_cluster_names)
    return {"n": len(names), "n_broad": len(broad), "names": names, "broad_names": broad}


def _groups(explanation: Explanation) -> list[dict[str, Any]]:
    groups = explanation.groups()
    whole = sum(abs(value) for value in groups.values()) or 1.0
    rows = [{"name": name, "attribution": value, "fraction": value / whole} for name, value in groups.items()]
    return sorted(rows, key=lambda row: -abs(float(str(row["attribution"]))))


def _neighbourhoods(explanation: Explanation, coarse: CoarseGraph, whole: float) -> list[dict[str, Any]]:
    """Return the connected patches of one tissue cluster, the one of strongest attribution first."""
    patch = explanation.neighbourhood
    n_patches = int(patch.max()) + 1
    total = np.bincount(patch, explanation.node, n_patches)
    area = np.bincount(patch, coarse.graph.moment("n").astype(np.float64), n_patches)
    size = np.bincount(patch, minlength=n_patches)
    strongest = _strongest(patch, explanation.node, n_patches)
    cluster = explanation.cluster[strongest]
    return [
        {
            "neighbourhood": int(number),
            "cluster": explanation.cluster_names[cluster[number]],
            "node": int(strongest[number]),
            "n_regions": int(size[number]),
            "area_fraction": float(area[number] / area.sum()),
            "attribution": float(total[number]),
            "fraction": float(total[number] / whole),
        }
        for number in np.argsort(-np.abs(total), kind="stable")
    ]


def _strongest(patch: NDArray[np.int64], node: NDArray[np.float64], n_patches: int) -> NDArray[np.int64]:
    """Return the region of strongest attribution of every patch, int64 (n_patches,)."""
    order = np.argsort(np.abs(node), kind="stable")
    strongest = np.zeros(n_patches, np.int64)
    strongest[patch[order]] = order  # the last one written is the strongest
    return strongest


def _prediction(prediction: Prediction) -> dict[str, Any]:
    probability = prediction.stage_probability
    likely = int(np.argmax(probability)) if len(probability) else None
    return {
        "stage": None if likely is None else prediction.stage_names[likely],
        "stage_probability": None if likely is None else float(probability[likely]),
        "stage_set": list(prediction.stage_set),
        "risk": None if prediction.risk is None else float(prediction.risk),
        "median_survival_days": prediction.median_survival_days,
        "relation": prediction.relation,
        "model": prediction.model_name,
        "model_id": prediction.model_id,
    }
