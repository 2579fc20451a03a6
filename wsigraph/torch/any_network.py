"""Any network in the folds of a trained model: fitted, scored out of fold, and compared in the same table.

A network is made by ``network(in_channels, edge_channels, out_channels)`` and called with a batch of `Data`; it returns
(graphs, out_channels). Features are standardised by the training part of the fold. The first output is the log hazard
ratio, where survival is predicted; the others are one logit a stage, where stage is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from wsigraph import registry
from wsigraph.errors import ModelError, PluginError
from wsigraph.graph.device import find_device
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import load_bundle
from wsigraph.model.inputs import CLIP
from wsigraph.model.nn.losses import cox_loss
from wsigraph.torch.graph_dataset import NO_STAGE, GraphDataset
from wsigraph.torch.study_folds import Split, dataset_of, splits
from wsigraph.training.batches import stratified_batches
from wsigraph.training.evaluation.other_predictions import NETWORKS, scores_from

Network = Callable[[int, int, int], nn.Module]
"""Called with the columns of ``x`` and of ``edge_attr``, and the number of outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How a network is fitted.

    Attributes
    ----------
    epochs : int
        Passes over the training part; there is no early stopping, so no part has to be held back for it.
    learning_rate, weight_decay : float
        Of AdamW.
    batch_graphs : int
        Graphs of a batch; each holds an event as far as events suffice.
    seed : int
        Of initial weights, batches and dropout.
    device : str
        ``cpu``, ``cuda``, ``mps`` or ``auto``.
    """

    epochs: int = 30
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    batch_graphs: int = 16
    seed: int = 1
    device: str = "cpu"


def load_network(name: str) -> Network:
    """Return a network by its name.

    Parameters
    ----------
    name : str
        Plugin of group ``wsigraph.networks``, or ``module:Class``; the module may lie in the current directory.

    Returns
    -------
    callable
        See `Network`.

    Raises
    ------
    PluginError
        If there is no such plugin, or the class cannot be imported.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        network: Network = registry.load(registry.NETWORKS, name)
        return network
    with _importing_here():
        try:
            network = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise PluginError(
                f"network {name!r} does not load: {error}; expected module:Class, importable or in this directory"
            ) from error
    return network


def compare_network(
    network: Network | str,
    model: Path | str,
    *,
    name: str | None = None,
    dataset: GraphDataset | None = None,
    fitting: Fitting | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit a network in the folds of a trained model and compare it on the patients held out.

    Weights go to ``MODEL/networks/<name>/fold_<k>.safetensors``, and the predictions beside them, from where
    `wsigraph.evaluate` takes them into its table.

    Parameters
    ----------
    network : callable or str
        A network, or its name as for `load_network`.
    model : Path or str
        Directory of a model that `wsigraph.train` made; it gives folds, outcomes and the task.
    name : str, optional
        Name in the tables; the name of the class by default.
    dataset : GraphDataset, optional
        The cohort; that of the model by default.
    fitting : Fitting, optional
        How it is fitted.
    progress : callable, optional
        Called with ("network", folds done, folds).

    Returns
    -------
    dict
        As from `scores_from`.

    Raises
    ------
    CohortError, ModelError, PluginError, StoreError
        If the cohort is not the model's, the model has no folds, or the network does not load or fit.
    """
    bundle = load_bundle(model)
    make = load_network(network) if isinstance(network, str) else network
    label = name or str(getattr(make, "__name__", type(make).__name__))
    dataset = dataset or dataset_of(model)
    task = bundle.card.config.task
    folder = Path(model) / NETWORKS / label
    folder.mkdir(parents=True, exist_ok=True)
    folds = splits(model, dataset)
    rows: list[tuple[str, NDArray[np.float64]]] = []
    for number, split in enumerate(folds):
        fitted = FittedNetwork.fit(make, dataset, split, task=task, fitting=fitting or Fitting())
        save_file(fitted.tensors(), folder / f"fold_{number}.safetensors")
        outputs = fitted.outputs([dataset[row] for row in split.test.tolist()])
        rows += [(dataset.patients[row], values) for row, values in zip(split.test.tolist(), outputs, strict=True)]
        if progress is not None:
            progress("network", number + 1, len(folds))
    return scores_from(_frame(rows, task, dataset.stage_names), model, name=label)


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedNetwork:
    """A network that was fitted to the training part of a fold.

    Attributes
    ----------
    network : torch.nn.Module
        In evaluation mode, on `device`.
    mean, scale, edge_mean, edge_scale : Tensor
        Of the training part; they standardise ``x`` and ``edge_attr``.
    task : str
        ``survival``, ``stage`` or ``both``.
    device : str
        Where the network is.
    """

    network: nn.Module
    mean: Tensor
    scale: Tensor
    edge_mean: Tensor
    edge_scale: Tensor
    task: str
    device: str

    @classmethod
    def fit(cls, make: Network, dataset: GraphDataset, split: Split, *, task: str, fitting: Fitting) -> FittedNetwork:
        """Return a network fitted to the training part of a fold.

        Raises
        ------
        ConfigError
            If the machine has no such device.
        ModelError
            If the network returns another shape than (graphs, outputs), or the loss is not finite.
        """
        device = find_device(fitting.device)
        graphs = [dataset[row] for row in split.train.tolist()]
        x, edges = (torch.cat([getattr(one, name) for one in graphs]).double() for name in ("x", "edge_attr"))
        scales = [_scale(table) for table in (x, edges)]
        n_outputs = (task != "stage") + (task != "survival") * len(dataset.stage_names)
        with one_thread(), torch.random.fork_rng():
            torch.manual_seed(fitting.seed)
            network = make(x.shape[1], edges.shape[1], n_outputs).to(device)
            fitted = cls(
                **dict(zip(("mean", "scale", "edge_mean", "edge_scale"), sum(scales, ()), strict=True)),
                network=network,
                task=task,
                device=device,
            )
            fitted._train([fitted.standardised(one) for one in graphs], fitting, n_outputs)
        network.eval().requires_grad_(False)
        return fitted

    def standardised(self, data: Data) -> Data:
        """Return a copy of a graph whose ``x`` and ``edge_attr`` are standardised, and ``area`` a fraction."""
        own = data.__copy__()
        own.x = ((data.x - self.mean) / self.scale).clamp(-CLIP, CLIP)
        own.edge_attr = ((data.edge_attr - self.edge_mean) / self.edge_scale).clamp(-CLIP, CLIP)
        own.area = data.area / data.area.sum()
        return own

    def outputs(self, graphs: Sequence[Data]) -> NDArray[np.float64]:
        """Return the outputs of graphs as the data set gives them, float64 (graphs, outputs)."""
        with one_thread(), torch.inference_mode():
            tables = [self.network(Batch.from_data_list([self.standardised(one)]).to(self.device)) for one in graphs]
        return np.asarray(torch.cat(tables).cpu().double().numpy())

    def attributions(self, data: Data, output: int = 0, *, steps: int = 50) -> NDArray[np.float64]:
        """Return Integrated Gradients of an output on every feature of every node, float64 (N, F).

        The reference input is the mean of the training part. They add up to the output minus that of the reference.
        """
        own = Batch.from_data_list([self.standardised(data)]).to(self.device)
        end, total = own.x, torch.zeros_like(own.x, dtype=torch.float64)
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        with one_thread():
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                own.x = (end * float(node)).requires_grad_()
                (slope,) = torch.autograd.grad(self.network(own)[:, output].sum(), [own.x])
                total += float(weight) * slope.double()
        return np.asarray((total * end.double()).cpu().numpy())

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and scales by name, as a file holds them."""
        scales = {name: getattr(self, name) for name in ("mean", "scale", "edge_mean", "edge_scale")}
        weights = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        return {name: value.detach().cpu().contiguous().clone() for name, value in (scales | weights).items()}

    def _train(self, graphs: Sequence[Data], fitting: Fitting, n_outputs: int) -> None:
        event = np.array([bool(one.event) for one in graphs], np.bool_)
        rng = np.random.default_rng(fitting.seed)
        optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=fitting.learning_rate, weight_decay=fitting.weight_decay
        )
        self.network.train()
        for _ in range(fitting.epochs):
            for rows in stratified_batches(event, fitting.batch_graphs, rng=rng):
                batch = Batch.from_data_list([graphs[row] for row in rows.tolist()]).to(self.device)
                outputs = self.network(batch)
                if outputs.shape != (len(rows), n_outputs):
                    raise ModelError(f"the network returned {tuple(outputs.shape)}, expected {(len(rows), n_outputs)}")
                loss = self._loss(outputs, batch)
                if not torch.isfinite(loss):
                    raise ModelError(f"the loss of the network is {float(loss)}; lower the learning rate")
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()

    def _loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        loss = outputs.sum() * 0.0
        if self.task != "stage":
            known = torch.isfinite(batch.time_days)
            if bool(batch.event[known].any()):
                loss = loss + cox_loss(outputs[known, 0], batch.time_days[known], batch.event[known])
        if self.task != "survival" and bool((batch.y != NO_STAGE).any()):
            logits = outputs[:, int(self.task != "stage") :]
            loss = loss + nn.functional.cross_entropy(logits, batch.y, ignore_index=NO_STAGE)
        return loss


def _frame(
    rows: Sequence[tuple[str, NDArray[np.float64]]], task: str, stage_names: Sequence[str]
) -> dict[str, list[Any]]:
    """Return the columns of `scores_from`: outputs are averaged over the slides of a patient."""
    patients = list(dict.fromkeys(patient for patient, _ in rows))
    columns: dict[str, list[Any]] = {"patient_id": patients}
    mean = np.stack([np.mean([values for owner, values in rows if owner == patient], axis=0) for patient in patients])
    if task != "stage":
        columns["risk"] = mean[:, 0].tolist()
    if task != "survival":
        logits = mean[:, int(task != "stage") :]
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        columns |= dict(zip(stage_names, (raised / raised.sum(axis=1, keepdims=True)).T.tolist(), strict=True))
    return columns


def _scale(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every column, float32; 1 for a constant one."""
    mean = table.mean(dim=0)
    std = table.std(dim=0, unbiased=False)
    return mean.float(), torch.where(std > 1e-9 * mean.abs().clamp(min=1e-3), std, torch.ones_like(std)).float()


@contextmanager
def _importing_here() -> Iterator[None]:
    """Import from the current directory too, which a console script does not."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
