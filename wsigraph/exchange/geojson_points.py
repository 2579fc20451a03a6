"""A graph's centroids as GeoJSON points, in level-0 pixels, as QuPath expects them.

A point gives the position and the measurements of a region, in about a hundredth of the bytes of its outline. The
outlines of the coarse regions are in ``report.geojson``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from wsigraph.errors import MissingMpp
from wsigraph.exchange.tables import IN_BOUNDS, Placement, node_columns, provenance
from wsigraph.geometry import um_to_px_exact
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store import write_file

_DIGITS = 6


def encode_points(graph: TissueGraph | CoarseGraph, level0_mpp: float, *, placement: Placement = IN_BOUNDS) -> bytes:
    """Return a graph's centroids as a GeoJSON feature collection.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    level0_mpp : float
        Pixel size of the slide at full resolution, um/px.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    bytes
        JSON with a final newline. One point a region, (x, y) in level-0 pixels to 1/100, with its measurements to 6
        digits; the provenance as the member ``wsigraph``.

    Raises
    ------
    MissingMpp
        If `level0_mpp` is not a positive number.
    """
    if not level0_mpp > 0:
        raise MissingMpp(f"the slide's pixel size is {level0_mpp}, expected a positive number; give it with --mpp UM")
    columns = node_columns(graph, placement)
    nodes = columns.pop("node")
    x, y = (np.round(um_to_px_exact(1.0, level0_mpp) * columns.pop(name), 2).tolist() for name in ("x_um", "y_um"))
    rows = np.stack([values.astype(np.float64) for values in columns.values()], axis=1).tolist()
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [x[node], y[node]]},
            "properties": {
                "objectType": "detection",
                "name": f"Region {node}",
                "classification": {"name": "Tissue region", "color": [60, 120, 180]},
                "measurements": {
                    name: float(f"{value:.{_DIGITS}g}") for name, value in zip(columns, rows[node], strict=True)
                },
            },
        }
        for node in nodes.tolist()
    ]
    collection = {"type": "FeatureCollection", "features": features, "wsigraph": provenance(graph, placement)}
    return (json.dumps(collection, allow_nan=False, separators=(",", ":")) + "\n").encode()


def write_points(
    graph: TissueGraph | CoarseGraph, path: Path, level0_mpp: float, *, placement: Placement = IN_BOUNDS
) -> Path:
    """Write a graph's centroids as a GeoJSON file.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    path : Path
        File to write.
    level0_mpp : float
        Pixel size of the slide at full resolution, um/px.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingMpp
        If `level0_mpp` is not a positive number.
    StoreError
        If the file cannot be written.
    """
    write_file(path, encode_points(graph, level0_mpp, placement=placement))
    return path
