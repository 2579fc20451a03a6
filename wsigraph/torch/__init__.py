"""Graphs for researchers: torch_geometric data, data sets, and the folds of a study.

``to_data`` and ``to_hetero_data`` turn a graph into `torch_geometric.data.Data` and ``HeteroData``. ``GraphDataset`` is
a cohort, read when needed. ``splits`` gives the folds of a trained model or of a design, and ``compare_network`` fits
any network in these folds and scores it in the same table. ``GraphDataModule`` is for Lightning, which has to be
installed. This package is named after torch; ``import torch`` is still torch itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsigraph.torch.any_network import FittedNetwork, Fitting, compare_network, load_network
from wsigraph.torch.graph_data import to_data
from wsigraph.torch.graph_dataset import GraphDataset
from wsigraph.torch.study_folds import Split, splits
from wsigraph.torch.two_level import to_hetero_data

if TYPE_CHECKING:
    from wsigraph.torch.data_module import GraphDataModule as GraphDataModule

__all__ = [
    "FittedNetwork",
    "Fitting",
    "GraphDataModule",
    "GraphDataset",
    "Split",
    "compare_network",
    "load_network",
    "splits",
    "to_data",
    "to_hetero_data",
]


def __getattr__(name: str) -> Any:
    if name == "GraphDataModule":
        from wsigraph.torch.data_module import GraphDataModule

        return GraphDataModule
    raise AttributeError(f"module 'wsigraph.torch' has no attribute {name!r}")
