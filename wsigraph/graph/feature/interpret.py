"""Interpretable features as functions of additive moments.

All features are computed from a region's moments and boundaries alone, so the features of a merged region are exact.
Stain is expressed in units of the slide's own maximum concentration, which removes most of the effect of the staining
protocol. A feature that is undefined for a region (the mean size of nuclei where there are none) is 0.

========================== ========= ======= ==================================================================
name                       unit      group   formula, from moments
========================== ========= ======= ==================================================================
hematoxylin_mean, _sd      max       stain   mean and standard deviation of concentration / maximum
eosin_mean, _sd            max       stain   likewise
stain_correlation          1         stain   correlation of hematoxylin and eosin over pixels
residual_mean, _sd         OD        stain   optical density off the plane of the two stains
hematoxylin_p10, _p50, _p90 max      stain   percentiles of the 16-bin histogram, linear inside a bin
eosin_p10, _p50, _p90      max       stain   likewise
lightness_mean, _sd        1         stain   mean and standard deviation of lightness, 0 black to 1 white
white_fraction             1         stain   fraction of pixels of lightness >= 224: lumen, fat, glass
texture_contrast           level2    texture sum p(i, j) (i - j)^2 over co-occurring hematoxylin levels
texture_homogeneity        1         texture sum p(i, j) / (1 + |i - j|)
texture_energy             1         texture sum p(i, j)^2
texture_entropy            bit       texture - sum p log2 p
texture_correlation        1         texture Haralick's correlation
log_area                   ln(um2)   shape   logarithm of the area
perimeter_um               um        shape   Crofton length of all boundaries
circularity                1         shape   4 pi area / perimeter^2, at most 1
eccentricity               1         shape   of the ellipse with the same second moments
major_axis_um, minor_..    um        shape   full axes of that ellipse
outside_fraction           1         shape   fraction of the perimeter that faces glass
nuclear_density            1/1000um2 nuclei  nuclei over area
nuclear_fraction           1         nuclei  area of nuclei over area
nuclear_area_mean, _sd     um2       nuclei  size of a nucleus
nuclear_eccentricity_mean, _sd 1     nuclei  elongation of a nucleus
nuclear_stain_mean, _sd    max       nuclei  hematoxylin of a nucleus
========================== ========= ======= ==================================================================

References: Ruifrok and Johnston 2001 (unmixing); Haralick, Shanmugam and Dinstein 1973 (co-occurrence).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import RecordError
from wsigraph.geometry import crofton_um, px_to_um, px_to_um2
from wsigraph.graph.feature.moments import COLUMN, ECCENTRICITY_UNIT, MOMENT_NAMES, N_BINS, N_GREY, OD_UNIT, schema_id
from wsigraph.graph.tissue.stain import unmixing
from wsigraph.records import StainBasis, TissueGraph
from wsigraph.records.slide_records import STAINS

_BINS_TO_MAXIMUM = 12
_WHITE_BIN = 14
_OUTSIDE, _EDGE = COLUMN["outside_straight"], COLUMN["edge_straight"]
_ROWS = 4096

_SPECIFICATION: tuple[tuple[str, str, str], ...] = (
    ("hematoxylin_mean", "max", "stain"),
    ("hematoxylin_sd", "max", "stain"),
    ("eosin_mean", "max", "stain"),
    ("eosin_sd", "max", "stain"),
    ("stain_correlation", "1", "stain"),
    ("residual_mean", "OD", "stain"),
    ("residual_sd", "OD", "stain"),
    ("hematoxylin_p10", "max", "stain"),
    ("hematoxylin_p50", "max", "stain"),
    ("hematoxylin_p90", "max", "stain"),
    ("eosin_p10", "max", "stain"),
    ("eosin_p50", "max", "stain"),
    ("eosin_p90", "max", "stain"),
    ("lightness_mean", "1", "stain"),
    ("lightness_sd", "1", "stain"),
    ("white_fraction", "1", "stain"),
    ("texture_contrast", "level2", "texture"),
    ("texture_homogeneity", "1", "texture"),
    ("texture_energy", "1", "texture"),
    ("texture_entropy", "bit", "texture"),
    ("texture_correlation", "1", "texture"),
    ("log_area", "ln(um2)", "shape"),
    ("perimeter_um", "um", "shape"),
    ("circularity", "1", "shape"),
    ("eccentricity", "1", "shape"),
    ("major_axis_um", "um", "shape"),
    ("minor_axis_um", "um", "shape"),
    ("outside_fraction", "1", "shape"),
    ("nuclear_density", "1/1000um2", "nuclei"),
    ("nuclear_fraction", "1", "nuclei"),
    ("nuclear_area_mean", "um2", "nuclei"),
    ("nuclear_area_sd", "um2", "nuclei"),
    ("nuclear_eccentricity_mean", "1", "nuclei"),
    ("nuclear_eccentricity_sd", "1", "nuclei"),
    ("nuclear_stain_mean", "max", "nuclei"),
    ("nuclear_stain_sd", "max", "nuclei"),
)

FEATURE_NAMES: tuple[str, ...] = tuple(name for name, _, _ in _SPECIFICATION)
"""Names of the interpretable features, in column order."""
FEATURE_UNITS: tuple[str, ...] = tuple(unit for _, unit, _ in _SPECIFICATION)
"""Unit of each; ``max`` is the slide's maximum concentration of the stain, ``1`` means dimensionless."""
FEATURE_GROUPS: tuple[str, ...] = tuple(group for _, _, group in _SPECIFICATION)
"""Group of each: stain, texture, shape or nuclei."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """Interpretable features of every region.

    Attributes
    ----------
    values : float64 (N, F)
        Features; all finite.
    names, units, groups : tuple of str
        Name, unit and group of each column.
    """

    values: NDArray[np.float64]
    names: tuple[str, ...] = FEATURE_NAMES
    units: tuple[str, ...] = FEATURE_UNITS
    groups: tuple[str, ...] = FEATURE_GROUPS

    def column(self, name: str) -> int | None:
        """Return the column of a feature, also by its name in H&E; None if there is none of this name."""
        if name in self.names:
            return self.names.index(name)
        # tables of tiles lack columns, and those of other stains name them anew
        is_whole = len(self.names) == len(FEATURE_NAMES)
        return FEATURE_NAMES.index(name) if is_whole and name in FEATURE_NAMES else None


def stained_names(stain: StainBasis) -> tuple[str, ...]:
    """Return the names of the features, in column order, with those of the slide's own stains."""
    own = dict(zip(STAINS["h&e"], stain.stains, strict=True))
    return tuple(
        "_".join([own.get(first, first), *rest]) for first, *rest in (name.split("_") for name in FEATURE_NAMES)
    )


def feature_schema_id() -> str:
    """Return the digest of names, units and underlying moments, 16 hexadecimal characters."""
    text = "\n".join([schema_id(), *(" ".join(row) for row in _SPECIFICATION)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def interpret(graph: TissueGraph) -> FeatureTable:
    """Return the interpretable features of every region of a graph.

    Parameters
    ----------
    graph : TissueGraph
        Fine or coarse graph.

    Returns
    -------
    FeatureTable
        36 columns, as in the table of this module; those of a stain are named by the slide's own.

    Raises
    ------
    RecordError
        If the graph's moments follow another schema.
    """
    if graph.moment_names != MOMENT_NAMES:
        raise RecordError(
            f"graph {graph.slide_id!r} has moment schema {schema_id(graph.moment_names)}, expected {schema_id()}; "
            "build the graph again with this version"
        )
    values = _values(graph, graph.moments, (_stain, _texture, _shape, _nuclei))
    return FeatureTable(values, names=stained_names(graph.stain))


def known_features(graph: TissueGraph) -> FeatureTable:
    """Return the interpretable features that a graph has: all, or of another tool's tiles their shape.

    Parameters
    ----------
    graph : TissueGraph
        Fine or coarse graph; without a slide its moments are geometry alone.

    Returns
    -------
    FeatureTable
        Columns in the order of `FEATURE_NAMES`.
    """
    if graph.moment_names == MOMENT_NAMES:
        return interpret(graph)
    moments = np.zeros((graph.n_nodes, len(MOMENT_NAMES)), np.int64)
    for name in set(graph.moment_names) & set(COLUMN):
        moments[:, COLUMN[name]] = graph.moment(name)
    shape = [row for row in _SPECIFICATION if row[2] == "shape"]
    names, units, groups = (tuple(row[part] for row in shape) for part in range(3))
    return FeatureTable(_values(graph, moments, (_shape,)), names, units, groups)


def _values(
    graph: TissueGraph,
    moments: NDArray[np.int64],
    parts: Sequence[Callable[[_Part], list[NDArray[np.float64]]]],
) -> NDArray[np.float64]:
    """Return the columns of some groups of features, float64 (N, F)."""
    crossings = moments[:, _EDGE : _EDGE + 2] + moments[:, _OUTSIDE : _OUTSIDE + 2]
    np.add.at(crossings, graph.edge_index[0], graph.boundary)
    blocks = []
    for start in range(0, graph.n_nodes, _ROWS):
        rows = slice(start, start + _ROWS)
        part = _Part(moments[rows], crossings[rows], graph.stain, graph.mpp)
        blocks.append(np.stack([column for group in parts for column in group(part)], axis=1))
    return np.concatenate(blocks)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Some rows of a graph: so few that temporaries stay in the processor's cache."""

    moments: NDArray[np.int64]  # (rows, M)
    crossings: NDArray[np.int64]  # (rows, 2) straight and diagonal, over the whole boundary
    stain: StainBasis
    mpp: float

    def moment(self, name: str) -> NDArray[np.int64]:
        return self.moments[:, COLUMN[name]]


def _divide(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return top / bottom, 0 where bottom is 0."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)


def _block(graph: _Part, first: str, n: int) -> NDArray[np.float64]:
    """Return `n` moments from the column `first` on, float64 (rows, n)."""
    start = COLUMN[first]
    return graph.moments[:, start : start + n].astype(np.float64)


def _std(n: NDArray[np.float64], total: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sqrt(E[x^2] - E[x]^2) from a count, a sum and a sum of squares."""
    mean = _divide(total, n)
    return np.sqrt(np.maximum(_divide(squares, n) - mean * mean, 0.0))


def _stain(graph: _Part) -> list[NDArray[np.float64]]:
    n = graph.moment("n").astype(np.float64)
    mean = _block(graph, "od_r", 3) / n[:, None] / OD_UNIT
    upper = _block(graph, "od_rr", 6) / n[:, None] / OD_UNIT**2
    second = upper[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    covariance = second - mean[:, :, None] * mean[:, None, :]  # (rows, 3, 3) of optical density
    basis = unmixing(graph.stain.vectors)
    normal = np.cross(graph.stain.vectors[0], graph.stain.vectors[1])
    axes = np.concatenate([basis / graph.stain.max_concentration, (normal / np.linalg.norm(normal))[:, None]], axis=1)
    centre = mean @ axes  # (rows, 3): hematoxylin, eosin, residual
    mixed = np.einsum("ia,nij,jb->nab", axes, covariance, axes)
    deviation = np.sqrt(np.maximum(np.diagonal(mixed, axis1=1, axis2=2), 0.0))
    correlation = _divide(mixed[:, 0, 1], deviation[:, 0] * deviation[:, 1])
    lightness = _block(graph, "lightness_bin_0", N_BINS)
    level = (np.arange(N_BINS) + 0.5) / N_BINS
    return [
        centre[:, 0],
        deviation[:, 0],
        centre[:, 1],
        deviation[:, 1],
        np.clip(correlation, -1.0, 1.0),
        centre[:, 2],
        deviation[:, 2],
        *_percentiles(_block(graph, "hematoxylin_bin_0", N_BINS)),
        *_percentiles(_block(graph, "eosin_bin_0", N_BINS)),
        lightness @ level / n,
        _std(n, lightness @ level, lightness @ level**2),
        lightness[:, _WHITE_BIN:].sum(axis=1) / n,
    ]


def _percentiles(histogram: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Return the 10th, 50th and 90th percentile in units of the maximum concentration."""
    cumulated = np.cumsum(histogram, axis=1)
    percentiles = []
    for fraction in (0.1, 0.5, 0.9):
        target = fraction * cumulated[:, -1:]
        index = np.argmax(cumulated >= target, axis=1)[:, None]
        inside = np.take_along_axis(histogram, index, axis=1)
        below = np.take_along_axis(cumulated, index, axis=1) - inside
        percentiles.append(((index + _divide(target - below, inside)) / _BINS_TO_MAXIMUM)[:, 0])
    return percentiles


def _texture(graph: _Part) -> list[NDArray[np.float64]]:
    low, high = np.triu_indices(N_GREY)
    counts = _block(graph, "cooccurrence_0_0", len(low))
    probability = _divide(counts, counts.sum(axis=1, keepdims=True))
    difference = (high - low).astype(np.float64)
    # p(i, j) of the symmetric matrix: an off-diagonal count represents two equal entries
    entry = np.where(difference > 0, probability / 2, probability)
    log_entry = np.log2(entry, out=np.zeros_like(entry), where=entry > 0)
    mean = probability @ ((low + high) / 2)
    second = probability @ ((low**2 + high**2) / 2)
    variance = np.maximum(second - mean**2, 0.0)
    return [
        probability @ difference**2,
        probability @ (1 / (1 + difference)),
        (probability * entry).sum(axis=1),
        -(probability * log_entry).sum(axis=1),
        np.clip(_divide(probability @ (low * high) - mean**2, variance), -1.0, 1.0),
    ]


def _shape(graph: _Part) -> list[NDArray[np.float64]]:
    n = graph.moment("n").astype(np.float64)
    perimeter = crofton_um(graph.crossings[:, 0], graph.crossings[:, 1], graph.mpp)
    outside = crofton_um(graph.moments[:, _OUTSIDE], graph.moments[:, _OUTSIDE + 1], graph.mpp)
    area = px_to_um2(1.0, graph.mpp) * n
    sums = _block(graph, "sum_x", 5)
    mean_x, mean_y = sums[:, 0] / n, sums[:, 1] / n
    # a pixel is a unit square, whose own second moment is 1/12
    xx = np.maximum(sums[:, 2] / n - mean_x**2, 0.0) + 1 / 12
    yy = np.maximum(sums[:, 4] / n - mean_y**2, 0.0) + 1 / 12
    xy = sums[:, 3] / n - mean_x * mean_y
    half, root = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    major, minor = half + root, np.maximum(half - root, 0.0)
    axis = px_to_um(4.0, graph.mpp)
    return [
        np.log(area),
        perimeter,
        np.minimum(_divide(4 * np.pi * area, perimeter**2), 1.0),
        np.sqrt(1 - minor / major),
        axis * np.sqrt(major),
        axis * np.sqrt(minor),
        _divide(outside, perimeter),
    ]


def _nuclei(graph: _Part) -> list[NDArray[np.float64]]:
    area = px_to_um2(1.0, graph.mpp) * graph.moment("n").astype(np.float64)
    sums = _block(graph, "nuclei", 7)
    n = sums[:, 0]
    um2 = px_to_um2(1.0, graph.mpp)
    stain = OD_UNIT * graph.stain.max_concentration[0]
    return [
        1000 * n / area,
        um2 * sums[:, 1] / area,
        um2 * _divide(sums[:, 1], n),
        um2 * _std(n, sums[:, 1], sums[:, 2]),
        _divide(sums[:, 3], n) / ECCENTRICITY_UNIT,
        _std(n, sums[:, 3], sums[:, 4]) / ECCENTRICITY_UNIT,
        _divide(sums[:, 5], n) / stain,
        _std(n, sums[:, 5], sums[:, 6]) / stain,
    ]
