"""Warnings of an evaluation: a baseline without tissue that predicts as well, or any baseline that predicts better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def site_warnings(document: Mapping[str, Any]) -> list[str]:
    """Return warnings where the site alone, or the stain alone, predicts as well as the model.

    Parameters
    ----------
    document : mapping
        The evaluation with baselines.

    Returns
    -------
    list of str
        Empty where neither does.
    """
    warnings = []
    for name, description in (("site_only", "the site alone, without a pixel,"), ("stain_only", "the stain alone")):
        baseline = document["baselines"].get(name, {})
        for part, score, title in (("survival", "c_index", "C-index"), ("stage", "auc", "stage AUC")):
            value = baseline.get(part, {}).get(score)
            difference = baseline.get("model_above", {}).get(part, {}).get(score)
            if not value or not difference or value["low"] is None or difference["low"] is None:
                continue
            # no warning where the baseline itself is not above chance
            if value["low"] > 0.5 and difference["low"] <= 0:
                own = document[part][score]["value"]
                warnings.append(
                    f"{description} predicts as well as the model: {title} {value['value']:.3f} against {own:.3f} "
                    f"(difference {difference['value']:+.3f}, 95 % {difference['low']:+.3f} to "
                    f"{difference['high']:+.3f}); "
                    "the score may reflect the hospital, not the tissue; train with --group site and use that score"
                )
    return warnings


def below_warnings(document: Mapping[str, Any]) -> list[str]:
    """Return a warning for every baseline that the model scores below, by the estimate.

    Parameters
    ----------
    document : mapping
        The evaluation with baselines.

    Returns
    -------
    list of str
        Empty where there is none.
    """
    warnings = []
    for name, baseline in document["baselines"].items():
        for part, score, title in (("survival", "c_index", "C-index"), ("stage", "auc", "stage AUC")):
            difference = baseline.get("model_above", {}).get(part, {}).get(score)
            if difference and difference["value"] is not None and difference["value"] < 0:
                own, other = document[part][score]["value"], baseline[part][score]["value"]
                warnings.append(
                    f"the model lies below the baseline {name}: {title} {own:.3f} against {other:.3f} (difference "
                    f"{difference['value']:+.3f}); the simpler model may be the better one"
                )
    return warnings
