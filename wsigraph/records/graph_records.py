"""Graphs of tissue regions: superpixels, and the coarse regions that they are merged into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.geometry import Size, px_to_mm2, px_to_um
from wsigraph.records.display import RecordDisplay
from wsigraph.records.faults import refuse
from wsigraph.records.slide_records import StainBasis


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class TissueGraph(RecordDisplay):
    """Regions of tissue, their additive moments and their shared boundaries.

    Attributes
    ----------
    slide_id : str
        The slide.
    mpp : float
        Working pixel size, um/px; moments and boundaries count pixels of this size.
    size : Size
        The working pixel grid.
    moments : int64 (N, M)
        Additive moments, one row a region; columns named by `moment_names`.
    moment_names : tuple of str
        The schema of the moments.
    edge_index : int64 (2, E)
        Neighbours, both directions, sorted by (source, target).
    boundary : int64 (E, 2)
        Straight and diagonal pixel pairs across each edge.
    stain : StainBasis
        The basis that non-linear moments were counted with.
    encoding_sum : int64 (N, D) or None
        Pixel-weighted sum of the encoder's features in units of 1/256.
    encoder : str or None
        Name of the encoder, where there is one.
    class_names : tuple of str
        Classes of the user's annotations; empty where there are none.
    class_pixels : int64 (N, K) or None
        Pixels of every region inside annotations of each class; additive as moments are.
    nuclei : str
        What found the nuclei: ``rule``, ``none`` (their columns are 0 and mean nothing), or a detector with the digest
        of its weights. Numbers of one are not comparable with those of another.
    mark : str
        What every output says of a slide that is no H&E section and was used all the same; empty otherwise.
    """

    slide_id: str
    mpp: float
    size: Size
    moments: NDArray[np.int64]
    moment_names: tuple[str, ...]
    edge_index: NDArray[np.int64]
    boundary: NDArray[np.int64]
    stain: StainBasis
    encoding_sum: NDArray[np.int64] | None = None
    encoder: str | None = None
    class_names: tuple[str, ...] = ()
    class_pixels: NDArray[np.int64] | None = None
    nuclei: str = "rule"
    mark: str = ""

    def __post_init__(self) -> None:
        (n_nodes, n_columns), n_edges = self.moments.shape, self.edge_index.shape[-1]
        boundary, sums, classes = self.boundary.shape, self.encoding_sum, self.class_pixels
        key = self.edge_index[0] * max(n_nodes, 1) + self.edge_index[1] if n_edges else np.zeros(0, np.int64)
        refuse(
            "TissueGraph",
            {
                "a graph needs at least one node": n_nodes == 0,
                f"moments holds {self.moments.dtype}, expected int64": self.moments.dtype != np.int64,
                f"moments has {n_columns} columns for {len(self.moment_names)} names": n_columns
                != len(self.moment_names),
                f"edge_index has shape {self.edge_index.shape}, expected (2, E)": self.edge_index.shape[0] != 2,
                f"boundary has shape {boundary}, expected ({n_edges}, 2)": boundary != (n_edges, 2),
                "edge_index names a node that does not exist": n_edges > 0
                and (int(self.edge_index.min()) < 0 or int(self.edge_index.max()) >= n_nodes),
                "edges are not sorted and unique": n_edges > 1 and not bool((np.diff(key) > 0).all()),
                "encoding_sum and moments differ in length": sums is not None and len(sums) != n_nodes,
                "encoding_sum and encoder must be given together": (sums is None) != (self.encoder is None),
                "class_pixels and class_names differ": (0 if classes is None else classes.shape[1])
                != len(self.class_names),
                "class_pixels and moments differ in length": classes is not None and len(classes) != n_nodes,
            },
        )

    @property
    def n_nodes(self) -> int:
        """Number of regions."""
        return int(self.moments.shape[0])

    @property
    def n_edges(self) -> int:
        """Number of neighbour pairs, each counted once."""
        return int(self.edge_index.shape[1]) // 2

    def moment(self, name: str) -> NDArray[np.int64]:
        """Return one moment of every region, int64 (N,).

        Raises
        ------
        RecordError
            If the schema has no such moment.
        """
        if name not in self.moment_names:
            raise RecordError(f"moment {name!r} is not in this graph's schema: {', '.join(self.moment_names)}")
        return self.moments[:, self.moment_names.index(name)]

    @property
    def class_fraction(self) -> NDArray[np.float64]:
        """Fraction of every region's pixels inside annotations of each class, float64 (N, K)."""
        if self.class_pixels is None:
            return np.zeros((self.n_nodes, 0))
        return np.asarray(self.class_pixels / self.moment("n")[:, None])

    @property
    def tissue_mm2(self) -> float:
        """Area of all regions."""
        return px_to_mm2(float(self.moment("n").sum()), self.mpp)

    @property
    def centroid_um(self) -> NDArray[np.float64]:
        """Centre of mass of every region, float64 (N, 2) as (x, y) in um from the slide's corner."""
        n = self.moment("n").astype(np.float64)
        sums = np.stack([self.moment("sum_x"), self.moment("sum_y")], axis=1).astype(np.float64)
        return np.asarray(px_to_um(1.0, self.mpp) * (sums / n[:, None] + 0.5))

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        return {
            "slide": self.slide_id,
            "nodes": f"{self.n_nodes:,}",
            "edges": f"{self.n_edges:,}",
            "moments": str(len(self.moment_names)),
            "encoder": self.encoder or "none",
            **({} if self.nuclei == "rule" else {"nuclei": self.nuclei}),
            "pixel size": f"{self.mpp:g} um/px",
            "stain": self.stain.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class CoarseGraph(RecordDisplay):
    """A coarsened graph that remembers where every fine node went.

    Attributes
    ----------
    graph : TissueGraph
        C coarse nodes; moments and boundaries are exact sums.
    assignment : int64 (N,)
        Coarse node of every fine node, in 0..C-1.
    embedding_id : str
        Digest of the learned embedding that decided the merging.
    """

    graph: TissueGraph
    assignment: NDArray[np.int64]
    embedding_id: str

    def __post_init__(self) -> None:
        n_coarse = self.graph.n_nodes
        refuse(
            "CoarseGraph",
            {
                "assignment is not int64 (N,)": self.assignment.ndim != 1 or self.assignment.dtype != np.int64,
                "assignment does not use every coarse node": len(np.unique(self.assignment)) != n_coarse,
                "assignment names a node that does not exist": self.assignment.size == 0
                or not 0 <= int(self.assignment.min()) <= int(self.assignment.max()) < n_coarse,
            },
        )

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        facts = self.graph.facts()
        return {
            "slide": facts["slide"],
            "nodes": f"{facts['nodes']} merged from {len(self.assignment):,} superpixels",
            "edges": facts["edges"],
            "moments": facts["moments"],
            "encoder": facts["encoder"],
            "pixel size": facts["pixel size"],
            "embedding": self.embedding_id[:12],
        }
