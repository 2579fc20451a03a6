"""Moments of every superpixel in a window, counted in compiled passes.

For superpixel i with pixels P_i, every column of the moment table is a sum of integers over P_i::

    n, sum of x, y, x^2, xy, y^2          coordinates on the slide, working pixels
    sum of D_c and of D_c D_d             optical density of R, G, B in units of 1/1024
    histograms                            of hematoxylin, eosin (concentration) and lightness, 16 bins each
    C_i(g, h)                             pairs (p, p + offset) with p in P_i and hematoxylin levels {g, h}
    outside, edge                         pairs (p, q) of 8-neighbours with q not tissue, or q off the slide

Each count is owned by one pixel of the core: a pixel by its label, a co-occurring pair by its anchor (the left or upper
pixel), a boundary pair by the pixel whose region is counted, a nucleus by its centroid (``nuclei``). So the moments of
a slide are the sum over any partition into cores, bit for bit.

``scipy.ndimage.sum_labels`` and ``np.bincount`` read the window once for each of the 100 columns;
``skimage.feature.graycomatrix`` works on one rectangle, not on labelled regions; ``regionprops`` runs Python for each
region. Here a pixel is read once for all of its columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import FeatureConfig
from wsigraph.geometry import Box, Size, um_to_px
from wsigraph.graph.feature.concentration import MAX_CONCENTRATION, concentrations
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES, N_BINS, N_GREY, OD_UNIT
from wsigraph.graph.feature.nuclei import NucleusScales, count_nuclei
from wsigraph.graph.tissue.density import DENSITY
from wsigraph.kernels import njit
from wsigraph.records import StainBasis

_BINS_TO_MAXIMUM = 12
"""Bins from 0 to the maximum concentration; the other four hold larger values."""

_SUM_X, _OD, _HEMATOXYLIN, _EOSIN = COLUMN["sum_x"], COLUMN["od_r"], COLUMN["hematoxylin_bin_0"], COLUMN["eosin_bin_0"]
_LIGHTNESS, _PAIRS = COLUMN["lightness_bin_0"], COLUMN["cooccurrence_0_0"]
_OUTSIDE, _EDGE = COLUMN["outside_straight"], COLUMN["edge_straight"]
_N_MOMENTS = len(MOMENT_NAMES)


@dataclass(frozen=True, slots=True)
class CountScales:
    """Lengths used in counting, in working pixels.

    Attributes
    ----------
    texture_offset_px : int
        Distance of co-occurring pixels.
    nucleus : NucleusScales
        Sizes of a nucleus.
    """

    texture_offset_px: int
    nucleus: NucleusScales

    @classmethod
    def of(cls, config: FeatureConfig, mpp: float) -> CountScales:
        """Return the lengths of a configuration at a working pixel size `mpp`, um/px."""
        return cls(um_to_px(config.texture_offset_um, mpp), NucleusScales.of(config, mpp))

    @property
    def halo_px(self) -> int:
        """Number of pixels that must be read around a core."""
        return max(self.texture_offset_px, self.nucleus.halo_px, 1)


def _pair_columns() -> NDArray[np.int32]:
    """Return the moment column of each unordered pair of levels, int32 (8, 8), symmetric."""
    column = np.zeros((N_GREY, N_GREY), np.int32)
    for low in range(N_GREY):
        for high in range(low, N_GREY):
            column[low, high] = column[high, low] = COLUMN[f"cooccurrence_{low}_{high}"]
    return column


_PAIR_COLUMN = _pair_columns()


def _bin_table(maximum: float, n_levels: int, n_to_maximum: int) -> NDArray[np.uint8]:
    """Return the bin of each integer concentration: min(c * n_to_maximum // maximum, n_levels - 1), uint8 (8193,)."""
    top = max(1, round(maximum * OD_UNIT))
    return np.minimum(np.arange(MAX_CONCENTRATION + 1) * n_to_maximum // top, n_levels - 1).astype(np.uint8)


def count_moments(
    rgb: NDArray[np.uint8],
    labels: NDArray[np.int32],
    *,
    window: Box,
    core: Box,
    size: Size,
    stain: StainBasis,
    scales: CountScales,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the contribution of the pixels of a core box to the moments.

    Parameters
    ----------
    rgb : uint8 (h, w, 3)
        Pixels of the window.
    labels : int32 (h, w)
        Superpixels of the window; 0 is not tissue.
    window : Box
        ``core.grow(scales.halo_px).clip(size)`` or larger, in working pixels of the slide.
    core : Box
        Box of the pixels to count, in working pixels.
    size : Size
        Size of the slide, working pixels.
    stain : StainBasis
        Stain basis for co-occurrence, histograms and nuclei.
    scales : CountScales
        Lengths in working pixels.

    Returns
    -------
    ids : int64 (k,)
        Labels that occur in the core, ascending.
    moments : int64 (k, M)
        Moments of each label, columns as in ``MOMENT_NAMES``.

    Notes
    -----
    Linear in the window's pixels: about 25 ns a pixel on one thread.
    """
    inner = core.relative_to(window)
    hematoxylin, eosin = concentrations(rgb, stain)
    ids, local = _local_labels(labels)
    moments = np.zeros((len(ids) + 1, _N_MOMENTS), np.int64)  # row 0 is background
    _count_pixels(
        rgb, local, hematoxylin, eosin, inner.y0, inner.x0, inner.y1, inner.x1, window.y0, window.x0,
        DENSITY,
        _bin_table(stain.max_concentration[0], N_BINS, _BINS_TO_MAXIMUM),
        _bin_table(stain.max_concentration[1], N_BINS, _BINS_TO_MAXIMUM),
        moments,
    )  # fmt: skip
    _count_pairs(
        local, hematoxylin, inner.y0, inner.x0, inner.y1, inner.x1, scales.texture_offset_px,
        _bin_table(stain.max_concentration[0], N_GREY, N_GREY), _PAIR_COLUMN, moments,
    )  # fmt: skip
    _count_outside(
        local, inner.y0, inner.x0, inner.y1, inner.x1, window.y0, window.x0, size.height, size.width, moments
    )
    threshold = round(stain.nucleus_threshold * OD_UNIT)
    count_nuclei(hematoxylin, local, window, core, threshold, scales.nucleus, moments)
    present = np.flatnonzero(moments[1:].any(axis=1))
    return ids[present], moments[1:][present]


def _local_labels(labels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the labels of a window, int64 (k,) ascending, and the window renumbered 1..k, int32 (h, w).

    The moment table then has k rows instead of one for each label of the slide.
    """
    number = np.zeros(int(labels.max(initial=0)) + 1, np.int32)  # (highest label + 1,)
    _mark(labels, number)
    number[0] = 0
    ids = np.flatnonzero(number)
    number[ids] = np.arange(1, len(ids) + 1, dtype=np.int32)
    return ids.astype(np.int64), _renumber(labels, number)


@njit(nogil=True, cache=True)
def _mark(labels: NDArray[np.int32], occurs: NDArray[np.int32]) -> None:
    """Set ``occurs[label] = 1`` for every label of the window."""
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            occurs[labels[y, x]] = 1


@njit(nogil=True, cache=True)
def _renumber(labels: NDArray[np.int32], number: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return ``number[labels]``, int32 (h, w)."""
    result = np.empty_like(labels)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            result[y, x] = number[labels[y, x]]
    return result


@njit(nogil=True, cache=True)
def _count_pixels(
    rgb: NDArray[np.uint8],
    local: NDArray[np.int32],
    hematoxylin: NDArray[np.int16],
    eosin: NDArray[np.int16],
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    top: int,
    left: int,
    density: NDArray[np.int32],
    hematoxylin_bin: NDArray[np.uint8],
    eosin_bin: NDArray[np.uint8],
    moments: NDArray[np.int64],
) -> None:
    """Add area, coordinates, optical density and histograms of the core's pixels, in place.

    rgb uint8 (h, w, 3); local int32 (h, w), row of `moments`; hematoxylin, eosin int16 (h, w) in 1/1024 OD;
    (y0, x0)..(y1, x1) the core in the window; (top, left) the window's corner on the slide; density int32 (256,);
    bin tables uint8 (8193,); moments int64 (k + 1, M).
    """
    for y in range(y0, y1):
        row = np.int64(y + top)
        for x in range(x0, x1):
            label = local[y, x]
            if label == 0:
                continue
            column = np.int64(x + left)
            m = moments[label]
            m[0] += 1
            m[_SUM_X] += column
            m[_SUM_X + 1] += row
            m[_SUM_X + 2] += column * column
            m[_SUM_X + 3] += column * row
            m[_SUM_X + 4] += row * row
            r, g, b = np.int64(rgb[y, x, 0]), np.int64(rgb[y, x, 1]), np.int64(rgb[y, x, 2])
            dr, dg, db = np.int64(density[r]), np.int64(density[g]), np.int64(density[b])
            m[_OD] += dr
            m[_OD + 1] += dg
            m[_OD + 2] += db
            m[_OD + 3] += dr * dr
            m[_OD + 4] += dr * dg
            m[_OD + 5] += dr * db
            m[_OD + 6] += dg * dg
            m[_OD + 7] += dg * db
            m[_OD + 8] += db * db
            m[_HEMATOXYLIN + hematoxylin_bin[hematoxylin[y, x]]] += 1
            m[_EOSIN + eosin_bin[eosin[y, x]]] += 1
            m[_LIGHTNESS + (r + g + b) // 48] += 1


@njit(nogil=True, cache=True)
def _count_pairs(
    local: NDArray[np.int32],
    hematoxylin: NDArray[np.int16],
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    offset: int,
    level: NDArray[np.uint8],
    column: NDArray[np.int32],
    moments: NDArray[np.int64],
) -> None:
    """Add the co-occurrences of each core pixel with the pixels `offset` to its right and below it, in place.

    level uint8 (8193,) maps a concentration to one of 8 grey levels; column int32 (8, 8) is `_PAIR_COLUMN`.
    """
    height, width = local.shape
    for y in range(y0, y1):
        for x in range(x0, x1):
            label = local[y, x]
            if label == 0:
                continue
            own = level[hematoxylin[y, x]]
            if x + offset < width:
                moments[label, column[own, level[hematoxylin[y, x + offset]]]] += 1
            if y + offset < height:
                moments[label, column[own, level[hematoxylin[y + offset, x]]]] += 1


@njit(nogil=True, cache=True)
def _count_outside(  # noqa: C901 - eight neighbours of a pixel, each inside or outside
    local: NDArray[np.int32],
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    top: int,
    left: int,
    slide_height: int,
    slide_width: int,
    moments: NDArray[np.int64],
) -> None:
    """Add the pairs of each core pixel with those of its 8 neighbours that are not tissue or off the slide, in place.

    `near_background[x + 1]` says whether one of the pixels (y - 1, x), (y, x), (y + 1, x) is not tissue; most pixels
    are skipped by three of these flags.
    """
    height, width = local.shape
    near_background = np.zeros(width + 2, np.bool_)  # from column -1 on
    near_background[0] = near_background[width + 1] = True
    for y in range(y0, y1):
        for x in range(width):
            near_background[x + 1] = local[y, x] == 0
        for yy in (y - 1, y + 1):
            if 0 <= yy < height:
                for x in range(width):
                    near_background[x + 1] |= local[yy, x] == 0
            else:
                near_background[:] = True
        for x in range(x0, x1):
            label = local[y, x]
            if label == 0 or not (near_background[x] or near_background[x + 1] or near_background[x + 2]):
                continue
            for dy in range(-1, 2):
                for dx in range(-1, 2):
                    if dy == 0 and dx == 0:
                        continue
                    diagonal = 1 if dy != 0 and dx != 0 else 0
                    yy, xx = y + dy + top, x + dx + left
                    if yy < 0 or xx < 0 or yy >= slide_height or xx >= slide_width:
                        moments[label, _EDGE + diagonal] += 1
                    elif local[y + dy, x + dx] == 0:
                        moments[label, _OUTSIDE + diagonal] += 1
