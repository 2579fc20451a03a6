"""Nuclei for other tools: GeoJSON that QuPath opens in batches, parquet, and AnnData of cells.

Coordinates of GeoJSON are level-0 pixels; tables are in um. QuPath holds every object of a file in memory while it
reads it, so nuclei are written in files of `BATCH` detections, which it imports one after another.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph.exchange.optional import load_package
from wsigraph.graph.feature.nucleus_table import UNKNOWN, NucleusTable
from wsigraph.store import write_file

BATCH = 50_000
"""Most detections of one GeoJSON file."""
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "inflammatory": (60, 90, 200),
    "connective": (60, 160, 90),
    "neoplastic": (200, 60, 60),
}
"""8-bit (R, G, B) of the classes in QuPath; others are grey."""
_OTHER = (110, 110, 110)
_DIGITS = 5
_MEASUREMENTS = {
    "area_um2": "Area µm^2",
    "eccentricity": "Eccentricity",
    "solidity": "Solidity",
    "hematoxylin": "Hematoxylin OD mean",
    "hematoxylin_sd": "Hematoxylin OD std dev",
    "probability": "Detection probability",
    "type_probability": "Type probability",
    "nearest_um": "Distance to nearest nucleus µm",
}


def write_geojson_batches(
    table: NucleusTable, directory: Path, level0_mpp: float, provenance: Mapping[str, Any], *, points: bool = False
) -> list[Path]:
    """Write nuclei as GeoJSON files of at most `BATCH` detections.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of a slide.
    directory : Path
        Where ``nuclei_001.geojson`` and so on go.
    level0_mpp : float
        Pixel size of the slide at full resolution, um/px.
    provenance : mapping of str to JSON value
        Written as the member ``wsigraph`` of every collection.
    points : bool
        Write centroids in place of outlines: a tenth of the bytes.

    Returns
    -------
    list of Path
        The files, in order; one without a detection if there are no nuclei.
    """
    names = table.type_names()
    measured = {title: table.columns[name] for name, title in _MEASUREMENTS.items()}
    if not table.types:
        del measured[_MEASUREMENTS["type_probability"]]
    x, y = (np.round(table.columns[name] / level0_mpp, 2).tolist() for name in ("x_um", "y_um"))
    paths = []
    for batch, first in enumerate(range(0, max(table.n_nuclei, 1), BATCH), start=1):
        rows = range(first, min(first + BATCH, table.n_nuclei))
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [x[row], y[row]]}
                if points
                else {"type": "Polygon", "coordinates": [_ring(table, row, level0_mpp)]},
                "properties": {
                    "objectType": "detection",
                    "classification": _classification(names[row] if table.types else "nucleus"),
                    "measurements": {
                        title: float(f"{values[row]:.{_DIGITS}g}")
                        for title, values in measured.items()
                        if np.isfinite(values[row])
                    },
                },
            }
            for row in rows
        ]
        collection = {"type": "FeatureCollection", "features": features, "wsigraph": dict(provenance)}
        path = directory / f"nuclei_{batch:03d}.geojson"
        write_file(path, (json.dumps(collection, allow_nan=False, separators=(",", ":")) + "\n").encode())
        paths.append(path)
    return paths


def _classification(name: str) -> dict[str, Any]:
    return {"name": name.capitalize(), "color": list(COLOURS.get(name, _OTHER))}


def _ring(table: NucleusTable, row: int, level0_mpp: float) -> list[list[float]]:
    """Return the closed outline of a nucleus in level-0 pixels."""
    ring = np.round(table.outline_um(row) / level0_mpp, 2).tolist()
    return [*ring, ring[0]]


def write_nucleus_parquet(table: NucleusTable, path: Path, provenance: Mapping[str, Any]) -> Path:
    """Write the table as parquet, with the provenance as JSON in the schema's metadata under ``wsigraph``.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of a slide.
    path : Path
        File to write.
    provenance : mapping of str to JSON value
        Slide, detector and versions.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PluginError
        If pyarrow is not installed.
    """
    arrow = load_package("pyarrow", "writing parquet")
    parquet = load_package("pyarrow.parquet", "writing parquet")
    columns: dict[str, Any] = {
        name: values.astype(np.float32) if values.dtype == np.float64 and name not in ("x_um", "y_um") else values
        for name, values in table.columns.items()
        if name != "type"
    }
    columns["type"] = table.type_names() if table.types else [UNKNOWN] * table.n_nuclei
    text = json.dumps(dict(provenance), sort_keys=True)
    buffer = io.BytesIO()
    parquet.write_table(arrow.table(columns).replace_schema_metadata({"wsigraph": text}), buffer)
    write_file(path, buffer.getvalue())
    return path


def write_nucleus_anndata(table: NucleusTable, path: Path, provenance: Mapping[str, Any]) -> Path:
    """Write an AnnData of cells: one observation a nucleus, its measurements in X, its place in ``obsm["spatial"]``.

    Parameters
    ----------
    table : NucleusTable
        Nuclei of a slide.
    path : Path
        File to write, .h5ad.
    provenance : mapping of str to JSON value
        Slide, detector and versions.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PluginError
        If anndata or pandas is not installed.
    """
    anndata = load_package("anndata", "writing AnnData")
    pandas = load_package("pandas", "writing AnnData")
    names = [name for name in _MEASUREMENTS if table.types or name != "type_probability"]
    values: NDArray[np.float32] = np.stack([table.columns[name] for name in names], axis=1).astype(np.float32)
    cells = pandas.DataFrame(
        {"type": pandas.Categorical(table.type_names()), "section": table.columns["section"]},
        index=[f"nucleus_{row}" for row in range(table.n_nuclei)],
    )
    place = np.stack([table.columns["x_um"], table.columns["y_um"]], axis=1)
    result = anndata.AnnData(values, obs=cells, var=pandas.DataFrame(index=names), obsm={"spatial": place})
    result.uns["wsigraph"] = json.dumps(dict(provenance), sort_keys=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    result.write_h5ad(path)
    return path
