"""The embedding learned without labels, from pairs of regions.

Adjacent regions in the weakest third of boundary contrast are drawn together, adjacent regions in the strongest third
and distant regions of one slide are held a margin apart (Hadsell, Chopra and LeCun, CVPR 2006), and a region stays
where it is under noise on its features. Contrast is the distance of standardised features, so what the embedding adds
is context (the message pass) and robustness; it cannot find boundaries that no feature shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.coarsening.embed import Embedding, standardise
from wsigraph.errors import ModelError
from wsigraph.feature.interpret import FEATURE_GROUPS, feature_schema_id, interpret
from wsigraph.records import TissueGraph

if TYPE_CHECKING:
    import torch

_MARGIN = 1.0
_NOISE = 0.3
_LEARNING_RATE = 3e-3


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """One graph ready for training: features, message weights, and pairs to draw together or hold apart."""

    features: NDArray[np.float64]
    edge_index: NDArray[np.int64]
    share: NDArray[np.float64]
    alike: NDArray[np.int64]
    unlike: NDArray[np.int64]


def train_embedding(
    graphs: Iterable[TissueGraph],
    *,
    generator: np.random.Generator,
    steps: int = 400,
    hidden: int = 32,
    dimension: int = 16,
) -> Embedding:
    """Learn an embedding from graphs without labels.

    Parameters
    ----------
    graphs : iterable of TissueGraph
        Training slides.
    generator : numpy.random.Generator
        Source of initial weights, noise and distant pairs.
    steps : int
        Optimiser steps, one graph each.
    hidden, dimension : int
        Widths of the two layers.

    Returns
    -------
    Embedding
        Learned weights, float32 precision.

    Raises
    ------
    ModelError
        If no graph has enough neighbours to learn from.
    """
    import torch

    known = [graph for graph in graphs if graph.n_edges >= 9]
    if not known:
        raise ModelError("no training graph has 9 neighbour pairs or more; give larger slides")
    values = [interpret(graph).values for graph in known]
    stacked = np.concatenate(values)
    mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    samples = [
        _sample(graph, standardise(table, mean, scale), generator) for graph, table in zip(known, values, strict=True)
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        weights = _initial(stacked.shape[1], hidden, dimension, generator)
        optimiser = torch.optim.AdamW(weights, lr=_LEARNING_RATE, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            optimiser.zero_grad()
            loss = _loss(weights, samples[step % len(samples)], generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    finally:
        torch.set_num_threads(threads)
    names = ("hidden_weight", "hidden_bias", "own_weight", "message_weight", "bias")
    learned = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in zip(names, weights, strict=True)}
    return Embedding(
        mean=mean.astype(np.float32).astype(np.float64),
        scale=scale.astype(np.float32).astype(np.float64),
        feature_schema=feature_schema_id(),
        **learned,
    )


def _sample(graph: TissueGraph, features: NDArray[np.float64], generator: np.random.Generator) -> _Sample:
    source, target = graph.edge_index
    weight = (2 * graph.boundary[:, 0] + graph.boundary[:, 1]).astype(np.float64)
    mass = np.zeros(graph.n_nodes)
    np.add.at(mass, source, weight)
    once = np.flatnonzero(source < target)
    # shape says how SLIC cut, not what the tissue is
    tissue = np.array([group != "shape" for group in FEATURE_GROUPS])
    contrast = np.sqrt(((features[source[once]] - features[target[once]])[:, tissue] ** 2).sum(axis=1))
    low, high = np.quantile(contrast, [1 / 3, 2 / 3])
    weak, strong = once[contrast <= low], once[contrast >= high]
    distant = generator.integers(0, graph.n_nodes, (2, len(strong)))
    return _Sample(
        features=features,
        edge_index=graph.edge_index,
        share=weight / np.maximum(mass[source], 1.0),
        alike=graph.edge_index[:, weak],
        unlike=np.concatenate([graph.edge_index[:, strong], distant[:, distant[0] != distant[1]]], axis=1),
    )


def _initial(n_features: int, hidden: int, dimension: int, generator: np.random.Generator) -> list[torch.Tensor]:
    import torch

    shapes = [(hidden, n_features), (hidden,), (dimension, hidden), (dimension, hidden), (dimension,)]
    weights = []
    for shape in shapes:
        bound = 1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.0
        drawn = generator.uniform(-bound, bound, shape).astype(np.float32)
        weights.append(torch.tensor(drawn, requires_grad=True))
    return weights


def _loss(weights: list[torch.Tensor], sample: _Sample, generator: np.random.Generator) -> torch.Tensor:
    import torch

    hidden_weight, hidden_bias, own_weight, message_weight, bias = weights
    source, target = torch.from_numpy(sample.edge_index)
    share = torch.from_numpy(sample.share.astype(np.float32))[:, None]

    def embed(features: NDArray[np.float64]) -> torch.Tensor:
        inputs = torch.from_numpy(features.astype(np.float32))
        hidden = torch.relu(inputs @ hidden_weight.T + hidden_bias)
        message = torch.zeros_like(hidden).index_add(0, source, share * hidden[target])
        return hidden @ own_weight.T + message @ message_weight.T + bias

    clean = embed(sample.features)
    noisy = embed(sample.features + generator.normal(0.0, _NOISE, sample.features.shape))
    alike = (clean[sample.alike[0]] - noisy[sample.alike[1]]).square().sum(dim=1).mean()
    still = (clean - noisy).square().sum(dim=1).mean()
    apart = (clean[sample.unlike[0]] - noisy[sample.unlike[1]]).square().sum(dim=1).add(1e-9).sqrt()
    return alike + still + torch.relu(_MARGIN - apart).square().mean()
