"""graph.png: the superpixels of a slide and the graph between them.

On the left is the whole slide with the outline of its tissue. On the right is a detail with every superpixel, a dot at
each centroid and a line for each shared boundary, whose width shows its length. A slide that is no H&E section and was
forced has its mark above both.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL import Image

from wsigraph.config import ReportConfig
from wsigraph.geometry import Box, crofton_um, um_to_px_exact
from wsigraph.outline.label_grid import sample_regions
from wsigraph.outline.outline import trace_outlines
from wsigraph.records import CoarseGraph, SuperpixelLabels, TissueGraph
from wsigraph.report.panel import WARNING_COLOUR
from wsigraph.report.picture import draw_tissue
from wsigraph.report.view import View, cut_view, find_detail
from wsigraph.slide.reader import Slide
from wsigraph.store import write_file

_DETAIL_SUPERPIXELS = 22
_DETAIL_ASPECT = 1.3
_HEIGHT, _MARGIN, _GAP, _DPI = 6.5, 0.3, 0.35, 130
_WIDEST = 2.4
_NODE, _EDGE = "#ffd400", "#00b7ff"


def write_graph_picture(
    path: Path | str,
    *,
    slide: Slide,
    labels: SuperpixelLabels,
    graph: TissueGraph,
    config: ReportConfig | None = None,
) -> None:
    """Write the picture of a superpixel graph.

    Parameters
    ----------
    path : Path or str
        PNG to write, atomically.
    slide : Slide
        The slide.
    labels : SuperpixelLabels
        Its superpixels.
    graph : TissueGraph
        Their graph, one node per superpixel.
    config : ReportConfig, optional
        Settings of the picture.

    Raises
    ------
    RecordError
        If labels and graph do not belong together.
    SlideError
        If the slide cannot be read.
    StoreError
        If the picture cannot be written.
    """
    options = config or ReportConfig()
    itself = CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes, dtype=np.int64), embedding_id="")
    grid = sample_regions(labels, itself, slide.info, outline_mpp=labels.mpp, max_px=options.outline_max_px)
    outlines = trace_outlines(grid, graph, tolerance_um=grid.mpp)
    whole = cut_view(slide, grid, outlines, Box.whole(slide.info.levels[0].size), options.thumbnail_px)
    box = find_detail(whole, n_across=_DETAIL_SUPERPIXELS, aspect=_DETAIL_ASPECT)
    detail = cut_view(slide, grid, outlines, box, options.thumbnail_px)
    write_file(Path(path), _draw(whole, detail, graph))


def _draw(whole: View, detail: View, graph: TissueGraph) -> bytes:
    panel = _HEIGHT - 2 * _MARGIN - 0.3
    first = panel * min(max(whole.aspect, 0.4), _WIDEST)
    second = panel * detail.aspect
    width = 2 * _MARGIN + _GAP + first + second
    figure = Figure(figsize=(width, _HEIGHT), dpi=_DPI, facecolor="white")
    bottom, panel_fraction = _MARGIN / _HEIGHT, panel / _HEIGHT
    left = figure.add_axes((_MARGIN / width, bottom, first / width, panel_fraction))
    right = figure.add_axes(((_MARGIN + first + _GAP) / width, bottom, second / width, panel_fraction))
    draw_tissue(left, whole, f"{graph.n_nodes:,} superpixels", is_dense=True, mark=detail.box)
    draw_tissue(right, detail, f"Closer: {graph.n_edges:,} shared boundaries in all", is_dense=False)
    _draw_graph(right, detail, graph)
    if graph.mark:
        figure.text(0.5, 0.995, graph.mark, color=WARNING_COLOUR, fontsize=10, ha="center", va="top", parse_math=False)
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    stream = io.BytesIO()
    Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(stream, "PNG", dpi=(_DPI, _DPI))
    return stream.getvalue()


def _draw_graph(axes: Axes, view: View, graph: TissueGraph) -> None:
    """Draw nodes and edges of the part of the graph that a view shows."""
    points = graph.centroid_um * um_to_px_exact(1.0, view.level0_mpp)
    box = view.box
    inside = (points[:, 0] >= box.x0) & (points[:, 0] < box.x1) & (points[:, 1] >= box.y0) & (points[:, 1] < box.y1)
    source, target = graph.edge_index
    shown = (source < target) & inside[source] & inside[target]
    length = crofton_um(graph.boundary[shown, 0], graph.boundary[shown, 1], graph.mpp)
    segments = np.stack([points[source[shown]], points[target[shown]]], axis=1)
    widths = 0.4 + 2.0 * np.sqrt(length / max(float(length.max(initial=1.0)), 1.0))
    axes.add_collection(LineCollection(list(segments), colors=_EDGE, linewidths=list(widths), alpha=0.85))
    axes.scatter(points[inside, 0], points[inside, 1], s=9, color=_NODE, edgecolors="black", linewidths=0.4, zorder=3)
