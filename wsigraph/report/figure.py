"""report.png: the result of one slide in one picture.

At the top is the slide with the outlines of its regions, and beside it (below it if the slide is wide) the same regions
coloured by one feature. If regions are too small to see on the whole slide, a second row shows a detail. Below are the
measurements, the stage probabilities and the survival curve. The model's notice is printed across the page, because the
numbers must not be read without it. Drawn with matplotlib's object interface and its Agg canvas: no
window, no global figure, equal input gives equal bytes.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from wsigraph import __version__
from wsigraph.records import Prediction
from wsigraph.report.font import FONT, drawable
from wsigraph.report.panel import INK, draw_facts, draw_stage, draw_survival
from wsigraph.report.picture import draw_regions, draw_tissue
from wsigraph.report.view import RegionMap, View

MAX_BYTES = 3_000_000
"""Largest picture, bytes; a larger one is drawn again at a lower resolution."""
DETAIL_BELOW_FRACTION = 1 / 14
"""Mean side of a region, as a fraction of the slide's width, below which a detail is shown."""
OUTLINED_FROM_FRACTION = 1 / 60
"""The same fraction, below which only the outline of the tissue is drawn on the whole slide."""
DETAIL_ASPECT = 1.6
"""Width over height of the detail."""
DETAIL_REGIONS = 16
"""Regions of mean size across the detail."""

_DPI, _DPI_MIN = 150, 60
_WIDTH, _MARGIN, _GAP = 14.0, 0.45, 0.5
_COLUMN_WIDTH = (_WIDTH - 2 * _MARGIN - _GAP) / 2
_PANEL_HEIGHT, _LOWER_HEIGHT = 8.0, 2.5
_WIDE_ASPECT = 1.9
_NOTICE_FACE, _NOTICE_EDGE = "#fff4ce", "#c98f00"


def draw_report(
    whole: View,
    detail: View | None,
    region_map: RegionMap | None,
    prediction: Prediction,
    facts: Mapping[str, Any],
) -> bytes:
    """Return the report's picture as PNG.

    Parameters
    ----------
    whole : View
        The whole slide.
    detail : View or None
        A part of the slide, shown in a second row.
    region_map : RegionMap or None
        Feature that colours the regions; if None, each region has its mean colour.
    prediction : Prediction
        Stage, survival and notice.
    facts : mapping of str to value
        The slide's `wsigraph.report.slide_summary.summary`.

    Returns
    -------
    bytes
        PNG, below `MAX_BYTES` unless the lowest resolution is still larger; the same input gives the same bytes.

    Notes
    -----
    Draws again at a lower resolution if the picture is too large; one to three seconds per drawing.
    """
    dpi, content = _DPI, b""
    while dpi >= _DPI_MIN:
        figure = _compose(whole, detail, region_map, prediction, facts)
        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        stream = io.BytesIO()
        # Written by Pillow: no tag with a version of matplotlib, no alpha channel.
        Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(stream, "PNG", dpi=(dpi, dpi))
        content = stream.getvalue()
        if len(content) <= MAX_BYTES:
            break
        # The size grows a little slower than the number of pixels, hence the margin.
        dpi = math.floor(dpi * math.sqrt(0.93 * MAX_BYTES / len(content)))
    return content


def _compose(
    whole: View,
    detail: View | None,
    region_map: RegionMap | None,
    prediction: Prediction,
    facts: Mapping[str, Any],
) -> Figure:
    is_wide = whole.aspect > _WIDE_ASPECT
    width = _WIDTH - 2 * _MARGIN if is_wide else _COLUMN_WIDTH
    panel_height = min(width / whole.aspect, _PANEL_HEIGHT)
    panel_width = panel_height * whole.aspect
    origin = "Synthetic tissue. " if facts["is_synthetic"] else ""
    notice = textwrap.fill(origin + prediction.notice[:1].upper() + prediction.notice[1:], 140)
    top = 1.35 + 0.22 * notice.count("\n")
    scale_top = top + (2 * panel_height + 0.6 if is_wide else panel_height) + 0.1
    detail_top = scale_top + 0.85
    detail_height = 0.0 if detail is None else _COLUMN_WIDTH / detail.aspect
    lower = detail_top + (detail_height + 0.5 if detail else 0.0)
    height = lower + _LOWER_HEIGHT + 0.7
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")

    def place(x: float, y: float, w: float, h: float) -> Axes:
        """Return axes whose upper left corner is `x` from the left and `y` from the top, in inches."""
        return figure.add_axes((x / _WIDTH, 1 - (y + h) / height, w / _WIDTH, h / height))

    _draw_heading(figure, height, notice, str(facts["slide_id"]))
    second_x = _MARGIN if is_wide else _MARGIN + width + _GAP
    second_y = top + panel_height + 0.6 if is_wide else top
    title = f"Slide with its {facts['nodes']:,} regions{': the frame is shown closer below' if detail else ''}"
    is_dense = whole.region_side_fraction() < OUTLINED_FROM_FRACTION
    mark = None if detail is None else detail.box
    draw_tissue(place(_MARGIN, top, panel_width, panel_height), whole, title, is_dense=is_dense, mark=mark)
    panel = place(second_x, second_y, panel_width, panel_height)
    draw_regions(panel, place(second_x, scale_top, 3.0, 0.16), whole, region_map, is_dense=is_dense)
    if detail is not None:
        closer = place(_MARGIN, detail_top, _COLUMN_WIDTH, detail_height)
        draw_tissue(closer, detail, "Closer: outlines of the regions", is_dense=False)
        draw_regions(
            place(_MARGIN + _COLUMN_WIDTH + _GAP, detail_top, _COLUMN_WIDTH, detail_height),
            None,
            detail,
            region_map,
            is_dense=False,
        )
    draw_facts(place(_MARGIN, lower, 4.6, _LOWER_HEIGHT), facts)
    draw_stage(place(5.65, lower, 3.6, _LOWER_HEIGHT), prediction)
    draw_survival(place(10.0, lower, _WIDTH - 10.0 - _MARGIN, _LOWER_HEIGHT), prediction)
    return figure


def _draw_heading(figure: Figure, height: float, notice: str, slide_id: str) -> None:
    style: dict[str, Any] = {"va": "top", "color": INK, "parse_math": False}
    left, right = _MARGIN / _WIDTH, 1 - _MARGIN / _WIDTH
    name, families = drawable(slide_id)
    name = name if len(name) <= 60 else f"{name[:40]}...{name[-17:]}"
    figure.text(left, 1 - 0.2 / height, name, fontsize=19, fontweight="bold", fontfamily=families, **style)
    version = f"wsigraph {__version__}"
    figure.text(right, 1 - 0.29 / height, version, ha="right", fontsize=10.5, fontfamily=FONT, **style)
    box = {"facecolor": _NOTICE_FACE, "edgecolor": _NOTICE_EDGE, "boxstyle": "round,pad=0.4", "linewidth": 1.2}
    notice, families = drawable(notice)
    style |= {"fontweight": "bold", "fontfamily": families, "bbox": box}
    figure.text(left + 0.005, 1 - 0.72 / height, notice, fontsize=11.5, **style)
