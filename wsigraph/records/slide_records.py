"""The records that pass between stages.

Frozen dataclasses that check themselves: a record that exists is consistent. They hold numpy arrays or anything that
reads like one, and know nothing of torch, dask or files. Comparison is by identity; arrays have no single truth value.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.geometry import Size, px_to_mm2, px_to_um
from wsigraph.records.faults import refuse


class LazyArray(Protocol):
    """An array that may lie on disk: zarr and numpy arrays both qualify."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""

    @property
    def dtype(self) -> Any:
        """Element type."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return the indexed part as a numpy array."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution of a slide file.

    Attributes
    ----------
    size : Size
        Pixels.
    downsample : Fraction
        Level-0 pixels spanned by one pixel of this level.
    tile : Size
        Native tile, in pixels of this level; the read unit that costs least.
    """

    size: Size
    downsample: Fraction
    tile: Size


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlideInfo:
    """What is known of a slide without reading its pixels.

    Attributes
    ----------
    slide_id : str
        Name of the slide in outputs and manifests.
    path : str
        File; never part of a record's hash.
    sha256 : str
        Digest of the file's bytes (of the sorted instances for a DICOM series).
    vendor, reader : str
        Format as the reader names it, and the reader plugin that opened it.
    mpp : float
        Level-0 pixel size, um/px.
    mpp_source : str
        Where `mpp` was found, e.g. ``"aperio.MPP"`` or ``"given"``.
    file_mpp : float or None
        What the file itself says, even when overruled.
    levels : tuple of Level
        From the finest to the coarsest; the first has downsample 1.
    associated : tuple of str
        Names of associated images (label, macro, thumbnail ...).
    warnings : tuple of str
        Things the user should know, e.g. that a given mpp differs from the file's.
    """

    slide_id: str
    path: str
    sha256: str
    vendor: str
    reader: str
    mpp: float
    mpp_source: str
    file_mpp: float | None
    levels: tuple[Level, ...]
    associated: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        refuse(
            "SlideInfo",
            {
                "slide_id is empty": not self.slide_id,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
                "levels is empty": not self.levels,
                "the first level's downsample is not 1": bool(self.levels) and self.levels[0].downsample != 1,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StainBasis:
    """Colours of the two stains and the fixed scales that non-linear features need.

    Attributes
    ----------
    vectors : float64 (2, 3)
        Unit optical-density vectors over (R, G, B): hematoxylin, eosin.
    max_concentration : float64 (2,)
        99th percentile of each stain's concentration over the sampled tissue, in optical density.
    nucleus_threshold : float
        Hematoxylin concentration above which a pixel may be nucleus, in optical density.
    source : str
        ``"macenko"`` where estimated from the slide, ``"reference"`` where the slide gave no usable estimate.
    """

    vectors: NDArray[np.float64]
    max_concentration: NDArray[np.float64]
    nucleus_threshold: float
    source: str

    def __post_init__(self) -> None:
        refuse(
            "StainBasis",
            {
                f"vectors has shape {self.vectors.shape}, expected (2, 3)": self.vectors.shape != (2, 3),
                "max_concentration is not two positive numbers": self.max_concentration.shape != (2,)
                or not bool((self.max_concentration > 0).all()),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueMap:
    """Tissue on one global low-power grid.

    Attributes
    ----------
    tissue : uint8 (h, w)
        1 where tissue is analysed, 0 elsewhere.
    artefact : uint8 (h, w)
        Reason code a pixel; 0 where there is none (codes: ``wsigraph.graph.tissue.artefact``).
    section : uint16 (h, w)
        Number of the tissue section, 1 upwards in raster order; 0 outside tissue.
    mpp : float
        Spacing of the low-power grid, um.
    stain : StainBasis
        Stains of the tissue.
    refusal : str
        Why the slide is no H&E section, where the work went on all the same; empty for all others.
    """

    tissue: NDArray[np.uint8]
    artefact: NDArray[np.uint8]
    section: NDArray[np.uint16]
    mpp: float
    stain: StainBasis
    refusal: str = ""

    def __post_init__(self) -> None:
        shapes = {self.tissue.shape, self.artefact.shape, self.section.shape}
        refuse(
            "TissueMap",
            {
                f"tissue, artefact and section differ in shape: {sorted(shapes)}": len(shapes) != 1,
                "arrays are not two-dimensional": self.tissue.ndim != 2,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SuperpixelLabels:
    """The partition of the tissue into superpixels.

    Attributes
    ----------
    labels : int32 (H, W), lazy
        0 outside tissue, else 1..N in raster order of first pixel.
    n_superpixels : int
        N.
    mpp : float
        Working pixel size, um/px.
    tissue : TissueMap
        The tissue that was partitioned.
    """

    labels: LazyArray
    n_superpixels: int
    mpp: float
    tissue: TissueMap

    def __post_init__(self) -> None:
        refuse(
            "SuperpixelLabels",
            {
                f"labels has {len(self.labels.shape)} axes, expected 2": len(self.labels.shape) != 2,
                f"labels holds {self.labels.dtype}, expected int32": np.dtype(self.labels.dtype) != np.int32,
                "n_superpixels is below 1": self.n_superpixels < 1,
                f"mpp is {self.mpp}, expected a positive number": not self.mpp > 0,
            },
        )

    @property
    def size(self) -> Size:
        """Size of the label image in working pixels."""
        return Size(int(self.labels.shape[0]), int(self.labels.shape[1]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TissueGraph:
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

    def __post_init__(self) -> None:
        (n_nodes, n_columns), n_edges = self.moments.shape, self.edge_index.shape[-1]
        boundary, sums = self.boundary.shape, self.encoding_sum
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
    def tissue_mm2(self) -> float:
        """Area of all regions."""
        return px_to_mm2(float(self.moment("n").sum()), self.mpp)

    @property
    def centroid_um(self) -> NDArray[np.float64]:
        """Centre of mass of every region, float64 (N, 2) as (x, y) in um from the slide's corner."""
        n = self.moment("n").astype(np.float64)
        sums = np.stack([self.moment("sum_x"), self.moment("sum_y")], axis=1).astype(np.float64)
        return np.asarray(px_to_um(1.0, self.mpp) * (sums / n[:, None] + 0.5))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoarseGraph:
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Stage and survival read from one graph; what a model did not learn is empty.

    Attributes
    ----------
    slide_id, model_id, model_name : str
        The slide, the digest of the model bundle, and the name on its card.
    stage_names, stage_probability : tuple of str, float64 (K,)
        The K stages; their probabilities sum to one.
    time_days, hazard, survival : float64 (T,)
        Right ends of intervals; probability of the event in each given survival to its start, of survival to its end.
    risk, median_survival_days : float or None
        Log cumulative hazard at the last interval (higher is worse), and first time at which survival is 0.5 or less,
        interpolated; None where it is not reached.
    notice, warnings : str, tuple of str
        What must be known about the model before reading a number, and what is special about this slide.
    stage_set, survival_band : tuple of str, float64 (2, T) or None
        Conformal set and pointwise bootstrap band; empty and None where too few patients were held out.
    distance, relation : float or None, str
        From the training slides, about 1 for a slide like them; ``"external"``, ``"out of fold"``, ``"in training"``.
    """

    slide_id: str
    model_id: str
    model_name: str
    stage_names: tuple[str, ...]
    stage_probability: NDArray[np.float64]
    time_days: NDArray[np.float64]
    hazard: NDArray[np.float64]
    survival: NDArray[np.float64]
    risk: float | None
    median_survival_days: float | None
    notice: str
    warnings: tuple[str, ...] = ()
    stage_set: tuple[str, ...] = ()
    survival_band: NDArray[np.float64] | None = None
    distance: float | None = None
    relation: str = "external"

    def __post_init__(self) -> None:
        n_stages, n_times = len(self.stage_names), len(self.time_days)
        shares = np.concatenate([self.hazard, self.survival, self.stage_probability])
        refuse(
            "Prediction",
            {
                "stage_probability and stage_names differ in length": len(self.stage_probability) != n_stages,
                "stage probabilities do not sum to 1": abs(float(self.stage_probability.sum()) - bool(n_stages)) > 1e-6,
                "hazard, survival and time_days differ in length": {len(self.hazard), len(self.survival)} != {n_times},
                "survival rises with time": bool((np.diff(self.survival) > 1e-12).any()),
                "a probability is outside [0, 1]": not bool(((shares >= 0) & (shares <= 1 + 1e-9)).all()),
                "risk is not a finite number": self.risk is not None and not np.isfinite(self.risk),
                "the band is not (2, T)": self.survival_band is not None and self.survival_band.shape != (2, n_times),
            },
        )
