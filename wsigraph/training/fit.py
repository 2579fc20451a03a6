"""One network fitted to some patients of a cohort.

Some of these patients are trained on; the others only decide when to stop and how the stage probabilities are
calibrated. Scaler, time intervals, initial hazards and the baseline hazard come from the training part. Batches are
stratified so that each holds an event (``batches.py``); ``epochs.py`` has the loop. On request the coarsening's
embedding is trained in the same steps (``joint.py``), or stacked ridges are added to the risk (``stacking.py``). Those
are fitted to the validation part too, but the network learns from, and is judged by, their predictions for patients
they left out. One torch thread and one seed: the same graphs give the same bytes on one machine. Graphs are held in
memory, which suits thousands of coarse graphs, not thousands of superpixel graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.card import CorrectionCard
from wsigraph.model.conformal import fit_temperature
from wsigraph.model.inputs import Scaler
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.heads import CoxHead
from wsigraph.model.nn.linear_offset import check_linear_offset
from wsigraph.model.nn.losses import cox_loss, marginal_hazard, survival_intervals, survival_target
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.dataset import Cohort, validation_patients
from wsigraph.training.epochs import CohortPart, Resume, Trainer, embeddings, train_epochs
from wsigraph.training.fit_corrected import fit_corrected
from wsigraph.training.joint import CoarsenedGraphs, JointLearner
from wsigraph.training.settings_identity import fit_identity
from wsigraph.training.stacking import fit_linear_offset
from wsigraph.training.straight_through import MergingWeights

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

_CORRECTION_FACTORS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A network and how it was fitted.

    Attributes
    ----------
    member : EnsembleMember
        The network with the weights of its best epoch.
    history : float64 (epochs, 2)
        Training and validation loss of every epoch.
    n_epochs : int
        Best epoch, from 1.
    validation : str (n,)
        Patients of the validation part; none with an offset, where parts left out take its place.
    correction : CorrectionCard or None
        What the correction to an offset earned.
    """

    member: EnsembleMember
    history: NDArray[np.float64]
    n_epochs: int
    validation: NDArray[np.str_]
    correction: CorrectionCard | None = None

    @property
    def best_loss(self) -> float:
        """Lowest validation loss, or loss of the parts left out; infinite where nothing was trained by epochs."""
        if not len(self.history):
            return float("inf")
        return float(self.history[self.n_epochs - 1, 1])


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
    """Return a network fitted to some rows of a cohort; no other row is used.

    Parameters
    ----------
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows of the training and the validation part together.
    config : ModelConfig
        Architecture and hyper-parameters.
    seed : int
        Decides the split, the initial weights, the order of graphs and all dropout.
    checkpoint : Path, optional
        Where training saves its state after every epoch, and continues from.
    progress : callable, optional
        Called with ``("train", epoch, epochs)`` after every epoch.
    device : str
        Where tensors are, e.g. ``"cuda"``.

    Returns
    -------
    Fitted
        Deterministic on one machine's processor, whether killed and resumed or not.

    Raises
    ------
    ConfigError
        If a linear offset is set together with settings that it does not fit.
    ModelError
        If there are fewer than two patients, no event to learn survival from, the loss is not finite, or the coarsening
        is to be trained and the cohort keeps no superpixel graphs, or a checkpoint is damaged or of other settings.
    PluginError
        If there is no pooling or survival head of the name in `config`.
    StoreError
        If the checkpoint cannot be written.
    """
    if config.design != "network":
        corrected = fit_corrected(
            cohort, rows, config, seed=seed, checkpoint=checkpoint, progress=progress, device=device
        )
        return Fitted(
            member=corrected.member,
            history=corrected.history,
            n_epochs=corrected.n_epochs,
            validation=np.zeros(0, np.str_),
            correction=corrected.correction,
        )
    check_linear_offset(config)
    rng = np.random.default_rng(seed)
    validation = validation_patients(cohort.patient[rows], cohort.event[rows], config.validation_fraction, rng=rng)
    in_validation = np.isin(cohort.patient[rows], validation)
    scaler = Scaler.fit([cohort.inputs[row] for row in rows[~in_validation]])
    ends_days = np.zeros(0)
    if config.task != "stage":
        trained_on = rows[~in_validation]
        ends_days = survival_intervals(cohort.time_days[trained_on], cohort.event[trained_on], config.time_intervals)
    parts = [_part(cohort, scaler, ends_days, rows[mask]) for mask in (~in_validation, in_validation)]
    stored = None if checkpoint is None else (checkpoint, fit_identity(cohort, rows, config, seed))
    with one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GraphNetwork(config, n_features=scaler.n_features, n_intervals=len(ends_days)).to(device)
        if network.survival_head is not None:
            network.survival_head.initialise_baseline(torch.from_numpy(marginal_hazard(parts[0].target)))
        joint = _joint(network, cohort, config, scaler, device)
        if network.linear_offset is not None:
            offset = fit_linear_offset(network.linear_offset, cohort, rows, scaler, seed=seed)
            masks = (~in_validation, in_validation)
            parts = [replace(part, offset=offset[mask]) for part, mask in zip(parts, masks, strict=True)]
        optimiser = _optimiser(network, joint, config)
        trainer = Trainer(network=network, joint=joint, optimiser=optimiser, config=config, rng=rng, device=device)
        state = train_epochs(trainer, parts[0], parts[1], Resume(checkpoint=stored, progress=progress))
        trainer.learner.load_arrays(state.best)
        temperature = _finish(trainer, parts[0], parts[1], ends_days)
        arrays = network.arrays()
    member = EnsembleMember(
        config=config.model_copy(update={"path": None}),
        arrays=arrays,
        scaler=scaler,
        ends_days=ends_days,
        temperature=temperature,
        embedding=None if joint is None else joint.embedding,
    )
    return Fitted(member=member, history=np.array(state.history), n_epochs=state.best_epoch, validation=validation)


def _part(cohort: Cohort, scaler: Scaler, ends_days: NDArray[np.float64], rows: NDArray[np.int64]) -> CohortPart:
    return CohortPart(
        coarsened=CoarsenedGraphs(rows=rows, graphs=[scaler.standardise(cohort.inputs[row]) for row in rows]),
        stage=cohort.stage[rows],
        time_days=cohort.time_days[rows],
        event=cohort.event[rows],
        target=survival_target(cohort.time_days[rows], cohort.event[rows], ends_days),
        offset=np.zeros(len(rows), np.float32),
    )


def _joint(
    network: GraphNetwork, cohort: Cohort, config: ModelConfig, scaler: Scaler, device: str
) -> JointLearner | None:
    if not config.train_coarsening:
        return None
    graphs = cohort.superpixel_graphs
    if graphs is None:
        raise ModelError(
            "model.train_coarsening is true and the cohort keeps no superpixel graphs; load it with these settings"
        )
    return JointLearner(network, MergingWeights(graphs.embedding).to(device), graphs, cohort.columns, scaler)


def _optimiser(network: GraphNetwork, joint: JointLearner | None, config: ModelConfig) -> torch.optim.Optimizer:
    groups = [{"params": list(network.parameters()), "peak": config.learning_rate}]
    if joint is not None:
        # no weight decay: it would only work against the fixed norm of these weights
        groups.append({"params": list(joint.merging.parameters()), "peak": config.coarsening_rate, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _finish(trainer: Trainer, training: CohortPart, validation: CohortPart, ends_days: NDArray[np.float64]) -> float:
    """Fit what belongs to the best weights (correction, baseline hazard) in place, and return the temperature."""
    network = trainer.network
    if trainer.joint is not None:
        trainer.joint.coarsen(training.coarsened, validation.coarsened)
    if network.linear_offset is not None:
        _shrink_correction(trainer, validation)
    if network.survival_head is not None:
        embedding = embeddings(trainer, training.graphs)
        outcomes = training.outcomes(np.arange(len(training.graphs)), embedding.device)
        with torch.inference_mode():
            network.survival_head.fit_baseline(embedding, outcomes, torch.from_numpy(ends_days))
    if network.stage is None:
        return 1.0
    with torch.inference_mode():
        logits = network.stage(embeddings(trainer, validation.graphs))
    return fit_temperature(logits.cpu().double().numpy(), validation.stage)


def _shrink_correction(trainer: Trainer, part: CohortPart) -> None:
    """Scale the network's correction to the linear offset by the factor, 0 to 1, of least validation loss."""
    head = trainer.network.hazard
    if not isinstance(head, CoxHead):
        return
    time, event, offset = (torch.from_numpy(values) for values in (part.time_days, part.event, part.offset))
    with torch.no_grad():
        correction = head.log_hazard_ratio(embeddings(trainer, part.graphs)).cpu()
        losses = [float(cox_loss(offset + factor * correction, time, event)) for factor in _CORRECTION_FACTORS]
    # the smallest of equals
    head.scale_log_hazard_ratio(_CORRECTION_FACTORS[int(np.argmin(losses))])
