"""What drives a prediction over a cohort, as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from wsigraph.figures.axes import COLOURS, GREY, axes, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_attributions(
    frame: pd.DataFrame, by: Literal["feature", "group", "kind"] = "group", top: int = 10, *, ax: Axes | None = None
) -> Axes:
    """Draw the mean absolute share of every part over the slides, with a dot for each slide's signed share.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.reasons`.
    by : str
        ``feature``, ``group`` or ``kind``.
    top : int
        Most bars.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        The strongest part at the top; dots right of 0 raised the output, dots left of it lowered it.
    """
    part = frame[frame["by"] == by]
    strength = part["share"].abs().groupby(part["name"]).mean().sort_values(ascending=False)[:top]
    drawn = plain(axes(ax, 5.6, 1.0 + 0.3 * len(strength)))
    at = np.arange(len(strength))[::-1]
    drawn.barh(at, strength.to_numpy(float), color=COLOURS[0], alpha=0.35)
    for y, name in zip(at, strength.index, strict=True):
        shares = part.loc[part["name"] == name, "share"].to_numpy(float)
        # spread by rank, so that a picture is the same each time
        offset = (np.arange(len(shares)) / max(1, len(shares) - 1) - 0.5) * 0.5
        drawn.plot(shares, y + offset, ".", color=COLOURS[0], markersize=3)
    drawn.axvline(0.0, color=GREY, linewidth=0.8)
    drawn.set_yticks(at, list(strength.index))
    drawn.set_xlabel(f"share of the attribution to {frame['target'].iloc[0]}: bar mean size, dots signed, one a slide")
    return drawn
