"""Folds keep patients and sites whole, stay balanced, and depend on the seed alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsigraph.cohort.manifest.manifest_row import ManifestRow
from wsigraph.cohort.manifest.splits import folds, nested, refuse_leakage, repeated, site_folds
from wsigraph.errors import CohortError


class Cohort:
    """Rows of a made-up cohort: one to three slides a patient, an outcome a patient."""

    def __init__(self, n_patients: int, n_sites: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        n_slides = rng.integers(1, 4, n_patients)
        patient = np.repeat(np.arange(n_patients), n_slides)
        site = rng.choice(n_sites, n_patients, p=rng.dirichlet(np.ones(n_sites)))
        stage = rng.choice([None, "I", "II", "III", "IV"], n_patients)
        event = rng.choice([None, False, True], n_patients, p=[0.1, 0.6, 0.3])
        self.patients = [f"P{number}" for number in patient]
        self.site = [f"site {number}" for number in site[patient]]
        self.stage = stage[patient].tolist()
        self.event = event[patient].tolist()

    @property
    def labels(self) -> dict[str, list[object]]:
        return {"stage": self.stage, "event": self.event, "site": self.site}


cohorts = st.builds(Cohort, st.integers(10, 120), st.integers(4, 12), st.integers(0, 10_000))
seeds = st.integers(0, 2**32 - 1)


def per_fold(fold: np.ndarray, patients: Sequence[str], keep: Sequence[bool] | None = None) -> np.ndarray:
    """Return the patients of each fold, or those of rows that count."""
    found = {
        (int(number), patient)
        for number, patient, counts in zip(fold, patients, keep or [True] * len(patients), strict=True)
        if counts
    }
    return np.bincount([number for number, _ in found], minlength=int(fold.max()) + 1)


def is_whole(fold: np.ndarray, group: Sequence[object]) -> bool:
    return len(set(zip(group, fold.tolist(), strict=True))) == len(set(group))


@settings(max_examples=150, deadline=None)
@given(cohort=cohorts, n_folds=st.integers(2, 8), seed=seeds)
def test_by_patient(cohort: Cohort, n_folds: int, seed: int) -> None:
    fold = folds(cohort.patients, n_folds=n_folds, **cohort.labels, seed=seed)
    assert fold.dtype == np.int64
    assert set(fold.tolist()) == set(range(n_folds))
    assert is_whole(fold, cohort.patients)
    assert np.ptp(per_fold(fold, cohort.patients)) <= 1
    for value in (None, False, True):
        assert np.ptp(per_fold(fold, cohort.patients, [event is value for event in cohort.event])) <= 1
    for stage in (None, "I", "II", "III", "IV"):
        assert np.ptp(per_fold(fold, cohort.patients, [found == stage for found in cohort.stage])) <= 3


@settings(max_examples=150, deadline=None)
@given(cohort=cohorts, n_folds=st.integers(2, 4), seed=seeds)
def test_by_site(cohort: Cohort, n_folds: int, seed: int) -> None:
    n_sites = len(set(cohort.site))
    if n_sites < n_folds:
        with pytest.raises(CohortError, match=f"{n_sites} sites .* cannot be divided into {n_folds} folds"):
            folds(cohort.patients, n_folds=n_folds, **cohort.labels, group="site", seed=seed)
        return
    fold = folds(cohort.patients, n_folds=n_folds, **cohort.labels, group="site", seed=seed)
    assert set(fold.tolist()) == set(range(n_folds))
    assert is_whole(fold, cohort.site)
    assert is_whole(fold, cohort.patients)
    largest = max(Counter(dict(zip(cohort.patients, cohort.site, strict=True)).values()).values())
    mean = len(set(cohort.patients)) / n_folds
    assert per_fold(fold, cohort.patients).max() <= mean + largest


@pytest.mark.parametrize("group", ["patient", "site"])
@settings(max_examples=40, deadline=None)
@given(cohort=cohorts, seed=seeds, order=st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(group: str, cohort: Cohort, seed: int, order: object) -> None:
    if len(set(cohort.site)) < 3:
        return
    fold = folds(cohort.patients, n_folds=3, **cohort.labels, group=group, seed=seed)
    rows = list(range(len(fold)))
    order.shuffle(rows)  # type: ignore[attr-defined]
    moved = folds(
        [cohort.patients[row] for row in rows],
        n_folds=3,
        **{name: [labels[row] for row in rows] for name, labels in cohort.labels.items()},
        group=group,
        seed=seed,
    )
    assert moved.tolist() == fold[rows].tolist()


@pytest.mark.parametrize("group", ["patient", "site"])
def test_repeats_differ_and_more_of_them_leave_the_first_alone(group: str) -> None:
    cohort = Cohort(300, 18, 5)
    options = {"n_folds": 4, **cohort.labels, "group": group, "seed": 7}
    three = repeated(cohort.patients, n_repeats=3, **options)
    assert (repeated(cohort.patients, n_repeats=3, **options) == three).all()
    assert (repeated(cohort.patients, n_repeats=5, **options)[:3] == three).all()
    # two divisions are the same where their folds are, whatever these are called
    assert len({frozenset(np.flatnonzero(row == number).tobytes() for number in range(4)) for row in three}) == 3
    with pytest.raises(CohortError, match="n_repeats is 0"):
        repeated(cohort.patients, n_repeats=0, **options)


def test_by_site_is_balanced_where_sites_allow_it() -> None:
    cohort = Cohort(2000, 40, 3)
    fold = folds(cohort.patients, n_folds=4, **cohort.labels, group="site", seed=1)
    size = per_fold(fold, cohort.patients)
    events = per_fold(fold, cohort.patients, [event is True for event in cohort.event])
    assert np.ptp(size) < 0.1 * size.mean()
    assert np.ptp(events / size) < 0.08


@settings(max_examples=60, deadline=None)
@given(cohort=cohorts, group=st.sampled_from(["patient", "site"]), seed=seeds)
def test_nested_folds_see_no_test_patient(cohort: Cohort, group: str, seed: int) -> None:
    if group == "site" and len(set(cohort.site)) < 3:
        return
    options = {"n_folds": 3, "n_inner": 2, **cohort.labels, "group": group, "inner_group": "patient", "seed": seed}
    found = nested(cohort.patients, **options)
    assert sorted(np.concatenate([fold.test for fold in found]).tolist()) == list(range(len(cohort.patients)))
    for fold in found:
        assert sorted([*fold.train.tolist(), *fold.test.tolist()]) == list(range(len(cohort.patients)))
        assert set(fold.inner.tolist()) == {0, 1}
        outside = {cohort.patients[row] for row in fold.test.tolist()}
        trained = [cohort.patients[row] for row in fold.train.tolist()]
        assert not outside & set(trained)
        assert is_whole(fold.inner, trained)
        if group == "site":
            assert not {cohort.site[row] for row in fold.test} & {cohort.site[row] for row in fold.train}


def test_nested_takes_outer_folds_as_given() -> None:
    cohort = Cohort(120, 6, 1)
    outer = site_folds(cohort.patients, cohort.site, min_patients=15)
    found = nested(cohort.patients, n_folds=0, n_inner=3, outer=outer, seed=1)
    assert [fold.test.tolist() for fold in found] == [np.flatnonzero(outer == number).tolist() for number in set(outer)]
    with pytest.raises(CohortError, match="outer folds split the patients P1"):
        nested(["P1", "P1", "P2"], n_folds=2, n_inner=2, outer=np.array([0, 1, 1]), seed=1)
    with pytest.raises(CohortError, match="2 outer folds for 3 rows"):
        nested(["P1", "P1", "P2"], n_folds=2, n_inner=2, outer=np.array([0, 1]), seed=1)


def test_one_site_is_left_out_at_a_time_and_small_ones_together() -> None:
    size = {"A": 50, "B": 5, "C": 30, "D": 29, "E": 139}
    site = [name for name, count in size.items() for _ in range(count)]
    patients = [f"P{number}" for number in range(len(site))]
    fold = site_folds(patients, site, min_patients=30)
    assert {name: {int(fold[row]) for row, found in enumerate(site) if found == name} for name in size} == {
        "E": {0},
        "A": {1},
        "C": {2},
        "B": {3},
        "D": {3},
    }
    assert set(site_folds(patients, site, min_patients=1).tolist()) == set(range(5))
    with pytest.raises(CohortError, match="0 of 5 sites have 200 patients"):
        site_folds(patients, site, min_patients=200)


def test_sites_that_share_a_patient_stay_together() -> None:
    patients = ["P1", "P1", "P2", "P3", "P4", "P4", "P5"]
    site = ["A", "B", "B", "C", "D", "E", "F"]
    for seed in range(20):
        fold = folds(patients, n_folds=4, site=site, group="site", seed=seed)
        assert fold[0] == fold[1] == fold[2]
        assert fold[4] == fold[5]
    with pytest.raises(CohortError, match="4 sites without a patient in common cannot be divided into 5"):
        folds(patients, n_folds=5, site=site, group="site", seed=0)


@pytest.mark.parametrize(
    ("options", "met"),
    [
        ({"patients": [], "n_folds": 2}, "is empty"),
        ({"patients": ["a", ""], "n_folds": 2}, "rows without a patient: 1"),
        ({"patients": ["a", "a"], "n_folds": 2}, "1 patients cannot be divided into 2"),
        ({"patients": ["a", "b"], "n_folds": 1}, "2 patients cannot be divided into 1"),
        ({"patients": ["a", "b"], "n_folds": 2, "event": [True]}, "1 values of event for 2 rows"),
        ({"patients": ["a", "b"], "n_folds": 2, "group": "site"}, "patients a, b have no site"),
        ({"patients": ["a", "b"], "n_folds": 2, "group": "site", "site": ["x", None]}, "patients b have no site"),
        ({"patients": ["a", "b"], "n_folds": 2, "group": "scanner"}, "expected 'patient' or 'site'"),
    ],
)
def test_what_cannot_be_divided(options: dict[str, object], met: str) -> None:
    with pytest.raises(CohortError, match=met):
        folds(**options, seed=0)  # type: ignore[arg-type]


def row(slide_id: str, patient_id: str, sha256: str | None = None, path: str | None = None) -> ManifestRow:
    return ManifestRow(
        line=2,
        slide_id=slide_id,
        patient_id=patient_id,
        site=None,
        path=None if path is None else Path(path),
        mpp=None,
        stage=None,
        grade=None,
        time_days=None,
        event=None,
        split=None,
        sha256=sha256,
        free={},
    )


@pytest.mark.parametrize(
    ("other", "met"),
    [
        (row("b", "P1"), "share patients P1"),
        (row("a", "P2"), "share slides a"),
        (row("b", "P2", sha256="0" * 64), "digests of slides 0000"),
        (row("b", "P2", path="x.svs"), "share files x.svs"),
    ],
)
def test_leakage_is_refused(other: ManifestRow, met: str) -> None:
    train = [row("a", "P1", "0" * 64, "x.svs"), row("n", "P9")]
    refuse_leakage(train, [row("c", "P3"), row("d", "P4")])
    with pytest.raises(CohortError, match=met):
        refuse_leakage(train, iter([row("c", "P3"), other]))
