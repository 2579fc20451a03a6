"""Pictures show the figures that were computed."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from tests.cohort.statistics.predicted import model_directory, patients
from wsigraph import cohort, figures
from wsigraph.errors import CohortError


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    rows = patients(120, rng=np.random.default_rng(3))
    return cohort.load(model_directory(tmp_path_factory.mktemp("model"), rows), horizons_days=(400, 800))


@pytest.fixture(autouse=True)
def _no_screen() -> Iterator[None]:
    mpl.use("Agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


def test_under_the_curves_stands_who_is_at_risk(frame: pd.DataFrame) -> None:
    ax = figures.plot_kaplan_meier(frame)
    ax.figure.canvas.draw()
    group = cohort.risk_group(frame)
    told = [text.get_text() for text in ax.texts]
    for name in ("low", "high"):
        assert name in told
        days = frame.loc[group == name, "time_days"]
        assert [str(int((days >= tick).sum())) for tick in ax.get_xticks()] == told[told.index(name) + 1 :][
            : len(ax.get_xticks())
        ]
    assert [line.get_label() for line in ax.lines if " (n = " in str(line.get_label())] == [
        f"{name} (n = {int((group == name).sum())})" for name in ("low", "high")
    ]


def test_curves_can_be_drawn_by_any_column(frame: pd.DataFrame) -> None:
    ax = figures.plot_kaplan_meier(frame, "site")
    assert sum(" (n = " in str(line.get_label()) for line in ax.lines) == 3


def test_a_forest_shows_ratios_and_intervals(frame: pd.DataFrame) -> None:
    fit = cohort.fit_cox(frame, ["stage", "risk"])
    ax = figures.plot_forest(fit)
    row = fit.table.loc["risk (per SD)"]
    assert any(text.get_text().startswith(f"{row.hazard_ratio:.2f} ({row.low:.2f}") for text in ax.texts)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(fit.table.index)
    assert ax.get_xscale() == "log"


def test_a_forest_of_too_few_events_is_a_sentence(frame: pd.DataFrame) -> None:
    fit = cohort.fit_cox(frame[frame["event"].cumsum() <= 5], ["risk"])
    assert "5 events, 20 needed" in figures.plot_forest(fit).texts[0].get_text()


def test_calibration_and_net_benefit_are_drawn_as_computed(frame: pd.DataFrame) -> None:
    ax = figures.plot_calibration(frame, [400, 800])
    shown = [line for line in ax.lines if len(line.get_xdata()) == 5]
    np.testing.assert_allclose(np.array(shown[0].get_ydata(), float), cohort.calibration_at(frame, 400)["observed"])
    curve = figures.plot_decision_curve(frame, 400)
    np.testing.assert_allclose(curve.lines[0].get_ydata(), cohort.decision_curve(frame, 400)["model"])
    stage = figures.plot_stage_calibration(frame, 5)
    np.testing.assert_allclose(stage.lines[1].get_ydata(), cohort.stage_calibration(frame, 5)["observed"])


def test_a_confusion_matrix_holds_the_counts(frame: pd.DataFrame) -> None:
    table = cohort.confusion(frame)
    ax = figures.plot_confusion(table, title="all")
    assert [int(text.get_text()) for text in ax.texts] == table.to_numpy().ravel().tolist()


def test_bars_of_attributions_are_ordered_by_size() -> None:
    rows = [
        {"slide_id": f"s{k}", "target": "risk", "by": "group", "name": name, "fraction": share * (-1) ** k}
        for k in range(4)
        for name, share in (("texture", 0.1), ("stain", 0.6), ("shape", 0.3))
    ]
    ax = figures.plot_attributions(pd.DataFrame(rows), top=2)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stain", "shape"]
    assert [bar.get_width() for bar in ax.patches] == [pytest.approx(0.6), pytest.approx(0.3)]


def test_they_draw_on_the_axes_given_and_refuse_patients_trained_on(frame: pd.DataFrame) -> None:
    from matplotlib import pyplot

    ax = pyplot.subplots()[1]
    assert figures.plot_decision_curve(frame, 400, ax=ax) is ax
    seen = frame.assign(relation="in_training")
    for draw in (
        figures.plot_kaplan_meier,
        lambda each: figures.plot_calibration(each, [400]),
        lambda each: figures.plot_decision_curve(each, 400),
        figures.plot_stage_calibration,
    ):
        with pytest.raises(CohortError, match="trained on"):
            draw(seen)


def test_every_name_of_the_room_is_there() -> None:
    assert sorted(figures.__all__) == dir(figures)
    for name in figures.__all__:
        assert callable(getattr(figures, name))


def test_time_may_be_in_months_and_says_so(frame: pd.DataFrame) -> None:
    axes = figures.plot_kaplan_meier(frame, unit="months")
    assert axes.get_xlabel() == "months"
    assert axes.get_xlim()[1] == pytest.approx(frame["time_days"].max() / (365.25 / 12))
    # the frame itself stays in days
    assert figures.plot_kaplan_meier(frame).get_xlim()[1] == pytest.approx(frame["time_days"].max())
    with pytest.raises(CohortError, match="unit is 'weeks', expected days, months, years"):
        figures.plot_kaplan_meier(frame, unit="weeks")  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_the_numbers_at_risk_are_inside_the_figure(frame: pd.DataFrame, layout: str | None) -> None:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(5, 3.6), layout=layout)
    figures.plot_kaplan_meier(frame, "stage", ax=ax)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text().strip("|")]
    assert len(boxes) > 4
    assert min(box.y0 for box in boxes) >= 0
    assert min(box.x0 for box in boxes) >= 0


def test_a_forest_of_subgroups_has_a_line_for_each(frame: pd.DataFrame) -> None:
    fits = {site: cohort.fit_cox(part, ["risk"]) for site, part in frame.groupby("site")}
    few = cohort.fit_cox(frame.head(10), ["risk"])
    axes = figures.plot_forest({**fits, "few": few})
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) == len(fits) + 1
    assert labels[-1] == f"few ({few.n_events} events of {few.n_patients})"
    assert f"{few.n_events} events, 20 needed" in [text.get_text() for text in axes.texts]
