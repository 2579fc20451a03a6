"""GeoJSON regions as a tiatoolbox annotation store, the SQLite file that its viewer shows over a slide."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from wsigraph.errors import PluginError
from wsigraph.exchange.optional import load_package
from wsigraph.store.atomic import partial_of, writing


def write_annotation_store(geojson: bytes, path: Path) -> Path:
    """Write a feature collection as an annotation store.

    Parameters
    ----------
    geojson : bytes
        Feature collection in level-0 pixels, from ``encode_points`` or a report. Measurements become properties of
        their own, beside ``type`` and ``name``; its provenance, with the origin of the coordinates, becomes the key
        ``wsigraph`` of the store's metadata.
    path : Path
        File to write, usually ``.db``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PluginError
        If tiatoolbox is not installed, or this Python's sqlite3 lacks what it needs.
    StoreError
        If the file cannot be written.
    """
    storage = load_package("tiatoolbox.annotation.storage", "writing an annotation store", extra="tiatoolbox")
    try:
        store = storage.SQLiteStore.from_geojson(io.StringIO(geojson.decode()), transform=_flatten)
        store.metadata["wsigraph"] = json.loads(geojson).get("wsigraph", {})
    except (AttributeError, OSError) as error:
        raise PluginError(
            f"tiatoolbox makes no annotation store with this Python's sqlite3 ({error}); take a Python whose sqlite3 "
            "loads extensions and has R-trees"
        ) from None
    try:
        with writing(path):
            partial = partial_of(path)
            try:
                store.dump(partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
    finally:
        store.close()
    return path


def _flatten(annotation: Any) -> Any:
    """Return an annotation with its measurements as top-level properties."""
    properties = annotation.properties
    measured = properties.pop("measurements", {})
    kind = properties.pop("classification", {}).get("name", "")
    properties.update({"type": kind, **measured})
    return annotation
