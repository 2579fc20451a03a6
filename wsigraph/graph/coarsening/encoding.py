"""An encoder's own features as the space in which neighbouring regions are compared.

For graphs of another tool's tiles, whose pixels were never counted, or where a foundation encoder knows the tissue
better than the shipped embedding does. A region's mean feature vector is scaled to length one, as such encoders are
compared by angle, and quantised; the distance of two regions is then that of their directions. Nothing is learned
here and no dimension is dropped, so a distance costs as many steps as the encoder has features. Not optimal where an
encoder's features hold much that has nothing to do with tissue, such as its stain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.records import TissueGraph

_UNIT = 4096
"""Integer units of length one: a thousand features then still have some hundred steps each."""


def embed_encoding(graph: TissueGraph) -> NDArray[np.int64]:
    """Return the direction of every region's mean encoding.

    Parameters
    ----------
    graph : TissueGraph
        Regions with an encoding.

    Returns
    -------
    int64 (N, D)
        In units of 1/4096; zero where the encoding is zero.

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
    # the mean differs from the sum by a factor that the length takes out
    total = graph.encoding_sum.astype(np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", total, total))
    return np.asarray(np.rint(total * (_UNIT / np.maximum(length, 1.0))[:, None]), dtype=np.int64)


def encoding_id(graph: TissueGraph) -> str:
    """Return the name under which a coarse graph records that an encoder's features decided."""
    return f"encoding-{graph.encoder}"
