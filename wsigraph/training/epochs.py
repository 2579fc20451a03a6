"""Epochs of training: learning rate schedule, one epoch over the training part, validation, early stopping.

Steps are AdamW's (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019). The learning rate rises
linearly during warm-up and then falls along half a cosine. In every batch each graph drops a fraction of its regions,
so that no single region decides. The weights that count are those of the epoch with the lowest validation loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.inputs import Standardised
from wsigraph.model.nn.heads import SurvivalOutcomes
from wsigraph.model.nn.losses import SurvivalTarget, ordinal_loss
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.batches import AugmentedGraphDataset, load_batches, load_in_order, stratified_batches, tensors
from wsigraph.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from wsigraph.training.joint import CoarsenedGraphs, JointLearner
from wsigraph.training.settings_identity import Identity

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

_MAX_GRADIENT_NORM = 5.0
_EVALUATION_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortPart:
    """The training or the validation part of a cohort, in the units of the network.

    Attributes
    ----------
    coarsened : CoarsenedGraphs
        Its n graphs.
    stage : int64 (n,)
        Stage index, -1 where unknown.
    time_days : float64 (n,)
        Follow-up, days; NaN where unknown.
    event : bool (n,)
        Whether follow-up ended with the event.
    target : SurvivalTarget
        The same by interval.
    offset : float32 (n,)
        Linear offset of the log hazard ratio; 0 where there is none.
    stage_score : float32 (n,) or None
        Offset that is added to all cumulative stage logits; None where there is none.
    """

    coarsened: CoarsenedGraphs
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    target: SurvivalTarget
    offset: NDArray[np.float32]
    stage_score: NDArray[np.float32] | None = None

    @property
    def graphs(self) -> list[Standardised]:
        """Its graphs as the network reads them at present."""
        return self.coarsened.graphs

    def outcomes(self, rows: NDArray[np.int64], device: torch.device) -> SurvivalOutcomes:
        """Return the follow-up of some rows, on a device."""
        target = self.target
        time, event, offset, survived, died = (
            torch.from_numpy(values[rows]).to(device)
            for values in (self.time_days, self.event, self.offset, target.survived, target.died)
        )
        return SurvivalOutcomes(time_days=time, event=event, survived=survived, died=died, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trainer:
    """What an epoch needs: the network, its optimiser and the source of randomness.

    Attributes
    ----------
    network : GraphNetwork
        Trained in place.
    joint : JointLearner or None
        Network and coarsening together, where both are trained.
    optimiser : torch.optim.Optimizer
        Its parameter groups have a ``peak`` learning rate.
    config : ModelConfig
        Hyper-parameters.
    rng : numpy.random.Generator
        Draws batches and dropped regions.
    device : str
        Where tensors are.
    """

    network: GraphNetwork
    joint: JointLearner | None
    optimiser: torch.optim.Optimizer
    config: ModelConfig
    rng: np.random.Generator
    device: str

    @property
    def learner(self) -> GraphNetwork | JointLearner:
        """Everything that is trained."""
        return self.network if self.joint is None else self.joint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resume:
    """Where training saves its state after every epoch, and continues from.

    Attributes
    ----------
    checkpoint : tuple of Path and Identity, or None
        The file, and the settings and data of the fit; a checkpoint of others is refused. None saves nothing.
    progress : callable or None
        Called with ``("train", epoch, epochs)`` after every epoch.
    """

    checkpoint: tuple[Path, Identity] | None = None
    progress: Progress | None = field(default=None)


def train_epochs(trainer: Trainer, training: CohortPart, validation: CohortPart, resume: Resume) -> TrainingState:
    """Train in place, from the checkpoint where there is one.

    Parameters
    ----------
    trainer : Trainer
        Network and optimiser.
    training, validation : CohortPart
        What is trained on, and what decides when to stop.
    resume : Resume
        Checkpoint and progress.

    Returns
    -------
    TrainingState
        Losses of every epoch, and the best weights.

    Raises
    ------
    ModelError
        If a loss is not finite, or the checkpoint is damaged or of other settings or data.
    StoreError
        If the checkpoint cannot be written.
    """
    config, joint = trainer.config, trainer.joint
    learned = (trainer.learner, trainer.optimiser, trainer.rng)
    stored = resume.checkpoint
    state = TrainingState() if stored is None else load_checkpoint(stored[0], stored[1], *learned)
    for epoch in range(len(state.history), config.epochs):
        if early_stopping(state, config.patience):
            break
        for group in trainer.optimiser.param_groups:
            group["lr"] = group["peak"] * lr_schedule(epoch, config)
        if joint is not None:
            if epoch % config.recoarsen_every == 0:
                joint.merging.update_partition_weights()
            joint.coarsen(training.coarsened, validation.coarsened)
        losses = train_epoch(trainer, training), validation_loss(trainer, validation)
        _check_losses(epoch, losses, config)
        is_best = losses[1] < state.best_loss
        state.history.append(losses)
        if is_best:
            state.best_epoch, state.best = epoch + 1, trainer.learner.arrays()
        if stored is not None:
            save_checkpoint(stored[0], stored[1], state, *learned)
        if resume.progress is not None:
            resume.progress("train", epoch + 1, config.epochs)
    return state


def _check_losses(epoch: int, losses: tuple[float, float], config: ModelConfig) -> None:
    if not math.isfinite(sum(losses)):
        raise ModelError(
            f"the loss of epoch {epoch + 1} is not finite ({losses[0]}, {losses[1]}); "
            f"lower model.learning_rate (now {config.learning_rate:g})"
        )


def early_stopping(state: TrainingState, patience: int) -> bool:
    """Return whether the validation loss has not fallen for `patience` epochs."""
    return bool(state.best_epoch) and len(state.history) - state.best_epoch >= patience


def lr_schedule(epoch: int, config: ModelConfig) -> float:
    """Return the learning rate of an epoch as a fraction of its peak: a linear rise, then half a cosine."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def train_epoch(trainer: Trainer, part: CohortPart) -> float:
    """Train for one epoch and return the mean loss, in training mode."""
    network, config, joint = trainer.network, trainer.config, trainer.joint
    network.train()
    event = part.event if network.hazard is not None else np.zeros_like(part.event)
    batches = stratified_batches(event, config.batch_graphs, rng=trainer.rng)
    graphs = AugmentedGraphDataset(part.graphs, config.region_dropout, trainer.rng)
    total = 0.0
    trainer.optimiser.zero_grad()
    for number, (rows, batch) in enumerate(zip(batches, load_batches(graphs, batches), strict=True)):
        batch = batch.to(trainer.device)
        if joint is not None:
            links = [part.coarsened.links[row] for row in rows]
            batch.x = joint.pass_gradient(batch.x, links, batch.kept, trainer.device)
        embedding = network.encode_graphs(*tensors(batch))
        loss = combined_loss(network, embedding, part, rows, config)
        n_summed = min(config.accumulate, len(batches) - number // config.accumulate * config.accumulate)
        (loss / n_summed).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach()) * len(rows)
        if (number + 1) % config.accumulate == 0 or number + 1 == len(batches):
            for group in trainer.optimiser.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], _MAX_GRADIENT_NORM)
            trainer.optimiser.step()
            trainer.optimiser.zero_grad()
            if joint is not None:
                joint.merging.restore_norm()
    return total / len(part.graphs)


def embeddings(trainer: Trainer, graphs: Sequence[Standardised]) -> torch.Tensor:
    """Return slide embeddings in evaluation mode, without gradient, float32 (n, width)."""
    trainer.network.eval()
    with torch.inference_mode():
        parts = [
            trainer.network.encode_graphs(*tensors(batch.to(trainer.device)))
            for batch in load_in_order(graphs, _EVALUATION_BATCH_SIZE)
        ]
    return torch.cat(parts)


def validation_loss(trainer: Trainer, part: CohortPart) -> float:
    """Return the loss of a part in evaluation mode."""
    embedding = embeddings(trainer, part.graphs)
    with torch.inference_mode():
        return float(combined_loss(trainer.network, embedding, part, np.arange(len(part.graphs)), trainer.config))


def combined_loss(
    network: GraphNetwork, embedding: torch.Tensor, part: CohortPart, rows: NDArray[np.int64], config: ModelConfig
) -> torch.Tensor:
    """Return the survival loss plus the weighted stage loss of some rows of a part, as far as the task has them.

    Parameters
    ----------
    network : GraphNetwork
        Its heads.
    embedding : Tensor float32 (B, width)
        Slide embeddings of the rows.
    part : CohortPart
        Outcomes.
    rows : int64 (B,)
        Rows of the part.
    config : ModelConfig
        Task, and weight of the stage loss.

    Returns
    -------
    Tensor float32 ()
        The loss.
    """
    loss = torch.zeros((), device=embedding.device)
    if network.survival_head is not None:
        loss = loss + network.survival_head.loss(embedding, part.outcomes(rows, embedding.device))
    if network.stage is not None:
        weight = config.stage_weight if config.task == "both" else 1.0
        stage = torch.from_numpy(part.stage[rows]).to(embedding.device)
        logits = network.stage(embedding)
        if part.stage_score is not None:
            logits = logits + torch.from_numpy(part.stage_score[rows]).to(embedding.device)[:, None]
        loss = loss + weight * ordinal_loss(logits, stage)
    return loss
