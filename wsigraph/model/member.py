"""One network of an ensemble, with its scaler and its time intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import GraphInput, Scaler, Standardised
from wsigraph.model.nn.corrected_network import CorrectedNetwork, NetworkCounts
from wsigraph.model.nn.network import GraphNetwork, disjoint_union
from wsigraph.model.nn.on_device import moved, to_processor

_BATCH_SIZE = 64
"""Graphs per forward pass in evaluation."""


class UncoarsenedGraphs(Protocol):
    """Graphs before coarsening, kept so that any embedding can coarsen them."""

    def coarsened(self, embedding: Embedding, columns: NodeColumns) -> list[GraphInput]:
        """Return every row's graphs coarsened by an embedding, as network inputs."""
        ...


class CohortInputs(Protocol):
    """What an ensemble member needs of a cohort; `wsigraph.training.dataset.Cohort` is one."""

    @property
    def inputs(self) -> list[GraphInput]:
        """Network inputs, one a row."""
        ...

    @property
    def embedding_id(self) -> str | None:
        """Id of the embedding that coarsened the graphs; None where they are not coarsened."""
        ...

    @property
    def columns(self) -> NodeColumns:
        """Which columns the node features have."""
        ...

    @property
    def superpixel_graphs(self) -> UncoarsenedGraphs | None:
        """The rows before coarsening, where they were kept."""
        ...


def coarsened_inputs(cohort: CohortInputs, embedding: Embedding | None) -> list[GraphInput]:
    """Return the network inputs of a cohort's rows, coarsened by an embedding.

    Parameters
    ----------
    cohort : CohortInputs
        With its superpixel graphs, where an embedding is given.
    embedding : Embedding or None
        None keeps the coarsening that the cohort has.

    Returns
    -------
    list of GraphInput
        In the order of the rows.

    Raises
    ------
    ModelError
        If an embedding is given and the cohort keeps no superpixel graphs.
    """
    if embedding is None or embedding.embedding_id == cohort.embedding_id:
        return cohort.inputs
    if cohort.superpixel_graphs is None:
        raise ModelError(
            f"the model coarsens by its own embedding {embedding.embedding_id}, the cohort is coarsened by "
            f"{cohort.embedding_id} and keeps no superpixel graphs; load it with the model's settings "
            "(train_coarsening) from graph.safetensors"
        )
    return cohort.superpixel_graphs.coarsened(embedding, cohort.columns)


@dataclass(frozen=True, kw_only=True, eq=False)
class EnsembleMember:
    """A trained network of an ensemble.

    Attributes
    ----------
    config : ModelConfig
        Settings that rebuild the network.
    arrays : dict of str to float32 array
        Weights by name.
    scaler : Scaler
        Fitted to its training patients.
    ends_days : float64 (T,)
        Right ends of its time intervals, days; empty where survival is not learned.
    temperature : float
        Stage logits are divided by it.
    embedding : Embedding or None
        Coarsens the graphs for this network, where it was trained together with it.
    """

    config: ModelConfig
    arrays: dict[str, NDArray[np.float32]]
    scaler: Scaler
    ends_days: NDArray[np.float64]
    temperature: float
    embedding: Embedding | None = None

    def inputs(self, cohort: CohortInputs) -> list[GraphInput]:
        """Return a cohort's network inputs for this member.

        Parameters
        ----------
        cohort : CohortInputs
            With its superpixel graphs, where the member has an embedding of its own.

        Returns
        -------
        list of GraphInput
            In the order of the rows.

        Raises
        ------
        ModelError
            If the member has an embedding of its own and the cohort keeps no superpixel graphs.
        """
        return coarsened_inputs(cohort, self.embedding)

    def network(self) -> GraphNetwork | CorrectedNetwork:
        """Return the network in evaluation mode; torch's random state does not change.

        Raises
        ------
        ModelError
            If the weights do not fit the architecture of `config`.
        """
        network: GraphNetwork | CorrectedNetwork
        with torch.random.fork_rng(devices=[]):
            # building draws initial weights, which must not advance the caller's random state
            if self.config.design == "network":
                network = GraphNetwork(
                    self.config,
                    n_features=self.scaler.n_features,
                    n_intervals=len(self.ends_days),
                    for_training=False,
                )
            else:
                narrow = self.arrays.get("projection")
                network = CorrectedNetwork(
                    self.config,
                    n_features=self.scaler.n_features,
                    n_intervals=len(self.ends_days),
                    n_network_features=None if narrow is None else narrow.shape[1],
                    counts=NetworkCounts.of(self.arrays),
                )
        network.load_arrays(self.arrays)
        network.eval()
        return network

    @cached_property
    def _networks(self) -> dict[str, GraphNetwork | CorrectedNetwork]:
        """The networks of `read` by device, built once: building takes longer than a forward pass."""
        return {}

    def _network_on(self, device: str) -> GraphNetwork | CorrectedNetwork:
        if device not in self._networks:
            self._networks[device] = self.network().to(device)
        return self._networks[device]

    def read(
        self, graphs: Sequence[GraphInput | Standardised], device: str = "cpu"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logits of graphs.

        Parameters
        ----------
        graphs : sequence of GraphInput or Standardised
            Unscaled, or scaled by this member's scaler.
        device : str
            Where the network runs, as `wsigraph.graph.device.find_device` returns it.

        Returns
        -------
        stage_logits : float64 (B, K - 1)
            Cumulative logits, before the temperature; no column where stage is not learned.
        hazard_logits : float64 (B, T)
            Hazard logits.

        Raises
        ------
        ModelError
            If graphs have another number of features, or the weights do not fit.
        """
        network = self._network_on(device)
        scaled = [self.scaler.standardise(graph) if isinstance(graph, GraphInput) else graph for graph in graphs]
        stages, hazards = [], []
        with one_thread(), torch.inference_mode():
            for first in range(0, len(scaled), _BATCH_SIZE):
                union = disjoint_union(scaled[first : first + _BATCH_SIZE])
                stage, hazard = to_processor(network(*moved(union, device)))
                stages.append(stage.double().numpy())
                hazards.append(hazard.double().numpy())
        return np.concatenate(stages), np.concatenate(hazards)

    def read_parts(
        self, graphs: Sequence[GraphInput | Standardised], device: str = "cpu"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the parts of the log hazard ratios of graphs: composition and arrangement.

        Parameters
        ----------
        graphs : sequence of GraphInput or Standardised
            As for `read`.
        device : str
            As for `read`.

        Returns
        -------
        composition, arrangement : float64 (B,)
            Of the offset, and of the earned correction. NaN for a network without an offset, or without survival.

        Raises
        ------
        ModelError
            As for `read`.
        """
        network = self._network_on(device)
        if not isinstance(network, CorrectedNetwork) or not len(self.ends_days):
            return np.full(len(graphs), np.nan), np.full(len(graphs), np.nan)
        scaled = [self.scaler.standardise(graph) if isinstance(graph, GraphInput) else graph for graph in graphs]
        tables = []
        with one_thread(), torch.inference_mode():
            for first in range(0, len(scaled), _BATCH_SIZE):
                union = disjoint_union(scaled[first : first + _BATCH_SIZE])
                parts = network.parts(*moved(union, device))
                tables.append(torch.stack([parts.composition, parts.arrangement]).cpu().double().numpy())
        composition, arrangement = np.concatenate(tables, axis=1)
        return composition, arrangement
