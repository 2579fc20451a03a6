"""One network fitted to some patients of a cohort.

A part of the patients is trained on, the others only decide when to stop and how sharp the stage probabilities are.
Scaler, time intervals, starting hazards and Breslow's baseline come from the part that is trained on. Steps are AdamW's
(Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) under a warm-up and a cosine fall; in each
step every graph loses a share of its regions of its own, so that no single region carries the answer. Batches are dealt
so that each holds an event. Where asked for, the coarsening's embedding is trained in the same steps (``joint``), or
the risk starts at stacked ridges (``stacked``): those are fitted to the validation part too, but the network learns
from, and is judged by, what they say of patients they left out. One torch thread and one seed: the same graphs give the
same bytes on one machine. Graphs are held in memory, which suits thousands of coarse graphs, not thousands of
uncoarsened slides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.model.conformal import fit_temperature
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.member import Member
from wsigraph.model.nn.heads import CoxHead
from wsigraph.model.nn.linear_offset import check_start
from wsigraph.model.nn.losses import (
    SurvivalTarget,
    breslow_increments,
    cox_loss,
    marginal_hazard,
    ordinal_loss,
    survival_intervals,
    survival_loss,
    survival_target,
)
from wsigraph.model.nn.network import GraphNetwork, collate, one_thread
from wsigraph.training.batches import deal_batches, draw_regions, keep_regions
from wsigraph.training.checkpoint import Standing, load_checkpoint, save_checkpoint
from wsigraph.training.dataset import Cohort, validation_patients
from wsigraph.training.joint import CutGraphs, JointLearner
from wsigraph.training.settings_identity import Identity, fit_identity
from wsigraph.training.stacking import fit_start
from wsigraph.training.straight_through import MergingWeights

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

_MAX_GRADIENT_NORM = 5.0
_READ_GRAPHS = 64
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A network and how it was fitted.

    Attributes
    ----------
    member : Member
        The network with the weights of its best pass.
    history : float64 (passes, 2)
        Training and validation loss of every pass.
    n_epochs : int
        Best pass.
    validation : str (n,)
        Patients that were not trained on.
    """

    member: Member
    history: NDArray[np.float64]
    n_epochs: int
    validation: NDArray[np.str_]

    @property
    def best_loss(self) -> float:
        """Lowest validation loss."""
        return float(self.history[self.n_epochs - 1, 1])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    cut: CutGraphs
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    target: SurvivalTarget
    start: NDArray[np.float32]

    @property
    def graphs(self) -> list[Standardised]:
        return self.cut.graphs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Training:
    """What a pass needs beside the weights."""

    network: GraphNetwork
    joint: JointLearner | None
    optimiser: torch.optim.Optimizer
    config: ModelConfig
    rng: np.random.Generator
    device: str

    @property
    def learner(self) -> GraphNetwork | JointLearner:
        return self.network if self.joint is None else self.joint


def fit(
    cohort: Cohort,
    rows: NDArray[np.int64],
    config: ModelConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> Fitted:
    """Return a network fitted to some rows of a cohort; no other row is looked at.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        What may be seen: trained on, or used to decide when to stop.
    config : ModelConfig
        Architecture and hyper-parameters.
    seed : int
        Decides the split, the starting weights, the order of graphs and all dropout.
    checkpoint : Path, optional
        Where training notes how far it is after every pass, and goes on from.
    progress : callable, optional
        Told ``("train", pass, passes)`` after every pass.
    device : str
        Where tensors live, e.g. ``"cuda"``.

    Returns
    -------
    Fitted
        Deterministic on one machine's processor, killed and resumed or not.

    Raises
    ------
    ConfigError
        If a linear start is asked for under settings that have no place for one.
    ModelError
        If there are fewer than two patients, no event to learn survival from, the loss is not finite, or the coarsening
        is to be trained and the cohort keeps no superpixel graphs, or a checkpoint is damaged or of other settings.
    StoreError
        If the checkpoint cannot be written.
    """
    check_start(config)
    rng = np.random.default_rng(seed)
    validation = validation_patients(cohort.patient[rows], cohort.event[rows], config.validation_fraction, rng=rng)
    is_outer = np.isin(cohort.patient[rows], validation)
    inner, outer = rows[~is_outer], rows[is_outer]
    scaler = Scaler.fit([cohort.inputs[row] for row in inner])
    ends_days = np.zeros(0)
    if config.task != "stage":
        ends_days = survival_intervals(cohort.time_days[inner], cohort.event[inner], config.time_intervals)
    parts = [_part(cohort, scaler, ends_days, index) for index in (inner, outer)]
    kept = None if checkpoint is None else (checkpoint, fit_identity(cohort, rows, config, seed))
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GraphNetwork(config, n_features=scaler.n_features, n_intervals=len(ends_days)).to(device)
        if network.hazard is not None:
            network.hazard.start_at(torch.from_numpy(marginal_hazard(parts[0].target)))
        joint = _joint(network, cohort, config, scaler, device)
        if network.start is not None:
            parts = _started(parts, fit_start(network.start, cohort, rows, scaler, seed=seed), is_outer)
        optimiser = _optimiser(network, joint, config)
        training = _Training(network=network, joint=joint, optimiser=optimiser, config=config, rng=rng, device=device)
        standing = _run(training, parts[0], parts[1], kept, progress)
        training.learner.load_arrays(standing.best)
        if joint is not None:
            joint.cut(*(part.cut for part in parts))
        if network.start is not None:
            _weigh_correction(training, parts[1])
        _set_baseline(training, parts[0], ends_days)
        temperature = 1.0
        if network.stage is not None:
            with torch.inference_mode():
                logits = network.stage(_vectors(training, parts[1].graphs))
            temperature = fit_temperature(logits.cpu().double().numpy(), parts[1].stage)
        arrays = network.arrays()
    member = Member(
        config=config.model_copy(update={"path": None}),
        arrays=arrays,
        scaler=scaler,
        ends_days=ends_days,
        temperature=temperature,
        embedding=None if joint is None else joint.embedding,
    )
    return Fitted(
        member=member,
        history=np.array(standing.history),
        n_epochs=standing.best_pass,
        validation=validation,
    )


def _part(cohort: Cohort, scaler: Scaler, ends_days: NDArray[np.float64], index: NDArray[np.int64]) -> _Part:
    return _Part(
        cut=CutGraphs(rows=index, graphs=[scaler.standardise(cohort.inputs[row]) for row in index]),
        stage=cohort.stage[index],
        time_days=cohort.time_days[index],
        event=cohort.event[index],
        target=survival_target(cohort.time_days[index], cohort.event[index], ends_days),
        start=np.zeros(len(index), np.float32),
    )


def _started(parts: list[_Part], start: NDArray[np.float32], is_outer: NDArray[np.bool_]) -> list[_Part]:
    """Return training and validation part with the log hazard ratio that each of their rows starts at."""
    return [replace(part, start=start[mask]) for part, mask in zip(parts, (~is_outer, is_outer), strict=True)]


def _joint(
    network: GraphNetwork, cohort: Cohort, config: ModelConfig, scaler: Scaler, device: str
) -> JointLearner | None:
    if not config.train_coarsening:
        return None
    if cohort.fine is None:
        raise ModelError(
            "model.train_coarsening is true and the cohort keeps no superpixel graphs; gather it with these settings"
        )
    return JointLearner(network, MergingWeights(cohort.fine.embedding).to(device), cohort.fine, cohort.reading, scaler)


def _optimiser(network: GraphNetwork, joint: JointLearner | None, config: ModelConfig) -> torch.optim.Optimizer:
    groups = [{"params": list(network.parameters()), "peak": config.learning_rate}]
    if joint is not None:
        # decay would only fight the fixed size of the weights
        groups.append({"params": list(joint.merging.parameters()), "peak": config.coarsening_rate, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _run(
    training: _Training,
    inner: _Part,
    outer: _Part,
    kept: tuple[Path, Identity] | None,
    progress: Progress | None,
) -> Standing:
    """Train in place, from the checkpoint on where there is one, and return the losses and the best weights."""
    config, joint = training.config, training.joint
    state = (training.learner, training.optimiser, training.rng)
    standing = Standing() if kept is None else load_checkpoint(kept[0], kept[1], *state)
    for epoch in range(len(standing.history), config.epochs):
        if standing.best_pass and epoch - standing.best_pass >= config.patience:
            break
        for group in training.optimiser.param_groups:
            group["lr"] = group["peak"] * _rate(epoch, config)
        if joint is not None:
            if epoch % config.recoarsen_every == 0:
                joint.merging.take()
            joint.cut(inner.cut, outer.cut)
        training_loss, validation_loss = _train_pass(training, inner), _validation_loss(training, outer)
        if not math.isfinite(training_loss + validation_loss):
            raise ModelError(
                f"the loss of pass {epoch + 1} is not finite ({training_loss}, {validation_loss}); "
                f"lower model.learning_rate (now {config.learning_rate:g})"
            )
        is_best = validation_loss < standing.best_loss
        standing.history.append((training_loss, validation_loss))
        if is_best:
            standing.best_pass, standing.best = epoch + 1, training.learner.arrays()
        if kept is not None:
            save_checkpoint(kept[0], kept[1], standing, *state)
        if progress is not None:
            progress("train", epoch + 1, config.epochs)
    return standing


def _rate(epoch: int, config: ModelConfig) -> float:
    """Return the share of the peak step in a pass: a linear rise, then half a cosine."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _train_pass(training: _Training, part: _Part) -> float:
    network, config, rng = training.network, training.config, training.rng
    network.train()
    event = part.event if network.hazard is not None else np.zeros_like(part.event)
    batches = deal_batches(event, config.batch_graphs, rng=rng)
    total = 0.0
    training.optimiser.zero_grad()
    for number, rows in enumerate(batches):
        shares = rng.uniform(0.0, config.region_dropout, len(rows))
        kept = [
            draw_regions(len(part.graphs[row].features), share, rng=rng)
            for row, share in zip(rows, shares, strict=True)
        ]
        graphs = [keep_regions(part.graphs[row], each) for row, each in zip(rows, kept, strict=True)]
        batch = collate(graphs).to(training.device)
        if training.joint is not None:
            batch = training.joint.linked(batch, [part.cut.links[row] for row in rows], kept, training.device)
        g = network.vectors_of(batch)
        loss = _loss(network, g, part, rows, config)
        n_summed = min(config.accumulate, len(batches) - number // config.accumulate * config.accumulate)
        (loss / n_summed).backward()  # type: ignore[no-untyped-call]
        total += float(loss.detach()) * len(rows)
        if (number + 1) % config.accumulate == 0 or number + 1 == len(batches):
            for group in training.optimiser.param_groups:
                torch.nn.utils.clip_grad_norm_(group["params"], _MAX_GRADIENT_NORM)
            training.optimiser.step()
            training.optimiser.zero_grad()
            if training.joint is not None:
                training.joint.merging.resize()
    return total / len(part.graphs)


def _vectors(training: _Training, graphs: Sequence[Standardised]) -> torch.Tensor:
    training.network.eval()
    with torch.inference_mode():
        parts = [
            training.network.vectors_of(collate(graphs[start : start + _READ_GRAPHS]).to(training.device))
            for start in range(0, len(graphs), _READ_GRAPHS)
        ]
    return torch.cat(parts)


def _validation_loss(training: _Training, part: _Part) -> float:
    g = _vectors(training, part.graphs)
    with torch.inference_mode():
        return float(_loss(training.network, g, part, np.arange(len(part.graphs)), training.config))


def _loss(
    network: GraphNetwork, g: torch.Tensor, part: _Part, rows: NDArray[np.int64], config: ModelConfig
) -> torch.Tensor:
    loss = torch.zeros((), device=g.device)
    if isinstance(network.hazard, CoxHead):
        time, event, start = (
            torch.from_numpy(each[rows]).to(g.device) for each in (part.time_days, part.event, part.start)
        )
        loss = loss + cox_loss(network.hazard.log_hazard(g) + start, time, event)
    elif network.hazard is not None:
        target = part.target
        survived, died = (torch.from_numpy(each[rows]).to(g.device) for each in (target.survived, target.died))
        loss = loss + survival_loss(network.hazard(g), survived, died)
    if network.stage is not None:
        weight = config.stage_weight if config.task == "both" else 1.0
        loss = loss + weight * ordinal_loss(network.stage(g), torch.from_numpy(part.stage[rows]).to(g.device))
    return loss


def _weigh_correction(training: _Training, part: _Part) -> None:
    """Keep the share of the correction to the start, from none to all, that serves the validation part best."""
    head = training.network.hazard
    if not isinstance(head, CoxHead):
        return
    time, event, start = (torch.from_numpy(each) for each in (part.time_days, part.event, part.start))
    with torch.no_grad():
        correction = head.log_hazard(_vectors(training, part.graphs)).cpu()
        losses = [float(cox_loss(start + share * correction, time, event)) for share in _SHARES]
        # of equals the smallest
        head.score.weight *= _SHARES[int(np.argmin(losses))]


def _set_baseline(training: _Training, part: _Part, ends_days: NDArray[np.float64]) -> None:
    head = training.network.hazard
    if not isinstance(head, CoxHead):
        return
    with torch.inference_mode():
        log_hazard = head.log_hazard(_vectors(training, part.graphs)).cpu().double().numpy() + part.start.astype(
            np.float64
        )
    increment = breslow_increments(log_hazard, part.time_days, part.event, ends_days)
    head.set_baseline(torch.from_numpy(increment.astype(np.float32)).to(training.device))
