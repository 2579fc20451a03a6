"""Feature bags (multiple instance learning) without coordinates as graphs: edges join similar instances of a bag."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.model.inputs import EDGE_ATTRIBUTES, GraphInput

N_SIMILAR = 4
"""Neighbours of each instance."""
_BLOCK = 512
"""Instances whose similarities to all others are in memory at once."""


def bag_input(encoding: NDArray[np.float64], n_similar: int = N_SIMILAR) -> GraphInput:
    """Return a feature bag as a graph of equal areas.

    Parameters
    ----------
    encoding : float64 (N, D)
        One row an instance.
    n_similar : int
        Instances of highest cosine similarity that each is joined to, in both directions.

    Returns
    -------
    GraphInput
        The first edge attribute is ``1 + cosine``; the others, which need coordinates, are 0.

    Notes
    -----
    Quadratic in time, linear in memory: similarities are computed for a block of instances at a time. Of equally
    similar instances those that come first are taken.
    """
    n = len(encoding)
    unit = encoding / np.maximum(np.linalg.norm(encoding, axis=1, keepdims=True), 1e-12)
    k = min(n_similar, n - 1)
    if k < 1:
        both = np.zeros((2, 0), np.int64)
    else:
        nearest = np.concatenate([_most_similar(unit, first, k) for first in range(0, n, _BLOCK)])  # (N, k)
        pairs = np.stack([np.repeat(np.arange(n), k), nearest.ravel()])
        both = np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)  # (2, E)
    attribute = np.zeros((both.shape[1], len(EDGE_ATTRIBUTES)))
    attribute[:, 0] = 1.0 + np.einsum("ed,ed->e", unit[both[0]], unit[both[1]])
    return GraphInput(features=encoding, area_um2=np.ones(n), edge_index=both, edge_attribute=attribute)


def placed_bag_input(encoding: NDArray[np.float64], place: NDArray[np.float64]) -> GraphInput:
    """Return a feature bag whose instances lie on a grid as a graph of equal areas; edges join direct neighbours.

    Parameters
    ----------
    encoding : float64 (N, D)
        One row an instance.
    place : float64 (N, 2)
        Column and row of every instance on the grid.

    Returns
    -------
    GraphInput
        Edge attributes are equal for all edges.
    """
    number = {tuple(point): row for row, point in enumerate(place.tolist())}
    pairs = [
        (row, number[x + dx, y + dy])
        for (x, y), row in number.items()
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
        if (x + dx, y + dy) in number
    ]
    edges = np.array(sorted(pairs), np.int64).reshape(-1, 2).T
    attribute = np.ones((edges.shape[1], len(EDGE_ATTRIBUTES)))
    return GraphInput(features=encoding, area_um2=np.ones(len(encoding)), edge_index=edges, edge_attribute=attribute)


def _most_similar(unit: NDArray[np.float64], first: int, k: int) -> NDArray[np.int64]:
    """Return the k most similar other instances of a block of unit vectors, int64 (block, k)."""
    block = unit[first : first + _BLOCK]
    similarity = block @ unit.T  # (block, N)
    similarity[np.arange(len(block)), first + np.arange(len(block))] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :k]
