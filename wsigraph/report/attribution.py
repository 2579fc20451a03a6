"""explanation.png: the slide with attributions over it, for talks and for readers without a browser."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from PIL import Image

from wsigraph.geometry import um_to_px_exact
from wsigraph.report.font import FONT, drawable
from wsigraph.report.overlay import LOWERS, RAISES, AttributionLayer
from wsigraph.report.panel import INK
from wsigraph.report.view import View

_WIDTH, _DPI = 10.0, 120
_MARGIN, _HEAD, _FOOT = 0.3, 1.1, 1.0


def draw_attribution(view: View, layer: AttributionLayer, facts: Mapping[str, Any]) -> bytes:
    """Return the picture of an explanation as PNG.

    Parameters
    ----------
    view : View
        The whole slide.
    layer : AttributionLayer
        Attributions over it.
    facts : mapping of str to JSON value
        `wsigraph.explanation.findings.gather_facts`.

    Returns
    -------
    bytes
        The same input gives the same bytes.
    """
    width = _WIDTH - 2 * _MARGIN
    picture_height = min(width / view.aspect, 1.3 * width)
    height = picture_height + _HEAD + _FOOT
    figure = Figure(figsize=(_WIDTH, height), facecolor="white")
    axes = figure.add_axes((_MARGIN / _WIDTH, _FOOT / height, width / _WIDTH, picture_height / height))
    axes.imshow(view.pixels, interpolation="antialiased")
    axes.imshow(layer.colours[layer.index], interpolation="nearest")
    axes.set_axis_off()
    n_rows, n_columns = view.regions.shape
    for number, region in enumerate(facts["regions"], 1):
        x = (um_to_px_exact(1000 * region["x_mm"], view.level0_mpp) - view.box.x0) / view.box.width * n_columns
        y = (um_to_px_exact(1000 * region["y_mm"], view.level0_mpp) - view.box.y0) / view.box.height * n_rows
        label = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": INK}
        axes.text(x, y, str(number), ha="center", va="center", fontsize=9, fontfamily=FONT, color=INK, bbox=label)
    style: dict[str, Any] = {"va": "top", "color": INK, "parse_math": False}
    title, families = drawable(f"{facts['slide_id']}: {facts['target']}")
    style |= {"fontfamily": families}
    figure.text(_MARGIN / _WIDTH, 1 - 0.15 / height, title[:70], fontsize=14, fontweight="bold", **style)
    notice = textwrap.fill(f"{facts['research']} {facts['notice'][:1].upper()}{facts['notice'][1:]}.", 105)
    notice, families = drawable(notice)
    style |= {"fontfamily": families}
    figure.text(_MARGIN / _WIDTH, 1 - 0.48 / height, notice, fontsize=9.5, **style)
    bar = figure.add_axes((_MARGIN / _WIDTH, 0.62 / height, 3.0 / _WIDTH, 0.16 / height))
    ends = [tuple(channel / 255 for channel in colour) for colour in (LOWERS, RAISES)]
    scale = LinearSegmentedColormap.from_list("attribution", [ends[0], (1.0, 1.0, 1.0), ends[1]])
    bar.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=scale, extent=(-1, 1, 0, 1))
    bar.set_yticks([])
    bar.set_xticks([-1, 0, 1], [f"{-layer.most:.2g}", "0", f"{layer.most:.2g}"], fontsize=9)
    bar.set_xlabel(f"{facts['unit']} per mm² of tissue", fontsize=9, fontfamily=FONT, color=INK)
    canvas: Any = FigureCanvasAgg(figure)
    figure.set_dpi(_DPI)
    canvas.draw()
    stream = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(stream, "PNG", dpi=(_DPI, _DPI))
    return stream.getvalue()
