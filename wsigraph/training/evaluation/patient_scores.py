"""Out-of-fold predictions of a model and its baselines as a table, a row a patient."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsigraph.store.csv_file import encode_csv
from wsigraph.training.evaluation.baselines import CohortPredictions
from wsigraph.training.held_out import HeldOut


def patient_scores(held_out: HeldOut, predictions: Mapping[str, CohortPredictions]) -> bytes:
    """Return the scores of every patient as CSV.

    Parameters
    ----------
    held_out : HeldOut
        The model's out-of-fold predictions.
    predictions : mapping of str to CohortPredictions
        Those of baselines, in the same order.

    Returns
    -------
    bytes
        ``patient`` (digest), ``site``, ``fold``, then for the model and every baseline ``<name>:risk`` and
        ``<name>:stage`` (the expected stage, 0 to K - 1), where it predicts them. Risks are comparable within a fold.
    """
    columns: dict[str, list[object]] = {
        "patient": held_out.patient.tolist(),
        "site": held_out.site.tolist(),
        "fold": held_out.fold.tolist(),
    }
    own = CohortPredictions(risk=held_out.risk, stage_probability=held_out.stage_probability)
    for name, one in {"model": own, **predictions}.items():
        if np.isfinite(one.risk).any():
            columns[f"{name}:risk"] = _texts(one.risk)
        if one.stage_probability.shape[1]:
            columns[f"{name}:stage"] = _texts(one.stage_probability @ np.arange(one.stage_probability.shape[1]))
    return encode_csv(list(columns), zip(*columns.values(), strict=True))


def _texts(values: NDArray[np.float64]) -> list[object]:
    return [f"{value:.6g}" if np.isfinite(value) else "" for value in values]
