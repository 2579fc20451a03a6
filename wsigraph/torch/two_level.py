"""A slide as regions and cells: a heterogeneous graph of two levels, as HACT-Net's.

Regions touch, cells are near one another, and a region contains cells. Superpixel labels are read a chunk at a time
and all arrays over cells are flat, so that memory grows by about 200 bytes a cell and not with the pixels of the slide.

References
----------
Pati et al., "Hierarchical graph representations in digital pathology", Medical Image Analysis 2022, section 3.1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch_geometric.data import HeteroData

from wsigraph.graph.feature.nucleus_table import NucleusTable
from wsigraph.records import CoarseGraph, SuperpixelLabels, TissueGraph
from wsigraph.torch.graph_data import Inputs, to_data

CELL_FEATURES = ("area_um2", "eccentricity", "solidity", "hematoxylin", "hematoxylin_sd", "nearest_um", "probability")
"""Columns of a cell's ``x``, before one for each type."""
_CHUNK_PX = 2048


def to_hetero_data(
    regions: TissueGraph | CoarseGraph,
    cells: NucleusTable | Path | str,
    labels: SuperpixelLabels,
    *,
    inputs: Inputs = "auto",
    neighbours: int = 5,
    radius_um: float = 50.0,
) -> HeteroData:
    """Return regions, cells, and which region contains which cell.

    Parameters
    ----------
    regions : TissueGraph or CoarseGraph
        Superpixels or regions of a slide.
    cells : NucleusTable, Path or str
        Its nuclei, or their file ``nuclei.parquet`` (`wsigraph nuclei`).
    labels : SuperpixelLabels
        Superpixels of the slide; of a coarse graph, those that it was coarsened from.
    inputs : str
        Columns of a region's ``x``, as for `to_data`.
    neighbours : int
        Largest number of cells that a cell is joined to.
    radius_um : float
        Largest distance of two joined cells, um.

    Returns
    -------
    torch_geometric.data.HeteroData
        ``region``: ``x``, ``pos``, ``area`` and names as of `to_data`. ``cell``: ``x`` float32 (C, 7 + T) named by
        ``x_names``, ``pos`` float32 (C, 2) in um. Edges ``(region, touches, region)`` with ``edge_attr``; ``(cell,
        near, cell)`` from each cell to its nearest ones, with the distance in um; ``(region, contains, cell)``. Cells
        outside every superpixel are left out.

    Raises
    ------
    ModelError
        If the graph lacks an encoder's features.
    OSError
        If the file of nuclei cannot be read.
    """
    columns, types = _columns(cells)
    place = np.stack([columns["x_um"], columns["y_um"]], axis=1)
    superpixel = _superpixel_at(place, labels)
    inside = superpixel >= 0
    place, superpixel = place[inside], superpixel[inside]
    region = regions.assignment[superpixel] if isinstance(regions, CoarseGraph) else superpixel
    own = to_data(regions, inputs=inputs)
    data = HeteroData()
    data["region"].x, data["region"].pos, data["region"].area = own.x, own.pos, own.area
    data["region"].x_names = own.x_names
    data["region", "touches", "region"].edge_index = own.edge_index
    data["region", "touches", "region"].edge_attr = own.edge_attr
    features = [np.asarray(columns[name], np.float32)[inside] for name in CELL_FEATURES]
    kind = np.asarray(columns["type"])[inside]
    features += [(kind == name).astype(np.float32) for name in types]
    data["cell"].x = torch.from_numpy(np.stack(features, axis=1))
    data["cell"].x_names = (*CELL_FEATURES, *types)
    data["cell"].pos = torch.from_numpy(place.astype(np.float32))
    near, distance = _nearest(place, neighbours, radius_um)
    data["cell", "near", "cell"].edge_index = torch.from_numpy(near)
    data["cell", "near", "cell"].edge_attr = torch.from_numpy(distance)
    contains = np.stack([region, np.arange(len(region))]).astype(np.int64)
    data["region", "contains", "cell"].edge_index = torch.from_numpy(contains)
    data.slide_id = own.slide_id
    return data


def _columns(cells: NucleusTable | Path | str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the columns of nuclei, with the name of each one's type, and the types that occur."""
    if isinstance(cells, NucleusTable):
        columns: dict[str, Any] = {**cells.columns, "type": np.array(cells.type_names(), np.str_)}
        return columns, cells.types
    names = [*CELL_FEATURES, "x_um", "y_um", "type"]
    table = pyarrow.parquet.read_table(str(cells), columns=names)
    columns = {name: table[name].to_numpy() for name in names}
    return columns, tuple(sorted({str(name) for name in np.unique(columns["type"].astype(np.str_))} - {"unknown"}))


def _superpixel_at(place: NDArray[np.float64], labels: SuperpixelLabels) -> NDArray[np.int64]:
    """Return the superpixel under every point (x, y) in um, -1 outside, int64 (C,); a chunk of labels at a time."""
    column, row = np.floor(place / labels.mpp).astype(np.int64).T
    height, width = labels.labels.shape
    column, row = column.clip(0, width - 1), row.clip(0, height - 1)
    chunk = (row // _CHUNK_PX) * (width // _CHUNK_PX + 1) + column // _CHUNK_PX
    order = np.argsort(chunk, kind="stable")
    superpixel = np.full(len(place), -1, np.int64)
    for cells in np.split(order, np.flatnonzero(np.diff(chunk[order])) + 1):
        if not len(cells):
            continue
        y0, x0 = (int(start) // _CHUNK_PX * _CHUNK_PX for start in (row[cells[0]], column[cells[0]]))
        part = np.asarray(labels.labels[y0 : y0 + _CHUNK_PX, x0 : x0 + _CHUNK_PX])
        superpixel[cells] = part[row[cells] - y0, column[cells] - x0].astype(np.int64) - 1
    return superpixel


def _nearest(
    place: NDArray[np.float64], neighbours: int, radius_um: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return edges int64 (2, E) from every cell to its nearest ones, and their lengths in um, float32 (E,)."""
    k = min(neighbours + 1, len(place))
    if k < 2:
        return np.zeros((2, 0), np.int64), np.zeros(0, np.float32)
    distance, other = cKDTree(place).query(place, k=k, distance_upper_bound=radius_um)
    source = np.repeat(np.arange(len(place)), k)
    target, length = other.ravel(), distance.ravel()
    joined = np.isfinite(length) & (target != source)
    edges = np.stack([source[joined], target[joined]]).astype(np.int64)
    return edges, length[joined].astype(np.float32)
