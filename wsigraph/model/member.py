"""One network of an ensemble with the scaler and the time intervals that belong to it."""

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
from wsigraph.model.columns import Reading
from wsigraph.model.inputs import GraphInput, Scaler, Standardised
from wsigraph.model.nn.network import GraphNetwork, collate, one_thread

_READ_GRAPHS = 64


class SuperpixelGraphs(Protocol):
    """Graphs before coarsening, kept so that any embedding can coarsen them."""

    def coarsened(self, embedding: Embedding, reading: Reading) -> list[GraphInput]:
        """Return every row's graphs coarsened by an embedding, as a network reads them."""
        ...


class CohortInputs(Protocol):
    """What an ensemble member needs of a cohort; `wsigraph.training.dataset.Cohort` is one."""

    @property
    def inputs(self) -> list[GraphInput]:
        """What a network reads, one entry a row."""
        ...

    @property
    def embedding_id(self) -> str | None:
        """Embedding that coarsened the graphs; None where they are not coarsened."""
        ...

    @property
    def reading(self) -> Reading:
        """Which columns are read of a region."""
        ...

    @property
    def fine(self) -> SuperpixelGraphs | None:
        """The rows before coarsening, where they were kept."""
        ...


def inputs_of(cohort: CohortInputs, embedding: Embedding | None) -> list[GraphInput]:
    """Return what is read of a cohort's rows coarsened by an embedding.

    Parameters
    ----------
    cohort : CohortInputs
        With its superpixel graphs, where an embedding is given.
    embedding : Embedding or None
        None takes the graphs as the cohort holds them.

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
    if cohort.fine is None:
        raise ModelError(
            f"the model coarsens by its own embedding {embedding.embedding_id}, the cohort is coarsened by "
            f"{cohort.embedding_id} and keeps no superpixel graphs; gather it with the model's settings "
            "(train_coarsening) from graph.safetensors"
        )
    return cohort.fine.coarsened(embedding, cohort.reading)


@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A fitted network.

    Attributes
    ----------
    config : ModelConfig
        Settings that rebuild it.
    arrays : dict of str to float32 array
        Weights.
    scaler : Scaler
        Of the patients it was trained on.
    ends_days : float64 (T,)
        Right ends of its time intervals, days; empty where survival is not learned.
    temperature : float
        Stage logits are divided by it.
    embedding : Embedding or None
        By which the graphs it reads are coarsened, where it was trained together with the network.
    """

    config: ModelConfig
    arrays: dict[str, NDArray[np.float32]]
    scaler: Scaler
    ends_days: NDArray[np.float64]
    temperature: float
    embedding: Embedding | None = None

    def inputs(self, cohort: CohortInputs) -> list[GraphInput]:
        """Return what this member reads of a cohort.

        Parameters
        ----------
        cohort : CohortInputs
            With its superpixel graphs, where the member coarsens on its own.

        Returns
        -------
        list of GraphInput
            In the order of the rows.

        Raises
        ------
        ModelError
            If the member coarsens on its own and the cohort keeps no superpixel graphs.
        """
        return inputs_of(cohort, self.embedding)

    def network(self) -> GraphNetwork:
        """Return the network, ready for evaluation; torch's random state is left alone.

        Raises
        ------
        ModelError
            If the weights do not fit the architecture of `config`.
        """
        with torch.random.fork_rng(devices=[]):
            # building draws starting weights, which must not move the caller's random state
            network = GraphNetwork(self.config, n_features=self.scaler.n_features, n_intervals=len(self.ends_days))
        network.load_arrays(self.arrays)
        network.eval()
        return network

    @cached_property
    def _network(self) -> GraphNetwork:
        """The network that `read` asks; built once, for building takes longer than reading a slide."""
        return self.network()

    def read(self, graphs: Sequence[GraphInput | Standardised]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the logits of graphs.

        Parameters
        ----------
        graphs : sequence of GraphInput or Standardised
            Before scaling, or scaled by this member's scaler.

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
        network = self._network
        scaled = [self.scaler.standardise(each) if isinstance(each, GraphInput) else each for each in graphs]
        stages, hazards = [], []
        with one_thread(), torch.inference_mode():
            for start in range(0, len(scaled), _READ_GRAPHS):
                stage, hazard = network.read(collate(scaled[start : start + _READ_GRAPHS]))
                stages.append(stage.double().numpy())
                hazards.append(hazard.double().numpy())
        return np.concatenate(stages), np.concatenate(hazards)
