"""What drives a prediction: over a cohort as bars, in one slide where it lies."""

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
    # a kind of tissue is named by several features: on one line they would leave no room for the bars
    labels = [str(name).replace(", ", ",\n") for name in strength.index]
    drawn = plain(axes(ax, 5.6, 1.0 + 0.3 * sum(1 + label.count("\n") for label in labels)))
    at = np.arange(len(strength))[::-1]
    drawn.barh(at, strength.to_numpy(float), color=COLOURS[0], alpha=0.35)
    for y, name in zip(at, strength.index, strict=True):
        shares = part.loc[part["name"] == name, "share"].to_numpy(float)
        # spread by rank, so that a picture is the same each time
        offset = (np.arange(len(shares)) / max(1, len(shares) - 1) - 0.5) * 0.5
        drawn.plot(shares, y + offset, ".", color=COLOURS[0], markersize=3)
    drawn.axvline(0.0, color=GREY, linewidth=0.8)
    drawn.set_yticks(at, labels)
    drawn.set_xlabel(f"share of the attribution to {frame['target'].iloc[0]}: bar mean size, dots signed, one a slide")
    return drawn


def plot_regions(coarse: CoarseGraph, explanation: Explanation, *, ax: Axes | None = None) -> Axes:
    """Draw the regions of one slide where they lie, as large as they are, in the colour of their attribution.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    explanation : Explanation
        Of the same slide.
    ax : matplotlib.axes.Axes, optional
        Where to draw.

    Returns
    -------
    matplotlib.axes.Axes
        Millimetres; red raised the output, blue lowered it.

    Raises
    ------
    CohortError
        If the two are of different regions.
    """
    from matplotlib.collections import LineCollection

    centre = coarse.graph.centroid_um / _UM_PER_MM
    if len(centre) != len(explanation.node):
        raise CohortError(
            f"the graph has {len(centre)} regions and the explanation {len(explanation.node)}, expected as many; "
            "explain this very graph"
        )
    drawn = plain(axes(ax, 5.0, 4.4))
    area = coarse.graph.moment("n").astype(float)
    most = float(np.abs(explanation.node).max()) or 1.0
    drawn.add_collection(LineCollection(list(centre[coarse.graph.edge_index.T]), colors=GREY, linewidths=0.3, zorder=0))
    dots = drawn.scatter(
        centre[:, 0],
        centre[:, 1],
        s=400 * area / area.max(),
        c=explanation.node,
        cmap="RdBu_r",
        vmin=-most,
        vmax=most,
        edgecolors=GREY,
    )
    drawn.figure.colorbar(dots, ax=drawn, label=f"attribution to {explanation.target}")
    drawn.set(aspect="equal", xlabel="mm", ylabel="mm", title=explanation.slide_id)
    # a slide's rows count downwards
    drawn.invert_yaxis()
    return drawn
