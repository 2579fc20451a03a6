"""Hazard ratios with their intervals, one line each: the forest plot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from wsigraph.figures.axes import COLOURS, GREY, axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from wsigraph.cohort.statistics.cox import CoxFit


def plot_forest(fit: CoxFit | Mapping[str, CoxFit], *, ax: Axes | None = None) -> Axes:
    """Draw the hazard ratios of a Cox model, or of one model per subgroup, with 95 % intervals.

    Parameters
    ----------
    fit : wsigraph.cohort.CoxFit or mapping of str to it
        From `wsigraph.cohort.fit_cox`; or one fit for each subgroup, e.g. ``{site: fit}``, for a subgroup forest.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        On a logarithmic scale, a line a covariate (of each subgroup, with its patients and events), the figures beside
        it; where nothing was fitted, the reason in words.
    """
    fits = dict(fit) if isinstance(fit, Mapping) else {"": fit}
    rows = _rows(fits)
    plot = plain(axes(ax, 6.2, 1.3 + 0.42 * max(1, len(rows))))
    if not any(np.isfinite(row[1:4]).all() for row in rows):
        note = "; ".join(f"{name}: {part.note}" if name else part.note for name, part in fits.items())
        plot.text(0.5, 0.5, note, transform=plot.transAxes, ha="center", va="center", wrap=True)
        plot.set_axis_off()
        return plot
    at = np.arange(len(rows))[::-1]
    for y, row in zip(at, rows, strict=True):
        beside, colour = row[4], GREY
        if np.isfinite(row[1:4]).all():
            ratio, low, high = row[1:4]
            plot.errorbar(ratio, y, xerr=[[ratio - low], [high - ratio]], fmt="s", color=COLOURS[0], capsize=3)
            colour = "black"
        place = (1.02, float(y))
        plot.annotate(
            beside,
            place,
            xycoords=plot.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=colour,
            annotation_clip=False,
        )
    plot.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    plot.set(xscale="log", ylim=(-0.6, len(at) - 0.4), xlabel="hazard ratio (95 % interval)")
    plot.set_yticks(at, [row[0] for row in rows])
    _label(plot)
    return plot


def _rows(fits: Mapping[str, CoxFit]) -> list[tuple[str, float, float, float, str]]:
    """Return a label, ratio, low, high and the text beside each line, NaN where a subgroup was not fitted."""
    rows: list[tuple[str, float, float, float, str]] = []
    nan = float("nan")
    for name, part in fits.items():
        group = f"{name} ({part.n_events} events of {part.n_patients})" if name else ""
        if not part.is_fitted:
            rows.append((group, nan, nan, nan, part.note.split(":")[0]))
            continue
        covariates = list(part.table.index)
        for covariate, row in zip(covariates, part.table.itertuples(), strict=True):
            label = ", ".join(filter(None, [group, str(covariate) if len(covariates) > 1 or not name else ""]))
            text = f"{row.hazard_ratio:.2f} ({row.low:.2f} to {row.high:.2f}), p {_p(float(row.p))}"
            rows.append((label, float(row.hazard_ratio), float(row.low), float(row.high), text))
    return rows


def _label(plot: Axes) -> None:
    """Write ratios as people read them: 0.5, 1, 2, not powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    plot.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    plot.xaxis.set_major_formatter(ScalarFormatter())
    plot.xaxis.set_minor_formatter(NullFormatter())


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
