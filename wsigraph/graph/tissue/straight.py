"""Straight courses among candidate pixels: the edge of a coverslip where tissue hides parts of it.

An edge is straight over millimetres, but nuclei and folds of colour cut its candidates into pieces too short to be told
from texture. A Hough transform (Duda and Hart, CACM 1972) in whole numbers names the line that most candidates lie on;
its candidates are split where the gap between two is too long, and a stretch is taken whole, gaps included, if it is
long and mostly covered. Taken candidates leave, and the next line is looked for. Not optimal for edges bent by more
than a pixel over their length: they fall into several lines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

_ANGLES = 360
_UNIT = 1 << 12
_COVERED = 0.5
"""Share of a stretch's length that candidates must cover."""
_SLACK = 0.5
"""How far a stretch's end may stray from its line, whose angle is one of 360, pixels."""
_MAX_GAP = 0.35
"""Longest gap inside a stretch, as a share of the least length."""


def straight_courses(mask: NDArray[np.bool_], min_length: float) -> NDArray[np.bool_]:
    """Return the straight stretches on which candidates lie close together, gaps filled.

    Parameters
    ----------
    mask : bool (h, w)
        Candidates.
    min_length : float
        Least length of a stretch, pixels.

    Returns
    -------
    bool (h, w)
        The stretches, as wide as their candidates are on the average, three pixels at the least.

    Notes
    -----
    Time is linear in candidates, times 360 directions, and in the number of stretches found.
    """
    found = np.zeros_like(mask)
    y, x = (axis.astype(np.int64) for axis in np.nonzero(mask))
    least_votes = round(_COVERED * min_length)
    if len(y) < least_votes:
        return found
    angle = np.arange(_ANGLES) * np.pi / _ANGLES
    normal = np.round(np.stack([np.sin(angle), np.cos(angle)], axis=1) * _UNIT).astype(np.int64)
    offset = int(np.hypot(*mask.shape)) + 2
    votes = np.zeros((_ANGLES, 2 * offset + 1), np.int64)
    _vote(y, x, normal, offset, 1, votes)
    while len(y):
        best, line = divmod(int(np.argmax(votes)), votes.shape[1])
        if votes[best, line] < least_votes:
            break
        across, along = _distances(y, x, normal[best], line - offset)
        on_line = np.abs(across) <= 1.5
        stretches = _stretches(along[on_line], min_length)
        for start, stop, width in stretches:
            _fill(found, normal[best], line - offset, (start, stop), max(width / 2, 1.0) + _SLACK)
        _vote(y[on_line], x[on_line], normal, offset, -1, votes)
        y, x = y[~on_line], x[~on_line]
    return found


@njit(nogil=True, cache=True)
def _vote(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    normal: NDArray[np.int64],
    offset: int,
    vote: int,
    votes: NDArray[np.int64],
) -> None:
    """Add a vote of every pixel to each line through it, in place."""
    for pixel in range(len(y)):
        for angle in range(len(normal)):
            distance = y[pixel] * normal[angle, 0] + x[pixel] * normal[angle, 1]
            votes[angle, (distance + _UNIT // 2) // _UNIT + offset] += vote


def _distances(
    y: NDArray[np.int64], x: NDArray[np.int64], normal: NDArray[np.int64], distance: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far pixels lie from a line and where along it, in pixels."""
    down, right = normal
    return (y * down + x * right) / _UNIT - distance, (x * down - y * right) / _UNIT


def _stretches(along: NDArray[np.float64], min_length: float) -> list[tuple[float, float, float]]:
    """Return start, stop and mean number of candidates across of each long and mostly covered stretch."""
    steps, count = np.unique(np.floor(along).astype(np.int64), return_counts=True)
    cuts = np.flatnonzero(np.diff(steps) > _MAX_GAP * min_length) + 1
    found = []
    for part, counted in zip(np.split(steps, cuts), np.split(count, cuts), strict=True):
        length = int(part[-1] - part[0]) + 1
        if length >= min_length and len(part) >= _COVERED * length:
            found.append((float(part[0]), float(part[-1] + 1), float(counted.mean())))
    return found


def _fill(
    found: NDArray[np.bool_], normal: NDArray[np.int64], distance: int, ends: tuple[float, float], half_width: float
) -> None:
    """Mark the pixels of a stretch, in place."""
    down, right = normal / _UNIT
    corners_y = [distance * down - at * right for at in ends]
    corners_x = [distance * right + at * down for at in ends]
    margin = half_width + 1
    y0, y1 = max(int(min(corners_y) - margin), 0), min(int(max(corners_y) + margin) + 2, found.shape[0])
    x0, x1 = max(int(min(corners_x) - margin), 0), min(int(max(corners_x) + margin) + 2, found.shape[1])
    y, x = (axis.astype(np.int64) for axis in np.mgrid[y0:y1, x0:x1])
    across, along = _distances(y, x, normal, distance)
    found[y0:y1, x0:x1] |= (np.abs(across) <= half_width) & (along >= ends[0]) & (along < ends[1])
