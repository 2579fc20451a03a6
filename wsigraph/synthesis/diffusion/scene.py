"""The graph that a generator paints: the regions of one canvas, with a label image where one is known.

A node is a region with its class or its optical density (or both), centre, area and elongation. An edge is a boundary
with its length. All values are measured from a label image, or computed from the moments of a `TissueGraph` by the same
formulas. Nodes are sorted by their centres from top to bottom and left to right, so that the order of a list of nodes
changes nothing. For a graph without a label image, `rasterise` draws one: every pixel goes to the node whose growing
ellipse reaches it first. That keeps neighbours and, roughly, areas, but not outlines.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsigraph.errors import SynthesisError
from wsigraph.geometry import Box, Size, crofton_um, px_to_um, px_to_um2, um_to_px
from wsigraph.graph.adjacency import both_directions, count_boundaries
from wsigraph.graph.tissue.density import DENSITY, OD_UNIT
from wsigraph.records import TissueGraph
from wsigraph.synthesis.simulation.layout import TISSUES

UNKNOWN = -1
"""Class of a region of unknown tissue."""
_SAME_MPP = 1.1
"""Largest ratio of pixel sizes at which standard deviations of optical density are comparable."""
_NEAR, _ROWS = 24, 64
_WHOLE = 0.95
"""Fraction of the canvas above which the nodes are taken to cover all of it."""
MAX_SIDE_PX = 8192
"""Largest side of a picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """Regions of a canvas and their adjacency.

    Attributes
    ----------
    size_um : tuple of float
        Height and width of the canvas, um.
    classes : int64 (N,)
        Index into ``TISSUES``, or `UNKNOWN`.
    position_um : float64 (N, 2)
        Centres as (x, y) from the top left corner of the canvas, um.
    area_um2 : float64 (N,)
        Areas.
    shape : float64 (N, 2)
        ``(xx - yy, 2 xy) / (xx + yy)`` of the central second moments: elongation and direction, 0 for a disc.
    density : float64 (N, 6)
        Mean (3) and standard deviation (3) of the optical density of R, G and B over the region; NaN where unknown.
    edge_index : int64 (2, E)
        Regions that touch, both directions, sorted.
    boundary_um : float64 (E,)
        Length of each boundary.
    labels : int32 (h, w) or None
        Region of every pixel, 1..N; 0 belongs to none.
    mark : str
        What every output says if the graph is of a slide that is no H&E section and was forced; empty otherwise.
    """

    size_um: tuple[float, float]
    classes: NDArray[np.int64]
    position_um: NDArray[np.float64]
    area_um2: NDArray[np.float64]
    shape: NDArray[np.float64]
    density: NDArray[np.float64]
    edge_index: NDArray[np.int64]
    boundary_um: NDArray[np.float64]
    labels: NDArray[np.int32] | None = None
    mark: str = ""

    @property
    def n_nodes(self) -> int:
        """Number of regions."""
        return len(self.classes)

    def class_map(self, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return 1 + class of every pixel of a label image of this scene, uint8 (h, w); 0 where unknown."""
        return np.concatenate([[0], self.classes + 1]).astype(np.uint8)[labels]


def scene_from_labels(
    labels: NDArray[np.int32],
    classes: NDArray[np.int64],
    *,
    mpp: float,
    image: NDArray[np.uint8] | None = None,
    density: NDArray[np.float64] | None = None,
) -> Scene:
    """Return the graph of a label image.

    Parameters
    ----------
    labels : int32 (h, w)
        Region of every pixel, 1..N; 0 belongs to none. A number without a pixel gives no node.
    classes : int64 (N,)
        Class of every region, or `UNKNOWN`.
    mpp : float
        Pixel size, um/px.
    image : uint8 (h, w, 3), optional
        Image (h, w) from which the optical density of the nodes is measured.
    density : float64 (N, 6), optional
        Optical density of every region, where no image is given.

    Returns
    -------
    Scene
        Nodes sorted by centre, with labels numbered accordingly.

    Raises
    ------
    SynthesisError
        If no pixel belongs to a region.
    """
    n = np.bincount(labels.ravel(), minlength=len(classes) + 1)[1:]
    present = np.flatnonzero(n)
    if not len(present):
        raise SynthesisError(
            "a label image without any region, expected at least one; draw regions with numbers from 1"
        )
    sums = _sums(labels, len(classes))[present]
    centre = sums[:, :2] / n[present, None]
    order = np.lexsort((present, centre[:, 0], centre[:, 1]))
    present, sums, centre = present[order], sums[order], centre[order]
    renumber = np.zeros(len(classes) + 1, np.int32)
    renumber[present + 1] = np.arange(1, len(present) + 1)
    sorted_labels = renumber[labels]
    whole = Box.whole(Size(*labels.shape))
    key, crossings = count_boundaries(sorted_labels, whole, whole)
    edge_index, boundary = both_directions((key >> 32) - 1, (key & 0xFFFFFFFF) - 1, crossings)
    if image is not None:
        node_density = _measure_density(image, sorted_labels, len(present))
    else:
        node_density = _density_rows(density, present)
    return Scene(
        size_um=(px_to_um(labels.shape[0], mpp), px_to_um(labels.shape[1], mpp)),
        classes=np.asarray(classes, np.int64)[present],
        position_um=px_to_um(1.0, mpp) * (centre + 0.5),
        area_um2=px_to_um2(1.0, mpp) * n[present].astype(np.float64),
        shape=_shape(n[present], sums),
        density=node_density,
        edge_index=edge_index,
        boundary_um=crofton_um(boundary[:, 0], boundary[:, 1], mpp),
        labels=sorted_labels,
    )


def scene_from_graph(
    graph: TissueGraph, *, classes: NDArray[np.int64] | None = None, mpp: float | None = None
) -> Scene:
    """Return a tissue graph as a scene as large as its slide.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels or coarse regions.
    classes : int64 (N,), optional
        Class of every node; unknown by default.
    mpp : float, optional
        Pixel size of the canvas to paint on, um/px. Standard deviations of optical density depend on the pixel size;
        they are unknown where that of the graph differs by more than 10 %.

    Returns
    -------
    Scene
        Without a label image.

    Raises
    ------
    SynthesisError
        If the graph has no node.
    """
    if not graph.n_nodes:
        raise SynthesisError("a graph without nodes, expected at least one; nothing would be painted")
    n = graph.moment("n").astype(np.float64)
    sums = np.stack([graph.moment(name) for name in ("sum_x", "sum_y", "sum_xx", "sum_xy", "sum_yy")], axis=1)
    mean = np.stack([graph.moment(name) for name in ("od_r", "od_g", "od_b")], axis=1) / n[:, None] / OD_UNIT
    square = np.stack([graph.moment(name) for name in ("od_rr", "od_gg", "od_bb")], axis=1) / n[:, None] / OD_UNIT**2
    std = np.sqrt(np.clip(square - mean**2, 0.0, None))
    if mpp is not None and max(mpp / graph.mpp, graph.mpp / mpp) > _SAME_MPP:
        std = np.full_like(std, np.nan)
    scene = Scene(
        size_um=(px_to_um(graph.size.height, graph.mpp), px_to_um(graph.size.width, graph.mpp)),
        classes=np.full(graph.n_nodes, UNKNOWN, np.int64) if classes is None else np.asarray(classes, np.int64),
        position_um=graph.centroid_um,
        area_um2=px_to_um2(1.0, graph.mpp) * n,
        shape=_shape(n, sums.astype(np.float64)),
        density=np.concatenate([mean, std], axis=1),
        edge_index=graph.edge_index,
        boundary_um=crofton_um(graph.boundary[:, 0], graph.boundary[:, 1], graph.mpp),
        mark=graph.mark,
    )
    return ordered(scene)


def ordered(scene: Scene) -> Scene:
    """Return a scene with its nodes sorted by their centres.

    Parameters
    ----------
    scene : Scene
        Nodes in any order.

    Returns
    -------
    Scene
        The same regions; equal centres are sorted by area, then class.
    """
    x, y = scene.position_um.T
    order = np.lexsort((scene.classes, scene.area_um2, x, y))
    rank = np.empty(scene.n_nodes, np.int64)
    rank[order] = np.arange(scene.n_nodes)
    edges = rank[scene.edge_index]
    by = np.lexsort((edges[1], edges[0]))
    labels = scene.labels
    if labels is not None:
        labels = np.concatenate([[0], rank + 1]).astype(np.int32)[labels]
    return dataclasses.replace(
        scene,
        classes=scene.classes[order],
        position_um=scene.position_um[order],
        area_um2=scene.area_um2[order],
        shape=scene.shape[order],
        density=scene.density[order],
        edge_index=edges[:, by],
        boundary_um=scene.boundary_um[by],
        labels=labels,
    )


def check_scene(scene: Scene, *, max_nodes: int | None = None) -> None:
    """Raise an error for a graph that cannot be painted.

    Parameters
    ----------
    scene : Scene
        The graph.
    max_nodes : int, optional
        Largest number of nodes that the model takes on one canvas.

    Raises
    ------
    SynthesisError
        If there is no node, a class is unknown, a centre lies off the canvas, an area is not positive, or there are too
        many nodes.
    """
    if not scene.n_nodes:
        raise SynthesisError("a graph without nodes, expected at least one; nothing would be painted")
    if max_nodes is not None and scene.n_nodes > max_nodes:
        raise SynthesisError(
            f"a graph of {scene.n_nodes} nodes on one canvas, the model takes at most {max_nodes}; coarsen it further, "
            "or cut out a smaller box"
        )
    invalid = np.flatnonzero((scene.classes < UNKNOWN) | (scene.classes >= len(TISSUES)))
    if len(invalid):
        raise SynthesisError(
            f"node {invalid[0]} is of class {scene.classes[invalid[0]]}, expected 0 to {len(TISSUES) - 1} "
            f"({', '.join(TISSUES)}) or {UNKNOWN} for unknown"
        )
    height, width = scene.size_um
    inside = (scene.position_um >= 0).all(axis=1) & (scene.position_um <= (width, height)).all(axis=1)
    if not inside.all():
        node = int(np.flatnonzero(~inside)[0])
        x, y = scene.position_um[node]
        raise SynthesisError(
            f"node {node} lies at ({x:g}, {y:g}) um, outside the canvas of {width:g} x {height:g} um; move it inside"
        )
    empty = np.flatnonzero(~(scene.area_um2 > 0))
    if len(empty):
        raise SynthesisError(f"node {empty[0]} has an area of {scene.area_um2[empty[0]]:g} um2, expected more than 0")


def rasterise(scene: Scene, *, mpp: float) -> Scene:
    """Return a scene with a label image drawn from its nodes; one that has a label image of this size is unchanged.

    Parameters
    ----------
    scene : Scene
        Nodes.
    mpp : float
        Pixel size, um/px.

    Returns
    -------
    Scene
        The ellipses of all nodes grow at one relative rate, and a pixel belongs to the node that reaches it first. As
        many pixels are assigned as the areas add up to; those reached last are glass. Nodes and edges are unchanged.

    Raises
    ------
    SynthesisError
        If the canvas is larger than a picture may be.

    Notes
    -----
    Only the 24 nodes with the nearest centres are tried at each pixel.
    """
    size = Size(um_to_px(scene.size_um[0], mpp), um_to_px(scene.size_um[1], mpp))
    if max(size.height, size.width) > MAX_SIDE_PX:
        raise SynthesisError(
            f"a canvas of {size.width} x {size.height} px at {mpp:g} um/px, expected at most {MAX_SIDE_PX} px a side; "
            "cut out a part of it"
        )
    if scene.labels is not None and scene.labels.shape == (size.height, size.width):
        return scene
    return dataclasses.replace(scene, labels=draw_labels(scene, size))


def draw_labels(scene: Scene, size: Size) -> NDArray[np.int32]:
    """Return a label image drawn from the nodes alone, even where the scene has a label image.

    Parameters
    ----------
    scene : Scene
        Nodes; without nodes the result is glass.
    size : Size
        Pixels of the canvas.

    Returns
    -------
    int32 (h, w)
        As `rasterise`.
    """
    labels = np.zeros((size.height, size.width), np.int32)
    if not scene.n_nodes:
        return labels
    metric, tree = _metric(scene), cKDTree(scene.position_um)
    n_near = min(_NEAR, scene.n_nodes)
    x = scene.size_um[1] * (np.arange(size.width) + 0.5) / size.width
    reach = np.empty((size.height, size.width), np.float32)
    for top in range(0, size.height, _ROWS):
        y = scene.size_um[0] * (np.arange(top, min(top + _ROWS, size.height)) + 0.5) / size.height
        point = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        near = tree.query(point, k=n_near)[1].reshape(len(point), n_near)
        dx, dy = np.moveaxis(point[:, None] - scene.position_um[near], -1, 0)
        a, b, c = np.moveaxis(metric[near], -1, 0)
        grown = a * dx * dx + 2 * b * dx * dy + c * dy * dy  # (pixels, near)
        first = grown.argmin(axis=1)[:, None]
        rows = np.s_[top : top + len(y)]
        labels[rows] = (np.take_along_axis(near, first, axis=1) + 1).reshape(len(y), -1)
        reach[rows] = np.take_along_axis(grown, first, axis=1).reshape(len(y), -1)
    covered = float(scene.area_um2.sum()) / (scene.size_um[0] * scene.size_um[1])
    if covered < _WHOLE:
        labels[reach > np.quantile(reach, covered)] = 0
    return labels


def _metric(scene: Scene) -> NDArray[np.float64]:
    """Return the quadratic form (a, b, c) of every node's ellipse, 1 on its rim, float64 (N, 3)."""
    strength = np.clip(np.hypot(scene.shape[:, 0], scene.shape[:, 1]), 0.0, 0.9)
    angle = 0.5 * np.arctan2(scene.shape[:, 1], scene.shape[:, 0])
    ratio = np.sqrt((1 + strength) / (1 - strength))
    radius2 = scene.area_um2 / np.pi
    along, across = 1.0 / (radius2 * ratio), ratio / radius2
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.stack(
        [
            along * cosine**2 + across * sine**2,
            (along - across) * cosine * sine,
            along * sine**2 + across * cosine**2,
        ],
        axis=1,
    )


def _sums(labels: NDArray[np.int32], n_regions: int) -> NDArray[np.float64]:
    """Return the sums of x, y, xx, xy and yy over every region, float64 (N, 5)."""
    y, x = (axis.ravel().astype(np.float64) for axis in np.indices(labels.shape))
    flat = labels.ravel()
    terms = (x, y, x * x, x * y, y * y)
    return np.stack([np.bincount(flat, term, minlength=n_regions + 1)[1:] for term in terms], axis=1)


def _shape(n: NDArray[Any], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = sums[:, 0] / n, sums[:, 1] / n
    # the variance of a unit square along an axis is 1/12: a row of pixels has a width
    xx = sums[:, 2] / n - x * x + 1 / 12
    xy = sums[:, 3] / n - x * y
    yy = sums[:, 4] / n - y * y + 1 / 12
    return np.asarray(np.stack([xx - yy, 2 * xy], axis=1) / (xx + yy)[:, None])


def _measure_density(image: NDArray[np.uint8], labels: NDArray[np.int32], n_regions: int) -> NDArray[np.float64]:
    values = DENSITY[image].reshape(-1, 3) / OD_UNIT
    flat = labels.ravel()
    n = np.bincount(flat, minlength=n_regions + 1)[1:, None]
    mean, square = (
        np.stack([np.bincount(flat, channel, minlength=n_regions + 1)[1:] for channel in power.T], axis=1) / n
        for power in (values, values**2)
    )
    return np.concatenate([mean, np.sqrt(np.clip(square - mean**2, 0.0, None))], axis=1)


def _density_rows(density: NDArray[np.float64] | None, present: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.full((len(present), 6), np.nan) if density is None else density[present]
