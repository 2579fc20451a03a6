"""Scenario ``few_patients``: several images of a dozen patients."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines import choose_calibration
from wsigraph.synthesis.simulation.few_patients import FewPatientsDesign, sample_few_patients

SMALL = FewPatientsDesign(n_columns=(8,))


@pytest.mark.parametrize("n_stages", [2, 4])
def test_cohorts_have_the_sizes_and_stages_that_are_stated(n_stages: int) -> None:
    for seed in range(5):
        cohort = sample_few_patients(replace(SMALL, n_stages=n_stages), seed=seed)
        images = np.unique(cohort.site, return_counts=True)[1]
        assert 12 <= len(images) <= 40
        assert images.max() <= 15
        assert len(np.unique(cohort.patient)) == cohort.n_rows
        assert np.bincount(cohort.stage, minlength=n_stages).min() >= 0.1 * cohort.n_rows


def test_images_of_a_patient_are_alike_in_stage_but_some_differ() -> None:
    cohort = sample_few_patients(SMALL, seed=2)
    number = np.unique(cohort.site, return_inverse=True)[1]
    mean = np.bincount(number, cohort.stage) / np.bincount(number)
    pure = ((mean == 0) | (mean == 1)).mean()
    assert 0.4 < pure < 1.0


def test_a_seed_gives_the_same_cohort() -> None:
    first, second = (sample_few_patients(SMALL, seed=7) for _ in range(2))
    assert all((a.features == b.features).all() for a, b in zip(first.inputs, second.inputs, strict=True))
    assert (first.stage == second.stage).all()


def test_the_comparison_of_calibrations_prints_every_arm(capsys: pytest.CaptureFixture[str]) -> None:
    choose_calibration.main(["--draws", "0.01", "--layout", "folds by patient, 2 stages"])
    shown = json.loads(capsys.readouterr().out)["folds by patient, 2 stages"]
    assert shown.pop("cohorts") == 2
    assert shown.keys() == choose_calibration.ARMS.keys()
    before = shown[choose_calibration.TODAY]
    assert before["auc_above"]["value"] == 0.0
    assert all(0.3 < arm["auc"] <= 1.0 and arm["log_loss"] > 0.0 for arm in shown.values())
