"""Edge ablation: the output of a model when edges between regions are removed.

Edges are removed rather than attributed, because an edge has no reference input: a boundary of length zero is no
tissue.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.explanation.members import ExplainedMember, Logits
from wsigraph.explanation.target import Target
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput, Standardised


def ablate_edges(
    members: Sequence[ExplainedMember],
    target: Target,
    raw: GraphInput,
    nodes: NDArray[np.int64],
    *,
    threads: int = 1,
) -> tuple[float, NDArray[np.float64]]:
    """Return a model's output without edges.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The whole ensemble.
    target : Target
        The explained output.
    raw : GraphInput
        The slide.
    nodes : int64 (k,)
        Regions whose edges are removed, one region at a time.
    threads : int
        Number of threads; results do not depend on it.

    Returns
    -------
    without_edges : float
        Output without any edges.
    without_edges_of_node : float64 (k,)
        Output without the edges of each node in `nodes`.
    """
    source, end = raw.edge_index
    keep_masks = [np.zeros(len(source), np.bool_), *((source != node) & (end != node) for node in nodes)]
    graphs = [member.scaled(raw) for member in members]
    jobs = [(member, graph, keep) for keep in keep_masks for member, graph in zip(members, graphs, strict=True)]

    def work(job: tuple[ExplainedMember, Standardised, NDArray[np.bool_]]) -> Logits:
        # inference mode is per thread
        with torch.inference_mode():
            return _forward(*job)

    with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
        logits = list(pool.map(work, jobs))
    step = len(members)
    with torch.inference_mode():
        values = [float(target.read(members, logits[k : k + step])[0]) for k in range(0, len(jobs), step)]
    return values[0], np.array(values[1:], np.float64)


def _forward(member: ExplainedMember, graph: Standardised, keep: NDArray[np.bool_]) -> Logits:
    """Return the logits of a graph whose edges are masked by `keep`, bool (E,)."""
    stage, hazard = member.network(
        torch.from_numpy(graph.features),
        torch.from_numpy(graph.edge_index[:, keep]),
        torch.from_numpy(graph.edge_attribute[keep]),
        torch.zeros(len(graph.features), dtype=torch.int64),
        torch.from_numpy(graph.area),
        1,
    )
    return stage, hazard
