"""Figures of attributions: of a cohort as bars, of one slide as a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from wsigraph.errors import CohortError
from wsigraph.figures.axes import COLOURS, GREY, axes, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from wsigraph.records import CoarseGraph, Explanation

_UM_PER_MM = 1000.0


def plot_attributions(
    frame: pd.DataFrame, by: Literal["feature", "group", "cluster"] = "group", top: int = 10, *, ax: Axes | None = None
) -> Axes:
    """Draw the mean absolute attribution of every name over the slides, with a dot for each slide's signed one.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `wsigraph.cohort.reasons`.
    by : str
        ``feature``, ``group`` or ``cluster``.
    top : int
        Largest number of bars.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        The strongest name at the top. Dots right of 0 raise the output, dots left of 0 lower it.
    """
    part = frame[frame["by"] == by]
    strength = part["fraction"].abs().groupby(part["name"]).mean().sort_values(ascending=False)[:top]
    # a tissue cluster is labelled by several features, which take one line each
    labels = [str(name).replace(", ", ",\n") for name in strength.index]
    plot = plain(axes(ax, 5.6, 1.0 + 0.3 * sum(1 + label.count("\n") for label in labels)))
    at = np.arange(len(strength))[::-1]
    plot.barh(at, strength.to_numpy(float), color=COLOURS[0], alpha=0.35)
    for y, name in zip(at, strength.index, strict=True):
        fractions = part.loc[part["name"] == name, "fraction"].to_numpy(float)
        # vertical offsets by rank, so that the figure is reproducible
        offset = (np.arange(len(fractions)) / max(1, len(fractions) - 1) - 0.5) * 0.5
        plot.plot(fractions, y + offset, ".", color=COLOURS[0], markersize=3)
    plot.axvline(0.0, color=GREY, linewidth=0.8)
    plot.set_yticks(at, labels)
    plot.set_xlabel(
        f"fraction of the attribution to {frame['target'].iloc[0]} (bar: mean size; dot: one slide, signed)"
    )
    return plot


def plot_regions(coarse: CoarseGraph, explanation: Explanation, *, ax: Axes | None = None) -> Axes:
    """Draw the regions of one slide at their positions, sized by area and coloured by attribution.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    explanation : Explanation
        Explanation of the same slide.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Axes in mm. Red regions raise the output, blue ones lower it.

    Raises
    ------
    CohortError
        If graph and explanation differ in their number of regions.
    """
    from matplotlib.collections import LineCollection

    centre = coarse.graph.centroid_um / _UM_PER_MM
    if len(centre) != len(explanation.node):
        raise CohortError(
            f"the graph has {len(centre)} regions and the explanation {len(explanation.node)}, expected the same "
            "number; pass the explanation of this graph"
        )
    plot = plain(axes(ax, 5.0, 4.4))
    area = coarse.graph.moment("n").astype(float)
    most = float(np.abs(explanation.node).max()) or 1.0
    plot.add_collection(LineCollection(list(centre[coarse.graph.edge_index.T]), colors=GREY, linewidths=0.3, zorder=0))
    dots = plot.scatter(
        centre[:, 0],
        centre[:, 1],
        s=400 * area / area.max(),
        c=explanation.node,
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        edgecolors=GREY,
    )
    plot.figure.colorbar(dots, ax=plot, label=f"attribution to {explanation.target}")
    plot.set(aspect="equal", xlabel="mm", ylabel="mm", title=explanation.slide_id)
    # row numbers of a slide increase downwards
    plot.invert_yaxis()
    return plot
