"""Nuclei as dark spots of the hematoxylin channel.

With H the hematoxylin concentration, G the binomial kernel (1 2 1) x (1 2 1) / 16 and B a box mean around the pixel::

    spot(p) = (G H)(p) >= threshold  and  (G H)(p) > (B H)(p) + contrast

The second condition is a local threshold; it separates nuclei that touch, as long as the pixels between them are paler
than their surroundings. 4-connected components of spots with a plausible area and diameter count as nuclei. From the
second central moments V of a component::

    eccentricity = sqrt(1 - minor / major),    major, minor = eigenvalues of V

A nucleus belongs as a whole to the superpixel under its rounded centroid and is measured by the core that owns that
pixel; the maximum diameter bounds the halo.

``cv2.adaptiveThreshold`` handles 8-bit images only and scikit-image's ``threshold_local`` is float64; ``regionprops``
runs Python for each nucleus, of which a slide has a million. The kernels here are exact in integers, so the seams of
chunks do not show.

Limits: vesicular nuclei with a pale centre are missed; crowded lymphocytes merge and are then too large. A trained
network can replace this module (``detect``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import FeatureConfig
from wsigraph.geometry import Box, um2_to_px, um_to_px
from wsigraph.graph.feature.moments import COLUMN, ECCENTRICITY_UNIT
from wsigraph.graph.superpixel.components import label_components
from wsigraph.kernels import njit

_CONTRAST = 40
"""Least difference between a nucleus and the mean of its surroundings, 1/1024 optical density of hematoxylin."""
_NUCLEI = COLUMN["nuclei"]
Y, X, AREA, DIAMETER, ECCENTRICITY, STAIN = range(6)
"""Columns of a table of measured spots."""


@dataclass(frozen=True, slots=True)
class NucleusScales:
    """Sizes of a nucleus, in working pixels.

    Attributes
    ----------
    min_area_px : int
        Least area.
    max_diameter_px : int
        Greatest height and width.
    radius_px : int
        Half the side of the square over which the surroundings are averaged.
    """

    min_area_px: int
    max_diameter_px: int
    radius_px: int

    @classmethod
    def of(cls, config: FeatureConfig, mpp: float) -> NucleusScales:
        """Return the sizes of a configuration at a working pixel size `mpp`, um/px."""
        return cls(
            um2_to_px(config.nucleus_min_area_um2, mpp),
            um_to_px(config.nucleus_max_diameter_um, mpp),
            um_to_px(config.nucleus_scale_um, mpp),
        )

    @property
    def halo_px(self) -> int:
        """Number of pixels that must be read around a core so that its nuclei are whole."""
        return self.max_diameter_px + 1 + self.radius_px + 1


def count_nuclei(
    hematoxylin: NDArray[np.int16],
    local: NDArray[np.int32],
    window: Box,
    core: Box,
    threshold: int,
    scales: NucleusScales,
    moments: NDArray[np.int64],
) -> None:
    """Add the nuclei whose centroid is in the core to a moment table, in place.

    Parameters
    ----------
    hematoxylin : int16 (h, w)
        Concentration over the window, 1/1024 optical density.
    local : int32 (h, w)
        Row of `moments` for each pixel; 0 is not tissue.
    window, core : Box
        In working pixels; the window extends `scales.halo_px` beyond the core, clipped to the slide.
    threshold : int
        Least hematoxylin of a nucleus, 1/1024 optical density.
    scales : NucleusScales
        Sizes of a nucleus.
    moments : int64 (k, M)
        Moment table to add to.
    """
    reach = core.grow(scales.max_diameter_px + 1).intersect(window).relative_to(window)
    mask = _spot_mask(hematoxylin, local, reach.y0, reach.x0, reach.y1, reach.x1, threshold, scales.radius_px)
    components, n = label_components(mask)
    spots = measure_spots(components, n, hematoxylin[reach.slices])
    plausible = (spots[:, AREA] >= scales.min_area_px) & (spots[:, DIAMETER] <= scales.max_diameter_px)
    inner = core.relative_to(window)
    y, x = spots[:, Y] + reach.y0, spots[:, X] + reach.x0
    inside = plausible & (y >= inner.y0) & (y < inner.y1) & (x >= inner.x0) & (x < inner.x1)
    add_nuclei(spots[inside], local[y[inside], x[inside]], moments)


def add_nuclei(spots: NDArray[np.int64], row: NDArray[np.int32], moments: NDArray[np.int64]) -> None:
    """Add measured nuclei to the rows of a moment table, in place; nuclei of row 0 (not tissue) are ignored.

    Parameters
    ----------
    spots : int64 (n, 6)
        Measurements from `measure_spots`.
    row : int32 (n,)
        Row of the table for each nucleus.
    moments : int64 (k, M)
        Moment table to add to.
    """
    area, eccentricity, stain = spots[:, AREA], spots[:, ECCENTRICITY], spots[:, STAIN]
    one = np.ones(len(spots), np.int64)
    # (n, 7), in the order of the moment columns
    values = np.stack([one, area, area**2, eccentricity, eccentricity**2, stain, stain**2], axis=1)
    owned = row > 0
    np.add.at(moments[:, _NUCLEI : _NUCLEI + 7], row[owned], values[owned])


@njit(nogil=True, cache=True)
def _spot_mask(
    hematoxylin: NDArray[np.int16],
    local: NDArray[np.int32],
    y0: int,
    x0: int,
    y1: int,
    x1: int,
    threshold: int,
    radius: int,
) -> NDArray[np.int32]:
    """Return spot(p) for the box (y0, x0)..(y1, x1), int32 of 0 and 1.

    hematoxylin int16 (h, w) and local int32 (h, w) cover the window. The square has a side of 2 radius + 1 and is cut
    at the window, which only matters at the slide's border.
    """
    height, width = hematoxylin.shape
    mask = np.zeros((y1 - y0, x1 - x0), np.int32)
    # box sums: `columns` holds sums over 2 radius + 1 rows, updated row by row; their prefix sums give any square
    columns, prefix = np.zeros(width, np.int64), np.zeros(width + 1, np.int64)  # (w,), (w + 1,)
    for y in range(max(y0 - radius, 0), min(y0 + radius, height)):
        columns += hematoxylin[y]
    for y in range(y0, y1):
        if y + radius < height:
            columns += hematoxylin[y + radius]
        if y - radius - 1 >= 0 and y > y0:
            columns -= hematoxylin[y - radius - 1]
        for x in range(width):
            prefix[x + 1] = prefix[x] + columns[x]
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        n_rows = min(y + radius + 1, height) - max(y - radius, 0)
        for x in range(x0, x1):
            if local[y, x] == 0 or hematoxylin[y, x] * 2 < threshold:
                continue
            back, ahead = max(x - 1, 0), min(x + 1, width - 1)
            smooth = (
                np.int64(hematoxylin[above, back]) + hematoxylin[above, ahead]
                + hematoxylin[below, back] + hematoxylin[below, ahead]
                + 2 * (np.int64(hematoxylin[above, x]) + hematoxylin[below, x] + hematoxylin[y, back]
                       + hematoxylin[y, ahead])
                + 4 * np.int64(hematoxylin[y, x])
            )  # fmt: skip
            left, right = max(x - radius, 0), min(x + radius + 1, width)
            area = n_rows * (right - left)
            total = prefix[right] - prefix[left]
            # smooth is 16 (G H); the mean of the square is total / area: compared without a division
            if smooth >= 16 * threshold and smooth * area > 16 * (total + _CONTRAST * area):
                mask[y - y0, x - x0] = 1
    return mask


@njit(nogil=True, cache=True)
def measure_spots(components: NDArray[np.int32], n: int, hematoxylin: NDArray[np.int16]) -> NDArray[np.int64]:
    """Measure each component of an image.

    Parameters
    ----------
    components : int32 (h, w)
        Component of each pixel, 1..n; 0 is background.
    n : int
        Number of components.
    hematoxylin : int16 (h, w)
        Concentration, 1/1024 optical density.

    Returns
    -------
    int64 (n, 6)
        Rounded centroid y and x, area, longer side of the bounding box, eccentricity in 1/1024, mean hematoxylin; 0 for
        a number that does not occur.
    """
    sums = np.zeros((n, 7), np.int64)  # 1, y, x, y^2, yx, x^2, hematoxylin
    extent = np.empty((n, 4), np.int64)  # least y and x, greatest y and x
    extent[:, 0], extent[:, 1], extent[:, 2], extent[:, 3] = 2**30, 2**30, -1, -1
    for y in range(components.shape[0]):
        for x in range(components.shape[1]):
            spot = components[y, x] - 1
            if spot < 0:
                continue
            s = sums[spot]
            s[0] += 1
            s[1] += y
            s[2] += x
            s[3] += y * y
            s[4] += y * x
            s[5] += x * x
            s[6] += hematoxylin[y, x]
            e = extent[spot]
            e[0], e[1], e[2], e[3] = min(e[0], y), min(e[1], x), max(e[2], y), max(e[3], x)
    spots = np.zeros((n, 6), np.int64)  # columns Y, X, AREA, DIAMETER, ECCENTRICITY, STAIN
    for spot in range(n):
        area = sums[spot, 0]
        if area == 0:
            continue
        spots[spot, Y] = (2 * sums[spot, 1] + area) // (2 * area)
        spots[spot, X] = (2 * sums[spot, 2] + area) // (2 * area)
        spots[spot, AREA] = area
        spots[spot, DIAMETER] = max(extent[spot, 2] - extent[spot, 0], extent[spot, 3] - extent[spot, 1]) + 1
        spots[spot, ECCENTRICITY] = _eccentricity(sums[spot])
        spots[spot, STAIN] = sums[spot, 6] // area
    return spots


@njit(nogil=True, cache=True)
def _eccentricity(sums: NDArray[np.int64]) -> int:
    """Return sqrt(1 - minor / major) of a spot's second central moments, 0..1024; sums int64 (7,).

    The eigenvalues are mean +- root with mean = (V_yy + V_xx) / 2 and root = sqrt(((V_yy - V_xx) / 2)^2 + V_xy^2). The
    central sums are computed in integers relative to the pixel of the centroid, so the position of the window cannot
    change a bit of the result.
    """
    area = sums[0]
    cy, cx = sums[1] // area, sums[2] // area
    sy, sx = sums[1] - area * cy, sums[2] - area * cx
    syy = sums[3] - 2 * cy * sums[1] + area * cy * cy
    sxy = sums[4] - cy * sums[2] - cx * sums[1] + area * cy * cx
    sxx = sums[5] - 2 * cx * sums[2] + area * cx * cx
    vyy = area * syy - sy * sy
    vxy = area * sxy - sy * sx
    vxx = area * sxx - sx * sx
    mean = 0.5 * (vyy + vxx)
    root = np.sqrt((0.5 * (vyy - vxx)) ** 2 + float(vxy) * float(vxy))
    if mean + root <= 0:
        return 0
    minor = max(mean - root, 0.0)
    return int(ECCENTRICITY_UNIT * np.sqrt(1.0 - minor / (mean + root)))
