"""Metric learning of the embedding and the edge score, without labels, from pairs of neighbouring regions.

A teacher makes the labels. It merges each slide by mean colour (both stains, residual, lightness), averaged with the
neighbours', down to one region in fifteen: the size of a gland, at superpixels of 30 um. Over a few hundred pixels,
means are the features that chance moves least. Neighbours that the teacher joins are similar pairs, neighbours that it
separates are dissimilar pairs; single superpixels would be too noisy to tell.

A pair (i, j) is described by the squared differences s of every feature and of every feature's mean over the
neighbours, in two noisy views. A logistic regression with non-negative weights separates the two classes (logistic
discriminant metric learning: Guillaumin, Verbeek and Schmid, ICCV 2009, equation 5, with a diagonal metric)::

    log-odds of a boundary = w . s - offset,    w >= 0

These log-odds are the edge score. The 16 leading principal axes of the features weighted by sqrt(w), within slides, are
the embedding, in which the squared distance approximates w . s. The learned embedding can replace the teacher and be
learned again (`passes`).

The metric learns which features change with the tissue and not by chance. On glands, counts of nuclei lose weight,
because they vary much between neighbours of one tissue. Limits: a boundary that no feature shows over a few superpixels
is never taught, and a diagonal metric has no interactions.

Tried on glands and rejected, because each did worse: a hinge loss on a perceptron with 32 hidden units; only the pairs
from the weakest and strongest third of contrast, which leaves out the hard ones; distant regions of a slide as
dissimilar pairs, many of which are one tissue; a teacher that sees all features; a second pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.embed import QUANTUM, Embedding, edge_lengths, embed, neighbour_mean, standardise
from wsigraph.graph.coarsening.select import select
from wsigraph.graph.feature.interpret import FEATURE_GROUPS, FEATURE_NAMES, feature_schema_id, interpret
from wsigraph.records import TissueGraph

_FEATURE_NOISE = 0.15
_STAIN_NOISE = 0.1
_RIDGE = 1e-3
_SQUARE_MAX = 16.0

# shape describes the segmentation, not the tissue
_TISSUE = np.array([group != "shape" for group in FEATURE_GROUPS])
_STAIN = np.array([group == "stain" for group in FEATURE_GROUPS])
_TAUGHT = np.isin(FEATURE_NAMES, ("hematoxylin_mean", "eosin_mean", "residual_mean", "lightness_mean"))


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """One graph prepared for training."""

    graph: TissueGraph
    features: NDArray[np.float64]  # (N, F) z-scores; 0 for shape
    length: NDArray[np.float64]  # (E,) weight of each edge

    def with_context(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return features and their means over the neighbours, float64 (N, 2 F)."""
        return np.concatenate([features, neighbour_mean(features, self.graph.edge_index, self.length)], axis=1)

    def first_teacher(self, context: float) -> NDArray[np.int64]:
        """Return mean colours mixed with their means over the neighbours, quantised, int64 (N, 4)."""
        colour = np.ascontiguousarray(self.features[:, _TAUGHT])
        mixed = (1 - context) * colour + context * neighbour_mean(colour, self.graph.edge_index, self.length)
        return np.rint(QUANTUM * mixed).astype(np.int64)


def train_embedding(
    graphs: Iterable[TissueGraph],
    *,
    generator: np.random.Generator,
    teacher_ratio: float = 15.0,
    teacher_context: float = 0.5,
    passes: int = 1,
    dimension: int = 16,
) -> Embedding:
    """Learn an embedding from graphs without labels.

    Parameters
    ----------
    graphs : iterable of TissueGraph
        Training slides.
    generator : numpy.random.Generator
        Source of the noise.
    teacher_ratio : float
        Superpixels in a region of the teacher. Structures that the embedding should separate have about this size.
    teacher_context : float
        Weight of the neighbours' mean in the first teacher's colours, 0 to 1.
    passes : int
        Number of times that the metric is learned; each time the teacher is the metric learned before.
    dimension : int
        Width D of the embedding; at most twice the number of features.

    Returns
    -------
    Embedding
        Learned weights, with float32 precision.

    Raises
    ------
    ModelError
        If no graph has enough neighbour pairs, or no graph shows a boundary.

    Notes
    -----
    Takes seconds for ten thousand superpixels; needs 600 bytes for each neighbour pair.
    """
    known = [graph for graph in graphs if graph.n_edges >= 9]
    if not known:
        raise ModelError("no training graph has 9 neighbour pairs or more; give larger slides")
    values = [interpret(graph).values for graph in known]
    all_values = np.concatenate(values)
    mean, std = all_values.mean(axis=0), all_values.std(axis=0)
    scale = np.where(std > 1e-9, std, 1.0)
    samples = [
        _Sample(graph, standardise(table, mean, scale) * _TISSUE, edge_lengths(graph).astype(np.float64))
        for graph, table in zip(known, values, strict=True)
    ]
    teacher = [sample.first_teacher(teacher_context) for sample in samples]
    for _ in range(passes):
        pairs = [_pairs(sample, z, teacher_ratio, generator) for sample, z in zip(samples, teacher, strict=True)]
        weight, offset = _fit_metric(
            np.concatenate([squares for squares, _ in pairs]),
            np.concatenate([unlike for _, unlike in pairs]),
        )
        own, message = _directions(samples, weight * np.tile(_TISSUE, 2), dimension)
        learned = Embedding(
            mean=_float32(mean),
            scale=_float32(scale),
            own_weight=_float32(own),
            message_weight=_float32(message),
            offset=_float32(np.array([offset])),
            feature_schema=feature_schema_id(),
        )
        teacher = [embed(sample.graph, learned) for sample in samples]
    return learned


def _float32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)


def _pairs(
    sample: _Sample, teacher: NDArray[np.int64], ratio: float, generator: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return s of neighbours in two noisy views, float64 (P, 2 F), and whether the teacher separates them, (P,)."""
    graph = sample.graph
    regions = select(
        teacher,
        graph.moment("n"),
        graph.edge_index,
        granularity=1.0,
        max_area=int(graph.moment("n").sum()),
        n_wanted=max(2, round(graph.n_nodes / ratio)),
    )
    source, target = graph.edge_index[:, graph.edge_index[0] < graph.edge_index[1]]
    first, second = (sample.with_context(_noisy(sample.features, generator)) for _ in range(2))
    squares = np.minimum((first[source] - second[target]) ** 2, _SQUARE_MAX)
    return squares, regions[source] != regions[target]


def _noisy(features: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    """Return features (N, F) augmented by noise on the strength of the stains and on every feature."""
    strength = np.where(_STAIN, np.exp(generator.normal(0.0, _STAIN_NOISE)), 1.0)
    noise = generator.normal(0.0, _FEATURE_NOISE, features.shape)
    return np.asarray(features * strength + noise * _TISSUE)


def _fit_metric(squares: NDArray[np.float64], unlike: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Return w >= 0, float64 (2 F,), and the offset; both classes have the same total weight in the loss."""
    from scipy.optimize import minimize

    unlike_fraction = float(unlike.mean())
    if not 0 < unlike_fraction < 1:
        raise ModelError("the training graphs show no boundary between tissues; give slides with more than one tissue")
    importance = np.where(unlike, 0.5 / unlike_fraction, 0.5 / (1 - unlike_fraction)) / len(unlike)

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight = point[:-1]
        log_odds = squares @ weight - point[-1]
        value = (importance * (np.logaddexp(0.0, log_odds) - unlike * log_odds)).sum() + _RIDGE * (weight**2).sum()
        slope = importance * (1 / (1 + np.exp(-log_odds)) - unlike)
        return float(value), np.append(squares.T @ slope + 2 * _RIDGE * weight, -slope.sum())

    n_columns = squares.shape[1]
    start = np.append(np.full(n_columns, 0.02), 1.0)
    bounds = [(0.0, None)] * n_columns + [(None, None)]
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 100})
    return np.asarray(solution.x[:-1], np.float64), float(solution.x[-1])


def _directions(
    samples: list[_Sample], weight: NDArray[np.float64], dimension: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return A and B, float64 (D, F) each: the leading principal axes of the features weighted by sqrt(w)."""
    n_columns = len(weight)
    covariance = np.zeros((n_columns, n_columns))
    for sample in samples:
        table = sample.with_context(sample.features) * np.sqrt(weight)
        centred = table - table.mean(axis=0)
        covariance += centred.T @ centred
    axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :dimension]
    # the sign of an eigenvector is arbitrary: make the largest entry positive
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    matrix = axes.T * np.sqrt(weight)
    return matrix[:, : n_columns // 2], matrix[:, n_columns // 2 :]
