"""The graph inside a synthetic sample's ``.zarr``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from wsigraph.store.header import reading
from wsigraph.synthesis.diffusion.scene import Scene

GRAPH_ARRAYS = ("classes", "position_um", "area_um2", "shape", "density", "edge_index", "boundary_um", "labels")
"""Arrays of a `Scene`, each stored as ``graph/NAME``."""


def read_sample(path: Path) -> Scene:
    """Return the graph of a sample, with its label image.

    Parameters
    ----------
    path : Path
        The ``.zarr`` of a sample, or of a slide.

    Returns
    -------
    Scene
        The graph that was painted.

    Raises
    ------
    StoreError
        If the directory is missing, damaged or something else.
    """
    with reading(path, "SyntheticTile"):
        group = zarr.open_group(LocalStore(path, read_only=True), mode="r")
        arrays: dict[str, Any] = {name: np.asarray(group[f"graph/{name}"]) for name in GRAPH_ARRAYS}
        sides: Any = group.attrs["size_um"]
        mark = str(group.attrs.get("mark", ""))
        return Scene(size_um=(float(sides[0]), float(sides[1])), mark=mark, **arrays)
