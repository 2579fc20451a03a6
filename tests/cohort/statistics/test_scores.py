from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from lifelines.utils import restricted_mean_survival_time

from tests.cohort.statistics.predicted import model_directory, patients
from wsigraph import cohort
from wsigraph.cohort.metrics.survival import c_index as plain_c_index
from wsigraph.cohort.statistics.paper_tables import print_p, printed_table
from wsigraph.errors import CohortError


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    rows = patients(160, rng=np.random.default_rng(3))
    return cohort.load(model_directory(tmp_path_factory.mktemp("model"), rows), horizons_days=(400, 812.5))


def test_the_c_index_is_that_of_pairs_within_folds(frame: pd.DataFrame) -> None:
    score = cohort.c_index(frame, n_draws=200, rng=np.random.default_rng(0))
    columns = (frame[name].to_numpy() for name in ("risk", "time_days", "event"))
    assert score["value"] == pytest.approx(plain_c_index(*columns, stratum=frame["fold"].to_numpy())[0])
    assert score["low"] < score["value"] < score["high"]
    assert score["n_events"] == frame["event"].sum()


@pytest.mark.parametrize("by_site", [False, True])
def test_two_models_are_compared_in_pairs(frame: pd.DataFrame, by_site: bool) -> None:
    rng = np.random.default_rng(1)
    noisy = frame.assign(risk=frame["risk"] + 3.0 * rng.normal(size=len(frame))).iloc[::-1]
    table = cohort.compare_models(frame, noisy, by_site=by_site, n_draws=200, rng=rng)
    assert table.loc["difference", "low"] > 0
    first, second, difference = table["value"]
    assert difference == pytest.approx(first - second)
    same = cohort.compare_models(frame, frame, by_site=by_site, n_draws=50, rng=rng)
    assert same.loc["difference", ["value", "low", "high"]].tolist() == [0.0, 0.0, 0.0]


def test_models_of_other_patients_or_endpoints_are_not_compared(frame: pd.DataFrame) -> None:
    rng = np.random.default_rng(2)
    with pytest.raises(CohortError, match="share no patient"):
        cohort.compare_models(frame, frame.assign(patient_id=frame["patient_id"] + "x"), rng=rng)
    with pytest.raises(CohortError, match="160 patients have another follow-up"):
        cohort.compare_models(frame, frame.assign(time_days=frame["time_days"] + 1), rng=rng)


def test_horizons_may_be_whole_numbers_or_not(frame: pd.DataFrame) -> None:
    assert {"survival_400", "survival_812.5"} <= set(frame.columns)
    areas = cohort.time_dependent_auc(frame, n_draws=100, rng=np.random.default_rng(3))
    assert areas.index.tolist() == [400.0, 812.5]
    assert (areas["low"] > 0.5).all()
    brier = cohort.brier_score(frame, [400.0], n_draws=100, rng=np.random.default_rng(4))
    assert brier.loc[400.0, "value"] < brier.loc[400.0, "without_model"]
    assert len(cohort.calibration_at(frame, 400.0)) == 5
    with pytest.raises(CohortError, match=r"no survival at day 7.*has \[400, 812.5\]"):
        cohort.brier_score(frame, [7], rng=np.random.default_rng(5))


def test_the_restricted_mean_is_lifelines(frame: pd.DataFrame) -> None:
    high = cohort.risk_group(frame)
    table = cohort.restricted_mean_survival(frame, 900, by=high)
    part = frame[high == "high"]
    fitted = KaplanMeierFitter().fit(part["time_days"], part["event"])
    assert table.loc["high", "mean_days"] == pytest.approx(restricted_mean_survival_time(fitted, t=900), rel=1e-6)
    gap = table.loc["low", "mean_days"] - table.loc["high", "mean_days"]
    assert table.loc["difference", "mean_days"] == pytest.approx(gap)
    with pytest.raises(CohortError, match="choose an earlier day"):
        cohort.restricted_mean_survival(frame, 1e6)


def test_the_error_of_a_restricted_mean_is_that_of_many_samples() -> None:
    rng = np.random.default_rng(6)

    def sample(n: int) -> pd.DataFrame:
        days, lost = 1000.0 * rng.exponential(size=n), rng.uniform(100.0, 3000.0, n)
        columns = {"patient_id": [f"p{k}" for k in range(n)], "relation": "external", "risk": 0.0}
        return pd.DataFrame({**columns, "time_days": np.minimum(days, lost), "event": days <= lost})

    tables = [cohort.restricted_mean_survival(sample(80), 800) for _ in range(150)]
    width = np.mean([table.loc["all", "high"] - table.loc["all", "low"] for table in tables])
    spread = np.std([table.loc["all", "mean_days"] for table in tables])
    # a standard deviation of 150 samples is known to 6 %
    assert width / (2 * 1.96) == pytest.approx(spread, rel=0.18)


def test_table_one_counts_and_describes(frame: pd.DataFrame) -> None:
    some = frame.assign(sex=frame["sex"].where(frame.index % 5 > 0))
    table = cohort.table_one(some, ["age", "sex", "stage"], by="site")
    assert table.loc[("patients", ""), "all"] == "160"
    assert table.loc[("sex", "missing"), "all"] == "32"
    assert "(" in table.loc[("age", "median (quartiles)"), "site-0"]
    counts = [int(table.loc[("stage", name), "all"].split()[0]) for name in ("I", "II", "III", "IV")]
    assert sum(counts) == 160
    assert table.loc[("age", "median (quartiles)"), "p"] != ""
    assert "p" not in cohort.table_one(frame, ["age"]).columns
    with pytest.raises(CohortError, match="no column weight"):
        cohort.table_one(frame, ["weight"])


def test_groups_of_any_column_are_described(frame: pd.DataFrame) -> None:
    table = cohort.describe(frame, by="site")
    assert table.index.tolist() == ["site-0", "site-1", "site-2", "all"]
    assert table.loc["all", "n_patients"] == 160
    with pytest.raises(CohortError, match="no column hospital"):
        cohort.describe(frame, by="hospital")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "<0.001"), (0.00099, "<0.001"), (0.0123, "0.012"), (0.0996, "0.10"), (1.0, "1.00")]
)
def test_p_values_are_printed_as_journals_do(value: float, text: str) -> None:
    assert print_p(value) == text
    assert print_p(float("nan")) == "-"


def test_tables_are_exported_for_a_paper(frame: pd.DataFrame, tmp_path: Path) -> None:
    fit = cohort.fit_cox(frame, ["stage", "risk"])
    printed = printed_table(fit.table)
    assert list(printed.columns) == ["hazard_ratio", "95 % interval", "p"]
    assert printed.loc["risk (per SD)", "p"] == "<0.001"
    for suffix in ("csv", "tsv", "md", "html"):
        text = cohort.export_table(fit.table, tmp_path / f"cox.{suffix}").read_text()
        assert "<0.001" in text or "&lt;0.001" in text
    assert (tmp_path / "cox.md").read_text().count("\n") == 4
    with pytest.raises(CohortError, match=r"ends in \.docx, expected one of \.csv"):
        cohort.export_table(fit.table, tmp_path / "cox.docx")


def test_a_cox_model_of_too_few_events_says_so(frame: pd.DataFrame, caplog: pytest.LogCaptureFixture) -> None:
    fit = cohort.fit_cox(frame.head(10), ["risk"])
    assert not fit.is_fitted
    assert "20 needed: no Cox model is fitted" in caplog.text
