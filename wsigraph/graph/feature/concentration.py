"""Stain concentrations of pixels in integers: Beer-Lambert by a table, unmixing by a fixed-point matrix.

For a pixel with values v_c, stain vectors V (2, 3) and their pseudo-inverse V+ (3, 2)::

    D_c = round(-1024 log10((v_c + 1) / 256))                     table, int32 (256,)
    (H, E) = (D_R, D_G, D_B) V+                                   V+ in units of 1/4096, rounded half up

``skimage.color.separate_stains`` computes logarithms and a matrix product in float64: 48 bytes a pixel, and a result
whose last bits depend on the BLAS build.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.feature.moments import OD_UNIT
from wsigraph.graph.tissue.density import DENSITY
from wsigraph.graph.tissue.stain import unmixing
from wsigraph.kernels import njit
from wsigraph.records import StainBasis

_UNMIX_SHIFT = 12
"""Fractional bits of the unmixing matrix."""
MAX_CONCENTRATION = 8 * OD_UNIT
"""Largest concentration, 1/1024 optical density; higher values are clipped."""


def concentrations(rgb: NDArray[np.uint8], stain: StainBasis) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the hematoxylin and eosin concentrations of pixels.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels.
    stain : StainBasis
        Stain vectors of the slide.

    Returns
    -------
    hematoxylin, eosin : int16 (h, w)
        In units of 1/1024 optical density, clipped to 0..8192.

    References
    ----------
    Ruifrok and Johnston, "Quantification of histochemical staining by color deconvolution", 2001.
    """
    matrix = np.round(unmixing(stain.vectors) * (1 << _UNMIX_SHIFT)).astype(np.int64)  # (3, 2)
    return _unmix(rgb, DENSITY, matrix)


@njit(nogil=True, cache=True)
def _unmix(
    rgb: NDArray[np.uint8], density: NDArray[np.int32], matrix: NDArray[np.int64]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return (H, E), int16 (h, w) each: rgb uint8 (h, w, 3), density int32 (256,), matrix int64 (3, 2)."""
    height, width = rgb.shape[0], rgb.shape[1]
    hematoxylin, eosin = np.empty((height, width), np.int16), np.empty((height, width), np.int16)  # (h, w)
    half = 1 << (_UNMIX_SHIFT - 1)
    for y in range(height):
        for x in range(width):
            r, g, b = density[rgb[y, x, 0]], density[rgb[y, x, 1]], density[rgb[y, x, 2]]
            h = (r * matrix[0, 0] + g * matrix[1, 0] + b * matrix[2, 0] + half) >> _UNMIX_SHIFT
            e = (r * matrix[0, 1] + g * matrix[1, 1] + b * matrix[2, 1] + half) >> _UNMIX_SHIFT
            hematoxylin[y, x] = min(max(h, 0), MAX_CONCENTRATION)
            eosin[y, x] = min(max(e, 0), MAX_CONCENTRATION)
    return hematoxylin, eosin
