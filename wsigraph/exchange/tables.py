"""A graph as two plain tables, one row a region and one row a boundary, and where it came from.

All export formats take their columns from here, so that a measurement has one name and one unit everywhere. A graph
built without pixels has only position, area and shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsigraph import __version__
from wsigraph.errors import RecordError
from wsigraph.geometry import Origin, crofton_um, px_to_um, px_to_um2
from wsigraph.graph.feature.interpret import FeatureTable, feature_schema_id, interpret
from wsigraph.graph.feature.moments import MOMENT_NAMES, schema_id
from wsigraph.records import CoarseGraph, TissueGraph

Columns = dict[str, NDArray[Any]]
"""Columns of one table, all of one length, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where coordinates count from.

    Attributes
    ----------
    coordinates : {"bounds", "plane"}
        The corner of the scanned area, as QuPath shows it, or of the file's whole plane.
    bounds_on_plane_px : tuple of (int, int) or None
        The scanned area on the plane, (x, y) in level-0 pixels; None where it is not known.
    level0_mpp : float
        Pixel size of level 0, um/px; only needed for plane coordinates.
    """

    coordinates: Origin = "bounds"
    bounds_on_plane_px: tuple[int, int] | None = None
    level0_mpp: float = 0.0

    @property
    def offset_um(self) -> tuple[float, float]:
        """What to add to a graph's coordinates, (x, y) in um.

        Raises
        ------
        RecordError
            If plane coordinates are wanted and the place of the scanned area is not known.
        """
        if self.coordinates == "bounds":
            return 0.0, 0.0
        if self.bounds_on_plane_px is None or not self.level0_mpp > 0:
            raise RecordError(
                "plane coordinates need the place of the scanned area on the plane, which slide.json states; give the "
                "slide's directory"
            )
        x, y = self.bounds_on_plane_px
        return px_to_um(x, self.level0_mpp), px_to_um(y, self.level0_mpp)

    def statement(self) -> dict[str, Any]:
        """Return the placement as JSON values, for a file's provenance."""
        corner = self.bounds_on_plane_px
        return {"coordinates": self.coordinates, "bounds_on_plane_px": None if corner is None else list(corner)}


IN_BOUNDS = Placement()
"""Coordinates of the scanned area, whose place on a plane is not known."""


def tissue_graph(graph: TissueGraph | CoarseGraph) -> TissueGraph:
    """Return the graph of regions of either record."""
    return graph.graph if isinstance(graph, CoarseGraph) else graph


def features_of(graph: TissueGraph) -> FeatureTable | None:
    """Return the interpretable features, or None where the graph was built without pixels."""
    return interpret(graph) if graph.moment_names == MOMENT_NAMES else None


def node_columns(graph: TissueGraph | CoarseGraph, placement: Placement = IN_BOUNDS) -> Columns:
    """Return one row a region.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    placement : Placement
        Where x and y count from.

    Returns
    -------
    dict of str to array (N,)
        node (int64), x_um and y_um (centroid from the corner of `placement`), area_um2, n_superpixels (of a coarse
        graph), class_fraction of each class of the user's annotations, then every interpretable feature by its name;
        float64 where not said otherwise.
    """
    tissue = tissue_graph(graph)
    centroid = tissue.centroid_um + placement.offset_um
    columns: Columns = {
        "node": np.arange(tissue.n_nodes, dtype=np.int64),
        "x_um": centroid[:, 0],
        "y_um": centroid[:, 1],
        "area_um2": px_to_um2(1.0, tissue.mpp) * tissue.moment("n").astype(np.float64),
    }
    if isinstance(graph, CoarseGraph):
        columns["n_superpixels"] = np.bincount(graph.assignment, minlength=tissue.n_nodes).astype(np.int64)
    columns |= {f"class_fraction: {name}": tissue.class_fraction[:, k] for k, name in enumerate(tissue.class_names)}
    features = features_of(tissue)
    if features is not None:
        columns |= dict(zip(features.names, np.ascontiguousarray(features.values.T), strict=True))
    return columns


def edge_columns(graph: TissueGraph | CoarseGraph) -> Columns:
    """Return one row a pair of neighbours, the lower node first.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.

    Returns
    -------
    dict of str to array (E,)
        source, target, straight and diagonal crossings (int64); boundary_um, its Crofton length, and distance_um
        between the centroids (float64).
    """
    tissue = tissue_graph(graph)
    once = tissue.edge_index[0] < tissue.edge_index[1]
    source, target = tissue.edge_index[:, once]
    boundary = tissue.boundary[once]
    centroid = tissue.centroid_um
    return {
        "source": source,
        "target": target,
        "boundary_um": np.asarray(crofton_um(boundary[:, 0], boundary[:, 1], tissue.mpp), np.float64),
        "distance_um": np.linalg.norm(centroid[source] - centroid[target], axis=1),
        "straight": boundary[:, 0],
        "diagonal": boundary[:, 1],
    }


def provenance(graph: TissueGraph | CoarseGraph, placement: Placement = IN_BOUNDS) -> dict[str, Any]:
    """Return what a reader of an exported file must know, as JSON values.

    Parameters
    ----------
    graph : TissueGraph or CoarseGraph
        The regions.
    placement : Placement
        Where the file's coordinates count from.

    Returns
    -------
    dict
        version, record, slide_id, mpp (um/px of the moments), size (height and width in working px), moment_schema,
        feature_schema (None where the graph was built without pixels), stain, encoder, embedding_id (of a coarse
        graph), origin (what the coordinates count from), and mark if the slide is no H&E section and was forced.
    """
    tissue = tissue_graph(graph)
    return {
        "wsigraph": __version__,
        "record": type(graph).__name__,
        "slide_id": tissue.slide_id,
        "mpp": float(tissue.mpp),
        "size": [tissue.size.height, tissue.size.width],
        "moment_schema": schema_id(tissue.moment_names),
        "feature_schema": feature_schema_id() if tissue.moment_names == MOMENT_NAMES else None,
        "stain": {
            "vectors": tissue.stain.vectors.tolist(),
            "max_concentration": tissue.stain.max_concentration.tolist(),
            "source": tissue.stain.source,
            "name": tissue.stain.name,
        },
        **({"mark": tissue.mark} if tissue.mark else {}),
        "encoder": tissue.encoder,
        "embedding_id": graph.embedding_id if isinstance(graph, CoarseGraph) else None,
        "origin": placement.statement(),
    }
