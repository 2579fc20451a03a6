"""A fold for Lightning: loaders of training, validation and test part. Needs ``pip install 'wsigraph[lightning]'``."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch_geometric.loader import DataLoader

from wsigraph.errors import PluginError
from wsigraph.torch.graph_dataset import GraphDataset
from wsigraph.torch.study_folds import Split
from wsigraph.training.dataset import validation_patients

try:
    from pytorch_lightning import LightningDataModule
except ImportError as error:
    raise PluginError("GraphDataModule needs Lightning; pip install 'wsigraph[lightning]'") from error


class GraphDataModule(LightningDataModule):
    """One fold of a cohort.

    Parameters
    ----------
    dataset : GraphDataset
        The cohort.
    split : Split
        The fold, from `splits`. Its test part is never seen in training or validation.
    batch_size : int
        Graphs of a batch.
    validation_fraction : float
        Fraction of the training patients, drawn separately among those with and without an event.
    seed : int
        Seed of the validation part.
    **loader
        Further arguments of `torch_geometric.loader.DataLoader`, e.g. ``num_workers=4``.
    """

    def __init__(
        self,
        dataset: GraphDataset,
        split: Split,
        *,
        batch_size: int = 16,
        validation_fraction: float = 0.2,
        seed: int = 1,
        **loader: Any,
    ) -> None:
        super().__init__()
        self._dataset, self._test = dataset, split.test
        rows = [dataset.rows[row] for row in split.train.tolist()]
        patients = np.array([row.patient_id for row in rows], np.str_)
        event = np.array([bool(row.event) and row.follow_up_days is not None for row in rows], np.bool_)
        chosen = validation_patients(patients, event, validation_fraction, rng=np.random.default_rng(seed))
        is_validation = np.isin(patients, chosen)
        self._train, self._validation = split.train[~is_validation], split.train[is_validation]
        self._loader = {"batch_size": batch_size, **loader}

    def train_dataloader(self) -> DataLoader:
        """Return batches of the training part, in random order."""
        return DataLoader(self._dataset[self._train], shuffle=True, **self._loader)

    def val_dataloader(self) -> DataLoader:
        """Return batches of the validation part."""
        return DataLoader(self._dataset[self._validation], **self._loader)

    def test_dataloader(self) -> DataLoader:
        """Return batches of the patients held out."""
        return DataLoader(self._dataset[self._test], **self._loader)

    def predict_dataloader(self) -> DataLoader:
        """Return batches of the patients held out."""
        return self.test_dataloader()
