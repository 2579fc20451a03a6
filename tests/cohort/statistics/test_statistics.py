"""Cox, added value, calibration, net benefit and stage against lifelines and closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test
from lifelines.utils import concordance_index
from scipy.stats import chi2

from tests.cohort.statistics.predicted import model_directory, patients
from wsigraph import cohort
from wsigraph.cohort.statistics.cox import design
from wsigraph.cohort.statistics.incremental import cross_fitted
from wsigraph.errors import CohortError


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    rows = patients(240, rng=np.random.default_rng(3))
    return cohort.load(model_directory(tmp_path_factory.mktemp("model"), rows), horizons_days=(400, 800))


def test_hazard_ratios_are_lifelines_own(frame: pd.DataFrame) -> None:
    fit = cohort.fit_cox(frame, ["age", "stage"], strata=())
    plain = pd.DataFrame(
        {
            "age": frame["age"],
            "stage": frame["stage"].cat.codes.astype(float),
            "time": frame["time_days"],
            "event": frame["event"],
        }
    )
    other = CoxPHFitter().fit(plain, "time", "event")
    np.testing.assert_allclose(fit.table["hazard_ratio"], np.exp(other.params_), rtol=1e-9)
    assert fit.log_likelihood == pytest.approx(other.log_likelihood_)
    assert fit.n_events == int(frame["event"].sum())


def test_a_planted_ratio_is_found_with_its_interval(frame: pd.DataFrame) -> None:
    table = cohort.fit_cox(frame, ["stage", "risk"]).table
    planted = np.exp(frame["risk"].std(ddof=0))
    assert table.loc["risk (per SD)", "low"] < planted < table.loc["risk (per SD)", "high"]
    assert table.loc["stage (per step)", "low"] < np.exp(0.3) < table.loc["stage (per step)", "high"]


def test_a_risk_on_another_scale_in_each_fold_changes_nothing(frame: pd.DataFrame) -> None:
    moved = frame.assign(risk=frame["risk"] * (1 + frame["fold"]) + 10.0 * frame["fold"])
    pd.testing.assert_frame_equal(
        cohort.fit_cox(frame, ["risk"]).table, cohort.fit_cox(moved, ["risk"]).table, rtol=1e-6
    )


def test_a_covariate_can_become_a_stratum(frame: pd.DataFrame) -> None:
    fit = cohort.fit_cox(frame, ["risk"], strata=["stage"])
    plain = fit.design.drop(columns="stage").assign(stage=frame["stage"].cat.codes)
    other = CoxPHFitter().fit(plain, "time_days", "event", strata=["stage"])
    np.testing.assert_allclose(fit.table["hazard_ratio"], np.exp(other.params_), rtol=1e-9)


def test_words_become_columns_and_missing_values_are_counted(frame: pd.DataFrame) -> None:
    gaps = frame.assign(age=frame["age"].where(frame.index >= 7))
    fit = cohort.fit_cox(gaps, ["age", "sex"])
    assert len(fit.table) == 2
    assert fit.n_left_out == 7
    assert "7 left out" in fit.note
    with pytest.raises(CohortError, match="no column weight; there are patient_id"):
        cohort.fit_cox(frame, ["weight"])


def test_with_fewer_than_twenty_events_nothing_is_fitted_and_it_says_so(frame: pd.DataFrame) -> None:
    kept = frame["event"].cumsum() <= 19
    few = frame[kept]
    assert few["event"].sum() == 19
    fit = cohort.fit_cox(few, ["risk"])
    assert not fit.is_fitted
    assert fit.note == "19 events, 20 needed: no Cox model is fitted"
    assert fit.table.empty
    assert cohort.check_proportional(fit).empty
    added = cohort.added_value(few, ["stage"], rng=np.random.default_rng(0))
    assert np.isnan(added.p)
    assert np.isnan(added.difference.value)
    assert "no Cox model is fitted" in added.note


def test_covariates_that_repeat_one_another_are_refused_with_a_reason(frame: pd.DataFrame) -> None:
    with pytest.raises(CohortError, match="leave out covariates that repeat one another"):
        cohort.fit_cox(frame.assign(constant=1.0), ["constant"])


def test_the_likelihood_ratio_is_that_of_lifelines_fits(frame: pd.DataFrame) -> None:
    added = cohort.added_value(frame, ["stage"], n_draws=200, rng=np.random.default_rng(0))
    table = cohort.fit_cox(frame, ["stage", "risk"]).design
    fits = [
        CoxPHFitter().fit(table[[*names, "fold", "time_days", "event"]], "time_days", "event", strata=["fold"])
        for names in (["stage (per step)"], ["stage (per step)", "risk (per SD)"])
    ]
    statistic = 2 * (fits[1].log_likelihood_ - fits[0].log_likelihood_)
    assert added.statistic == pytest.approx(statistic)
    assert added.p == pytest.approx(chi2.sf(statistic, 1))
    assert added.difference.is_above


def test_a_risk_of_noise_adds_nothing(frame: pd.DataFrame) -> None:
    noise = frame.assign(risk=np.random.default_rng(5).normal(size=len(frame)))
    added = cohort.added_value(noise, ["stage", "truth"], n_draws=200, rng=np.random.default_rng(0))
    assert added.p > 0.05
    assert not added.difference.is_above
    assert abs(added.difference.value) < 0.02


def test_cross_fitted_weights_never_see_the_fold_they_score(frame: pd.DataFrame) -> None:
    fold = frame["fold"].to_numpy()
    before = cross_fitted(frame, ["stage", "age"], fold)
    # other outcomes in fold 0 change what is fitted for the other folds, and nothing that is said of fold 0
    mixed = frame.copy()
    rows = np.flatnonzero(fold == 0)
    mixed.loc[rows, "time_days"] = frame.loc[rows[::-1], "time_days"].to_numpy()
    after = cross_fitted(mixed, ["stage", "age"], fold)
    np.testing.assert_array_equal(before[fold == 0], after[fold == 0])
    assert not np.array_equal(before[fold == 1], after[fold == 1])


def test_of_one_fold_the_c_index_is_lifelines(frame: pd.DataFrame) -> None:
    external = frame.assign(fold=-1, relation="external")
    added = cohort.added_value(external, ["stage"], n_draws=50, rng=np.random.default_rng(0))
    fold = np.random.default_rng(0).permutation(np.arange(len(frame)) % 5)
    score = cross_fitted(external, ["stage"], fold)
    pairs = [
        (concordance_index(part["time_days"], -score[fold == k], part["event"]), part)
        for k, part in external.groupby(fold)
    ]
    low, high = min(value for value, _ in pairs), max(value for value, _ in pairs)
    assert low <= added.c_covariates.value <= high


def test_hazards_that_cross_are_found_and_proportional_ones_are_not(frame: pd.DataFrame) -> None:
    steady = cohort.check_proportional(cohort.fit_cox(frame, ["truth"]))
    assert steady.loc["truth", "p"] > 0.01
    rng = np.random.default_rng(2)
    side = np.arange(len(frame)) % 2
    # a hazard that falls with time against one that rises
    days = 500.0 * np.where(side == 1, rng.weibull(3.0, len(frame)), rng.weibull(0.6, len(frame)))
    crossing = frame.assign(side=side.astype(float), time_days=days)
    crossing["event"] = True
    fit = cohort.fit_cox(crossing, ["side"], strata=())
    assert cohort.check_proportional(fit).loc["side", "p"] < 0.01
    # what to do: follow-up in two parts, whose ratios differ
    ratios = [
        cohort.fit_cox(part, ["side"], strata=()).table.loc["side", "hazard_ratio"]
        for part in cohort.split_follow_up(crossing, 400.0)
    ]
    assert max(ratios) > 2 * min(ratios)


def test_follow_up_is_split_without_losing_an_event(frame: pd.DataFrame) -> None:
    early, late = cohort.split_follow_up(frame, 500.0)
    assert early["event"].sum() + late["event"].sum() == frame["event"].sum()
    assert early["time_days"].max() == 500.0
    assert (late["time_days"] > 0).all()
    # a step of risk is the same in both parts
    whole = design(frame, ["risk"]).loc[late.index, "risk (per SD)"]
    np.testing.assert_array_equal(design(late, ["risk"])["risk (per SD)"], whole)
    assert whole.std(ddof=0) != pytest.approx(1.0, abs=0.02)


def test_log_rank_of_one_fold_is_lifelines(frame: pd.DataFrame) -> None:
    single = frame.assign(fold=0)
    high = single["risk"] > 0
    other = logrank_test(
        single.loc[high, "time_days"],
        single.loc[~high, "time_days"],
        single.loc[high, "event"],
        single.loc[~high, "event"],
    )
    statistic, p = cohort.log_rank_by_risk(single)
    assert statistic == pytest.approx(other.test_statistic)
    assert p == pytest.approx(other.p_value)


def test_without_censoring_calibration_is_a_count(frame: pd.DataFrame) -> None:
    whole = frame.assign(event=True)
    table = cohort.calibration_at(whole, 400, n_bins=4)
    order = np.argsort(1 - whole["survival_400"], kind="stable").to_numpy()
    for part, row in zip(np.array_split(order, 4), table.itertuples(), strict=True):
        assert row.observed == pytest.approx((whole["time_days"].iloc[part] <= 400).mean())
        assert row.predicted == pytest.approx((1 - whole["survival_400"].iloc[part]).mean())
        assert row.low <= row.observed <= row.high
    assert table["n"].sum() == len(frame)


def test_a_group_not_followed_until_the_day_is_not_judged(frame: pd.DataFrame) -> None:
    short = frame.assign(time_days=np.minimum(frame["time_days"], 300.0), event=False)
    assert cohort.calibration_at(short, 400)["observed"].isna().all()
    with pytest.raises(CohortError, match=r"no survival at day 123; this frame has \[400, 800\]"):
        cohort.calibration_at(frame, 123)


def test_without_censoring_net_benefit_is_a_count(frame: pd.DataFrame) -> None:
    whole = frame.assign(event=True)
    table = cohort.decision_curve(whole, 400, [0.2, 0.5])
    died = (whole["time_days"] <= 400).to_numpy()
    for row in table.itertuples():
        treated = (1 - whole["survival_400"] >= row.threshold).to_numpy()
        odds = row.threshold / (1 - row.threshold)
        expected = ((treated & died).sum() - (treated & ~died).sum() * odds) / len(whole)
        assert row.model == pytest.approx(expected)
        assert row.all == pytest.approx(died.mean() - (~died).mean() * odds)
        assert row.n_treated == treated.sum()
    with pytest.raises(CohortError, match="expected probabilities between 0 and 1"):
        cohort.decision_curve(frame, 400, [1.0])


def test_a_withheld_stage_is_in_no_score_and_is_named(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    withheld = frame.copy()
    columns = [name for name in frame.columns if name.startswith("p_")]
    withheld.loc[withheld.index[:2], columns] = np.nan
    found, rest = (cohort.confusion(table) for table in (withheld, frame.iloc[2:]))
    assert found.equals(rest)
    assert "the model withheld their stage" in caplog.text
    assert int(cohort.set_coverage(withheld, miscoverage=0.1)["n"].sum()) == len(frame.iloc[2:])


def test_stage_scores_and_confusion_count_the_same(frame: pd.DataFrame) -> None:
    table = cohort.confusion(frame)
    assert table.to_numpy().sum() == len(frame)
    # two in three are told right, by construction
    assert np.trace(table.to_numpy()) == 160
    by_site = cohort.confusion(frame, "site")
    assert by_site.groupby("stage", observed=False).sum().equals(table)
    scores = cohort.stage_scores(frame, n_draws=50, rng=np.random.default_rng(0))
    # within each fold, averaged over patients
    recalls = []
    for _, fold in frame.groupby("fold"):
        counts = cohort.confusion(fold).to_numpy()
        known = counts.sum(axis=1) > 0
        recalls.append((len(fold), (np.diag(counts)[known] / counts.sum(axis=1)[known]).mean()))
    sizes, means = np.array(recalls).T
    assert scores.loc["balanced_accuracy", "value"] == pytest.approx((sizes * means).sum() / sizes.sum())
    assert (scores["low"] <= scores["value"]).all()
    curve = cohort.stage_calibration(frame, 5)
    assert curve["n"].sum() == 3 * len(frame)


def test_sets_cover_held_out_patients_about_as_often_as_aimed_at(frame: pd.DataFrame) -> None:
    found = cohort.set_coverage(frame, miscoverage=0.1)
    assert found.loc["all", "coverage"] >= 0.85
    # a third of the true stages are as unlikely as any other, so that no smaller set holds nine in ten
    assert found.loc["all", "mean_size"] == 4.0
    # of each stage more than half are right, so the likeliest alone holds 51 in a hundred
    narrow = cohort.set_coverage(frame, miscoverage=0.49, by="site")
    assert (narrow["mean_size"] == 1.0).all()
    assert narrow["n"].sum() == len(frame)
    with pytest.raises(CohortError, match="patients of another fold"):
        cohort.set_coverage(frame.assign(fold=0))


def test_a_model_without_stages_says_so(frame: pd.DataFrame, tmp_path: Path) -> None:
    without = frame.drop(columns=[f"p_{name}" for name in ("I", "II", "III", "IV")])
    with pytest.raises(CohortError, match="does not predict stage"):
        cohort.confusion(without)
    with pytest.raises(CohortError, match="no patient has a known stage"):
        cohort.confusion(frame.assign(stage=pd.Categorical([None] * len(frame), ["I", "II", "III", "IV"])))
