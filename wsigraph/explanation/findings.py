"""What there is to say of an explanation, as plain values, before a word is said.

Top regions and those that speak against the prediction, with place, area, features against the training cohort, and
their signed share of all that pulls either way; neighbourhoods of one kind of tissue; feature groups; how sure it all
is. Whatever a sentence or a page says comes from here.
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
"""Said in every text."""
RESEARCH = "For research use only; not for any decision about a patient."
"""Likewise."""
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
        What is explained.
    reference : Reference, optional
        The training cohort, for percentiles.
    top : int
        Regions to tell of on either side.

    Returns
    -------
    dict
        Plain JSON values. ``share`` is an attribution over the sum of the absolute attributions of all regions.
    """
    difference = explanation.value - explanation.baseline_value
    sign = 1.0 if difference >= 0 else -1.0
    whole = float(np.abs(explanation.node).sum()) or 1.0
    describe = RegionDescriber(coarse, explanation, reference)
    for_it = [node for node in np.argsort(-sign * explanation.node, kind="stable") if sign * explanation.node[node] > 0]
    against = [node for node in np.argsort(sign * explanation.node, kind="stable") if sign * explanation.node[node] < 0]
    sd = explanation.output_sd
    return {
        "slide_id": explanation.slide_id,
        "target": explanation.target,
        "unit": explanation.unit,
        "baseline": explanation.baseline_id,
        "value": explanation.value,
        "baseline_value": explanation.baseline_value,
        "difference": difference,
        "difference_in_sd": None if not sd else difference / sd,
        "direction": "above" if difference >= 0 else "below",
        "completeness": {
            "gap": explanation.gap,
            "gap_limit": explanation.gap_limit,
            "is_complete": explanation.is_complete,
            "n_steps": explanation.n_steps,
        },
        "parts": {
            "kind": float(explanation.kind_share.sum()),
            "within": float(explanation.feature.sum() - explanation.kind_share.sum()),
            "boundaries": float(explanation.edge.sum()),
        },
        "kinds": _kinds(explanation),
        "groups": _groups(explanation),
        "regions": [describe.region(node, n_features=_N_FEATURES) for node in for_it[:top]],
        "against": [describe.region(node, n_features=_N_FEATURES) for node in against[: max(1, top // 2)]],
        "neighbourhoods": _neighbourhoods(explanation, coarse, whole)[:3],
        "edges": {
            "without": explanation.without_edges,
            "change": explanation.without_edges - explanation.value,
        },
        "members": {
            "n": len(explanation.member_value),
            "low": float(explanation.member_value.min()),
            "high": float(explanation.member_value.max()),
            "agreement": explanation.member_agreement,
        },
        "baseline_agreement": dict(explanation.baseline_agreement),
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


def _kinds(explanation: Explanation) -> dict[str, Any]:
    """Return the division of tissue that baselines are taken from, and the broad one that regions are replaced by."""
    names, broad = list(explanation.kind_names), list(explanation.broad_names)
    return {"n": len(names), "n_broad": len(broad), "names": names, "broad_names": broad}


def _groups(explanation: Explanation) -> list[dict[str, Any]]:
    found = explanation.groups()
    whole = sum(abs(value) for value in found.values()) or 1.0
    rows = [{"name": name, "attribution": value, "share": value / whole} for name, value in found.items()]
    return sorted(rows, key=lambda row: -abs(float(str(row["attribution"]))))


def _neighbourhoods(explanation: Explanation, coarse: CoarseGraph, whole: float) -> list[dict[str, Any]]:
    """Return the patches of one kind, the one of strongest attribution first."""
    patch = explanation.neighbourhood
    n_patches = int(patch.max()) + 1
    total = np.bincount(patch, explanation.node, n_patches)
    area = np.bincount(patch, coarse.graph.moment("n").astype(np.float64), n_patches)
    size = np.bincount(patch, minlength=n_patches)
    strongest = _strongest(patch, explanation.node, n_patches)
    kind = explanation.kind[strongest]
    return [
        {
            "neighbourhood": int(each),
            "kind": explanation.kind_names[kind[each]],
            "node": int(strongest[each]),
            "n_regions": int(size[each]),
            "area_fraction": float(area[each] / area.sum()),
            "attribution": float(total[each]),
            "share": float(total[each] / whole),
        }
        for each in np.argsort(-np.abs(total), kind="stable")
    ]


def _strongest(patch: NDArray[np.int64], node: NDArray[np.float64], n_patches: int) -> NDArray[np.int64]:
    """Return the region of strongest attribution of every patch."""
    order = np.argsort(np.abs(node), kind="stable")
    found = np.zeros(n_patches, np.int64)
    found[patch[order]] = order
    return found


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
