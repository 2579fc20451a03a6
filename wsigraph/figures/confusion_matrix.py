"""Confusion matrix of stages: predicted against true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsigraph.figures.axes import axes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def plot_confusion(table: pd.DataFrame, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: counts in words, shares of the true stage in colour.

    Parameters
    ----------
    table : pandas.DataFrame
        From `wsigraph.cohort.confusion`; of one site: ``table.loc[site]``.
    title : str
        What stands above.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        True stage down, predicted stage across.
    """
    plot = axes(ax, 3.4, 3.4)
    counts = table.to_numpy(float)
    total = counts.sum(axis=1, keepdims=True)
    fraction = np.divide(counts, total, out=np.zeros_like(counts), where=total > 0)
    plot.imshow(fraction, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if fraction[row, column] > 0.6 else "black"
        plot.text(column, row, f"{count:.0f}", ha="center", va="center", color=colour)
    plot.set_xticks(np.arange(counts.shape[1]), [str(name) for name in table.columns])
    plot.set_yticks(np.arange(counts.shape[0]), [str(name) for name in table.index])
    plot.set(xlabel="predicted", ylabel="true", title=title)
    return plot
