"""What drives a prediction over a cohort: attributions of many slides in one tidy table.

An explanation gives every region and every feature its part of one slide's prediction. Over a cohort the parts are
summed within a slide, by feature, by group of features and by kind of tissue, and then compared between slides. What
is stable over slides and members is worth reading; one slide's strongest feature often is not.
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
        Directory of a run whose slides were explained, or explanations.

    Returns
    -------
    pandas.DataFrame
        A row for every slide and part: ``slide_id``, ``target``, ``by`` (``feature``, ``group`` or ``kind``),
        ``name``, ``attribution`` (signed, in the unit of the target), ``share`` (of the sum of absolute attributions
        of the same `by` in the slide), ``value``, ``member_agreement`` (rank correlation between members of the
        ensemble, NaN of one), ``is_complete``.

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
    rows = [row for each in source for row in _rows(each)]
    if not rows:
        raise CohortError("no explanation was given, expected one a slide")
    frame = pd.DataFrame(rows)
    targets = sorted(frame["target"].unique())
    if len(targets) > 1:
        raise CohortError(f"explanations are of {', '.join(targets)}, expected one target; explain all slides alike")
    return frame


def _rows(explanation: Explanation) -> list[dict[str, Any]]:
    kinds = np.bincount(explanation.kind, explanation.node, len(explanation.kind_names))
    totals = explanation.feature.sum(axis=0)
    parts: dict[str, dict[str, float]] = {
        "feature": dict(zip(explanation.feature_names, totals.tolist(), strict=True)),
        "group": explanation.groups(),
        "kind": dict(zip(explanation.kind_names, kinds.tolist(), strict=True)),
    }
    agreement = explanation.member_agreement
    about = {
        "slide_id": explanation.slide_id,
        "target": explanation.target,
        "value": explanation.value,
        "member_agreement": np.nan if agreement is None else agreement,
        "is_complete": explanation.is_complete,
    }
    found = []
    for by, of in parts.items():
        whole = sum(abs(value) for value in of.values()) or 1.0
        found += [
            {**about, "by": by, "name": name, "attribution": value, "share": value / whole}
            for name, value in of.items()
        ]
    return found
