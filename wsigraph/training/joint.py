"""Network and coarsening trained together: who holds what is learned, and how the cohort follows.

Every few passes the cohort's superpixel graphs are coarsened anew by the embedding as it stands; in between, the task's
gradient moves the embedding (``gate``) while the partition stays. The weights of a pass are those of the network and
those the partition was made by, so that what was validated is what predicts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.model.columns import Reading
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.nn.network import GraphBatch, GraphNetwork
from wsigraph.training.straight_through import Links, MergingWeights, join_links
from wsigraph.training.superpixel_graphs import FineGraphs, row_cut

_PREFIX = "merging."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutGraphs:
    """Rows as the network reads them at present; replaced in place when they are cut anew.

    Attributes
    ----------
    rows : int64 (n,)
        Rows of the cohort.
    graphs : list of Standardised
        One a row.
    links : list of Links
        One a row where the coarsening is trained; else none.
    """

    rows: NDArray[np.int64]
    graphs: list[Standardised]
    links: list[Links] = field(default_factory=list)


class JointLearner:
    """A network and the weights that coarsen what it reads, as one thing that is learned.

    Parameters
    ----------
    network : GraphNetwork
        The network.
    merging : MergingWeights
        The coarsening's weights.
    fine : FineGraphs
        The cohort's superpixel graphs.
    reading : Reading
        What is read of a region.
    scaler : Scaler
        The network's units, fitted to the first coarsening of the training part.
    """

    def __init__(
        self, network: GraphNetwork, merging: MergingWeights, fine: FineGraphs, reading: Reading, scaler: Scaler
    ) -> None:
        self.network, self.merging = network, merging
        self._fine, self._reading, self._scaler = fine, reading, scaler
        self._cut_by = ""

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights of both by name, copied."""
        return self.network.arrays() | {f"{_PREFIX}{name}": each for name, each in self.merging.arrays().items()}

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Set what `arrays` returned."""
        own = {name.removeprefix(_PREFIX): each for name, each in arrays.items() if name.startswith(_PREFIX)}
        self.merging.load_arrays(own)
        self.network.load_arrays({name: each for name, each in arrays.items() if not name.startswith(_PREFIX)})

    @property
    def embedding(self) -> Embedding:
        """What the present partition is made by."""
        return self.merging.embedding()

    def cut(self, *parts: CutGraphs) -> None:
        """Coarsen all rows by the weights that the partition is to be made by, unless they are.

        Parameters
        ----------
        *parts : CutGraphs
            Always the same ones; changed in place.

        Raises
        ------
        ModelError
            If the graphs do not hold what is read.
        """
        embedding = self.embedding
        if embedding.embedding_id == self._cut_by:
            return
        for part in parts:
            found = [
                row_cut(self._fine.rows[row], self._fine.config, embedding, self._reading, self._scaler)
                for row in part.rows
            ]
            part.graphs[:] = [self._scaler.standardise(raw) for raw, _ in found]
            part.links[:] = [links for _, links in found]
        self._cut_by = embedding.embedding_id

    def linked(self, batch: GraphBatch, links: list[Links], kept: list[NDArray[np.bool_]], device: str) -> GraphBatch:
        """Return a batch whose features are the same numbers and pass the gradient to the coarsening's weights.

        Parameters
        ----------
        batch : GraphBatch
            Graphs without some of their regions.
        links : list of Links
            Of each whole graph.
        kept : list of bool array
            Which regions each graph has kept.
        device : str
            Where tensors live.

        Returns
        -------
        GraphBatch
            On that device.
        """
        chosen = torch.from_numpy(np.flatnonzero(np.concatenate(kept))).to(device)
        features = self.merging(batch.features, join_links(links, device), chosen)
        return GraphBatch(
            features=features,
            edge_index=batch.edge_index,
            edge_attribute=batch.edge_attribute,
            area=batch.area,
            batch=batch.batch,
            n_graphs=batch.n_graphs,
        )
