"""Condition fidelity: how well a picture shows the graph that it was painted from.

Nodes of the requested graph are matched one to one with nodes of the graph extracted from the picture. A pair may match
if both have one class and their centres are within 8 um or half the requested node's equivalent diameter, whichever is
more. Of the matchings with the most pairs, the one of least total distance is taken (Kuhn, "The Hungarian method for
the assignment problem", 1955); a greedy matching would depend on the order of nodes. An edge counts as shown if it
joins the two matched nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from wsigraph.cohort.metrics.proportion_interval import wilson_confidence_interval
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.simulation.layout import TISSUES

_REACH_UM = 8.0
_FAR = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionFidelity:
    """How well pictures show their graphs.

    Attributes
    ----------
    precision, recall, f1 : float
        Of nodes, over all graphs.
    recall_interval : tuple of float
        Wilson's 95 % interval of the recall.
    f1_by_class : dict of str to float
        Of the nodes of each class; NaN where none was requested or shown.
    position_um, area_log2 : float
        Median distance of matched centres, and median of abs(log2(area shown / area requested)).
    edge_f1 : float
        Of edges between matched nodes.
    n_nodes : int
        Nodes requested.
    """

    precision: float
    recall: float
    f1: float
    recall_interval: tuple[float, float]
    f1_by_class: dict[str, float]
    position_um: float
    area_log2: float
    edge_f1: float
    n_nodes: int


def match_nodes(requested: Scene, shown: Scene) -> NDArray[np.int64]:
    """Return the shown node of every requested node.

    Parameters
    ----------
    requested, shown : Scene
        Graphs of one canvas, of N and M nodes.

    Returns
    -------
    int64 (N,)
        Index of the node shown, -1 where there is none of its class within reach.
    """
    distance = np.linalg.norm(requested.position_um[:, None] - shown.position_um[None], axis=-1)  # (N, M)
    reach = np.maximum(_REACH_UM, np.sqrt(requested.area_um2 / np.pi))
    possible = (requested.classes[:, None] == shown.classes[None]) & (distance <= reach[:, None])
    rows, columns = linear_sum_assignment(np.where(possible, distance, _FAR))
    matches = np.full(requested.n_nodes, -1, np.int64)
    within_reach = possible[rows, columns]
    matches[rows[within_reach]] = columns[within_reach]
    return matches


def score_fidelity(requested: Sequence[Scene], shown: Sequence[Scene]) -> ConditionFidelity:
    """Return how well pictures show the graphs that they were painted from.

    Parameters
    ----------
    requested, shown : sequence of Scene
        Graphs that were painted, and graphs extracted from the pictures.

    Returns
    -------
    ConditionFidelity
        Pooled over graphs.
    """
    counts = np.zeros((3, len(TISSUES)))  # requested, shown, both; by class
    edges = np.zeros(3)
    distances, areas = [], []
    for one, other in zip(requested, shown, strict=True):
        matches = match_nodes(one, other)
        hit = matches >= 0
        counts[0] += np.bincount(one.classes, minlength=len(TISSUES))
        counts[1] += np.bincount(other.classes, minlength=len(TISSUES))
        counts[2] += np.bincount(one.classes[hit], minlength=len(TISSUES))
        distances.append(np.linalg.norm(one.position_um[hit] - other.position_um[matches[hit]], axis=1))
        areas.append(np.abs(np.log2(other.area_um2[matches[hit]] / one.area_um2[hit])))
        edges += _count_edges(one, other, matches)
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        by_class = 2 * counts[2] / (counts[0] + counts[1])
    return ConditionFidelity(
        precision=float(total[2] / max(total[1], 1)),
        recall=float(total[2] / max(total[0], 1)),
        f1=float(2 * total[2] / max(total[0] + total[1], 1)),
        recall_interval=wilson_confidence_interval(int(total[2]), int(total[0])),
        f1_by_class=dict(zip(TISSUES, by_class.tolist(), strict=True)),
        position_um=_median(distances),
        area_log2=_median(areas),
        edge_f1=float(2 * edges[2] / max(edges[0] + edges[1], 1)),
        n_nodes=int(total[0]),
    )


def pair_alike(scenes: Sequence[Scene]) -> list[int]:
    """Return for every graph the other one whose class counts are nearest, to measure fidelity by chance.

    Parameters
    ----------
    scenes : sequence of Scene
        At least two.

    Returns
    -------
    list of int
        Index of another graph.
    """
    counts = np.stack([np.bincount(scene.classes, minlength=len(TISSUES)) for scene in scenes]).astype(np.float64)
    distance = np.abs(counts[:, None] - counts[None]).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    return [int(index) for index in distance.argmin(axis=1)]


def _count_edges(requested: Scene, shown: Scene, matches: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the number of edges requested, shown, and both, float64 (3,)."""
    source, target = requested.edge_index
    mapped = np.stack([matches[source], matches[target]])
    shown_pairs = set(map(tuple, shown.edge_index.T.tolist()))
    both = sum(pair in shown_pairs for pair in map(tuple, mapped.T.tolist()))
    return np.array([len(source), len(shown_pairs), both], np.float64)


def _median(parts: list[NDArray[np.float64]]) -> float:
    values = np.concatenate([*parts, np.zeros(0)])
    return float(np.median(values)) if len(values) else float("nan")
