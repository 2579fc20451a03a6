"""Coarsening by an encoder's features: regions are compared by the direction of their mean feature vectors.

It serves graphs of another tool's tiles, which have no moments, and cases where a foundation encoder knows the tissue
better than the shipped embedding. A region's mean feature vector is scaled to unit length, because such encoders are
compared by cosine similarity, and quantised; the distance of two regions is that of the unit vectors. Nothing is
learned and no dimension is dropped, so a distance costs as many steps as the encoder has features. Not optimal where an
encoder's features hold much that is unrelated to the tissue, such as its stain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.records import TissueGraph

ENCODING_PREFIX = "encoding-"
"""How the embedding id of such a coarsening begins."""
_UNIT = 4096
"""Integer units of unit length: with a thousand features, each still takes about a hundred values."""


def embed_encoding(graph: TissueGraph) -> NDArray[np.int64]:
    """Return the direction of every region's mean encoding.

    Parameters
    ----------
    graph : TissueGraph
        Graph with an encoding.

    Returns
    -------
    int64 (N, D)
        Unit vectors in units of 1/4096; zero if the encoding is zero.

    Raises
    ------
    RecordError
        If the graph has no encoding.
    """
    if graph.encoding_sum is None:
        raise RecordError(
            f"graph of slide {graph.slide_id!r} holds no encoder's features to merge by; give an encoder, or set "
            "coarsening.space to features"
        )
    # mean and sum have the same direction
    total = graph.encoding_sum.astype(np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", total, total))
    return np.asarray(np.rint(total * (_UNIT / np.maximum(length, 1.0))[:, None]), dtype=np.int64)


def encoding_id(graph: TissueGraph) -> str:
    """Return the embedding id that a coarse graph records if regions were compared by an encoder's features."""
    return f"{ENCODING_PREFIX}{graph.encoder}"
