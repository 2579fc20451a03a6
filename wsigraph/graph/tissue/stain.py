"""Stain vectors of a slide, estimated from one integer colour histogram.

Pixels of a fixed sample of tissue windows are counted in 128 x 128 x 128 colour bins. The estimate is Macenko's: the
plane of the two leading eigenvectors of the covariance of optical density, and in it the vectors at the extreme angles
(1st and 99th percentile). Counts are integers, so the estimate does not depend on the order in which windows arrive.

Limits: it does not suit slides with one stain or much pigment. An estimate that is too far from the reference vectors
is replaced by them, and `StainBasis.source` says so. tiatoolbox and scikit-image estimate or unmix from pixels in
memory and have no estimate from a histogram.

References
----------
Macenko et al. (2009), A method for normalizing histology slides for quantitative analysis, ISBI.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit
from wsigraph.records import StainBasis

HISTOGRAM_BITS = 7
"""Bits a channel of the colour histogram."""
REFERENCE_VECTORS = np.array([[0.650, 0.704, 0.286], [0.072, 0.990, 0.105]])
"""Hematoxylin and eosin over (R, G, B), from Ruifrok and Johnston 2001, before normalisation to unit length."""
_OTHER_VECTORS = {
    "h-dab": [[0.650, 0.704, 0.286], [0.268, 0.570, 0.776]],
    "h-aec": [[0.650, 0.704, 0.286], [0.274, 0.680, 0.680]],
    "pas": [[0.644, 0.717, 0.267], [0.175, 0.972, 0.155]],
    "alcian-blue": [[0.553, 0.754, 0.354], [0.875, 0.458, 0.158]],
    "perls": [[0.214, 0.851, 0.478], [0.749, 0.606, 0.267]],
    "trichrome": [[0.800, 0.591, 0.105], [0.100, 0.737, 0.668]],
}
"""The two stains of other sections, in the order of `wsigraph.records.slide_records.STAINS`: h-dab and h-aec from
Ruifrok and Johnston 2001, the others from the tables of ImageJ's colour deconvolution (G. Landini)."""
_MIN_OD = 0.15
_ANGLE_PERCENTILES = (1.0, 99.0)
_MAX_DEVIATION_DEGREES = 45.0
_MIN_SEPARATION_DEGREES = 8.0
_MIN_PIXELS = 2000
_COLOUR_SLACK = 0.05
_NUCLEUS_FRACTION = 0.8
"""Nucleus threshold as a fraction of Otsu's threshold of hematoxylin; a higher one loses pale nuclei (checked against
nucleus outlines at 1 um/px)."""
_REFERENCE_MAX_CONCENTRATION = np.array([1.3, 0.7])


def empty_histogram() -> NDArray[np.int64]:
    """Return an empty colour histogram, int64 (2**21,), indexed by ``r << 14 | g << 7 | b`` of 7-bit channels."""
    return np.zeros(1 << (3 * HISTOGRAM_BITS), np.int64)


def count_colours(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the colour bins of a window's masked pixels and how many pixels each holds.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the window.
    mask : bool (h, w)
        Pixels to count.

    Returns
    -------
    bins, pixels : int64 (k,)
        Indices into the histogram of `empty_histogram`, ascending, and counts to add there.
    """
    return _runs(np.sort(_colour_bins(rgb, mask)))


@njit(nogil=True, cache=True)
def _colour_bins(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the colour bin of each masked pixel, in raster order."""
    bins = np.empty(mask.size, np.int32)
    n = 0
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                red, green, blue = np.int32(rgb[y, x, 0]), np.int32(rgb[y, x, 1]), np.int32(rgb[y, x, 2])
                bins[n] = (red >> 1) << 14 | (green >> 1) << 7 | (blue >> 1)
                n += 1
    return bins[:n]


@njit(nogil=True, cache=True)
def _runs(values: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct values of a sorted array and how often each occurs."""
    distinct, counts = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
    n = 0
    for index in range(len(values)):
        if index == 0 or values[index] != values[index - 1]:
            distinct[n], counts[n] = values[index], 0
            n += 1
        counts[n - 1] += 1
    return distinct[:n], counts[:n]


def estimate_stain(histogram: NDArray[np.int64], *, method: str = "macenko", name: str = "h&e") -> StainBasis:
    """Return the stain basis of the tissue whose colours were counted.

    Parameters
    ----------
    histogram : int64 (2**21,)
        Colours of tissue pixels, indexed as in `empty_histogram`.
    method : {"macenko", "reference"}
        Estimate the vectors, or take the reference vectors.
    name : str
        What the section is stained with. The estimate assumes hematoxylin and eosin; others take reference vectors.

    Returns
    -------
    StainBasis
        Unit vectors rounded to 1e-6, maximum concentrations and nucleus threshold rounded to 1e-4.
    """
    bins = np.flatnonzero(histogram)
    weight = histogram[bins].astype(np.float64)
    channels = np.stack([(bins >> 14) & 127, (bins >> 7) & 127, bins & 127], axis=1)
    density = -np.log10((2 * channels + 1.5) / 256.0)
    vectors = _macenko(density, weight) if method == "macenko" and name == "h&e" else None
    source = "macenko" if vectors is not None else "reference"
    if vectors is None:
        vectors = _unit(np.array(_OTHER_VECTORS[name]) if name in _OTHER_VECTORS else REFERENCE_VECTORS)
    vectors = np.round(vectors, 6)
    if weight.sum() < 1:
        maximum = _REFERENCE_MAX_CONCENTRATION
        threshold = 0.5 * maximum[0]
    else:
        concentration = density @ unmixing(vectors)
        maximum = np.array([_weighted_percentile(concentration[:, stain], weight, 99.0) for stain in range(2)])
        maximum = np.clip(maximum, 0.2 * _REFERENCE_MAX_CONCENTRATION, 4 * _REFERENCE_MAX_CONCENTRATION)
        otsu = _otsu(concentration[:, 0], weight, maximum[0])
        threshold = float(np.clip(_NUCLEUS_FRACTION * otsu, 0.2 * maximum[0], 0.6 * maximum[0]))
    return StainBasis(
        vectors=vectors,
        max_concentration=np.round(maximum, 4),
        nucleus_threshold=round(float(threshold), 4),
        source=source,
        name=name,
    )


def unmixing(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (3, 2) that turns optical density (..., 3) into concentrations of the two stains."""
    return np.asarray(np.linalg.pinv(vectors))


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _macenko(density: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return unit vectors float64 (2, 3), hematoxylin first, or None if the tissue gives no usable estimate.

    density is float64 (bins, 3), weight float64 (bins,), the pixels of each bin.
    """
    # both stains absorb green most: other pixels are debris or remains of ink and would distort the extreme angles
    red, green, blue = density.T
    stained = (density.mean(axis=1) >= _MIN_OD) & (green + _COLOUR_SLACK >= np.maximum(red, blue))
    density, weight = density[stained], weight[stained]
    if weight.sum() < _MIN_PIXELS:
        return None
    mean = (density * weight[:, None]).sum(axis=0) / weight.sum()
    centred = density - mean
    covariance = (centred * weight[:, None]).T @ centred / weight.sum()  # (3, 3)
    plane = np.linalg.eigh(covariance)[1][:, [2, 1]]  # (3, 2): the two leading eigenvectors
    # the sign of an eigenvector is arbitrary: the first points to positive density, the second to more red
    plane[:, 0] *= 1.0 if plane[:, 0].sum() >= 0 else -1.0
    plane[:, 1] *= 1.0 if plane[0, 1] >= 0 else -1.0
    projected = density @ plane
    angle = np.arctan2(projected[:, 1], projected[:, 0])
    extremes = [_weighted_percentile(angle, weight, percentile) for percentile in _ANGLE_PERCENTILES]
    stains = np.stack([plane @ np.array([np.cos(phi), np.sin(phi)]) for phi in extremes])
    stains = stains[np.argsort(-stains[:, 0], kind="stable")]
    stains = _unit(np.clip(stains, 0.0, None))
    reference = _unit(REFERENCE_VECTORS)
    deviation = np.degrees(np.arccos(np.clip((stains * reference).sum(axis=1), -1, 1)))
    separation = np.degrees(np.arccos(np.clip(stains[0] @ stains[1], -1, 1)))
    if deviation.max() > _MAX_DEVIATION_DEGREES or separation < _MIN_SEPARATION_DEGREES:
        return None
    return stains


def _weighted_percentile(values: NDArray[np.float64], weight: NDArray[np.float64], percentile: float) -> float:
    """Return the smallest value whose cumulated weight reaches the percentile; numpy's has no integer weights."""
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weight[order])
    position = np.searchsorted(cumulated, percentile / 100.0 * cumulated[-1])
    return float(values[order[min(int(position), len(order) - 1)]])


def _otsu(values: NDArray[np.float64], weight: NDArray[np.float64], top: float) -> float:
    """Return Otsu's threshold of weighted values over 128 bins of [0, top]."""
    counts, edges = np.histogram(np.clip(values, 0.0, top), bins=128, range=(0.0, top), weights=weight)
    centres = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), counts.sum()
    mass_below, mass = np.cumsum(counts * centres), (counts * centres).sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (mass * below / total - mass_below) ** 2 / (below * (total - below))
    return float(edges[1 + int(np.nanargmax(np.where(np.isfinite(between), between, -1.0)))])
