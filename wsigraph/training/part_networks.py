"""Networks trained on all inner parts but one, with their predictions for the part left out after every epoch.

A fixed number of epochs, no early stopping: which epoch counts is decided afterwards by the losses of all parts
together (``earned_fraction.py``), for each head by its own. A finished network is stored, so that a killed run repeats
one network at most.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.inputs import Standardised
from wsigraph.model.nn.heads import MIN_GAP, SLOPE, CoxHead
from wsigraph.model.nn.network import GraphNetwork, disjoint_union
from wsigraph.store.atomic import write_file
from wsigraph.training.epochs import CohortPart, Trainer, embeddings, lr_schedule, train_epoch
from wsigraph.training.joint import CoarsenedGraphs
from wsigraph.training.settings_identity import Identity, refusal

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

_BATCH_SIZE = 64
_KEY = "state"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartNetworks:
    """What networks of all parts predicted, each for the part that it was not trained on.

    Attributes
    ----------
    ratio : float64 (epochs, n)
        Log hazard ratios without offset.
    stage_logits : float64 (epochs, n, K - 1)
        Cumulative logits without the offset's score.
    history : float64 (epochs,)
        Mean training loss over networks.
    snapshots : list of list of dict of str to float32 array
        Weights by network and epoch.
    """

    ratio: NDArray[np.float64]
    stage_logits: NDArray[np.float64]
    history: NDArray[np.float64]
    snapshots: list[list[dict[str, NDArray[np.float32]]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartJob:
    """Networks to train on the parts of some rows.

    Attributes
    ----------
    config : ModelConfig
        Settings of the networks.
    n_epochs : int
        Epochs of each.
    everything : CohortPart
        All rows, with the offset of each out of part.
    part : int64 (n,)
        Part of every row.
    stage_threshold : float64 (K - 1,)
        Where the thresholds of the stage head start.
    seed : int
        Of initial weights, batches and dropout.
    device : str
        Where tensors are.
    checkpoint : tuple of Path and Identity, or None
        Files ``<path>-<part>.safetensors`` of finished networks, and what they depend on.
    """

    config: ModelConfig
    n_epochs: int
    everything: CohortPart
    part: NDArray[np.int64]
    stage_threshold: NDArray[np.float64]
    seed: int
    device: str = "cpu"
    checkpoint: tuple[Path, Identity] | None = None


def train_part_networks(
    job: PartJob, progress: Progress | None = None, initialise: Callable[[GraphNetwork], None] | None = None
) -> PartNetworks:
    """Return the networks of all parts.

    Parameters
    ----------
    job : PartJob
        What to train.
    progress : callable, optional
        Called with ``("train", epochs done, epochs)`` over all networks.
    initialise : callable, optional
        Called with every network before its first epoch; where left out, all heads start at 0.

    Returns
    -------
    PartNetworks
        Deterministic on one machine.

    Raises
    ------
    ModelError
        If a loss is not finite, or a checkpoint is damaged or of other settings or data.
    StoreError
        If a checkpoint cannot be written.
    """
    n_parts, n, n_thresholds = int(job.part.max()) + 1, len(job.part), len(job.stage_threshold)
    ratio, logits = np.zeros((job.n_epochs, n)), np.zeros((job.n_epochs, n, n_thresholds))
    history, snapshots = np.zeros(job.n_epochs), []
    for number in range(n_parts):
        left_out = np.flatnonzero(job.part == number)
        stored = _load(job, number)
        if stored is None:
            stored = _train_one(job, number, progress, initialise or _start_at_zero(job.stage_threshold))
            _save(job, number, stored)
        ratio[:, left_out], logits[:, left_out] = stored.ratio, stored.stage_logits
        history += stored.history / n_parts
        snapshots += stored.snapshots
    return PartNetworks(ratio=ratio, stage_logits=logits, history=history, snapshots=snapshots)


def _train_one(
    job: PartJob, number: int, progress: Progress | None, initialise: Callable[[GraphNetwork], None]
) -> PartNetworks:
    rows = np.arange(len(job.part))
    training, left_out = (take_rows(job.everything, rows[mask]) for mask in (job.part != number, job.part == number))
    config, seed = job.config, 1000 * job.seed + number
    if len(np.unique(job.part)) == 1:
        training = left_out
    torch.manual_seed(seed)
    network = GraphNetwork(config, n_features=training.graphs[0].features.shape[1], n_intervals=1).to(job.device)
    initialise(network)
    optimiser = torch.optim.AdamW(
        [{"params": list(network.parameters()), "peak": config.learning_rate}],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    trainer = Trainer(
        network=network,
        joint=None,
        optimiser=optimiser,
        config=config,
        rng=np.random.default_rng(seed),
        device=job.device,
    )
    schedule = config.model_copy(update={"epochs": job.n_epochs})
    ratios, logits, losses, snapshots = [], [], [], []
    for epoch in range(job.n_epochs):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * lr_schedule(epoch, schedule)
        losses.append(train_epoch(trainer, training))
        if not np.isfinite(losses[-1]):
            raise ModelError(
                f"the loss of epoch {epoch + 1} is not finite ({losses[-1]}); "
                f"lower model.learning_rate (now {config.learning_rate:g})"
            )
        embedding = embeddings(trainer, left_out.graphs)
        with torch.inference_mode():
            own = isinstance(network.hazard, CoxHead)
            ratios.append(
                network.hazard.log_hazard_ratio(embedding).cpu().double().numpy()
                if own and isinstance(network.hazard, CoxHead)
                else np.zeros(len(embedding))
            )
            if network.stage is not None:
                logits.append(network.stage(embedding).cpu().double().numpy())
            else:
                logits.append(np.zeros((len(embedding), len(job.stage_threshold))))
        snapshots.append(network.arrays())
        if progress is not None:
            progress("train", number * job.n_epochs + epoch + 1, (int(job.part.max()) + 1) * job.n_epochs)
    return PartNetworks(
        ratio=np.stack(ratios), stage_logits=np.stack(logits), history=np.array(losses), snapshots=[snapshots]
    )


def _start_at_zero(stage_threshold: NDArray[np.float64]) -> Callable[[GraphNetwork], None]:
    """Return a function that makes a new network predict the offset alone."""

    def initialise(network: GraphNetwork) -> None:
        with torch.no_grad():
            if isinstance(network.hazard, CoxHead):
                network.hazard.score.weight.zero_()
            if network.stage is not None:
                network.stage.score.weight.zero_()
                network.stage.first.fill_(float(stage_threshold[0]) / SLOPE)
                gaps = np.maximum((np.diff(stage_threshold) - MIN_GAP) / SLOPE, 1e-3)
                # the inverse of softplus
                network.stage.gap.copy_(torch.from_numpy(np.log(np.expm1(gaps)).astype(np.float32)))

    return initialise


def take_rows(everything: CohortPart, rows: NDArray[np.int64]) -> CohortPart:
    """Return some rows of a part of a cohort."""
    coarsened = everything.coarsened
    target = everything.target
    return CohortPart(
        coarsened=CoarsenedGraphs(rows=coarsened.rows[rows], graphs=[coarsened.graphs[row] for row in rows]),
        stage=everything.stage[rows],
        time_days=everything.time_days[rows],
        event=everything.event[rows],
        target=replace(target, survived=target.survived[rows], died=target.died[rows]),
        offset=everything.offset[rows],
        stage_score=None if everything.stage_score is None else everything.stage_score[rows],
    )


def _path(job: PartJob, number: int) -> tuple[Path, Identity] | None:
    if job.checkpoint is None:
        return None
    path, identity = job.checkpoint
    return path.with_name(f"{path.stem}-part{number}.safetensors"), identity


def _save(job: PartJob, number: int, trained: PartNetworks) -> None:
    stored = _path(job, number)
    if stored is None:
        return
    tensors: dict[str, NDArray[Any]] = {name: getattr(trained, name) for name in ("ratio", "stage_logits", "history")}
    for epoch, arrays in enumerate(trained.snapshots[0]):
        tensors |= {f"{epoch}.{name}": value for name, value in arrays.items()}
    notes = json.dumps({"identity": stored[1].document()}, sort_keys=True)
    ordered = {name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())}
    write_file(stored[0], save_tensors(ordered, {_KEY: notes}))


def _load(job: PartJob, number: int) -> PartNetworks | None:
    stored = _path(job, number)
    if stored is None or not stored[0].is_file():
        return None
    path, identity = stored
    try:
        with safe_open(path, "np") as content:
            notes = json.loads((content.metadata() or {})[_KEY])
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"checkpoint {path} is damaged ({error}); delete it and run again") from None
    if others := identity.differences(notes.get("identity")):
        raise ModelError(refusal(f"checkpoint {path}", others))
    snapshots = [
        {name.partition(".")[2]: value for name, value in tensors.items() if name.partition(".")[0] == str(epoch)}
        for epoch in range(job.n_epochs)
    ]
    return PartNetworks(
        ratio=tensors["ratio"], stage_logits=tensors["stage_logits"], history=tensors["history"], snapshots=[snapshots]
    )


def log_ratios(network: GraphNetwork, graphs: Sequence[Standardised]) -> NDArray[np.float64]:
    """Return the log hazard ratios of graphs by a network with a Cox head, float64 (n,)."""
    network.eval()
    values = []
    with torch.inference_mode():
        for first in range(0, len(graphs), _BATCH_SIZE):
            embedding = network.encode_graphs(*disjoint_union(graphs[first : first + _BATCH_SIZE]))
            values.append(cast(CoxHead, network.hazard).log_hazard_ratio(embedding).double().numpy())
    return np.concatenate(values) if values else np.zeros(0)
