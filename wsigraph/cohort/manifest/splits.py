"""Divides a cohort into folds that share no patient, and optionally no site.

By patient: patients are ordered by event, stage and site, at random where these are equal, and dealt to the folds in
turn. Then folds differ by at most one patient and one event, and in the patients of a stage by at most the number of
event states. By site: whole sites (joined if they share a patient) are placed one after another, roughly the largest
first, each into the fold that keeps sizes, events and stages most equal. No fold exceeds the mean by more than the
largest site. This is a greedy placement, not an optimal one. With few sites no placement is good; `site_folds` leaves
out one site at a time.

The fold of a patient depends on the seed and on the patients in the cohort, not on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.manifest.grouping import Labels, PatientTable, deal, list_first, place
from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.errors import CohortError

Group = Literal["patient", "site"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NestedFold:
    """One outer fold, and the inner folds of its training rows.

    Attributes
    ----------
    test : int64 (n_test,)
        Held-out rows, ascending; they are not used for any choice.
    train : int64 (n_train,)
        All other rows, ascending.
    inner : int64 (n_train,)
        Inner fold of each row of `train`.
    """

    test: NDArray[np.int64]
    train: NDArray[np.int64]
    inner: NDArray[np.int64]


def folds(
    patients: Sequence[str],
    *,
    n_folds: int,
    stage: Labels | None = None,
    event: Labels | None = None,
    site: Labels | None = None,
    group: Group = "patient",
    seed: int,
) -> NDArray[np.int64]:
    """Divide rows into folds, all rows of a patient into one.

    Parameters
    ----------
    patients : sequence of str (n,)
        Patient of each row.
    n_folds : int
        Folds, 2 or more.
    stage, event, site : sequence (n,), optional
        What the folds balance; None if unknown.
    group : "patient" or "site"
        What a fold never splits. By site, every row needs a site.
    seed : int
        Seed of the division.

    Returns
    -------
    int64 (n,)
        Fold of each row, 0 to n_folds - 1; none is empty.

    Raises
    ------
    CohortError
        If there are fewer patients (or sites) than folds, a patient or site is missing, or lengths differ.
    """
    cohort = PatientTable(patients, stage, event, site)
    rng = np.random.default_rng(seed)
    if group == "patient":
        _refuse_few(len(cohort.names), n_folds, "patients")
        dealt = deal(cohort.strata(), n_folds, rng)
    elif group == "site":
        unit = cohort.joined_sites()
        _refuse_few(int(unit.max()) + 1, n_folds, "sites without a patient in common")
        dealt = place(unit, cohort.balance(), n_folds, rng)[unit]
    else:
        raise CohortError(f"group is {group!r}, expected 'patient' or 'site'")
    return dealt[cohort.patient_of_row]


def site_folds(patients: Sequence[str], site: Labels, *, min_patients: int = 30) -> NDArray[np.int64]:
    """Divide rows so that each fold is one site; small sites share the last fold.

    Parameters
    ----------
    patients : sequence of str (n,)
        Patient of each row.
    site : sequence (n,)
        Site of each row. Sites that have a patient in common count as one.
    min_patients : int
        A site with fewer patients goes into the last fold.

    Returns
    -------
    int64 (n,)
        Fold of each row; the largest site is fold 0.

    Raises
    ------
    CohortError
        If that gives fewer than two folds, or a patient or site is missing.
    """
    cohort = PatientTable(patients, None, None, site)
    unit = cohort.joined_sites()
    size = np.bincount(unit)
    large = np.flatnonzero(size >= min_patients)
    fold_of_unit = np.full(len(size), len(large), np.int64)
    fold_of_unit[large[np.argsort(-size[large], kind="stable")]] = np.arange(len(large))
    if len(set(fold_of_unit.tolist())) < 2:
        raise CohortError(
            f"{len(large)} of {len(size)} sites have {min_patients} patients or more, so no two folds can be formed; "
            "lower the number, or split by patient"
        )
    return fold_of_unit[unit][cohort.patient_of_row]


def repeated(
    patients: Sequence[str],
    *,
    n_repeats: int,
    n_folds: int,
    stage: Labels | None = None,
    event: Labels | None = None,
    site: Labels | None = None,
    group: Group = "patient",
    seed: int,
) -> NDArray[np.int64]:
    """Divide rows into folds several times, so that no result depends on one lucky division.

    Parameters
    ----------
    patients : sequence of str (n,)
        Patient of each row.
    n_repeats : int
        Number of divisions.
    n_folds, stage, event, site, group
        As for `folds`.
    seed : int
        Division r has the seed ``[seed, r]``; more repeats leave the first as they are.

    Returns
    -------
    int64 (n_repeats, n)
        Fold of each row in each division.

    Raises
    ------
    CohortError
        As for `folds`, or if `n_repeats` is below 1.
    """
    if n_repeats < 1:
        raise CohortError(f"n_repeats is {n_repeats}, expected 1 or more")
    options = {"n_folds": n_folds, "stage": stage, "event": event, "site": site, "group": group}
    return np.stack([folds(patients, **options, seed=_derive(seed, repeat)) for repeat in range(n_repeats)])  # type: ignore[arg-type]


def nested(
    patients: Sequence[str],
    *,
    n_folds: int,
    n_inner: int,
    stage: Labels | None = None,
    event: Labels | None = None,
    site: Labels | None = None,
    group: Group = "patient",
    inner_group: Group | None = None,
    outer: NDArray[np.int64] | None = None,
    seed: int,
) -> tuple[NestedFold, ...]:
    """Divide rows into outer folds, and the training rows of each into inner folds, so that no choice uses a test fold.

    Parameters
    ----------
    patients : sequence of str (n,)
        Patient of each row.
    n_folds, n_inner : int
        Outer folds, and inner folds of each.
    stage, event, site, group
        As for `folds`.
    inner_group : "patient" or "site", optional
        What an inner fold never splits; `group` by default.
    outer : int64 (n,), optional
        Outer fold of each row, e.g. from `site_folds`; in place of `n_folds` new ones.
    seed : int
        Seed of the division.

    Returns
    -------
    tuple of NestedFold
        One for each outer fold, in its order.

    Raises
    ------
    CohortError
        As for `folds`; or if `outer` puts a patient into two folds.
    """
    if outer is None:
        outer = folds(patients, n_folds=n_folds, stage=stage, event=event, site=site, group=group, seed=seed)
    _refuse_torn(patients, outer)
    nested_folds = []
    for fold in np.unique(outer):
        train = np.flatnonzero(outer != fold)
        inner = folds(
            [patients[row] for row in train.tolist()],
            n_folds=n_inner,
            stage=_rows(stage, train),
            event=_rows(event, train),
            site=_rows(site, train),
            group=inner_group or group,
            seed=_derive(seed, 1_000_000 + int(fold)),
        )
        nested_folds.append(NestedFold(test=np.flatnonzero(outer == fold), train=train, inner=inner))
    return tuple(nested_folds)


def refuse_leakage(train_rows: Iterable[ManifestRow], test_rows: Iterable[ManifestRow]) -> None:
    """Refuse training rows and test rows that share a patient or a slide.

    Parameters
    ----------
    train_rows, test_rows : iterable of ManifestRow
        The two sides.

    Raises
    ------
    CohortError
        If a patient, a slide's name, its bytes (stated digest) or its file is on both sides; the message names them.
    """
    train, test = list(train_rows), list(test_rows)
    sides: list[tuple[str, Callable[[ManifestRow], object]]] = [
        ("patients", lambda row: row.patient_id),
        ("slides", lambda row: row.slide_id),
        ("digests of slides", lambda row: row.sha256),
        ("files", lambda row: row.path),
    ]
    texts = []
    for name, value in sides:
        common = {value(row) for row in train} & {value(row) for row in test} - {None}
        if common:
            texts.append(f"{name} {list_first(sorted(map(str, common)))}")
    if texts:
        raise CohortError(
            f"training and test rows share {'; '.join(texts)}, expected nothing in common; split by patient"
        )


def _rows(labels: Labels | None, rows: NDArray[np.int64]) -> Labels | None:
    return None if labels is None else [labels[row] for row in rows.tolist()]


def _derive(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0])


def _refuse_few(n_units: int, n_folds: int, what: str) -> None:
    if n_folds < 2 or n_units < n_folds:
        raise CohortError(f"{n_units} {what} cannot be divided into {n_folds} folds; choose 2 to {max(2, n_units)}")


def _refuse_torn(patients: Sequence[str], outer: NDArray[np.int64]) -> None:
    if len(outer) != len(patients):
        raise CohortError(f"there are {len(outer)} outer folds for {len(patients)} rows, expected the same number")
    fold_of: dict[str, int] = {}
    torn = [name for name, fold in zip(patients, outer.tolist(), strict=True) if fold_of.setdefault(name, fold) != fold]
    if torn:
        names = list_first(sorted(set(torn)))
        raise CohortError(f"outer folds split the patients {names}, expected one fold per patient")
