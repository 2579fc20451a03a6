"""Hazard ratios with their intervals, one line each: the forest plot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsigraph.figures.axes import COLOURS, GREY, axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from wsigraph.cohort.statistics.cox import CoxFit


def plot_forest(fit: CoxFit, *, ax: Axes | None = None) -> Axes:
    """Draw the hazard ratios of a Cox model with 95 % intervals, on a logarithmic scale.

    Parameters
    ----------
    fit : wsigraph.cohort.CoxFit
        From `wsigraph.cohort.fit_cox`.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        A line a covariate, the figures beside it; where nothing was fitted, the reason in words.
    """
    plot = plain(axes(ax, 6.2, 1.3 + 0.42 * max(1, len(fit.table))))
    if not fit.is_fitted:
        plot.text(0.5, 0.5, fit.note, transform=plot.transAxes, ha="center", va="center", wrap=True)
        plot.set_axis_off()
        return plot
    at = np.arange(len(fit.table))[::-1]
    ratio, low, high = (fit.table[name].to_numpy(float) for name in ("hazard_ratio", "low", "high"))
    plot.errorbar(ratio, at, xerr=[ratio - low, high - ratio], fmt="s", color=COLOURS[0], capsize=3)
    plot.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    plot.set(xscale="log", ylim=(-0.6, len(at) - 0.4), xlabel="hazard ratio (95 % interval)")
    plot.set_yticks(at, list(fit.table.index))
    _label(plot)
    for y, row in zip(at, fit.table.itertuples(), strict=True):
        text = f"{row.hazard_ratio:.2f} ({row.low:.2f} to {row.high:.2f}), p {_p(float(row.p))}"
        plot.annotate(
            text, (1.02, float(y)), xycoords=plot.get_yaxis_transform(), va="center", fontsize=8, annotation_clip=False
        )
    return plot


def _label(plot: Axes) -> None:
    """Write ratios as people read them: 0.5, 1, 2, not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    plot.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plot.xaxis.set_major_formatter(ScalarFormatter())
    plot.xaxis.set_minor_formatter(NullFormatter())


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
