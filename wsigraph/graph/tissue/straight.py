"""Straight line segments among candidate pixels, by a Hough transform.

It finds the edge of a coverslip where tissue hides parts of it. Such an edge is straight over millimetres, but nuclei
and folds interrupt it, so its pieces are too short to be recognised one by one.

Each candidate pixel (y, x) votes for all lines through it (Duda and Hart, CACM 1972)::

    d = y sin(a) + x cos(a),    a = 0, 0.5, ..., 179.5 degrees

The line with the most votes is cut into segments wherever the distance between two of its candidates is too long. A
segment is accepted if it is long enough and candidates cover at least half of it. Its candidates are then removed from
the votes and the search repeats. A line that bends by more than one pixel over its length is split into several lines.

scikit-image's ``probabilistic_hough_line`` samples pixels at random and ``hough_line`` computes in floating point; the
result must be the same on every machine, so votes here are counted in integers and every pixel votes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.kernels import njit

_ANGLES = 360
_UNIT = 1 << 12
"""Fixed-point units of 1 in a line's unit normal."""
_COVERED = 0.5
"""Fraction of a segment's length that candidates must cover."""
_SLACK = 0.5
"""Extra half width of a drawn segment, pixels: the line's angle is rounded to one of 360."""
_MAX_GAP = 0.35
"""Longest gap inside a segment, as a fraction of the least length."""


def straight_segments(mask: NDArray[np.bool_], min_length: float) -> NDArray[np.bool_]:
    """Return the straight segments that candidates cover densely, with their gaps filled.

    Parameters
    ----------
    mask : bool (h, w)
        Candidate pixels.
    min_length : float
        Least length of a segment, pixels.

    Returns
    -------
    bool (h, w)
        True on the segments. A segment is as wide as its candidates are on average, and at least three pixels.

    Notes
    -----
    Time is proportional to the number of candidates times 360 angles, plus one scan of the votes for each line.
    """
    marked = np.zeros_like(mask)
    y, x = (axis.astype(np.int64) for axis in np.nonzero(mask))
    least_votes = round(_COVERED * min_length)
    if len(y) < least_votes:
        return marked
    angle = np.arange(_ANGLES) * np.pi / _ANGLES
    normal = np.round(np.stack([np.sin(angle), np.cos(angle)], axis=1) * _UNIT).astype(np.int64)  # (360, 2)
    # distances d may be negative, so column `offset` of the votes is d = 0
    offset = int(np.hypot(*mask.shape)) + 2
    votes = np.zeros((_ANGLES, 2 * offset + 1), np.int64)  # (360, distances)
    _vote(y, x, normal, offset, 1, votes)
    while len(y):
        best, line = divmod(int(np.argmax(votes)), votes.shape[1])
        if votes[best, line] < least_votes:
            break
        across, along = _distances(y, x, normal[best], line - offset)  # (candidates,) each
        on_line = np.abs(across) <= 1.5
        segments = _long_segments(along[on_line], min_length)
        for start, stop, width in segments:
            _draw_segment(marked, normal[best], line - offset, (start, stop), max(width / 2, 1.0) + _SLACK)
        _vote(y[on_line], x[on_line], normal, offset, -1, votes)
        y, x = y[~on_line], x[~on_line]
    return marked


@njit(nogil=True, cache=True)
def _vote(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    normal: NDArray[np.int64],
    offset: int,
    vote: int,
    votes: NDArray[np.int64],
) -> None:
    """Add `vote` (1 or -1) of every pixel to each line through it, in place.

    ``votes[a, round(y sin a + x cos a) + offset] += vote`` for y, x int64 (P,), normal int64 (360, 2) in units of
    1/4096, and votes int64 (360, 2 * offset + 1).
    """
    for pixel in range(len(y)):
        for angle in range(len(normal)):
            distance = y[pixel] * normal[angle, 0] + x[pixel] * normal[angle, 1]
            votes[angle, (distance + _UNIT // 2) // _UNIT + offset] += vote


def _distances(
    y: NDArray[np.int64], x: NDArray[np.int64], normal: NDArray[np.int64], distance: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the signed distance of pixels from a line and their coordinate along it, pixels, float64 (P,) each."""
    down, right = normal
    return (y * down + x * right) / _UNIT - distance, (x * down - y * right) / _UNIT


def _long_segments(along: NDArray[np.float64], min_length: float) -> list[tuple[float, float, float]]:
    """Return (start, stop, mean number of candidates across) of each long, densely covered segment of a line."""
    steps, count = np.unique(np.floor(along).astype(np.int64), return_counts=True)
    cuts = np.flatnonzero(np.diff(steps) > _MAX_GAP * min_length) + 1
    segments = []
    for part, counted in zip(np.split(steps, cuts), np.split(count, cuts), strict=True):
        length = int(part[-1] - part[0]) + 1
        if length >= min_length and len(part) >= _COVERED * length:
            segments.append((float(part[0]), float(part[-1] + 1), float(counted.mean())))
    return segments


def _draw_segment(
    marked: NDArray[np.bool_], normal: NDArray[np.int64], distance: int, ends: tuple[float, float], half_width: float
) -> None:
    """Mark the pixels of a segment, in place: those within `half_width` of the line and between its two `ends`."""
    down, right = normal / _UNIT
    corners_y = [distance * down - at * right for at in ends]
    corners_x = [distance * right + at * down for at in ends]
    margin = half_width + 1
    y0, y1 = max(int(min(corners_y) - margin), 0), min(int(max(corners_y) + margin) + 2, marked.shape[0])
    x0, x1 = max(int(min(corners_x) - margin), 0), min(int(max(corners_x) + margin) + 2, marked.shape[1])
    y, x = (axis.astype(np.int64) for axis in np.mgrid[y0:y1, x0:x1])
    across, along = _distances(y, x, normal, distance)
    marked[y0:y1, x0:x1] |= (np.abs(across) <= half_width) & (along >= ends[0]) & (along < ends[1])
