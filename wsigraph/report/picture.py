"""The upper panels of report.png: the tissue with its outlines, and its regions in colours.

Each function draws one view, only on the axes that it gets.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from wsigraph.geometry import Box, px_to_um
from wsigraph.outline.outline import Outlines
from wsigraph.report.font import FONT
from wsigraph.report.panel import INK
from wsigraph.report.view import RegionMap, View, mean_colours

_DARK, _LIGHT = "#12263f", "#ffffff"
_FRAME = "#c5ccd3"
_LINE_COVERAGE = 0.12


def scale_bar_um(width_um: float) -> float:
    """Return the round length (1, 2 or 5 times a power of ten, um) nearest below a quarter of `width_um`."""
    target = width_um / 4
    power = 10.0 ** math.floor(math.log10(target))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= target)


def draw_tissue(axes: Axes, view: View, title: str, *, is_dense: bool, mark: Box | None = None) -> None:
    """Draw the tissue with its outlines and a scale bar.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    view : View
        What to draw.
    title : str
        Title of the panel.
    is_dense : bool
        Whether regions are too small for outlines; then only the outline of the tissue is drawn.
    mark : Box, optional
        A part to mark with a frame, level-0 pixels.
    """
    axes.imshow(view.pixels, extent=_extent(view), interpolation="antialiased")
    # A light line below a dark one is visible on dark epithelium and on pale stroma.
    axes.add_collection(_lines(axes, view, _LIGHT, is_dense, widen=1.2, alpha=0.5))
    axes.add_collection(_lines(axes, view, _DARK, is_dense))
    if mark is not None:
        x, y = [mark.x0, mark.x1, mark.x1, mark.x0, mark.x0], [mark.y0, mark.y0, mark.y1, mark.y1, mark.y0]
        axes.plot(x, y, color=_LIGHT, linewidth=3.4)
        axes.plot(x, y, color=_DARK, linewidth=1.8)
    _frame(axes, view, title)
    _draw_scale_bar(axes, view)


def draw_regions(axes: Axes, scale: Axes | None, view: View, region_map: RegionMap | None, *, is_dense: bool) -> None:
    """Draw the regions in the colours of a feature, or in their mean colours.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    scale : Axes or None
        Where to draw the colour scale.
    view : View
        What to draw.
    region_map : RegionMap or None
        The feature; mean colours if None.
    is_dense : bool
        Whether regions are too small here for their outlines.
    """
    if region_map is None:
        axes.imshow(mean_colours(view), extent=_extent(view), interpolation="nearest")
        title = "Regions in their mean colour"
    else:
        values = np.concatenate([[np.nan], region_map.values])[view.regions]
        image = axes.imshow(values, extent=_extent(view), interpolation="nearest", cmap="viridis")
        image.set_clim(region_map.low, region_map.high)
        title = f"Regions by {region_map.label}"
    if not is_dense:
        axes.add_collection(_lines(axes, view, _LIGHT if region_map else _DARK, is_dense))
    _frame(axes, view, title)
    if scale is not None and region_map is not None:
        bar = axes.figure.colorbar(image, cax=scale, orientation="horizontal", extend="both")
        bar.outline.set_visible(False)
        scale.tick_params(labelsize=9.5, colors=INK)
    elif scale is not None:
        scale.axis("off")


def _extent(view: View) -> tuple[float, float, float, float]:
    return float(view.box.x0), float(view.box.x1), float(view.box.y1), float(view.box.y0)


def _frame(axes: Axes, view: View, title: str) -> None:
    axes.set_xlim(view.box.x0, view.box.x1)
    axes.set_ylim(view.box.y1, view.box.y0)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color(_FRAME)
    axes.set_title(title, fontsize=12, loc="left", color=INK, fontfamily=FONT, parse_math=False)


def _points_per_px(axes: Axes, view: View) -> float:
    """Return how many typographic points (1/72 inch) a level-0 pixel measures on the page."""
    return float(axes.bbox.width) / axes.figure.dpi * 72 / view.box.width


def _lines(
    axes: Axes, view: View, colour: str, is_dense: bool, *, widen: float = 0.0, alpha: float = 1.0
) -> LineCollection:
    outlines = view.outlines
    chosen = outlines.line_is_outer if is_dense else _crosses(outlines, view.box)
    lines = outlines.lines(chosen)
    length_px = sum(float(np.hypot(*np.diff(line, axis=0).T).sum()) for line in lines)
    # Lines are thin enough not to cover the regions that they outline.
    coverage_per_point = max(length_px, 1.0) / (view.box.width * view.box.height) / _points_per_px(axes, view)
    width = float(np.clip(_LINE_COVERAGE / coverage_per_point, 0.5, 1.0))
    return LineCollection(
        lines, colors=colour, linewidths=width * (1 + widen), alpha=alpha, capstyle="round", joinstyle="round"
    )


def _crosses(outlines: Outlines, box: Box) -> NDArray[np.bool_]:
    """Return the lines whose bounding box meets `box`."""
    if len(outlines.line_start) < 2:
        return np.zeros(0, np.bool_)
    low = np.minimum.reduceat(outlines.line_points, outlines.line_start[:-1])
    high = np.maximum.reduceat(outlines.line_points, outlines.line_start[:-1])
    return np.asarray((low[:, 0] <= box.x1) & (high[:, 0] >= box.x0) & (low[:, 1] <= box.y1) & (high[:, 1] >= box.y0))


def _draw_scale_bar(axes: Axes, view: View) -> None:
    pixel_um = px_to_um(1.0, view.level0_mpp)
    length_um = scale_bar_um(view.box.width * pixel_um)
    text = f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"
    bar = AuxTransformBox(axes.transData)
    thickness_px = 3.0 / _points_per_px(axes, view)
    bar.add_artist(Rectangle((0, 0), length_um / pixel_um, thickness_px, facecolor=INK, linewidth=0))
    label = TextArea(text, textprops={"fontsize": 11, "color": INK, "fontfamily": FONT})
    packed = VPacker(children=[bar, label], align="center", pad=0, sep=4)
    anchored = AnchoredOffsetbox("lower left", child=packed, pad=0.5, borderpad=0.6, frameon=True)
    anchored.patch.set(alpha=0.85, edgecolor=_FRAME)
    axes.add_artist(anchored)
