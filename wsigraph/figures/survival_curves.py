"""Kaplan and Meier's curves with the numbers at risk under them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.statistics.external_only import followed, risk_group
from wsigraph.figures.axes import COLOURS, axes, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_ROW = 0.085
_N_TIMES = 6


def plot_kaplan_meier(frame: pd.DataFrame, group: pd.Series | str | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw survival by group, with 95 % bands, marks where patients were censored and numbers at risk.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.load`, a row a patient.
    group : pandas.Series or str, optional
        Group of every row, or a column; `wsigraph.cohort.risk_group` where left out: high and low risk by the cut that
        was fixed in training.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Days across, survival up; below it one row of numbers a group.

    Raises
    ------
    CohortError
        If the frame holds patients that were trained on, or nobody with follow-up; as `risk_group` without `group`.
    """
    from matplotlib.ticker import MaxNLocator

    known = followed(frame)
    groups = _groups(known, group)
    plot = plain(axes(ax, 5.4, 4.2))
    names = [name for name in _levels(groups) if (groups == name).any()]
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        _curve(plot, known[groups == name], str(name), colour)
    last = float(known["time_days"].max())
    plot.set(xlim=(0, last), ylim=(0, 1.02), ylabel="survival")
    ticks = [tick for tick in MaxNLocator(_N_TIMES).tick_values(0, last) if tick <= last]
    plot.set_xticks(ticks)
    plot.set_xlabel("days", labelpad=2)
    plot.legend(frameon=False, loc="upper right")
    _at_risk(plot, known, groups, names, np.array(ticks))
    return plot


def _groups(known: pd.DataFrame, group: pd.Series | str | None) -> pd.Series:
    if group is None:
        return risk_group(known)
    return known[group] if isinstance(group, str) else group.loc[known.index]


def _levels(groups: pd.Series) -> list[object]:
    return list(groups.cat.categories) if hasattr(groups, "cat") else sorted(groups.dropna().unique())


def _curve(plot: Axes, part: pd.DataFrame, name: str, colour: str) -> None:
    time_days, event = part["time_days"].to_numpy(float), part["event"].to_numpy(bool)
    steps = kaplan_meier(time_days, event)
    days = np.concatenate([[0.0], steps.time_days, [time_days.max()]])
    survival, low, high = (
        np.concatenate([[1.0], values, values[-1:] if len(values) else [1.0]])
        for values in (steps.survival, steps.low, steps.high)
    )
    plot.step(days, survival, where="post", color=colour, label=f"{name} (n = {len(part)})")
    plot.fill_between(days, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    censored = time_days[~event]
    plot.plot(censored, steps.survival_at(censored), "|", color=colour, markersize=5)


def _at_risk(plot: Axes, known: pd.DataFrame, groups: pd.Series, names: list[object], ticks: np.ndarray) -> None:
    """Write how many of each group are still followed at each tick, in rows below the axis."""
    place = plot.get_xaxis_transform()
    y = top = -0.24
    plot.text(0, top, "at risk", transform=place, ha="left", va="center", fontsize=8, fontweight="bold")
    for row, (name, colour) in enumerate(zip(names, COLOURS * len(names), strict=False), start=1):
        days = known.loc[groups == name, "time_days"].to_numpy(float)
        y = top - row * _ROW
        plot.annotate(
            str(name),
            (0, y),
            (-14, 0),
            xycoords=place,
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color=colour,
        )
        for tick in ticks:
            n = int((days >= tick).sum())
            plot.text(tick, y, f"{n}", transform=place, ha="center", va="center", fontsize=8)
    # the layout leaves room for what is there, to the letter; a blank row keeps the last from the edge
    plot.text(0, y - 0.5 * _ROW, "|", transform=place, va="top", fontsize=8, alpha=0.0)
