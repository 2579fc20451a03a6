"""Bags of encodings without coordinates as graphs: edges go to the most similar regions of the same slide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.model.inputs import EDGE_ATTRIBUTES, GraphInput

N_SIMILAR = 4
"""Regions that each region is joined to."""


def bag_input(encoding: NDArray[np.float64], n_similar: int = N_SIMILAR) -> GraphInput:
    """Return a bag as a graph of equal areas.

    Parameters
    ----------
    encoding : float64 (N, D)
        One row a region.
    n_similar : int
        Regions of highest cosine similarity that each is joined to, both ways.

    Returns
    -------
    GraphInput
        The first edge attribute is ``1 + cosine``; the others, which need coordinates, are 0.

    Notes
    -----
    A matrix of all pairs of one bag is held, which suits hundreds of regions, not tens of thousands.
    """
    n = len(encoding)
    unit = encoding / np.maximum(np.linalg.norm(encoding, axis=1, keepdims=True), 1e-12)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    k = min(n_similar, n - 1)
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    source = np.repeat(np.arange(n), k)
    pairs = np.stack([source, nearest.ravel()])
    both = np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1) if k else np.zeros((2, 0), np.int64)
    attribute = np.zeros((both.shape[1], len(EDGE_ATTRIBUTES)))
    attribute[:, 0] = 1.0 + similarity[both[0], both[1]]
    return GraphInput(features=encoding, area_um2=np.ones(n), edge_index=both, edge_attribute=attribute)
