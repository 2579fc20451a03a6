"""A graph as AnnData, the table format of squidpy and scanpy.

Rows are regions, columns are interpretable features. The neighbourhood has squidpy's names, so that its spatial graph
functions use this graph instead of building one. Moments and encodings are in ``obsm``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from wsigraph.exchange.optional import load_package
from wsigraph.exchange.tables import IN_BOUNDS, Placement, features_of, node_columns, provenance, tissue_graph
from wsigraph.geometry import crofton_um
from wsigraph.graph.feature.encode import encoding
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.store.atomic import partial_of, writing


def to_anndata(graph: TissueGraph | CoarseGraph, *, placement: Placement = IN_BOUNDS) -> Any:
    """Return a graph as AnnData.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    anndata.AnnData
        X float64 (N, F), interpretable features (no column where the graph was built without pixels); var: unit,
        group; obs: area_um2 and, of a coarse graph, n_superpixels; obsm: "spatial" (N, 2) as (x, y) in um, "moments"
        int64 (N, M), "encoding" (N, D) where there is one; obsp: "spatial_connectivities" (1 where regions touch),
        "spatial_distances" (um between centroids), "boundary_um" (length of the shared boundary), all symmetric;
        uns: "wsigraph" (provenance as JSON), "moment_names", "spatial_neighbors", and of a coarse graph "assignment"
        (the coarse node of every superpixel).

    Raises
    ------
    PluginError
        If anndata is not installed.
    """
    anndata = load_package("anndata", "writing AnnData")
    pandas = load_package("pandas", "writing AnnData")
    tissue, features, columns = tissue_graph(graph), features_of(tissue_graph(graph)), node_columns(graph, placement)
    names = [str(node) for node in range(tissue.n_nodes)]
    classes = [f"class_fraction: {name}" for name in tissue.class_names]
    own = {name: columns[name] for name in ("area_um2", "n_superpixels", *classes) if name in columns}
    known: dict[str, tuple[str, ...]] = {"unit": (), "group": ()}
    if features is not None:
        known = {"unit": features.units, "group": features.groups}
    table = anndata.AnnData(
        X=np.zeros((tissue.n_nodes, 0)) if features is None else features.values,
        obs=pandas.DataFrame(own, index=names),
        var=pandas.DataFrame(
            {name: list(values) for name, values in known.items()}, index=list(features.names) if features else []
        ),
    )
    table.obsm["spatial"] = tissue.centroid_um + placement.offset_um
    table.obsm["moments"] = tissue.moments
    if tissue.encoding_sum is not None:
        table.obsm["encoding"] = encoding(tissue)
    for name, matrix in _matrices(tissue).items():
        table.obsp[name] = matrix
    table.uns["wsigraph"] = json.dumps(provenance(graph, placement), sort_keys=True)
    table.uns["moment_names"] = list(tissue.moment_names)
    table.uns["spatial_neighbors"] = {
        "connectivities_key": "spatial_connectivities",
        "distances_key": "spatial_distances",
        "params": {"coord_type": "generic"},
    }
    if isinstance(graph, CoarseGraph):
        table.uns["assignment"] = graph.assignment
    return table


def write_anndata(graph: TissueGraph | CoarseGraph, path: Path, *, placement: Placement = IN_BOUNDS) -> Path:
    """Write a graph as an ``.h5ad`` file, whole or not at all.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    path : Path
        File to write.
    placement : Placement, optional
        What the coordinates count from; by default the corner of the scanned area.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    PluginError
        If anndata is not installed.
    StoreError
        If the file cannot be written.
    """
    table = to_anndata(graph, placement=placement)
    with writing(path):
        partial = partial_of(path)
        try:
            table.write_h5ad(partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _matrices(tissue: TissueGraph) -> dict[str, Any]:
    """Return the symmetric sparse matrices of the neighbourhood, float64 (N, N)."""
    source, target = tissue.edge_index
    centroid, shape = tissue.centroid_um, (tissue.n_nodes, tissue.n_nodes)
    values = {
        "spatial_connectivities": np.ones(len(source)),
        "spatial_distances": np.linalg.norm(centroid[source] - centroid[target], axis=1),
        "boundary_um": np.asarray(crofton_um(tissue.boundary[:, 0], tissue.boundary[:, 1], tissue.mpp), np.float64),
    }
    return {name: sparse.csr_matrix((data, (source, target)), shape=shape) for name, data in values.items()}
