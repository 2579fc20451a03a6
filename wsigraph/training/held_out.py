"""Out-of-fold predictions of every patient, with outcomes; scores are computed from them.

``held_out.json`` is next to the model. It holds outcomes by digest of the patient and is not needed for prediction:
leave it out when you give a model away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.survival import survival_between
from wsigraph.errors import StoreError
from wsigraph.store import Destination, read_document, save_document

HELD_OUT_FILE = "held_out.json"
"""Held-out predictions and outcomes."""

_INTEGERS, _FLAGS, _TEXTS = ("fold", "stage"), ("event",), ("patient", "site")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Predictions of patients by members not trained on them, with their outcomes.

    Attributes
    ----------
    patient : str (n,)
        Digest of the patient.
    site : str (n,)
        Site; empty where unknown.
    fold : int64 (n,)
        Fold, which is also the number of the member that held the patient out.
    stage : int64 (n,)
        True stage, -1 where unknown.
    time_days : float64 (n,)
        Follow-up, days; NaN where unknown.
    event : bool (n,)
        Whether it ended with the event.
    stage_probability : float64 (n, K)
        No column where stage is not predicted.
    ends_days : float64 (folds, T)
        Right ends of the time intervals of every fold.
    survival : float64 (n, T)
        Survival to the ends of the patient's fold; no column where survival is not predicted.
    risk : float64 (n,)
        Higher is worse; NaN where survival is not predicted. Comparable within a fold only.
    risk_cut : float64 (folds,)
        Median risk of the training patients of every fold's member; above it a patient is at high risk.
    """

    patient: NDArray[np.str_]
    site: NDArray[np.str_]
    fold: NDArray[np.int64]
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    stage_probability: NDArray[np.float64]
    ends_days: NDArray[np.float64]
    survival: NDArray[np.float64]
    risk: NDArray[np.float64]
    risk_cut: NDArray[np.float64]

    @property
    def has_stage(self) -> bool:
        """Whether stage was predicted."""
        return bool(self.stage_probability.shape[1])

    @property
    def has_survival(self) -> bool:
        """Whether survival was predicted."""
        return bool(self.survival.shape[1])

    def survival_at(self, at_days: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the survival of every patient to given days, float64 (n, m), from days (m,)."""
        survival = np.empty((len(self.fold), len(at_days)))
        for fold in np.unique(self.fold):
            rows = self.fold == fold
            survival[rows] = survival_between(self.ends_days[fold], self.survival[rows], at_days)
        return survival

    def survival_at_own_end(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return survival at the end of every patient's follow-up, and whether follow-up ended with the event.

        There is no prediction beyond the last interval: such patients count as censored at its end.
        """
        own, event = np.empty(len(self.fold)), self.event.copy()
        for fold in np.unique(self.fold):
            rows = np.flatnonzero(self.fold == fold)
            at = survival_between(self.ends_days[fold], self.survival[rows], self.time_days[rows])
            own[rows] = np.diagonal(at)
            event[rows] &= self.time_days[rows] <= self.ends_days[fold][-1]
        return own, event


def pad_intervals(tables: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return tables (rows, T_k) widened to the largest T by repeating their last column."""
    widest = max(table.shape[1] for table in tables)
    return [
        np.concatenate([table, np.repeat(table[:, -1:], widest - table.shape[1], axis=1)], axis=1) for table in tables
    ]


def save_held_out(held_out: HeldOut, directory: Path | str, model_id: str) -> Path:
    """Write ``held_out.json``.

    Parameters
    ----------
    held_out : HeldOut
        The predictions.
    directory : Path or str
        Directory of the model.
    model_id : str
        Id of the model.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    path = Path(directory) / HELD_OUT_FILE
    fields: dict[str, Any] = {name: getattr(held_out, name) for name in HeldOut.__slots__}
    # JSON knows no NaN
    document = {
        name: [None if value != value else value for value in array.tolist()] if array.ndim == 1 else array.tolist()
        for name, array in fields.items()
    }
    save_document(Destination(path, {"model": model_id}), "HeldOut", document)
    return path


def load_held_out(directory: Path | str, model_id: str) -> HeldOut:
    """Read ``held_out.json``.

    Parameters
    ----------
    directory : Path or str
        Directory of the model.
    model_id : str
        Id of the model that made the predictions.

    Returns
    -------
    HeldOut
        As it was saved.

    Raises
    ------
    StoreError
        If the file is missing, damaged or of another model.
    """
    path = Path(directory) / HELD_OUT_FILE
    header, fields = read_document(path, "HeldOut")
    made_by = header.get("inputs", {}).get("model")
    if made_by != model_id:
        raise StoreError(f"{path} belongs to model {made_by}, expected {model_id}; train the model again")
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in fields.items():
        kind = np.str_ if name in _TEXTS else np.int64 if name in _INTEGERS else bool if name in _FLAGS else np.float64
        arrays[name] = np.array([np.nan if value is None else value for value in values], kind)
    n = len(arrays["fold"])
    for name in ("stage_probability", "survival"):
        arrays[name] = arrays[name].reshape(n, -1) if arrays[name].size else np.zeros((n, 0))
    return HeldOut(**arrays)
