"""What edges do, found out by cutting them: an edge has no baseline, since a boundary of length zero is no tissue."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.explanation.members import ExplainedMember, Logits
from wsigraph.explanation.target import Target
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput, Standardised


def cut_edges(
    members: Sequence[ExplainedMember], target: Target, raw: GraphInput, nodes: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Return a model's output when edges are cut.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The model, all of it as one.
    target : Target
        The output.
    raw : GraphInput
        The slide.
    nodes : int64 (k,)
        Regions whose edges are cut, each alone.

    Returns
    -------
    without_edges : float
        Output when no region hears any other.
    cut : float64 (k,)
        Output when the edges of one region are cut.
    """
    source, end = raw.edge_index
    keeps = [np.zeros(len(source), np.bool_), *((source != node) & (end != node) for node in nodes)]
    graphs = [member.scaled(raw) for member in members]
    with one_thread(), torch.inference_mode():
        values = []
        for keep in keeps:
            logits = [_read(member, graph, keep) for member, graph in zip(members, graphs, strict=True)]
            values.append(float(target.read(members, logits)[0]))
    return values[0], np.array(values[1:], np.float64)


def _read(member: ExplainedMember, graph: Standardised, keep: NDArray[np.bool_]) -> Logits:
    stage, hazard = member.network(
        torch.from_numpy(graph.features),
        torch.from_numpy(graph.edge_index[:, keep]),
        torch.from_numpy(graph.edge_attribute[keep]),
        torch.zeros(len(graph.features), dtype=torch.int64),
        torch.from_numpy(graph.area),
        1,
    )
    return stage, hazard
