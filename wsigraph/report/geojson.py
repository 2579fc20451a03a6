"""Coarse regions as GeoJSON that QuPath opens.

Each region is one feature, a QuPath detection: QuPath stays fast with thousands of detections, and can colour them by
their measurements. Coordinates are level-0 pixels of the scanned area, as QuPath shows it, unless an offset moves them
onto the file's plane. All regions have the same class, so that a class list stays short; neighbours differ in the
colour of the object, which QuPath shows instead of that of the class. Provenance is a foreign member of the collection,
which QuPath ignores.

References: RFC 7946 (sections 3 and 6.1 on foreign members; 7.1 forbids ``properties`` on a collection); QuPath 0.4
and later for ``id``, ``objectType``, ``color``, ``classification`` and ``measurements``.
"""

from __future__ import annotations

import difflib
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ConfigError, RecordError
from wsigraph.geometry import px_to_um2
from wsigraph.graph.feature.interpret import FEATURE_NAMES, FeatureTable
from wsigraph.outline.outline import Outlines
from wsigraph.records import CoarseGraph
from wsigraph.report.palette import PALETTE, colour_regions
from wsigraph.store import canonical_json

NAMESPACE = uuid.UUID("6f0e5a8e-8d5c-5b0f-9d0a-2f9c1f7b3a51")
"""Namespace of region identifiers (UUID version 5)."""
CLASS_NAME = "Tissue region"
"""QuPath class of every region."""
CLASS_COLOUR = (70, 70, 70)
"""8-bit (R, G, B) of that class."""
SIGNIFICANT_DIGITS = 5
"""Digits of a measurement: enough for any of them, with half the bytes of a full float."""

_UNIT_WORDS = {
    "1": "",
    "um": " µm",
    "um2": " µm^2",
    "1/1000um2": " per 1000 µm^2",
    "max": " (share of slide maximum)",
    "OD": " (optical density)",
    "bit": " (bits)",
}


def region_ids(coarse: CoarseGraph, slide_sha256: str) -> list[str]:
    """Return a reproducible identifier for every region.

    Parameters
    ----------
    coarse : CoarseGraph
        The regions.
    slide_sha256 : str
        Digest of the slide.

    Returns
    -------
    list of str
        One UUID (version 5) per coarse node, from the slide, the graph's moments and assignment, and the node.
    """
    total = hashlib.sha256()
    for array in (coarse.assignment, coarse.graph.moments):
        total.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    graph_digest = total.hexdigest()
    return [str(uuid.uuid5(NAMESPACE, f"{slide_sha256}/{graph_digest}/{node}")) for node in range(coarse.graph.n_nodes)]


def encode_geojson(
    outlines: Outlines,
    coarse: CoarseGraph,
    features: FeatureTable,
    *,
    slide_sha256: str,
    measurements: Sequence[str],
    provenance: Mapping[str, Any],
    max_bytes: int,
    attributions: Mapping[str, NDArray[np.float64]] | None = None,
    offset_px: tuple[int, int] = (0, 0),
) -> tuple[bytes, tuple[str, ...]]:
    """Return the regions of a slide as a GeoJSON feature collection.

    Parameters
    ----------
    outlines : Outlines
        Polygons of the regions, level-0 pixels.
    coarse : CoarseGraph
        The regions.
    features : FeatureTable
        Their interpretable features.
    slide_sha256 : str
        Digest of the slide, part of every identifier.
    measurements : sequence of str
        Features of each region, in addition to its area, superpixels and nuclei; the most important first.
    provenance : mapping of str to JSON value
        Written as the member ``wsigraph`` of the collection.
    max_bytes : int
        Size above which measurements are left out, from the last on.
    attributions : mapping of str to float64 (C,), optional
        Attribution of every region, by target; never left out.
    offset_px : tuple of (int, int), optional
        Added to every point, (x, y) in level-0 pixels; see `wsigraph.slide.bounds.offset_px`.

    Returns
    -------
    content : bytes
        Canonical JSON with a final newline: equal input gives equal bytes. Outlines are never left out, so it can
        still be larger than `max_bytes`.
    left_out : tuple of str
        Measurements that were left out; also listed under ``wsigraph``.

    Raises
    ------
    ConfigError
        If a measurement is not a feature.
    RecordError
        If outlines, graph and features differ in their number of regions.
    StoreError
        If `provenance` is not JSON.

    Notes
    -----
    Linear in points and regions: 10,000 regions of 30 points with 12 measurements take about a second and 12 MB.
    """
    n_regions = coarse.graph.n_nodes
    if not n_regions == outlines.n_regions == len(features.values):
        raise RecordError(
            f"{n_regions} nodes, {outlines.n_regions} outlines and {len(features.values)} rows of features, "
            "expected the same number of each"
        )
    # another tool's tiles have no features of pixels
    measurements = [name for name in measurements if name in features.names or name not in FEATURE_NAMES]
    wanted = _wanted(features, measurements)
    collection = _collection(outlines, coarse, slide_sha256, np.asarray(offset_px))
    fixed = _fixed(coarse) | {f"Attribution: {name}": _rounded(values) for name, values in (attributions or {}).items()}
    rows = _rows(fixed | wanted, n_regions)
    n_given, content = len(wanted), b""
    while True:
        for feature, row in zip(collection["features"], rows, strict=True):
            feature["properties"]["measurements"] = row
        left_out = tuple(measurements[n_given:])
        collection["wsigraph"] = {**provenance, "measurements_left_out": list(left_out)}
        content = (canonical_json(collection) + "\n").encode()
        if len(content) <= max_bytes or n_given == 0:
            return content, left_out
        size = len(content)
        while n_given > 0 and size > max_bytes:
            n_given -= 1
            title, column = list(wanted.items())[n_given]
            size -= n_regions * (len(canonical_json(title)) + 2) + len(canonical_json(column)) - n_regions - 1
        rows = _rows(fixed | dict(list(wanted.items())[:n_given]), n_regions)


def measurement_name(name: str, unit: str, group: str) -> str:
    """Return the name of a feature in QuPath, e.g. ``"Nuclei: nuclear density per 1000 µm^2"``."""
    words = name.removesuffix(f"_{unit}").replace("_", " ")
    return f"{group.capitalize()}: {words}{_UNIT_WORDS.get(unit, f' ({unit})')}"


def _collection(
    outlines: Outlines, coarse: CoarseGraph, slide_sha256: str, offset_px: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the collection without measurements and provenance."""
    colours = colour_regions(coarse.graph).tolist()
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": identifier,
                "geometry": polygon_geometry(outlines, node, offset_px),
                "properties": {
                    "objectType": "detection",
                    "name": f"Region {node}",
                    "color": list(PALETTE[colours[node]]),
                    "classification": {"name": CLASS_NAME, "color": list(CLASS_COLOUR)},
                },
            }
            for node, identifier in enumerate(region_ids(coarse, slide_sha256))
        ],
    }


def _rows(columns: Mapping[str, list[float | int]], n_regions: int) -> list[dict[str, float | int]]:
    return [{name: column[node] for name, column in columns.items()} for node in range(n_regions)]


def _fixed(coarse: CoarseGraph) -> dict[str, list[float | int]]:
    """Return the measurements that every region has."""
    graph = coarse.graph
    return {
        "Area µm^2": _rounded(px_to_um2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)),
        "Number of superpixels": np.bincount(coarse.assignment, minlength=graph.n_nodes).tolist(),
        **({"Number of nuclei": graph.moment("nuclei").tolist()} if "nuclei" in graph.moment_names else {}),
        **{
            f"Fraction in class: {name}": _rounded(graph.class_fraction[:, k])
            for k, name in enumerate(graph.class_names)
        },
    }


def _wanted(features: FeatureTable, chosen: Sequence[str]) -> dict[str, list[float | int]]:
    """Return the chosen features by their names in QuPath."""
    columns: dict[str, list[float | int]] = {}
    for name in chosen:
        column = features.column(name)
        if column is None:
            nearest = difflib.get_close_matches(name, features.names, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"expected one of {', '.join(features.names)}"
            raise ConfigError(f"report.measurements has {name!r}, which is not a feature; {hint}")
        title = measurement_name(features.names[column], features.units[column], features.groups[column])
        columns[title] = _rounded(features.values[:, column])
    return columns


def _rounded(values: NDArray[np.float64]) -> list[float | int]:
    return [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values.tolist()]


def polygon_geometry(outlines: Outlines, node: int, offset_px: NDArray[np.int64]) -> dict[str, Any]:
    """Return the polygons of one region as a GeoJSON geometry.

    Parameters
    ----------
    outlines : Outlines
        Polygons of the regions, level-0 pixels.
    node : int
        The region.
    offset_px : int64 (2,)
        Added to every point, (x, y).

    Returns
    -------
    dict
        A Polygon, or a MultiPolygon where the region has several parts.
    """
    polygons = [[_closed(ring + offset_px) for ring in polygon] for polygon in outlines.polygons(node)]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _closed(ring: NDArray[np.float64]) -> list[list[float | int]]:
    # Integers are written without a fraction, because coordinates are half of a large file.
    whole = ring.astype(np.int64)
    points: list[list[float | int]] = (whole if (whole == ring).all() else ring).tolist()
    return [*points, points[0]]
