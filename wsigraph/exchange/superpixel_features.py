"""An encoder's features of tiles, averaged over superpixels.

With f_t the features of tile t, rounded to 1/256, and n_it the number of pixels that superpixel i shares with tile t::

    encoding_sum_i = sum over t of n_it f_t        int64 (N, D)

The sums are exact, so they add under merging. Encoders leave out tiles with little tissue, so a superpixel may lie
partly or wholly outside of all tiles. Pixels without a tile count as the mean of their superpixel, and a superpixel
without any tile has the features of the tile whose centre is nearest.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from wsigraph.exchange.feature_slide import FeatureFile
from wsigraph.exchange.tile_graph import TileLabels
from wsigraph.exchange.trident import rounded_features
from wsigraph.geometry import Box, grid, px_to_um
from wsigraph.records import SuperpixelLabels, TissueGraph
from wsigraph.slide.map_boxes import Progress, map_chunks

_log = logging.getLogger(__name__)
_CHUNK_PX = 2048
_LEAST_COVERED = 0.5


def sum_over_superpixels(
    features: FeatureFile, labels: SuperpixelLabels, graph: TissueGraph, *, progress: Progress | None = None
) -> NDArray[np.int64]:
    """Return the features of tiles summed over the pixels of superpixels.

    Parameters
    ----------
    features : FeatureFile
        Tiles of the same slide.
    labels : SuperpixelLabels
        N superpixels.
    graph : TissueGraph
        Their graph.
    progress : callable, optional
        Called with (stage, done, total).

    Returns
    -------
    int64 (N, D)
        In units of 1/256, as ``TissueGraph.encoding_sum``.

    Notes
    -----
    Reads the labels once. A warning is logged where tiles cover less than half of the tissue.
    """
    n_nodes, n_tiles = graph.n_nodes, len(features.tiles.corners)
    boxes = grid(labels.size, _CHUNK_PX)
    tables = map_chunks(_shared, boxes, labels, features.labels, n_tiles, stage="features", progress=progress)
    key = np.concatenate([table[0] for table in tables])
    count = np.concatenate([table[1] for table in tables])
    shared = csr_array((count, (key // n_tiles, key % n_tiles)), shape=(n_nodes, n_tiles))
    rounded = rounded_features(features.table)
    covered = np.asarray(shared.sum(axis=1)).ravel().astype(np.int64)  # (N,)
    sums = np.asarray(shared @ rounded, np.int64)  # (N, D)
    n = graph.moment("n")
    fraction = float(covered.sum() / n.sum())
    if fraction < _LEAST_COVERED:
        _log.warning(
            f"slide {graph.slide_id!r}: the tiles of {features.path.name} cover {100 * fraction:.0f} % of the tissue; "
            "the rest has the features of the nearest tile; check that the file is of this slide"
        )
    partly = np.flatnonzero((covered > 0) & (covered < n))
    weight = covered[partly, None]
    sums[partly] = (2 * sums[partly] * n[partly, None] + weight) // (2 * weight)
    bare = np.flatnonzero(covered == 0)
    if len(bare):
        y0, x0, y1, x1 = features.tiles.corners.T
        centre = px_to_um(0.5, graph.mpp) * np.stack([x0 + x1, y0 + y1], axis=1)
        nearest = cKDTree(centre).query(graph.centroid_um[bare])[1]
        sums[bare] = rounded[nearest] * n[bare, None]
    return sums


def _shared(
    box: Box, labels: SuperpixelLabels, tiles: TileLabels, n_tiles: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return superpixel * n_tiles + tile of every pair in a box, counted from 0, and their common pixels."""
    superpixel = np.asarray(labels.labels[box.slices]).astype(np.int64)
    if not superpixel.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tile = tiles[box.slices]
    both = (superpixel > 0) & (tile > 0)
    key, count = np.unique((superpixel[both] - 1) * n_tiles + tile[both] - 1, return_counts=True)
    return key, count.astype(np.int64)
