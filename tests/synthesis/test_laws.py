from __future__ import annotations

import numpy as np
import pytest

from wsigraph.errors import SynthesisError
from wsigraph.geometry import Size
from wsigraph.synthesis.assess import c_index
from wsigraph.synthesis.laws import EFFECT, LAWS, STAGE_MISSING, Outcome, law, sample_outcome
from wsigraph.synthesis.layout import NECROSIS, TUMOUR, Layout

N = 2000


@pytest.fixture(scope="module")
def cohort() -> list[Outcome]:
    rng, rule = np.random.default_rng(11), law("composition")
    return [sample_outcome(rule, rule.sample(Size(10, 12), rng=rng), rng=rng) for _ in range(N)]


def test_severity_is_standardised() -> None:
    rng, rule = np.random.default_rng(0), law("composition")
    severity = np.array([rule.severity(rule.sample(Size(10, 12), rng=rng)) for _ in range(N)])
    # the standard error of a mean of 2,000 is 0.022
    assert severity.mean() == pytest.approx(0, abs=0.07)
    assert severity.std() == pytest.approx(1, abs=0.05)


def test_the_oracle_and_the_censoring_are_in_range(cohort: list[Outcome]) -> None:
    risk = np.array([each.oracle_risk for each in cohort])
    time = np.array([each.time_days for each in cohort])
    event = np.array([each.event for each in cohort])
    assert 0.80 <= c_index(risk, time, event, np.ones((1, N), np.int64))[0] <= 0.86
    assert 0.35 <= 1 - event.mean() <= 0.40
    assert time.min() > 0


def test_stages_are_balanced_rise_with_risk_and_are_sometimes_missing(cohort: list[Outcome]) -> None:
    known = [each for each in cohort if each.stage is not None]
    assert 1 - len(known) / N == pytest.approx(STAGE_MISSING, abs=0.03)
    counts = np.bincount([each.stage for each in known], minlength=4)
    assert counts.min() > 0.15 * len(known)
    means = [np.mean([each.oracle_risk for each in known if each.stage == stage]) for stage in range(4)]
    assert (np.diff(means) > 0.5).all()


def test_the_hazard_follows_tumour_and_twice_necrosis_and_nothing_else() -> None:
    rule = law("composition")
    classes = np.zeros((10, 10), np.uint8)

    def with_shares(tumour: int, necrosis: int) -> Layout:
        changed = classes.copy().ravel()
        changed[:tumour] = TUMOUR
        changed[tumour : tumour + necrosis] = NECROSIS
        return Layout(classes=changed.reshape(10, 10))

    base = rule.severity(with_shares(30, 10))
    assert rule.severity(with_shares(50, 10)) - base == pytest.approx(rule.severity(with_shares(30, 20)) - base)
    assert rule.severity(with_shares(30, 20)) > base
    shuffled = np.random.default_rng(0).permutation(with_shares(30, 10).classes.ravel()).reshape(10, 10)
    assert rule.severity(Layout(classes=shuffled)) == base


def test_the_oracle_risk_is_the_log_hazard_ratio() -> None:
    rng, rule = np.random.default_rng(3), law("composition")
    layout = rule.sample(Size(8, 8), rng=rng)
    assert sample_outcome(rule, layout, rng=rng).oracle_risk == EFFECT * rule.severity(layout)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(SynthesisError, match="no law 'gravity', expected one of composition"):
        law("gravity")
    assert set(LAWS) == {"composition"}
