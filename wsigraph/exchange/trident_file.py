"""Regions or superpixels as a feature file in TRIDENT's form, for tools of multiple-instance learning.

Such a file holds squares: ``coords`` (N, 2), their upper left corners in level-0 pixels, and ``features`` (N, D). A
region is written as the square around its centre of mass; all squares have one side, of the area that regions have at
the median. Features are the encoder's where the graph has them, else the interpretable ones, whose names are an
attribute.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.exchange.optional import load_package
from wsigraph.geometry import Size, px_to_um2, um_to_px_exact
from wsigraph.graph.feature.encode import encoding
from wsigraph.graph.feature.interpret import known_features
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store.atomic import write_file

_UM_PER_PX_AT_1X = 10.0
_INTERPRETABLE = "wsigraph"


def write_trident(
    graph: TissueGraph | CoarseGraph, path: Path | str, *, level0_mpp: float, level0: Size | None = None
) -> Path:
    """Write a feature file.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        Superpixels, or regions.
    path : Path or str
        File to write, ``.h5``.
    level0_mpp : float
        Pixel size of level 0, um/px.
    level0 : Size, optional
        Size of the slide, where it is known.

    Returns
    -------
    Path
        The file: equal graphs give equal bytes.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    h5py = load_package("h5py", "writing features")
    tissue = graph.graph if isinstance(graph, CoarseGraph) else graph
    features, names = _features(tissue)
    area_um2 = px_to_um2(1.0, tissue.mpp) * np.median(tissue.moment("n"))
    side = max(1, round(um_to_px_exact(float(np.sqrt(area_um2)), level0_mpp)))
    centre = tissue.centroid_um / level0_mpp
    coords = np.maximum(np.rint(centre - side / 2), 0).astype(np.int64)
    magnification = round(_UM_PER_PX_AT_1X / level0_mpp)
    stated = {
        "patch_size": side,
        "patch_size_level0": side,
        "level0_magnification": magnification,
        "target_magnification": magnification,
        "overlap": 0,
        "name": tissue.slide_id,
        "level0_mpp": level0_mpp,
        "stain": tissue.stain.name,
    }
    if level0 is not None:
        stated |= {"level0_width": level0.width, "level0_height": level0.height}
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("coords", data=coords).attrs.update(stated)
        held = file.create_dataset("features", data=features)
        held.attrs["encoder"] = tissue.encoder or _INTERPRETABLE
        held.attrs["name"] = tissue.slide_id
        if names:
            held.attrs["columns"] = list(names)
    write_file(Path(path), content.getvalue())
    return Path(path)


def _features(graph: TissueGraph) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Return float32 (N, D) and the names of interpretable columns."""
    if graph.encoding_sum is not None:
        return encoding(graph).astype(np.float32), ()
    table = known_features(graph)
    return table.values.astype(np.float32), table.names
