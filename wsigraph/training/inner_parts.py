"""Parts of the training patients, each left out once to judge what was fitted to the others.

Parts keep whole sites where every patient has one and there are six or more, so that nothing is accepted because it
recognises a hospital. Else they keep whole patients and are balanced in stage and event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.splits import folds
from wsigraph.training.dataset import Cohort
from wsigraph.training.stacking import MIN_SITES

N_PARTS = 4
"""Most parts."""
_MIN_PATIENTS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InnerParts:
    """A division of rows into parts.

    Attributes
    ----------
    part : int64 (n,)
        Part of every row, from 0.
    unit : int64 (n,)
        Number of the site or the patient of every row: what a part keeps whole, and what standard errors count.
    kind : str
        ``"site"`` or ``"patient"``.
    """

    part: NDArray[np.int64]
    unit: NDArray[np.int64]
    kind: str

    @property
    def n_parts(self) -> int:
        """Number of parts; 1 where the patients are too few to leave any out."""
        return int(self.part.max()) + 1

    @property
    def n_units(self) -> int:
        """Number of sites or patients."""
        return int(self.unit.max()) + 1


def inner_parts(cohort: Cohort, rows: NDArray[np.int64], *, seed: int) -> InnerParts:
    """Return the inner parts of some rows of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Patients, sites and outcomes.
    rows : int64 (n,)
        Rows to divide.
    seed : int
        Of the division.

    Returns
    -------
    InnerParts
        Four parts, or fewer where there are fewer than eight patients.
    """
    patient, site = cohort.patient[rows], cohort.site[rows]
    names, number = np.unique(patient, return_inverse=True)
    event = cohort.event[rows].tolist()
    pairs = set(zip(patient.tolist(), site.tolist(), strict=True))
    n_parts = min(N_PARTS, len(names) // 2)
    if len(names) < _MIN_PATIENTS or n_parts < 2:
        return InnerParts(part=np.zeros(len(rows), np.int64), unit=number, kind="patient")
    if (site != "").all() and len(np.unique(site)) >= MIN_SITES and len(pairs) == len(names):
        part = folds(patient.tolist(), n_folds=n_parts, event=event, site=site.tolist(), group="site", seed=seed)
        return InnerParts(part=part, unit=np.unique(site, return_inverse=True)[1], kind="site")
    # rows of a patient may differ in stage (a benign and a malignant image): the first one counts
    first = np.array([np.flatnonzero(number == own)[0] for own in number])
    stage = [None if value < 0 else int(value) for value in cohort.stage[rows][first]]
    part = folds(patient.tolist(), n_folds=n_parts, stage=stage, event=event, seed=seed)
    return InnerParts(part=part, unit=number, kind="patient")
