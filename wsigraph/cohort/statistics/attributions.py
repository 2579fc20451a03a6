"""Attributions of the slides of a cohort in one tidy table.

An explanation attributes one slide's prediction to its regions and features. Here attributions are summed within a
slide, by feature, by feature group and by tissue cluster, and can then be compared between slides. Interpret what is
stable over slides and ensemble members; the strongest feature of one slide often is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsigraph.errors import CohortError
from wsigraph.records import Explanation
from wsigraph.store import load_explanation

if TYPE_CHECKING:
    import pandas as pd

_FILE = "explanation.safetensors"


def reasons(source: Path | str | Iterable[Explanation]) -> pd.DataFrame:
    """Return the attributions of many slides.

    Parameters
    ----------
    source : Path, str or iterable of Explanation
        Directory of a run whose slides are explained, or explanations.

    Returns
    -------
    pandas.DataFrame
        A row for every slide and name: ``slide_id``, ``target``, ``by`` (``feature``, ``group`` or ``cluster``),
        ``name``, ``attribution`` (signed, in the unit of the target), ``fraction`` (of the sum of absolute attributions
        of the same `by` in the slide), ``value``, ``member_agreement`` (rank correlation between members of the
        ensemble, NaN for a single member), ``is_complete``.

    Raises
    ------
    CohortError
        If there is no explanation, or they explain different targets.
    StoreError
        If a file is damaged.
    """
    import pandas as pd

    if isinstance(source, str | Path):
        paths = sorted(Path(source).glob(f"*/{_FILE}"))
        if not paths:
            raise CohortError(
                f"{source} holds no <slide>/{_FILE}; make them with wsigraph explain SLIDE --out {source}"
            )
        source = map(load_explanation, paths)
    rows = [row for explanation in source for row in _rows(explanation)]
    if not rows:
        raise CohortError("there is no explanation, expected one per slide")
    frame = pd.DataFrame(rows)
    targets = sorted(frame["target"].unique())
    if len(targets) > 1:
        raise CohortError(
            f"explanations are of {', '.join(targets)}, expected one target; explain all slides with the same --target"
        )
    return frame


def _rows(explanation: Explanation) -> list[dict[str, Any]]:
    clusters = np.bincount(explanation.cluster, explanation.node, len(explanation.cluster_names))
    totals = explanation.feature.sum(axis=0)
    parts: dict[str, dict[str, float]] = {
        "feature": dict(zip(explanation.feature_names, totals.tolist(), strict=True)),
        "group": explanation.groups(),
        "cluster": dict(zip(explanation.cluster_names, clusters.tolist(), strict=True)),
    }
    agreement = explanation.member_agreement
    about = {
        "slide_id": explanation.slide_id,
        "target": explanation.target,
        "value": explanation.value,
        "member_agreement": np.nan if agreement is None else agreement,
        "is_complete": explanation.is_complete,
    }
    rows: list[dict[str, Any]] = []
    for by, attributions in parts.items():
        whole = sum(abs(value) for value in attributions.values()) or 1.0
        rows += [
            {**about, "by": by, "name": name, "attribution": value, "fraction": value / whole}
            for name, value in attributions.items()
        ]
    return rows
