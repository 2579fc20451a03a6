"""The findings of an explanation as plain JSON values: what the text, the page and the viewer are made of.

They hold what casts doubt on the explanation; whether it localises anything; structures and single regions with
position, area, features compared with the training cohort, and their signed fraction of all attribution; neighbourhoods
of one tissue cluster; feature groups; and the checks of the explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.explanation.reference import Reference
from wsigraph.explanation.region_facts import RegionDescriber
from wsigraph.explanation.structures import (
    LEAST_IN_TENTH,
    LEAST_REGION_MM2,
    LEAST_STRUCTURE_MM2,
    TENTH,
    describe_structures,
    fraction_in_tenth,
    tissue_mm2,
)
from wsigraph.geometry import px_to_mm2
from wsigraph.model.predict import median_band_days
from wsigraph.records import CoarseGraph, Explanation, Prediction

ASSOCIATION = (
    "A pathological stage also rests on gross, nodal and metastatic findings; a stage read from one slide is an "
    "association, not a staging."
)
"""Part of every text."""
RESEARCH = "For research use only; not for any decision about a patient."
"""Part of every text."""
LEAST_AGREEMENT = 0.5
"""Rank correlation between members, or reference inputs, below which an explanation is doubted."""
LEAST_BEATEN = 0.95
"""Fraction of random orders that an explanation's own order has to beat in each faithfulness curve."""
LEAST_SD = 0.05
"""Difference from the reference, in standard deviations of the training outputs, below which little is explained."""
LEAST_EMPTY = 0.05
"""Fraction of all attribution on white regions from which the text mentions it."""
_LIMITS = {
    "agreement": LEAST_AGREEMENT,
    "random_beaten": LEAST_BEATEN,
    "tenth": TENTH,
    "in_tenth": LEAST_IN_TENTH,
    "structure_mm2": LEAST_STRUCTURE_MM2,
    "region_mm2": LEAST_REGION_MM2,
    "empty": LEAST_EMPTY,
    "band": 0.95,
}
_DAYS_PER_YEAR = 365.25
_N_FEATURES = 3
_N_STRUCTURES = 3


def gather_facts(
    explanation: Explanation,
    coarse: CoarseGraph,
    prediction: Prediction,
    reference: Reference | None = None,
    *,
    top: int = 6,
    region_names: Sequence[str] | None = None,
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
    region_names : sequence of str, optional
        Name of the tissue of every region, empty where unknown; structures are then named by their tissue.

    Returns
    -------
    dict
        Plain JSON values. ``fraction`` is an attribution over the sum of the absolute attributions of all regions.
        Regions and structures are ranked by attribution; ``densest`` ranks regions by attribution per area. Regions
        that are mostly white, or smaller than `LEAST_REGION_MM2`, lead no list.
    """
    difference = explanation.value - explanation.reference_value
    sign = 1.0 if difference >= 0 else -1.0
    whole = float(np.abs(explanation.node).sum()) or 1.0
    describe = RegionDescriber(coarse, explanation, reference)
    area = tissue_mm2(coarse)
    in_tenth = fraction_in_tenth(explanation.node, area)
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
        "doubts": _doubts(explanation),
        "limits": dict(_LIMITS),
        "localisation": {"fraction": in_tenth, "is_localised": in_tenth >= LEAST_IN_TENTH},
        "structures": _structures(explanation, coarse, describe, area, region_names),
        "empty": _empty(explanation, coarse, area),
        "risk_parts": prediction.risk_parts(),
        "completeness": _completeness(explanation),
        "parts": {
            "between_clusters": float(explanation.cluster_attribution.sum()),
            "within_clusters": float(explanation.feature.sum() - explanation.cluster_attribution.sum()),
            "boundaries": float(explanation.edge.sum()),
        },
        "clusters": _clusters(explanation),
        "groups": _groups(explanation),
        **_ranked(explanation, coarse, describe, area, sign, top),
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


def _completeness(explanation: Explanation) -> dict[str, Any]:
    return {
        "error": explanation.completeness_error,
        "limit": explanation.completeness_limit,
        "is_complete": explanation.is_complete,
        "n_steps": explanation.n_steps,
    }


def _ranked(
    explanation: Explanation,
    coarse: CoarseGraph,
    describe: RegionDescriber,
    area: NDArray[np.float64],
    sign: float,
    top: int,
) -> dict[str, Any]:
    """Return the regions that support the prediction, those against it, and those of most attribution by area."""
    leads = area >= LEAST_REGION_MM2
    half = max(1, top // 2)
    density = explanation.node / _areas_mm2(coarse)
    lists = {
        "regions": _nodes_towards(explanation.node, sign, leads)[:top],
        "against": _nodes_towards(explanation.node, -sign, leads)[:half],
        "densest": _nodes_towards(density, sign, leads)[:half],
    }
    return {
        name: [describe.region(node, n_features=_N_FEATURES) for node in regions] for name, regions in lists.items()
    }


def _empty(explanation: Explanation, coarse: CoarseGraph, area: NDArray[np.float64]) -> dict[str, Any]:
    """Return how many regions are mostly white, and their fractions of area and attribution."""
    whole_area, is_empty = _areas_mm2(coarse), area == 0
    strength = np.abs(explanation.node)
    return {
        "n": int(is_empty.sum()),
        "area_fraction": float(whole_area[is_empty].sum() / whole_area.sum()),
        "fraction": float(strength[is_empty].sum() / (strength.sum() or 1.0)),
    }


def _nodes_towards(node: NDArray[np.float64], sign: float, leads: NDArray[np.bool_]) -> list[int]:
    """Return the regions whose attribution has a sign, the strongest first; only those that may lead, if any may."""
    ranked = [int(region) for region in np.argsort(-sign * node, kind="stable") if sign * node[region] > 0]
    return [region for region in ranked if leads[region]] or ranked


def _areas_mm2(coarse: CoarseGraph) -> NDArray[np.float64]:
    """Return the area of every region, white or not."""
    return px_to_mm2(1.0, coarse.graph.mpp) * coarse.graph.moment("n").astype(np.float64)


def _doubts(explanation: Explanation) -> list[str]:
    """Return why the explanation should not be relied on, as names of texts."""
    agreement, sd = explanation.member_agreement, explanation.output_sd
    doubts = [
        *(["members"] if agreement is not None and agreement < LEAST_AGREEMENT else []),
        *([] if explanation.is_complete else ["completeness"]),
    ]
    for name, curve in explanation.curves.items():
        if curve.n_random and curve.random_beaten < LEAST_BEATEN:
            doubts.append(name)
        elif curve.gain["attribution"] <= curve.gain.get("area", -np.inf):
            doubts.append(f"{name}_area")
    if sd is not None and abs(explanation.value - explanation.reference_value) < LEAST_SD * sd:
        doubts.append("small")
    return doubts


def _structures(
    explanation: Explanation,
    coarse: CoarseGraph,
    describe: RegionDescriber,
    area: NDArray[np.float64],
    names: Sequence[str] | None,
) -> list[dict[str, Any]]:
    """Return the structures to name, the strongest first."""
    structures = describe_structures(explanation.node, coarse, area, None if names is None else list(names))
    described = []
    for structure in structures[:_N_STRUCTURES]:
        regions = structure.pop("regions")
        strongest = max(regions, key=lambda region: abs(float(explanation.node[region])))
        described.append(
            {
                **structure,
                "node": int(strongest),
                "n_regions": len(regions),
                "size": abs(structure["attribution"]),
                "fraction_size": abs(structure["fraction"]),
                "features": describe.group(regions, n_features=_N_FEATURES),
            }
        )
    return described


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
        **_median_years(prediction),
        "relation": prediction.relation,
        "model": prediction.model_name,
        "model_id": prediction.model_id,
    }


def _median_years(prediction: Prediction) -> dict[str, float | bool | None]:
    """Return the median survival and the ends of its band, in years and months; None where a curve stays above half."""
    band = median_band_days(prediction)
    days = {
        "median_years": prediction.median_survival_days,
        "median_low_years": None if band is None else band[0],
        "median_high_years": None if band is None else band[1],
    }
    years = {name: None if value is None else float(value) / _DAYS_PER_YEAR for name, value in days.items()}
    months = {name.replace("years", "months"): None if value is None else 12 * value for name, value in years.items()}
    return {**years, **months, "has_band": band is not None}
