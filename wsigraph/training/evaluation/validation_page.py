"""validation.html: an external validation as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsigraph.cohort.metrics.aalen_johansen import IncidenceSteps
from wsigraph.cohort.statistics.frame import horizons as horizons_of
from wsigraph.cohort.statistics.horizon import calibration_at, decision_curve
from wsigraph.figures.page import templates
from wsigraph.figures.page.charts import calibration_chart, decision_curve_chart
from wsigraph.training.evaluation.competing_events import incidence_charts
from wsigraph.training.evaluation.evaluation_page import coverage_row, interval_and_count, score_rows

if TYPE_CHECKING:
    import pandas as pd

_CALIBRATION = {
    "observed_over_expected": "Observed / expected events (1 is right)",
    "slope": "Calibration slope (1 is right)",
}


def render_validation(
    document: Mapping[str, Any], table: pd.DataFrame, incidence: Mapping[str, IncidenceSteps] | None = None
) -> str:
    """Return the page of an external validation.

    Parameters
    ----------
    document : mapping
        The output of ``wsigraph validate --json``.
    table : pandas.DataFrame
        Predictions and outcomes of every patient.
    incidence : mapping of str to IncidenceSteps, optional
        Cumulative incidences, where there are competing events.

    Returns
    -------
    str
        HTML, with its charts inside.
    """
    scores = [("Survival", score_rows(document["survival"])), ("Stage", score_rows(document["stage"]))]
    # one model predicts everybody, so pairs are formed across the whole cohort
    scores[0] = ("Survival", [(text.split(", pairs within")[0], value) for text, value in scores[0][1]])
    calibration = [(text, interval_and_count(document["calibration"].get(name))) for name, text in _CALIBRATION.items()]
    scores.insert(1, ("Calibration of survival", calibration if document["calibration"] else []))
    over = [
        (title, interval_and_count(document["over_sites"][part][name]))
        for part, name, title in (("survival", "c_index", "Harrell's C within sites"), ("stage", "auc", "Stage AUC"))
        if name in document["over_sites"].get(part, {})
    ]
    scores.append(("Mean over sites, weighted by patients", over if len(document["sites"]) > 1 else []))
    recalibration = document["recalibration"]
    return templates.render_page(
        "validation.html",
        document=document,
        scores=[(title, rows) for title, rows in scores if rows],
        horizons=list(_horizons(table)) if document["calibration"] else [],
        incidence_charts=incidence_charts(incidence or {}),
        baseline=[
            (f"{day:,.0f}", f"{hazard:.4f}")
            for day, hazard in zip(
                recalibration.get("time_days", ()), recalibration.get("cumulative_hazard", ()), strict=True
            )
        ],
        coverage=[coverage_row(name, row) for name, row in document["stage_sets"].get("coverage", {}).items()],
        sites=[_site_row(site) for site in document["sites"]],
    )


def _horizons(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the charts of every day that some patient was followed to."""
    shown = []
    for day in horizons_of(table):
        if not (table["time_days"] >= day).any():
            continue
        groups = calibration_at(table, day).dropna(subset=["observed"])
        curve = decision_curve(table, day)
        if groups.empty:
            continue
        shown.append(
            {
                "day": day,
                "calibration_chart": calibration_chart(
                    groups["predicted"].to_numpy(float),
                    groups["observed"].to_numpy(float),
                    label=f"predicted probability of the event by day {day:,}",
                    title=f"Calibration at day {day:,}",
                ),
                "decision_chart": decision_curve_chart(
                    curve["threshold"].to_numpy(float),
                    curve["model"].to_numpy(float),
                    curve["all"].to_numpy(float),
                    title=f"Decision curve at day {day:,}",
                ),
            }
        )
    return shown


def _site_row(site: Mapping[str, Any]) -> list[str]:
    texts = [interval_and_count(site.get(name)) for name in ("c_index", "observed_over_expected", "stage_auc")]
    return [site["site"] or "not named", str(site["n_patients"]), str(site["n_events"]), *texts]
