"""The same tissue under another pair of stains: unmixed by its own, mixed again by others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.records import StainBasis

OTHER_VECTORS = np.array([[0.550, 0.758, 0.351], [0.093, 0.954, 0.283]])
"""Hematoxylin and eosin as another laboratory has them, after Macenko's example."""


def restained(
    rgb: NDArray[np.uint8], stain: StainBasis, vectors: NDArray[np.float64], strength: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.uint8]:
    """Return pixels with each stain's amount kept times `strength` and its colour changed.

    Colour outside the plane of the two stains is dropped, because no stain explains it.
    """
    density = -np.log10((rgb.astype(np.float64) + 1) / 256)
    amount = np.maximum(density @ np.linalg.pinv(stain.vectors), 0.0) * np.array(strength)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.clip(np.round(256 * 10 ** -(amount @ unit) - 1), 0, 255).astype(np.uint8)
