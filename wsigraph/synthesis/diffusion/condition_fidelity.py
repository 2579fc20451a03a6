"""Whether a picture shows the graph that was asked: nodes matched one to one, edges between matched nodes.

A node is found if the picture shows a region of its class with the centre within 8 um or half the node's equivalent
diameter, whichever is more; nearest pairs first would depend on their order, so the matching is the one of least total
distance among those of most pairs (Kuhn, "The Hungarian method for the assignment problem", 1955).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from wsigraph.cohort.metrics.proportion_interval import wilson
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.simulation.layout import TISSUES

_REACH_UM = 8.0
_FAR = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Obedience:
    """How far pictures show their graphs.

    Attributes
    ----------
    precision, recall, f1 : float
        Of nodes, over all graphs.
    recall_interval : tuple of float
        Wilson's 95 % interval of the share of asked nodes that are found.
    f1_by_class : dict of str to float
        Of the nodes of each class; NaN where none was asked or shown.
    position_um, area_log2 : float
        Median distance of matched centres, and median of the absolute binary logarithm of the ratio of areas.
    edge_f1 : float
        Of edges: asked, and shown between the matched nodes.
    n_nodes : int
        Nodes asked.
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


def match(asked: Scene, shown: Scene) -> NDArray[np.int64]:
    """Return the shown node of every asked node.

    Parameters
    ----------
    asked, shown : Scene
        Graphs of one canvas.

    Returns
    -------
    int64 (N,)
        Index of the node shown, -1 where there is none of its class within reach.
    """
    distance = np.linalg.norm(asked.position_um[:, None] - shown.position_um[None], axis=-1)
    reach = np.maximum(_REACH_UM, np.sqrt(asked.area_um2 / np.pi))
    possible = (asked.classes[:, None] == shown.classes[None]) & (distance <= reach[:, None])
    rows, columns = linear_sum_assignment(np.where(possible, distance, _FAR))
    found = np.full(asked.n_nodes, -1, np.int64)
    real = possible[rows, columns]
    found[rows[real]] = columns[real]
    return found


def score_obedience(asked: Sequence[Scene], shown: Sequence[Scene]) -> Obedience:
    """Return how far pictures show the graphs that were asked.

    Parameters
    ----------
    asked, shown : sequence of Scene
        Graphs, and those extracted from their pictures.

    Returns
    -------
    Obedience
        Pooled over graphs.
    """
    counts = np.zeros((3, len(TISSUES)))  # asked, shown, both; by class
    edges = np.zeros(3)
    distances, areas = [], []
    for one, other in zip(asked, shown, strict=True):
        found = match(one, other)
        hit = found >= 0
        counts[0] += np.bincount(one.classes, minlength=len(TISSUES))
        counts[1] += np.bincount(other.classes, minlength=len(TISSUES))
        counts[2] += np.bincount(one.classes[hit], minlength=len(TISSUES))
        distances.append(np.linalg.norm(one.position_um[hit] - other.position_um[found[hit]], axis=1))
        areas.append(np.abs(np.log2(other.area_um2[found[hit]] / one.area_um2[hit])))
        edges += _count_edges(one, other, found)
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        by_class = 2 * counts[2] / (counts[0] + counts[1])
    return Obedience(
        precision=float(total[2] / max(total[1], 1)),
        recall=float(total[2] / max(total[0], 1)),
        f1=float(2 * total[2] / max(total[0] + total[1], 1)),
        recall_interval=wilson(int(total[2]), int(total[0])),
        f1_by_class=dict(zip(TISSUES, by_class.tolist(), strict=True)),
        position_um=_median(distances),
        area_log2=_median(areas),
        edge_f1=float(2 * edges[2] / max(edges[0] + edges[1], 1)),
        n_nodes=int(total[0]),
    )


def pair_alike(scenes: Sequence[Scene]) -> list[int]:
    """Return for every graph another whose class counts are nearest: what is right by chance alone.

    Parameters
    ----------
    scenes : sequence of Scene
        At least two.

    Returns
    -------
    list of int
        Index of another graph.
    """
    counts = np.stack([np.bincount(each.classes, minlength=len(TISSUES)) for each in scenes]).astype(np.float64)
    distance = np.abs(counts[:, None] - counts[None]).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    return [int(each) for each in distance.argmin(axis=1)]


def _count_edges(asked: Scene, shown: Scene, found: NDArray[np.int64]) -> NDArray[np.float64]:
    source, target = asked.edge_index
    mapped = np.stack([found[source], found[target]])
    there = set(map(tuple, shown.edge_index.T.tolist()))
    both = sum(pair in there for pair in map(tuple, mapped.T.tolist()))
    return np.array([len(source), len(there), both], np.float64)


def _median(parts: list[NDArray[np.float64]]) -> float:
    values = np.concatenate([*parts, np.zeros(0)])
    return float(np.median(values)) if len(values) else float("nan")
