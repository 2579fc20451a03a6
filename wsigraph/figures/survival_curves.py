"""Kaplan and Meier's curves with the numbers at risk under them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.cohort.statistics.external_only import followed, risk_group
from wsigraph.errors import CohortError
from wsigraph.figures.axes import COLOURS, axes, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_DAYS = {"days": 1.0, "months": 365.25 / 12.0, "years": 365.25}
_TOP, _ROW, _TICK_LABELS = 36.0, 12.0, 18.0
"""Points from the axis to the head of the numbers at risk, from row to row, and those that lie below axes anyway."""
_N_TIMES = 6


def plot_kaplan_meier(
    frame: pd.DataFrame,
    group: pd.Series | str | None = None,
    *,
    unit: Literal["days", "months", "years"] = "days",
    ax: Axes | None = None,
) -> Axes:
    """Draw survival by group, with 95 % bands, marks where patients were censored and numbers at risk.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.load`, a row a patient.
    group : pandas.Series or str, optional
        Group of every row, or a column; `wsigraph.cohort.risk_group` where left out: high and low risk by the cut that
        was fixed in training.
    unit : str
        Unit of the time axis: ``days``, ``months`` of 30.4375 days, or ``years`` of 365.25.
    ax : matplotlib.axes.Axes, optional
        Where to draw. In a figure without a layout of its own they become smaller, so that the numbers at risk stay
        inside the place of the axes.

    Returns
    -------
    matplotlib.axes.Axes
        Time across, survival up; below it one row of numbers a group.

    Raises
    ------
    CohortError
        If the frame holds patients that were trained on, or nobody with follow-up; as `risk_group` without `group`; or
        if the unit is another.
    """
    from matplotlib.ticker import MaxNLocator

    if unit not in _DAYS:
        raise CohortError(f"unit is {unit!r}, expected {', '.join(_DAYS)}")
    known = followed(frame)
    groups = _groups(known, group)
    known["time_days"] /= _DAYS[unit]
    plot = plain(axes(ax, 5.4, 4.2))
    names = [name for name in _levels(groups) if (groups == name).any()]
    for name, colour in zip(names, COLOURS * len(names), strict=False):
        _curve(plot, known[groups == name], str(name), colour)
    last = float(known["time_days"].max())
    plot.set(xlim=(0, last), ylim=(0, 1.02), ylabel="survival")
    ticks = [tick for tick in MaxNLocator(_N_TIMES).tick_values(0, last) if tick <= last]
    plot.set_xticks(ticks)
    plot.set_xlabel(unit, labelpad=2)
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
    """Write how many of each group are still followed at each tick, in rows below the axis.

    Rows are placed in points: in parts of the axes' height they would move when a layout makes space for them.
    """
    figure = plot.get_figure(root=True)
    if figure is not None and figure.get_layout_engine() is None:
        # nothing makes space for the rows: they would lie outside the figure, or on the axes below
        box, points = plot.get_position(), 72.0 * figure.get_figheight()
        needed = (_TOP + _ROW * (len(names) + 0.5) - _TICK_LABELS) / points
        height = max(box.height - needed, 0.2 * box.height)
        plot.set_position((box.x0, box.y1 - height, box.width, height))
    _below(plot, "at risk", 0.0, -_TOP, ha="left", fontweight="bold")
    for row, (name, colour) in enumerate(zip(names, COLOURS * len(names), strict=False), start=1):
        days = known.loc[groups == name, "time_days"].to_numpy(float)
        y = -_TOP - row * _ROW
        _below(plot, str(name), 0.0, y, x_points=-14.0, ha="right", color=colour)
        for tick in ticks:
            _below(plot, f"{int((days >= tick).sum())}", float(tick), y, ha="center")


def _below(plot: Axes, text: str, x: float, y_points: float, *, x_points: float = 0.0, **style: str) -> None:
    """Write text below the axis, some points from a place on it."""
    plot.annotate(
        text,
        (x, 0.0),
        (x_points, y_points),
        xycoords=plot.get_xaxis_transform(),
        textcoords="offset points",
        va="center",
        fontsize=8,
        annotation_clip=False,
        **style,  # type: ignore[arg-type]
    )
