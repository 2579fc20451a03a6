"""One network of an ensemble with the scaler and the time intervals that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.model.inputs import GraphInput, Scaler, Standardised
from wsigraph.model.network import GraphNetwork, collate, one_thread

_READ_GRAPHS = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
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
    """

    config: ModelConfig
    arrays: dict[str, NDArray[np.float32]]
    scaler: Scaler
    ends_days: NDArray[np.float64]
    temperature: float

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
        network = self.network()
        scaled = [self.scaler.standardise(each) if isinstance(each, GraphInput) else each for each in graphs]
        stages, hazards = [], []
        with one_thread(), torch.inference_mode():
            for start in range(0, len(scaled), _READ_GRAPHS):
                stage, hazard = network.read(collate(scaled[start : start + _READ_GRAPHS]))
                stages.append(stage.double().numpy())
                hazards.append(hazard.double().numpy())
        return np.concatenate(stages), np.concatenate(hazards)
