"""Training on graphs with known outcomes.

Patients, never slides, are split into a part that is trained on and a part that only decides when to stop. The
scaler, the time intervals and the starting hazards come from the training part alone. Steps are AdamW's (Loshchilov
and Hutter, "Decoupled weight decay regularization", ICLR 2019) under a warm-up and a cosine fall; in each step every
graph loses a share of its regions of its own, so that no single region carries the answer. One torch thread and one
seed: the same graphs give the same bytes on one machine. Graphs are held in memory, which suits thousands of coarse
graphs, not thousands of uncoarsened slides.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import Config, ModelConfig
from wsigraph.errors import ModelError
from wsigraph.feature.interpret import FEATURE_NAMES, feature_schema_id
from wsigraph.model.examples import Cohort, Example, collect, validation_patients
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.losses import (
    SurvivalTarget,
    marginal_hazard,
    ordinal_loss,
    survival_intervals,
    survival_loss,
    survival_target,
)
from wsigraph.model.network import GraphNetwork, collate, one_thread
from wsigraph.model.weights import Card, ModelBundle, Training, pack

if TYPE_CHECKING:
    from wsigraph.slide.tiles import Progress

_MAX_GRADIENT_NORM = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a model's author states on its card.

    Attributes
    ----------
    name, description, notice, licence : str
        As on the `Card`.
    data : str
        Where the training graphs came from.
    simulated : bool
        Whether they were made up.
    limits : tuple of str
        What the model cannot do.
    """

    name: str
    description: str
    notice: str
    licence: str
    data: str
    simulated: bool
    limits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A trained model and how it got there.

    Attributes
    ----------
    bundle : ModelBundle
        Card without metrics, and weights of the best pass.
    history : float64 (passes, 2)
        Training and validation loss of every pass.
    """

    bundle: ModelBundle
    history: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    graphs: list[Standardised]
    stage: NDArray[np.int64]
    target: SurvivalTarget


def train(
    examples: Iterable[Example],
    config: ModelConfig | None = None,
    *,
    seed: int,
    about: About,
    progress: Progress | None = None,
) -> Trained:
    """Return a model trained on graphs with known outcomes.

    Parameters
    ----------
    examples : iterable of Example
        Read once; of at least two patients, with at least one event among the training part.
    config : ModelConfig, optional
        Architecture and hyper-parameters.
    seed : int
        Decides the split, the starting weights, the order of graphs and all dropout.
    about : About
        What the card shall say.
    progress : callable, optional
        Told ``("train", pass, passes)`` after every pass.

    Returns
    -------
    Trained
        Model and losses; deterministic for one machine.

    Raises
    ------
    ModelError
        If the examples are too few, of mixed schemas, name a stage that does not exist, or hold no event.
    """
    config = config or Config().model
    cohort = collect(examples, config.stage_names)
    rng = np.random.default_rng(seed)
    held_out = validation_patients(cohort.patient, cohort.event, config.validation_fraction, rng=rng)
    is_held_out = np.isin(cohort.patient, held_out)
    inner, outer = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    scaler = Scaler.fit([cohort.inputs[index] for index in inner])
    ends_days = survival_intervals(cohort.time_days[inner], cohort.event[inner], config.time_intervals)
    parts = [_part(cohort, scaler, ends_days, index) for index in (inner, outer)]
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GraphNetwork(config, n_features=scaler.n_features, n_intervals=len(ends_days))
        network.hazard.start_at(torch.from_numpy(marginal_hazard(parts[0].target)))
        history, best_pass = _fit(network, parts[0], parts[1], config, rng, progress)
        weights = pack(network.arrays(), scaler)
    card = Card(
        name=about.name,
        description=about.description,
        notice=about.notice,
        licence=about.licence,
        training=Training(
            data=about.data,
            simulated=about.simulated,
            n_patients=len(np.unique(cohort.patient)),
            n_slides=len(cohort.inputs),
            n_events=int(cohort.event.sum()),
            n_validation_patients=len(held_out),
            n_epochs=best_pass,
        ),
        limits=about.limits,
        config=config.model_copy(update={"path": None}),
        feature_names=FEATURE_NAMES,
        feature_schema_id=feature_schema_id(),
        moment_schema_id=cohort.moment_id,
        coarsening_embedding_id=cohort.embedding_id,
        stage_names=config.stage_names,
        time_days=tuple(float(end) for end in ends_days),
        seeds={"train": seed},
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return Trained(bundle=ModelBundle(card=card, weights=weights), history=history)


def drop_regions(graph: Standardised, fraction: float, *, rng: np.random.Generator) -> Standardised:
    """Return a graph without a random share of its regions and their edges; one region always stays.

    Parameters
    ----------
    graph : Standardised
        Any graph.
    fraction : float
        Probability of each region to be left out.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Standardised
        Regions in their old order; areas as they were.
    """
    draw = rng.random(len(graph.features))
    kept = draw >= fraction
    kept[np.argmax(draw)] = True
    number = np.cumsum(kept) - 1
    edges = kept[graph.edge_index].all(axis=0)
    return replace(
        graph,
        features=graph.features[kept],
        area=graph.area[kept],
        edge_index=number[graph.edge_index[:, edges]],
        edge_attribute=graph.edge_attribute[edges],
    )


def _part(cohort: Cohort, scaler: Scaler, ends_days: NDArray[np.float64], index: NDArray[np.int64]) -> _Part:
    return _Part(
        graphs=[scaler.standardise(cohort.inputs[row]) for row in index],
        stage=cohort.stage[index],
        target=survival_target(cohort.time_days[index], cohort.event[index], ends_days),
    )


def _fit(
    network: GraphNetwork,
    inner: _Part,
    outer: _Part,
    config: ModelConfig,
    rng: np.random.Generator,
    progress: Progress | None,
) -> tuple[NDArray[np.float64], int]:
    """Train in place, leave the weights of the best pass, return losses and that pass's number."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    history: list[tuple[float, float]] = []
    best_loss, best_pass, best = math.inf, 0, network.arrays()
    for epoch in range(config.epochs):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _rate(epoch, config)
        training_loss = _train_pass(network, optimiser, inner, config, rng)
        validation_loss = _validation_loss(network, outer, config)
        if not math.isfinite(training_loss + validation_loss):
            raise ModelError(
                f"the loss of pass {epoch + 1} is not finite ({training_loss}, {validation_loss}); "
                f"lower model.learning_rate (now {config.learning_rate:g})"
            )
        history.append((training_loss, validation_loss))
        if validation_loss < best_loss:
            best_loss, best_pass, best = validation_loss, epoch + 1, network.arrays()
        if progress is not None:
            progress("train", epoch + 1, config.epochs)
        if epoch + 1 - best_pass >= config.patience:
            break
    network.load_arrays(best)
    network.eval()
    return np.array(history), best_pass


def _rate(epoch: int, config: ModelConfig) -> float:
    """Return the share of the peak step in a pass: a linear rise, then half a cosine."""
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done = (epoch - config.warmup_epochs) / max(1, config.epochs - config.warmup_epochs)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _train_pass(
    network: GraphNetwork, optimiser: torch.optim.Optimizer, part: _Part, config: ModelConfig, rng: np.random.Generator
) -> float:
    network.train()
    order = rng.permutation(len(part.graphs))
    total = 0.0
    for start in range(0, len(order), config.batch_graphs):
        rows = order[start : start + config.batch_graphs]
        shares = rng.uniform(0.0, config.region_dropout, len(rows))
        graphs = [drop_regions(part.graphs[row], share, rng=rng) for row, share in zip(rows, shares, strict=True)]
        loss = _loss(network, graphs, part, rows, config)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT_NORM)
        optimiser.step()
        total += float(loss.detach()) * len(rows)
    return total / len(order)


def _validation_loss(network: GraphNetwork, part: _Part, config: ModelConfig) -> float:
    network.eval()
    total = 0.0
    with torch.inference_mode():
        for start in range(0, len(part.graphs), config.batch_graphs):
            rows = np.arange(start, min(start + config.batch_graphs, len(part.graphs)))
            total += float(_loss(network, [part.graphs[row] for row in rows], part, rows, config)) * len(rows)
    return total / len(part.graphs)


def _loss(
    network: GraphNetwork, graphs: Sequence[Standardised], part: _Part, rows: NDArray[np.int64], config: ModelConfig
) -> torch.Tensor:
    stage_logits, hazard_logits = network.read(collate(graphs))
    survival = survival_loss(
        hazard_logits, torch.from_numpy(part.target.survived[rows]), torch.from_numpy(part.target.died[rows])
    )
    return survival + config.stage_weight * ordinal_loss(stage_logits, torch.from_numpy(part.stage[rows]))
