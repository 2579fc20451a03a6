"""A slow reference of the selection: every round goes over every region. The compiled one must equal it."""

from __future__ import annotations

import numpy as np

FIRST, STEP = 0.75, 1.25


def select(embedding, area, edge_index, *, granularity, max_area, n_wanted=None):
    n_nodes = len(embedding)
    if edge_index.shape[1] == 0:
        return np.arange(n_nodes)
    group = np.arange(n_nodes)
    typical = max(float(np.median(distance(embedding.astype(float), *edge_index))), 1.0)
    last_k = granularity * typical if n_wanted is None else np.inf
    n_wanted = 1 if n_wanted is None else n_wanted
    k = min(FIRST * typical, last_k)
    while (n_remaining := len(np.unique(group))) > n_wanted:
        pairs, lowest = mutual(embedding, area, edge_index, group, max_area, 0.25 * typical * typical)
        merging = sorted((score, low, high) for score, low, high in pairs if score <= k)[: n_remaining - n_wanted]
        for _, low, high in merging:
            group[group == high] = low
        if not merging:
            if k >= last_k or lowest > last_k or lowest == np.inf:
                break
            k = min(max(k * STEP, lowest), last_k)
    return np.unique(group, return_inverse=True)[1]


def distance(mean, source, target):
    square = np.zeros(len(source))
    for column in range(mean.shape[1]):
        square += (mean[source, column] - mean[target, column]) ** 2
    return np.sqrt(np.floor(square * 16) / 16)


def mutual(embedding, area, edge_index, group, max_area, chance):
    """Return (score, low, high) of all mutual pairs, and the lowest score of any allowed pair."""
    regions, inverse = np.unique(group, return_inverse=True)
    n = np.bincount(inverse)
    total = np.zeros((len(regions), embedding.shape[1]), np.int64)
    np.add.at(total, inverse, embedding)
    size = np.bincount(inverse, area)
    ends = np.unique(inverse[edge_index], axis=1)
    source, target = ends[:, ends[0] != ends[1]]
    separation = distance(total / n[:, None], source, target)
    a, b = n[source].astype(float), n[target].astype(float)
    score = np.sqrt((separation * separation + chance) * (a * b / (a + b)))
    allowed = size[source] + size[target] <= max_area
    best = {}
    for u, v, value in zip(source[allowed], target[allowed], score[allowed], strict=True):
        best[u] = min(best.get(u, (np.inf, -1)), (value, v))
    pairs = [(s, regions[u], regions[v]) for u, (s, v) in best.items() if u < v and best[v][1] == u]
    return pairs, min((s for s, _ in best.values()), default=np.inf)
