"""Square tiles as nodes of a graph, with exact areas, positions and shared sides.

A tile owns the working pixels whose centres are inside it. Tiles that do not overlap in level-0 pixels therefore share
no working pixel, and tiles that touch there touch in working pixels too. Each tile is a rectangle of working pixels,
whose area, coordinate sums and boundary crossings have closed forms. They equal the counts over its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsigraph.errors import RecordError
from wsigraph.geometry import Box, Size, resampled_size
from wsigraph.kernels import njit

GEOMETRY_NAMES = (
    *("n", "sum_x", "sum_y", "sum_xx", "sum_xy", "sum_yy"),
    *("outside_straight", "outside_diagonal", "edge_straight", "edge_diagonal"),
)
"""Moments that follow from the position of a tile."""

_STRAIGHT = ((0, 1), (0, -1), (1, 0), (-1, 0))
_DIAGONAL = ((1, 1), (1, -1), (-1, 1), (-1, -1))

Corners = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TileRectangles:
    """Tiles as rectangles of working pixels that share none.

    Attributes
    ----------
    corners : int64 (N, 4)
        y0, x0, y1, x1 of each, half-open.
    size : Size
        The working pixel grid.
    touching : int64 (K, 2)
        Pairs of tiles, the lower first, among which are all that touch.
    """

    corners: Corners
    size: Size
    touching: NDArray[np.int64]

    @property
    def area(self) -> NDArray[np.int64]:
        """Working pixels of each tile, int64 (N,)."""
        return _extent(self.corners[:, 0], self.corners[:, 2]) * _extent(self.corners[:, 1], self.corners[:, 3])


def place_tiles(coords: NDArray[np.int64], tile_px: int, step: Fraction, level0: Size | None) -> TileRectangles:
    """Convert tiles to rectangles of the working pixel grid.

    Parameters
    ----------
    coords : int64 (N, 2)
        Upper left corners as (x, y), in level-0 pixels.
    tile_px : int
        Side of a tile in level-0 pixels.
    step : Fraction
        Level-0 pixels along a working pixel.
    level0 : Size or None
        Size of the slide; where it is not known the grid ends one pixel beyond the last tile, so that what lies
        there counts as glass and not as the slide's edge.

    Returns
    -------
    TileRectangles
        In the order of `coords`, cut at the slide's border.

    Raises
    ------
    RecordError
        If tiles overlap, or a tile lies outside the slide or holds no working pixel.
    """
    pairs = _check_apart(coords, tile_px)
    first, last = first_inside(coords, step), first_inside(coords + tile_px, step)
    if level0 is None:
        size = Size(int(last[:, 1].max()) + 1, int(last[:, 0].max()) + 1)
    else:
        size = resampled_size(level0, step)
    corners = np.stack([first[:, 1], first[:, 0], last[:, 1], last[:, 0]], axis=1)
    corners = np.clip(corners, 0, np.array([size.height, size.width] * 2))
    tiles = TileRectangles(corners, size, pairs)
    empty = np.flatnonzero(tiles.area == 0)
    if len(empty):
        x, y = coords[empty[0]].tolist()
        where = "slide" if level0 is None else f"slide of {level0.width} x {level0.height} px"
        raise RecordError(
            f"{len(empty)} of {len(coords)} tiles hold no pixel of the {where} (the first at x {x}, y {y}); give the "
            "slide that the tiles are of, and its pixel size"
        )
    return tiles


def geometry_moments(tiles: TileRectangles) -> NDArray[np.int64]:
    """Return the moments that follow from geometry, int64 (N, 10), columns as `GEOMETRY_NAMES`."""
    y0, x0, y1, x1 = tiles.corners.T
    n, height, width = tiles.area, _extent(y0, y1), _extent(x0, x1)
    sum_x, sum_y = _sum(x1) - _sum(x0), _sum(y1) - _sum(y0)
    columns = [
        n, height * sum_x, width * sum_y, height * (_sum_of_squares(x1) - _sum_of_squares(x0)), sum_x * sum_y,
        width * (_sum_of_squares(y1) - _sum_of_squares(y0)),
    ]  # fmt: skip
    whole = np.broadcast_to(np.array([0, 0, tiles.size.height, tiles.size.width]), tiles.corners.shape)
    crossings = _pair_crossings(tiles)
    outside, edge = [], []
    for kind, directions in enumerate((_STRAIGHT, _DIAGONAL)):
        own = sum((_shared(tiles.corners, tiles.corners, *direction) for direction in directions), np.zeros_like(n))
        on_slide = sum((_shared(tiles.corners, whole, *direction) for direction in directions), np.zeros_like(n))
        with_others = np.zeros_like(n)
        for side in (0, 1):
            np.add.at(with_others, tiles.touching[:, side], crossings[:, kind])
        outside.append(on_slide - own - with_others)
        edge.append(len(directions) * n - on_slide)
    return np.stack([*columns, *outside, *edge], axis=1)


def tile_edges(tiles: TileRectangles) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of tiles that share a side or a corner.

    Parameters
    ----------
    tiles : TileRectangles
        The tiles.

    Returns
    -------
    low, high : int64 (k,)
        The tiles of each pair.
    boundary : int64 (k, 2)
        Straight and diagonal crossings.
    """
    crossings = _pair_crossings(tiles)
    touches = crossings.any(axis=1)
    low, high = tiles.touching[touches].T
    return low, high, crossings[touches]


class TileLabels:
    """The label image of tiles, drawn when it is indexed; `LazyArray` of int32 (H, W), label i + 1 for tile i.

    Parameters
    ----------
    tiles : TileRectangles
        The tiles.
    """

    dtype = np.dtype(np.int32)

    def __init__(self, tiles: TileRectangles) -> None:
        self.shape = (tiles.size.height, tiles.size.width)
        self._corners = tiles.corners

    def __getitem__(self, index: Any) -> NDArray[np.int32]:
        """Return the indexed part; the slices must be plain and without steps."""
        (y0, y1, _), (x0, x1, _) = (
            part.indices(length) for part, length in zip(index, self.shape, strict=True)
        )  # fmt: skip
        box = Box(y0=y0, x0=x0, y1=max(y0, y1), x1=max(x0, x1))
        painted = np.zeros((box.height, box.width), np.int32)
        inside = (self._corners[:, 0] < box.y1) & (self._corners[:, 2] > box.y0)
        inside &= (self._corners[:, 1] < box.x1) & (self._corners[:, 3] > box.x0)
        visible = np.flatnonzero(inside)
        _paint(painted, self._corners[visible] - np.array([box.y0, box.x0] * 2), visible.astype(np.int32) + 1)
        return painted


def cover(tiles: TileRectangles, shape: tuple[int, int], step: Fraction) -> NDArray[np.uint8]:
    """Return which cells of the low-power grid hold a pixel of a tile.

    Parameters
    ----------
    tiles : TileRectangles
        The tiles.
    shape : tuple of int
        Rows and columns of the low-power grid.
    step : Fraction
        Working pixels along a cell; a pixel lies in the cell that holds its centre.

    Returns
    -------
    uint8 (h, w)
        1 where there is a tile.
    """
    last = np.array([shape[0], shape[1]] * 2) - 1
    pixel = tiles.corners - np.array([0, 0, 1, 1])
    cell = np.minimum((2 * pixel + 1) * step.denominator // (2 * step.numerator), last)
    corners = np.zeros((shape[0] + 1, shape[1] + 1), np.int64)
    for sign, row, column in ((1, 0, 1), (-1, 2, 1), (-1, 0, 3), (1, 2, 3)):
        np.add.at(corners, (cell[:, row] + row // 2, cell[:, column] + (column - 1) // 2), sign)
    return (corners.cumsum(axis=0).cumsum(axis=1)[:-1, :-1] > 0).astype(np.uint8)


def _check_apart(coords: NDArray[np.int64], tile_px: int) -> NDArray[np.int64]:
    """Return the pairs of tiles near enough to touch; raise RecordError where two overlap."""
    # two tiles whose corners are in the same cell of tile size overlap; after this check no place has many tiles
    cells = np.unique(coords // tile_px, axis=0, return_index=True)[1]
    pairs = np.zeros((0, 2), np.int64)
    n_overlaps = len(coords) - len(cells)
    if n_overlaps == 0:
        pairs = cKDTree(coords).query_pairs(tile_px + 0.5, p=np.inf, output_type="ndarray").astype(np.int64)
        distance = np.abs(coords[pairs[:, 0]] - coords[pairs[:, 1]]).max(axis=1)
        n_overlaps = int((distance < tile_px).sum())
    if n_overlaps:
        raise RecordError(
            f"tiles of {tile_px} level-0 px overlap ({n_overlaps} times among {len(coords)}), expected a partition; "
            "extract the features again without overlap, or give the right side of a tile"
        )
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


def first_inside(position: NDArray[np.int64], step: Fraction) -> NDArray[np.int64]:
    """Return the first working pixel whose centre is at or beyond a level-0 position."""
    return np.asarray(-((step.numerator - 2 * position * step.denominator) // (2 * step.numerator)))


def _extent(start: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(np.maximum(stop - start, 0))


def _sum(stop: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0 + 1 + ... + (stop - 1)."""
    return stop * (stop - 1) // 2


def _sum_of_squares(stop: NDArray[np.int64]) -> NDArray[np.int64]:
    return stop * (stop - 1) * (2 * stop - 1) // 6


def _shared(a: Corners, b: Corners, dy: int, dx: int) -> NDArray[np.int64]:
    """Return how many pixels of rectangle a have their neighbour at (dy, dx) in rectangle b, int64 (N,)."""
    moved = b - np.array([dy, dx, dy, dx])
    first, last = np.maximum(a[:, :2], moved[:, :2]), np.minimum(a[:, 2:], moved[:, 2:])
    return _extent(first[:, 0], last[:, 0]) * _extent(first[:, 1], last[:, 1])


def _pair_crossings(tiles: TileRectangles) -> NDArray[np.int64]:
    """Return straight and diagonal crossings of the near pairs, int64 (K, 2)."""
    low, high = tiles.corners[tiles.touching[:, 0]], tiles.corners[tiles.touching[:, 1]]
    none = np.zeros(len(low), np.int64)
    return np.stack(
        [
            sum((_shared(low, high, *direction) for direction in directions), none)
            for directions in (_STRAIGHT, _DIAGONAL)
        ],
        axis=1,
    )


@njit(nogil=True, cache=True)
def _paint(painted: NDArray[np.int32], corners: NDArray[np.int64], labels: NDArray[np.int32]) -> None:
    height, width = painted.shape
    for tile in range(len(labels)):
        for y in range(max(corners[tile, 0], 0), min(corners[tile, 2], height)):
            for x in range(max(corners[tile, 1], 0), min(corners[tile, 3], width)):
                painted[y, x] = labels[tile]
