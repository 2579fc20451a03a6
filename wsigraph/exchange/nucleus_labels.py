"""Nuclei as an OME-NGFF label image: every pixel holds the number of its nucleus, 0 is ground.

A pixel is of a nucleus if its centre is inside the outline: these are the pixels that the detector found. The image is
at the pixel size of the detector, with two levels below it, each of every second pixel. Nuclei are numbered from 1 in
the order of the table.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec
from zarr.storage import LocalStore

from wsigraph.geometry import Size, grid
from wsigraph.graph.feature.nucleus_table import NucleusTable
from wsigraph.kernels import njit
from wsigraph.slide.polygon_fill import flip

CHUNK = 1024
"""Side of a stored chunk, pixels."""
LEVELS = 3


def write_nucleus_labels(table: NucleusTable, path: Path, size: Size, provenance: Mapping[str, Any]) -> Path:
    """Write nuclei as a label image of OME-NGFF 0.5.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of a slide.
    path : Path
        Directory to write, .ome.zarr; one that is there is replaced.
    size : Size
        Pixels of the slide at the pixel size of the table.
    provenance : mapping of str to JSON value
        Written as the attribute ``wsigraph``.

    Returns
    -------
    Path
        The directory.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        root = zarr.create_group(LocalStore(part), attributes=_attributes(table, provenance))
        levels = [
            zarr.create_array(
                root.store,
                name=str(level),
                shape=(-(-size.height // 2**level), -(-size.width // 2**level)),
                chunks=(CHUNK, CHUNK),
                dtype="uint32",
                compressors=[ZstdCodec(level=5)],
                dimension_names=["y", "x"],
            )
            for level in range(LEVELS)
        ]
        low, high = _extents(table)
        for box in grid(size, CHUNK << (LEVELS - 1)):
            rows = np.flatnonzero(
                (low[:, 0] < 2 * box.x1)
                & (high[:, 0] > 2 * box.x0)
                & (low[:, 1] < 2 * box.y1)
                & (high[:, 1] > 2 * box.y0)
            )
            if len(rows) == 0:
                continue
            labels = np.zeros((box.height, box.width), np.uint32)
            _paint(table.points, table.start, rows, low, high, box.y0, box.x0, labels)
            for level, array in enumerate(levels):
                step = 2**level
                small = labels[::step, ::step]
                y, x = box.y0 // step, box.x0 // step
                array[y : y + small.shape[0], x : x + small.shape[1]] = small
        if path.exists():
            shutil.rmtree(path)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def _attributes(table: NucleusTable, provenance: Mapping[str, Any]) -> dict[str, Any]:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [{"type": "scale", "scale": [table.mpp * 2**level] * 2}],
        }
        for level in range(LEVELS)
    ]
    multiscales = [{"name": "nuclei", "axes": axes, "datasets": datasets}]
    return {
        "ome": {"version": "0.5", "multiscales": multiscales, "image-label": {"version": "0.5"}},
        "wsigraph": dict(provenance),
    }


def _extents(table: NucleusTable) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the least and greatest (x, y) of every outline, half pixels, int32 (n, 2)."""
    if table.n_nuclei == 0:
        return np.zeros((0, 2), np.int32), np.zeros((0, 2), np.int32)
    first = table.start[:-1]
    return np.minimum.reduceat(table.points, first), np.maximum.reduceat(table.points, first)


@njit(nogil=True, cache=True)
def _paint(
    points: NDArray[np.int32],
    start: NDArray[np.int64],
    rows: NDArray[np.int64],
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    y0: int,
    x0: int,
    labels: NDArray[np.uint32],
) -> None:
    """Write the number of each nucleus of `rows` where pixel centres are inside its outline, in place.

    Outlines are in half pixels; `low` and `high` int32 (n, 2) are their extents, and labels uint32 (h, w) begin at
    pixel (y0, x0).
    """
    height, width = labels.shape
    for row in rows:
        first, last = start[row], start[row + 1]
        edges = np.empty((last - first, 4), np.float64)
        for point in range(first, last):
            following = point + 1 if point + 1 < last else first
            for axis in range(2):
                edges[point - first, axis] = points[point, axis] / 2
                edges[point - first, 2 + axis] = points[following, axis] / 2
        left, right = max(low[row, 0] // 2, x0), min(high[row, 0] // 2 + 1, x0 + width)
        top, bottom = max(low[row, 1] // 2, y0), min(high[row, 1] // 2 + 1, y0 + height)
        flips = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
        flip(edges, top, left, flips)
        for y in range(flips.shape[0]):
            inside = False
            for x in range(flips.shape[1]):
                inside ^= flips[y, x] == 1
                if inside:
                    labels[top - y0 + y, left - x0 + x] = row + 1
