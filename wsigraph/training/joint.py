"""Network and coarsening trained together.

Every few epochs the cohort's superpixel graphs are coarsened again by the current embedding. In between, the task's
gradient changes the embedding (``straight_through.py``) while the partition stays. The weights of an epoch are those of
the network and those that made the partition, so that what was validated is what predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.straight_through import Links, MergingWeights, join_links
from wsigraph.training.superpixel_graphs import SuperpixelGraphs, coarsen_row

_PREFIX = "merging."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoarsenedGraphs:
    """Rows as the network reads them at present; the lists change in place when the rows are coarsened again.

    Attributes
    ----------
    rows : int64 (n,)
        Rows of the cohort.
    graphs : list of Standardised
        One a row.
    links : list of Links
        One a row where the coarsening is trained; else empty.
    """

    rows: NDArray[np.int64]
    graphs: list[Standardised]
    links: list[Links] = field(default_factory=list)


class JointLearner:
    """A network and the weights that coarsen its input, trained as one.

    Parameters
    ----------
    network : GraphNetwork
        The network.
    merging : MergingWeights
        The coarsening's weights.
    superpixel_graphs : SuperpixelGraphs
        The cohort before coarsening.
    columns : NodeColumns
        Columns of the node features.
    scaler : Scaler
        The network's units, fitted to the first coarsening of the training part.
    """

    def __init__(
        self,
        network: GraphNetwork,
        merging: MergingWeights,
        superpixel_graphs: SuperpixelGraphs,
        columns: NodeColumns,
        scaler: Scaler,
    ) -> None:
        self.network, self.merging = network, merging
        self._superpixel_graphs, self._columns, self._scaler = superpixel_graphs, columns, scaler
        self._embedding_id = ""

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights of both by name, copied."""
        merging = {f"{_PREFIX}{name}": value for name, value in self.merging.arrays().items()}
        return self.network.arrays() | merging

    def load_arrays(self, arrays: Mapping[str, NDArray[np.float32]]) -> None:
        """Set what `arrays` returned."""
        merging = {name.removeprefix(_PREFIX): value for name, value in arrays.items() if name.startswith(_PREFIX)}
        self.merging.load_arrays(merging)
        self.network.load_arrays({name: value for name, value in arrays.items() if not name.startswith(_PREFIX)})

    @property
    def embedding(self) -> Embedding:
        """The embedding that made the current partition."""
        return self.merging.embedding()

    def coarsen(self, *parts: CoarsenedGraphs) -> None:
        """Coarsen all rows by the weights of the partition, unless they are already.

        Parameters
        ----------
        *parts : CoarsenedGraphs
            The same ones in every call; changed in place.

        Raises
        ------
        ModelError
            If the graphs lack a column.
        """
        embedding = self.embedding
        if embedding.embedding_id == self._embedding_id:
            return
        superpixels = self._superpixel_graphs
        for part in parts:
            coarsened = [
                coarsen_row(superpixels.rows[row], superpixels.config, embedding, self._columns, self._scaler)
                for row in part.rows
            ]
            part.graphs[:] = [self._scaler.standardise(raw) for raw, _ in coarsened]
            part.links[:] = [links for _, links in coarsened]
        self._embedding_id = embedding.embedding_id

    def pass_gradient(self, x: torch.Tensor, links: Sequence[Links], kept: torch.Tensor, device: str) -> torch.Tensor:
        """Return the same node features with a gradient to the coarsening's weights.

        Parameters
        ----------
        x : Tensor float32 (K, F)
            Features of the regions of a batch that were kept.
        links : sequence of Links
            Of each whole graph of the batch.
        kept : Tensor bool (C,)
            Which of the batch's C regions were kept.
        device : str
            Where tensors are.

        Returns
        -------
        Tensor float32 (K, F)
            The numbers of `x`.
        """
        features: torch.Tensor = self.merging(x, join_links(links, device), torch.nonzero(kept).squeeze(1))
        return features
