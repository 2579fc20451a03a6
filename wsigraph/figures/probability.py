"""Stated probabilities against what came, and whether acting on them is worth it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsigraph.cohort.statistics.horizon import calibration_at, decision_curve
from wsigraph.cohort.statistics.stages import stage_calibration
from wsigraph.figures.axes import COLOURS, GREY, axes, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

_LOWEST = -0.1


def plot_calibration(frame: pd.DataFrame, days: Sequence[int], n_bins: int = 5, *, ax: Axes | None = None) -> Axes:
    """Draw predicted against observed probability of the event by some days.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.load`, a row a patient.
    days : sequence of int
        Horizons of the frame.
    n_bins : int
        Groups of equally many patients.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A line a horizon with 95 % intervals; on the diagonal, stated and observed are the same.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.calibration_at`.
    """
    plot = _square(ax)
    for day, colour in zip(days, COLOURS * len(days), strict=False):
        table = calibration_at(frame, day, n_bins).dropna(subset=["observed"])
        reach = (table["observed"] - table["low"]).fillna(0.0), (table["high"] - table["observed"]).fillna(0.0)
        plot.errorbar(
            table["predicted"], table["observed"], yerr=reach, fmt="o-", color=colour, capsize=3, label=f"day {day}"
        )
    plot.set(xlabel="predicted probability of the event", ylabel="observed (Kaplan-Meier)")
    plot.legend(frameon=False, loc="upper left")
    return plot


def plot_stage_calibration(frame: pd.DataFrame, n_bins: int = 10, *, ax: Axes | None = None) -> Axes:
    """Draw stated against observed probability of lying beyond a stage.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.load`, a row a patient.
    n_bins : int
        Groups of equally many.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        All cuts between two stages together.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.stage_calibration`.
    """
    plot = _square(ax)
    table = stage_calibration(frame, n_bins)
    # a point on the frame is drawn whole
    plot.plot(table["stated"], table["observed"], "o-", color=COLOURS[0], clip_on=False)
    plot.set(xlabel="stated probability of being beyond a stage", ylabel="observed share")
    return plot


def _square(ax: Axes | None) -> Axes:
    plot = plain(axes(ax, 4.2, 4.2))
    plot.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    plot.set(xlim=(0, 1), ylim=(0, 1.02), aspect="equal")
    return plot


def plot_decision_curve(frame: pd.DataFrame, day: int, *, ax: Axes | None = None) -> Axes:
    """Draw the net benefit of acting on the model, beside acting on everybody and on nobody.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.load`, a row a patient.
    day : int
        One of the frame's horizons.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Thresholds across, net benefit up.

    Raises
    ------
    CohortError
        As `wsigraph.cohort.decision_curve`.
    """
    plot = plain(axes(ax))
    table = decision_curve(frame, day)
    plot.plot(table["threshold"], table["model"], color=COLOURS[0], label="model")
    plot.plot(table["threshold"], table["all"], color=COLOURS[1], linestyle="--", label="everybody")
    plot.plot(table["threshold"], table["none"], color=GREY, linewidth=0.8, label="nobody")
    top = max(float(table[["model", "all"]].max().max()), 0.0)
    # treating everybody falls without bound; below a little under nothing there is nothing to see
    plot.set(ylim=(min(_LOWEST, -0.25 * top), 1.1 * top + 0.02), xlim=(0, 1))
    plot.set(xlabel="threshold probability", ylabel=f"net benefit, event by day {day}")
    plot.legend(frameon=False)
    return plot
