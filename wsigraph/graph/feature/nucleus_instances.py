"""From the network's two maps to nuclei, in one compiled pass.

The centre map, smoothed with (1 2 1) x (1 2 1), has one maximum in each nucleus. Every pixel of a nucleus points to the
highest of its 8 neighbours; a pixel that is the highest of these points to the highest pixel within `REACH`, and one
that is the highest there is a peak. Two peaks are one nucleus where the map between them falls to no less than
`SADDLE` / 256 of the lower one: large nuclei have several shallow peaks. The highest saddles come first, and what was
joined counts by its highest peak, so that a row of low bumps does not join two high peaks. The pixels that lead to a
peak and are connected to it are its nucleus, and their mean probability of nucleus is that of the nucleus: it tells
nuclei from other things better than the height of the peak. All of it is in integers, and ties go to the first pixel in
raster order, so a window gives the same nuclei on every machine that gives the same maps.

``skimage.segmentation.watershed`` floods from a heap in Python objects of its own and takes ten times as long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

REACH = 4
"""Distance within which two maxima are one nucleus, pixels."""
SADDLE = 195
"""Least height between two peaks of one nucleus, of 256 parts of the lower peak. Of 185, 195, 205 and 217, 195 had
the best F1 on held-out images of the Data Science Bowl."""


@njit(nogil=True, cache=True)
def find_instances(
    nucleus: NDArray[np.uint8],
    centre: NDArray[np.uint8],
    least_nucleus: int,
    least_centre: int,
    least_area: int,
    least_mean: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return the nuclei of a window.

    Parameters
    ----------
    nucleus, centre : uint8 (h, w)
        Probability of nucleus and height of the centre map, 255 is 1.
    least_nucleus : int
        Least probability of a pixel of a nucleus, 0..255.
    least_centre : int
        Least height of a peak of the smoothed centre map, 0..255.
    least_area : int
        Least number of pixels of a nucleus.
    least_mean : int
        Least mean probability of the pixels of a nucleus, 0..255.

    Returns
    -------
    instances : int32 (h, w)
        Nuclei numbered from 1 in raster order of their peaks; 0 is background.
    peak : int32 (n,)
        Height of each nucleus's peak in 1/16, 0..4080.
    mean : int32 (n,)
        Mean probability of each nucleus's pixels in 1/16, 0..4080.
    """
    height, width = centre.shape
    smooth = _smooth(centre, nucleus, least_nucleus)  # (h, w), -1 outside nuclei
    top = _tops(smooth)  # (h w,) the peak of each pixel
    _join_peaks(smooth, top)
    number = np.zeros(height * width, np.int32)  # of peaks only
    peak = np.empty(height * width, np.int32)
    n = 0
    for here in range(height * width):
        value = smooth[here // width, here % width]
        if top[here] == here and value >= 16 * least_centre:
            peak[n] = value
            n += 1
            number[here] = n
    instances = _connected(top, number, height, width)
    kept, mean = _keep(instances, nucleus, n, least_area, least_mean)
    return instances, peak[:n][kept], mean


@njit(nogil=True, cache=True)
def _keep(
    instances: NDArray[np.int32], nucleus: NDArray[np.uint8], n: int, least_area: int, least_mean: int
) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Drop small and unlikely nuclei, in place; return which are kept, and their mean probabilities in 1/16."""
    height, width = instances.shape
    area, total = np.zeros(n + 1, np.int64), np.zeros(n + 1, np.int64)
    for y in range(height):
        for x in range(width):
            area[instances[y, x]] += 1
            total[instances[y, x]] += nucleus[y, x]
    kept, number, mean = np.zeros(n, np.bool_), np.zeros(n + 1, np.int32), np.empty(n, np.int32)
    last = 0
    for old in range(1, n + 1):
        if area[old] >= least_area and total[old] >= least_mean * area[old]:
            mean[last] = (32 * total[old] + area[old]) // (2 * area[old])
            last += 1
            kept[old - 1], number[old] = True, last
    for y in range(height):
        for x in range(width):
            instances[y, x] = number[instances[y, x]]
    return kept, mean[:last].copy()


@njit(nogil=True, cache=True)
def _connected(top: NDArray[np.int32], number: NDArray[np.int32], height: int, width: int) -> NDArray[np.int32]:
    """Return the pixels 4-connected to a numbered peak among those that lead to it, int32 (h, w)."""
    instances = np.zeros((height, width), np.int32)
    stack = np.empty(height * width, np.int32)
    for peak in range(height * width):
        if number[peak] == 0:
            continue
        stack[0], n = peak, 1
        instances[peak // width, peak % width] = number[peak]
        while n > 0:
            n -= 1
            y, x = stack[n] // width, stack[n] % width
            for step in range(4):
                yy, xx = y + (-1, 0, 0, 1)[step], x + (0, -1, 1, 0)[step]
                if 0 <= yy < height and 0 <= xx < width and instances[yy, xx] == 0 and top[yy * width + xx] == peak:
                    instances[yy, xx] = number[peak]
                    stack[n] = yy * width + xx
                    n += 1
    return instances


@njit(nogil=True, cache=True)
def _tops(smooth: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the index of the peak that each pixel leads to, int32 (h w,); -1 outside nuclei."""
    height, width = smooth.shape
    toward = np.empty(height * width, np.int32)  # where each pixel points to
    for y in range(height):
        for x in range(width):
            here = y * width + x
            if smooth[y, x] < 0:
                toward[here] = -1
                continue
            best = _highest(smooth, y, x, 1)
            toward[here] = best if best != here else _highest(smooth, y, x, REACH)
    for here in range(height * width):
        if toward[here] < 0:
            continue
        top = here
        while toward[top] != top:
            top = toward[top]
        step = here  # shorten the path for the pixels that follow
        while toward[step] != top:
            following = toward[step]
            toward[step] = top
            step = following
    return toward


@njit(nogil=True, cache=True)
def _root(up: NDArray[np.int32], peak: int) -> int:
    """Return the peak that a peak was joined to in the end."""
    while up[peak] != peak:
        up[peak] = up[up[peak]]
        peak = up[peak]
    return peak


@njit(nogil=True, cache=True)
def _join_peaks(smooth: NDArray[np.int32], top: NDArray[np.int32]) -> None:
    """Let the pixels of peaks with a shallow saddle between them lead to the highest of these, in place."""
    heights = smooth.ravel()
    ones, others, saddles = _saddles(smooth, top)
    up = np.arange(len(top)).astype(np.int32)
    for index in np.argsort(-saddles, kind="mergesort"):
        a, b = _root(up, ones[index]), _root(up, others[index])
        if a != b and 256 * saddles[index] >= SADDLE * min(heights[a], heights[b]):
            first = a if heights[a] > heights[b] or (heights[a] == heights[b] and a < b) else b
            up[a], up[b] = first, first
    for here in range(len(top)):
        if top[here] >= 0:
            top[here] = _root(up, top[here])


@njit(nogil=True, cache=True)
def _saddles(
    smooth: NDArray[np.int32], top: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return both peaks and the lower height of every pair of neighbours that lead to different ones."""
    height, width = smooth.shape
    ones, others = np.empty(2 * height * width, np.int32), np.empty(2 * height * width, np.int32)
    saddles = np.empty(2 * height * width, np.int32)
    n = 0
    for y in range(height):
        for x in range(width):
            one = top[y * width + x]
            if one < 0:
                continue
            for step in range(2):
                yy, xx = y + step, x + 1 - step
                if yy >= height or xx >= width:
                    continue
                other = top[yy * width + xx]
                lower = min(smooth[y, x], smooth[yy, xx])
                if other >= 0 and other != one and lower > 0:
                    ones[n], others[n], saddles[n] = one, other, lower
                    n += 1
    return ones[:n].copy(), others[:n].copy(), saddles[:n].copy()


@njit(nogil=True, cache=True)
def _smooth(centre: NDArray[np.uint8], nucleus: NDArray[np.uint8], least_nucleus: int) -> NDArray[np.int32]:
    """Return 16 (G centre), int32 (h, w), and -1 where `nucleus` is below its least value; edges replicated."""
    height, width = centre.shape
    result = np.full((height, width), -1, np.int32)
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            if nucleus[y, x] < least_nucleus:
                continue
            back, ahead = max(x - 1, 0), min(x + 1, width - 1)
            result[y, x] = (
                np.int32(centre[above, back]) + centre[above, ahead] + centre[below, back] + centre[below, ahead]
                + 2 * (np.int32(centre[above, x]) + centre[below, x] + centre[y, back] + centre[y, ahead])
                + 4 * np.int32(centre[y, x])
            )  # fmt: skip
    return result


@njit(nogil=True, cache=True)
def _highest(smooth: NDArray[np.int32], y: int, x: int, reach: int) -> int:
    """Return the index of the highest pixel within `reach`; ties go to the pixel itself, then to raster order."""
    height, width = smooth.shape
    top, best = smooth[y, x], y * width + x
    for yy in range(max(y - reach, 0), min(y + reach + 1, height)):
        for xx in range(max(x - reach, 0), min(x + reach + 1, width)):
            if smooth[yy, xx] > top:
                top, best = smooth[yy, xx], yy * width + xx
    return int(best)


@njit(nogil=True, cache=True)
def split_heights(counts: NDArray[np.int64]) -> int:
    """Return the height that best parts low from high peaks (Otsu): the first bin of the high ones.

    Parameters
    ----------
    counts : int64 (k,)
        Number of peaks in bins of equal width.

    Returns
    -------
    int
        The cut with the greatest variance between both parts, 1..k - 1; ties go to the lowest. 0 where fewer than two
        bins are filled.
    """
    total, moment = np.int64(0), np.int64(0)
    for k in range(len(counts)):
        total += counts[k]
        moment += counts[k] * k
    best, cut, below, low = 0.0, 0, np.int64(0), np.int64(0)
    for k in range(len(counts) - 1):
        below += counts[k]
        low += counts[k] * k
        if below == 0 or below == total:
            continue
        difference = float(moment * below - total * low)
        between = difference * difference / (float(below) * float(total - below))
        if between > best:
            best, cut = between, k + 1
    return cut


@njit(nogil=True, cache=True)
def mean_in_instances(instances: NDArray[np.int32], maps: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Return the mean of half-size maps over each nucleus.

    Parameters
    ----------
    instances : int32 (h, w)
        Nuclei 1..n.
    maps : float32 (k, h / 2, w / 2)
        Maps.
    n : int
        Number of nuclei.

    Returns
    -------
    float32 (n, k)
        Mean of each map over each nucleus, summed in raster order; 0 where a nucleus has no pixel.
    """
    total, count = np.zeros((n, maps.shape[0])), np.zeros(n)
    for y in range(instances.shape[0]):
        for x in range(instances.shape[1]):
            nucleus = instances[y, x] - 1
            if nucleus < 0:
                continue
            count[nucleus] += 1
            for k in range(maps.shape[0]):
                total[nucleus, k] += maps[k, y // 2, x // 2]
    result = np.zeros((n, maps.shape[0]), np.float32)
    for nucleus in range(n):
        if count[nucleus] > 0:
            result[nucleus] = total[nucleus] / count[nucleus]
    return result
