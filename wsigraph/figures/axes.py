"""Axes to draw on, and the colours of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, told apart by the colour-blind."""
GREY = "#666666"


def axes(ax: Axes | None, width: float = 5.0, height: float = 3.6) -> Axes:
    """Return the axes given, or new ones in a figure of their own, inches wide and high."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    new_axes: Axes = pyplot.subplots(figsize=(width, height), layout="constrained")[1]
    return new_axes


def plain(ax: Axes) -> Axes:
    """Return axes without the two lines that bound nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax
