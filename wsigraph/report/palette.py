"""Colours of regions such that neighbours differ, safe for colour vision deficiency.

Seven colours after Okabe and Ito (2008), which people with any common colour-vision deficiency can distinguish; the
eighth, a pink close to eosin, is left out because it vanishes on stained tissue. Regions are coloured greedily, those
with most neighbours first, so that neighbours differ; the same graph always gets the same colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.records import TissueGraph

PALETTE: tuple[tuple[int, int, int], ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (86, 180, 233),
    (40, 40, 40),
)
"""8-bit (R, G, B): blue, orange, green, yellow, vermilion, sky blue, near black."""


def colour_regions(graph: TissueGraph) -> NDArray[np.int64]:
    """Return a colour for every region such that neighbours differ.

    Parameters
    ----------
    graph : TissueGraph
        Regions and their neighbours.

    Returns
    -------
    int64 (N,)
        Index into `PALETTE`. Should a region's neighbours use all seven, it takes the one they use least.

    Notes
    -----
    Linear in edges after one sort of the nodes.
    """
    start = np.searchsorted(graph.edge_index[0], np.arange(graph.n_nodes + 1))
    order = np.argsort(-np.diff(start), kind="stable")
    return np.asarray(_colour(order, start, graph.edge_index[1], len(PALETTE)))


@njit(nogil=True, cache=True)
def _colour(
    order: NDArray[np.int64], start: NDArray[np.int64], neighbour: NDArray[np.int64], n_colours: int
) -> NDArray[np.int64]:
    colour = np.full(len(order), -1, np.int64)
    used = np.empty(n_colours, np.int64)
    for node in order:
        used[:] = 0
        for edge in range(start[node], start[node + 1]):
            if colour[neighbour[edge]] >= 0:
                used[colour[neighbour[edge]]] += 1
        colour[node] = np.argmin(used)
    return colour
