"""Rows as patients, patients as sites, and both placed into folds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import CohortError

Labels = Sequence[Hashable]
"""One value per row; None if unknown."""

_N_LISTED = 5


class PatientTable:
    """Rows grouped by patient; patients are sorted by name.

    Parameters
    ----------
    patients : sequence of str (n,)
        Patient of each row.
    stage, event, site : sequence (n,) or None
        Further columns of the rows.

    Attributes
    ----------
    names : list of str
        Patients, sorted.
    patient_of_row : int64 (n,)
        Index into `names`.

    Raises
    ------
    CohortError
        If a patient is missing or lengths differ.
    """

    def __init__(
        self, patients: Sequence[str], stage: Labels | None, event: Labels | None, site: Labels | None
    ) -> None:
        for name, labels in (("stage", stage), ("event", event), ("site", site)):
            if labels is not None and len(labels) != len(patients):
                raise CohortError(
                    f"there are {len(labels)} values of {name} for {len(patients)} rows, expected the same number"
                )
        nameless = [row for row, patient in enumerate(patients) if not patient]
        if nameless or not len(patients):
            raise CohortError(f"rows without a patient: {list_first(nameless)}" if nameless else "the cohort is empty")
        self.names = sorted(set(patients))
        place = {name: index for index, name in enumerate(self.names)}
        self.patient_of_row = np.array([place[patient] for patient in patients], np.int64)
        self._stage, self._event, self._site = (self._per_patient(labels) for labels in (stage, event, site))

    def strata(self) -> NDArray[np.int64]:
        """Return patients' ranks by event, stage and site, int64 (n_patients, 3)."""
        return np.stack([_rank(labels) for labels in (self._event, self._stage, self._site)], axis=1)

    def balance(self) -> NDArray[np.float64]:
        """Return what folds balance: patients, events and stages, one-hot, float64 (n_patients, n_classes)."""
        columns = [np.ones(len(self.names))]
        for labels in (self._event, self._stage):
            rank = _rank(labels)
            columns += [rank == value for value in range(int(rank.max()) + 1)] if rank.any() else []
        return np.stack(columns, axis=1).astype(np.float64)

    def joined_sites(self) -> NDArray[np.int64]:
        """Return a group number for each patient; patients connected by shared sites have the same number.

        Returns
        -------
        int64 (n_patients,)
            Numbers from 0.

        Raises
        ------
        CohortError
            If a patient has no site.
        """
        lost = [name for name, sites in zip(self.names, self._site, strict=True) if not sites]
        if lost:
            raise CohortError(
                f"patients {list_first(lost)} have no site, expected one each to split by site; fill it in"
            )
        parent: dict[str, str] = {}

        def root(site: str) -> str:
            while (above := parent.setdefault(site, site)) != site:
                parent[site] = parent[above]
                site = parent[site]
            return site

        for sites in self._site:
            for other in sites[1:]:
                parent[root(other)] = root(sites[0])
        roots = [root(sites[0]) for sites in self._site]
        number = {name: index for index, name in enumerate(sorted(set(roots)))}
        return np.array([number[name] for name in roots], np.int64)

    def _per_patient(self, labels: Labels | None) -> list[tuple[str, ...]]:
        """Return each patient's distinct known values, sorted."""
        labels_of: list[set[str]] = [set() for _ in self.names]
        for patient, label in zip(self.patient_of_row, labels or (), strict=labels is not None):
            if label is not None and label != "":
                labels_of[patient].add(str(label))
        return [tuple(sorted(values)) for values in labels_of]


def deal(strata: NDArray[np.int64], n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal patients to folds in turn, ordered by stratum and at random within one.

    Parameters
    ----------
    strata : int64 (n, k)
        Ranks to order by, the first counting most.
    n_folds : int
        Folds.
    rng : numpy.random.Generator
        Random source.

    Returns
    -------
    int64 (n,)
        Fold of each patient.
    """
    order = np.lexsort((rng.random(len(strata)), *strata.T[::-1]))
    dealt = np.empty(len(strata), np.int64)
    dealt[order] = rng.permutation(n_folds)[np.arange(len(strata)) % n_folds]
    return dealt


def place(
    unit: NDArray[np.int64], balance: NDArray[np.float64], n_folds: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Place units (sites) into folds one after another, each where balance is best.

    Parameters
    ----------
    unit : int64 (n,)
        Unit of each patient, 0 to n_units - 1.
    balance : float64 (n, k)
        What each patient adds to its fold; the first column is 1. Columns are weighted by their totals.
    n_folds : int
        Folds, at most n_units.
    rng : numpy.random.Generator
        Random source.

    Returns
    -------
    int64 (n_units,)
        Fold of each unit. No fold exceeds the mean by more than the largest unit, none is empty.
    """
    n_units = int(unit.max()) + 1
    held = np.zeros((n_units, balance.shape[1]))
    np.add.at(held, unit, balance)
    size, total = held[:, 0], held.sum(axis=0)
    weight_fraction = held / np.maximum(total, 1)
    mean = total[0] / n_folds
    filled = np.zeros((n_folds, balance.shape[1]))
    n_filled = np.zeros(n_folds)
    placed = np.empty(n_units, np.int64)
    # the noise makes repeats differ where sites differ in size; the bound on a fold's size holds for any order
    order = np.argsort(-size * rng.uniform(0.5, 1.0, n_units), kind="stable")
    for left, index in zip(range(n_units, 0, -1), order, strict=True):
        is_open = n_filled + size[index] <= max(mean, n_filled.min() + size[index])
        empty = n_filled == 0
        if empty.sum() >= left:
            is_open = empty
        cost = ((filled + weight_fraction[index]) ** 2 - filled**2) @ (total / total[0]) + rng.random(n_folds) * 1e-9
        fold = int(np.argmin(np.where(is_open, cost, np.inf)))
        placed[index] = fold
        filled[fold] += weight_fraction[index]
        n_filled[fold] += size[index]
    return placed


def _rank(labels: list[tuple[str, ...]]) -> NDArray[np.int64]:
    place = {values: index for index, values in enumerate(sorted(set(labels)))}
    return np.array([place[values] for values in labels], np.int64)


def list_first(items: Sequence[object]) -> str:
    """Return the first few items as text, and how many more there are."""
    shown = ", ".join(str(item) for item in items[:_N_LISTED])
    return shown if len(items) <= _N_LISTED else f"{shown} and {len(items) - _N_LISTED} more"
