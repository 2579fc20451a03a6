"""Methods that turn superpixels into a given number of regions: this product's, its ablations, and others.

Each takes a case and the wanted number of regions and returns labels from 1 over the image. Methods that merge start
from the same superpixels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage import graph as skimage_graph

from tests.benchmarks.segmenters import count, ours
from wsigraph.graph.coarsening.embed import QUANTUM, Embedding, edge_lengths, embed, neighbour_mean, standardise
from wsigraph.graph.coarsening.select import select
from wsigraph.graph.feature.interpret import interpret
from wsigraph.records import TissueGraph

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image: its patient, superpixels int32 (h, w) from 1, their graph, and the truth int64 (h, w)."""

    patient: str
    rgb: NDArray[np.uint8]
    labels: Labels
    graph: TissueGraph
    truth: NDArray[np.int64]


Method = Callable[[Case, int], Labels]
Score = Callable[[float, float, float, float, float], float]
"""Takes the distance of two regions' means, their counts and their standard deviations."""


def merged(case: Case, z: NDArray[np.int64], n_wanted: int) -> Labels:
    """Return the regions of this product's merging in an embedding."""
    area = case.graph.moment("n")
    group = select(
        z, area, case.graph.edge_index, granularity=1.0, max_area=int(area.sum()), n_wanted=n_wanted
    )  # fmt: skip
    return painted(case, group)


def painted(case: Case, group: NDArray[np.int64]) -> Labels:
    """Return the labels of groups of superpixels, from 1."""
    return np.asarray(group[case.labels - 1] + 1, np.int32)


def learned(embedding: Embedding) -> Method:
    """Return this product's method with these weights."""
    return lambda case, n_wanted: merged(case, embed(case.graph, embedding), n_wanted)


def unlearned(embedding: Embedding, context: float = 0.0) -> Method:
    """Return merging by z-scores of all interpretable features, mixed with the neighbours' mean."""

    def run(case: Case, n_wanted: int) -> Labels:
        features = standardise(interpret(case.graph).values, embedding.mean, embedding.scale)
        around = neighbour_mean(features, case.graph.edge_index, edge_lengths(case.graph).astype(np.float64))
        mixed = (1 - context) * features + context * around
        return merged(case, np.rint(QUANTUM * mixed).astype(np.int64), n_wanted)

    return run


def by_other_score(embedding: Embedding, score: Score) -> Method:
    """Return greedy merging in the learned embedding by another score."""
    return lambda case, n_wanted: painted(
        case, greedy(embed(case.graph, embedding) / QUANTUM, case.graph.edge_index, n_wanted, score)
    )


def plain_distance(distance: float, *_: float) -> float:
    """Return the distance alone."""
    return distance


def felzenszwalb_huttenlocher(distance: float, n_a: float, n_b: float, std_a: float, std_b: float) -> float:
    """Return the least k that lets two regions merge: the distance must not exceed either's deviation plus k / n."""
    return max((distance - std_a) * n_a, (distance - std_b) * n_b)


def greedy(z: NDArray[np.float64], edge_index: NDArray[np.int64], n_wanted: int, score: Score) -> NDArray[np.int64]:
    """Return groups after merging the pair of lowest score, one pair at a time."""
    leader = np.arange(len(z))
    n, mean, square = np.ones(len(z)), z.copy(), np.zeros(len(z))
    around: list[set[int]] = [set() for _ in z]
    for source, target in edge_index.T.tolist():
        around[source].add(target)
    version = np.zeros(len(z), int)

    def entry(a: int, b: int) -> tuple[float, int, int, int, int]:
        distance = float(np.linalg.norm(mean[a] - mean[b]))
        std = np.sqrt(square[[a, b]] / n[[a, b]])
        return score(distance, n[a], n[b], *std), a, b, int(version[a]), int(version[b])

    heap = [entry(a, b) for a, b in edge_index.T.tolist() if a < b]
    heapq.heapify(heap)
    n_remaining = len(z)
    while n_remaining > n_wanted and heap:
        _, a, b, version_a, version_b = heapq.heappop(heap)
        if version[a] != version_a or version[b] != version_b:
            continue
        square[a] += square[b] + n[a] * n[b] / (n[a] + n[b]) * ((mean[a] - mean[b]) ** 2).sum()
        mean[a] = (mean[a] * n[a] + mean[b] * n[b]) / (n[a] + n[b])
        n[a] += n[b]
        leader[leader == b] = a
        version[[a, b]] += 1
        for other in around[b]:
            around[other].discard(b)
            around[other].add(a)
        around[a] = (around[a] | around[b]) - {a, b}
        around[a].discard(a)
        around[b] = set()
        for other in around[a]:
            heapq.heappush(heap, entry(a, other))
        n_remaining -= 1
    return np.unique(leader, return_inverse=True)[1].astype(np.int64)


def larger_superpixels(case: Case, n_wanted: int) -> Labels:
    """Return plain SLIC with fewer seeds: the trial with the fewest regions among those with enough."""
    trials: list[Labels] = []
    request = float(n_wanted)
    for _ in range(8):
        trials.append(ours(case.rgb, request))
        n_regions = count(trials[-1])
        request *= 1.06 if n_regions < n_wanted else 0.97
    enough = [labels for labels in trials if count(labels) >= n_wanted]
    return min(enough, key=count) if enough else max(trials, key=count)


def hierarchical(case: Case, n_wanted: int) -> Labels:
    """Return scikit-image's hierarchical merging of mean colours, stopped at the wanted count.

    The library only stops at a threshold; here it runs without one, its merges are recorded, and the first of them are
    repeated until the count is reached.
    """
    library: Any = skimage_graph
    rag = library.rag_mean_color(case.rgb, case.labels)
    merges: list[tuple[int, int]] = []

    def weigh(graph: Any, _: int, to: int, other: int) -> dict[str, float]:
        distance = graph.nodes[to]["mean color"] - graph.nodes[other]["mean color"]
        return {"weight": float(np.linalg.norm(distance))}

    def merge(graph: Any, source: int, to: int) -> None:
        merges.append((source, to))
        node, old = graph.nodes[to], graph.nodes[source]
        node["total color"] += old["total color"]
        node["pixel count"] += old["pixel count"]
        node["mean color"] = node["total color"] / node["pixel count"]

    library.merge_hierarchical(
        case.labels, rag, thresh=np.inf, rag_copy=False, in_place_merge=True, merge_func=merge, weight_func=weigh
    )
    label = np.arange(case.graph.n_nodes + 1)
    for source, to in merges[: case.graph.n_nodes - n_wanted]:
        label[label == source] = to
    return np.asarray(label[case.labels], np.int32)
