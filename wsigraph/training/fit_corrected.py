"""The default model of a training fold: a fixed offset, and a correction by graph networks where it is earned.

The offset (``fixed_offset.py``) needs no choice inside the cohort. Networks are then trained on all inner parts but one
each (``inner_parts.py``), on what the out-of-part offset leaves over. Their mean counts with the fraction that it
earned on the parts left out (``earned_fraction.py``), for survival and for stage separately. Temperature and baseline
hazard are fitted to the same out-of-part predictions, so all patients of the fold are trained on and none is lost to a
validation part.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.config import ModelConfig
from wsigraph.errors import ConfigError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.card import CorrectionCard
from wsigraph.model.conformal import fit_temperature
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.corrected_network import CorrectedNetwork, NetworkCounts, part_config
from wsigraph.model.nn.losses import breslow_increments, survival_intervals, survival_target
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.dataset import Cohort
from wsigraph.training.earned_fraction import FRACTIONS, Earned, cox_losses, earn_fraction, stage_losses
from wsigraph.training.epochs import CohortPart
from wsigraph.training.fixed_offset import RidgeFit, fit_ridges, offset_factors
from wsigraph.training.inner_parts import InnerParts, inner_parts
from wsigraph.training.joint import CoarsenedGraphs
from wsigraph.training.network_columns import network_projection, project
from wsigraph.training.part_networks import PartJob, PartNetworks, train_part_networks
from wsigraph.training.settings_identity import fit_identity
from wsigraph.training.stacking import set_offset

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

ATTENTION_EPOCHS = 8
"""Epochs of the offset's attention networks; fixed."""
NO_CORRECTION = Earned(fraction=0.0, epoch=0, best_fraction=0.0, gain=0.0, standard_error=0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrectedFit:
    """A corrected network and how it was fitted.

    Attributes
    ----------
    member : EnsembleMember
        Ready to predict.
    history : float64 (epochs, 2)
        Mean training loss of the correction's networks, and the loss left out, per patient, after every epoch.
    n_epochs : int
        Epoch of the survival correction, or of the stage correction without survival; 0 where there is none.
    correction : CorrectionCard
        What the corrections earned.
    """

    member: EnsembleMember
    history: NDArray[np.float64]
    n_epochs: int
    correction: CorrectionCard


def check_design(config: ModelConfig) -> None:
    """Refuse settings that do not fit a model with an offset.

    Parameters
    ----------
    config : ModelConfig
        Settings of the model.

    Raises
    ------
    ConfigError
        If the coarsening is to be trained, the old linear offset is set, or the survival head is a plugin.
    """
    wrong = {
        "model.train_coarsening is true": config.train_coarsening,
        "model.linear_offset is true": config.linear_offset,
        f"model.survival_head is {config.survival_head!r}": config.survival_head not in ("hazard", "cox"),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise ConfigError(
                f"{what} and model.design is {config.design!r}; it belongs to a network without the fixed offset: set "
                "model.design=network"
            )


def fit_corrected(
    cohort: Cohort,
    rows: NDArray[np.int64],
    config: ModelConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
    progress: Progress | None = None,
    device: str = "cpu",
) -> CorrectedFit:
    """Return offset and earned correction fitted to some rows of a cohort; no other row is used.

    Parameters
    ----------
    cohort, rows, config, seed, checkpoint, progress, device
        As for `wsigraph.training.fit.fit`.

    Returns
    -------
    CorrectedFit
        Deterministic on one machine's processor, whether killed and resumed or not.

    Raises
    ------
    ConfigError
        If a setting does not fit the design.
    ModelError
        If there is no event to learn survival from, a loss is not finite, or a checkpoint is damaged or of other
        settings.
    StoreError
        If a checkpoint cannot be written.
    """
    check_design(config)
    scaler = Scaler.fit([cohort.inputs[row] for row in rows])
    ends_days = np.zeros(0)
    if config.task != "stage":
        ends_days = survival_intervals(cohort.time_days[rows], cohort.event[rows], config.time_intervals)
    parts = inner_parts(cohort, rows, seed=seed)
    with one_thread(), torch.random.fork_rng():
        learner = _Learner(
            cohort=cohort,
            rows=rows,
            config=config,
            scaler=scaler,
            ends_days=ends_days,
            parts=parts,
            seed=seed,
            checkpoint=checkpoint,
            device=device,
        )
        return learner.fit(progress)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Offset:
    """A fitted offset, with its predictions out of part.

    Attributes
    ----------
    ridges : RidgeFit
        Coefficients of the ridges.
    attention : PartNetworks or None
        Attention networks, where survival is learned.
    factors : dict of str to float
        Factor of every part of the survival offset.
    ratio : float64 (n,)
        Log hazard ratios out of part.
    """

    ridges: RidgeFit
    attention: PartNetworks | None
    factors: dict[str, float]
    ratio: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Learner:
    """The steps of one fit."""

    cohort: Cohort
    rows: NDArray[np.int64]
    config: ModelConfig
    scaler: Scaler
    ends_days: NDArray[np.float64]
    parts: InnerParts
    seed: int
    checkpoint: Path | None
    device: str

    def fit(self, progress: Progress | None) -> CorrectedFit:
        """Return offset and correction."""
        graphs = [self.scaler.standardise(self.cohort.inputs[row]) for row in self.rows]
        matrix = network_projection(self.cohort, self.config)
        narrow = graphs if matrix is None else [project(graph, matrix) for graph in graphs]
        bare = self._network(matrix, NetworkCounts())
        offset = self._offset(bare, graphs, narrow)
        trained = self._correction(narrow, offset, progress)
        losses = None if trained is None else self._losses(trained, offset)
        survival, stage = self._earned(losses)
        counts = NetworkCounts(
            attention=0 if offset.attention is None else self.parts.n_parts,
            survival_networks=self.parts.n_parts if survival.fraction else 0,
            stage_networks=self.parts.n_parts if stage.fraction else 0,
        )
        network = self._network(matrix, counts)
        network.offset.load_state_dict(bare.offset.state_dict())
        _load_offset(network, offset, matrix)
        network.set_fractions(survival.fraction, stage.fraction)
        if trained is not None:
            _load_corrections(network, trained, survival, stage)
        first = stage if self.config.task == "stage" else survival
        return CorrectedFit(
            member=self._member(network, trained, offset, survival, stage),
            history=np.zeros((0, 2)) if trained is None or losses is None else _history(trained, losses),
            n_epochs=first.epoch + 1 if trained is not None else 0,
            correction=_card(survival, stage, self.parts),
        )

    def _network(self, matrix: NDArray[np.float64] | None, counts: NetworkCounts) -> CorrectedNetwork:
        return CorrectedNetwork(
            self.config,
            n_features=self.scaler.n_features,
            n_intervals=len(self.ends_days),
            n_network_features=None if matrix is None else matrix.shape[1],
            counts=counts,
        )

    def _offset(self, bare: CorrectedNetwork, graphs: list[Standardised], narrow: list[Standardised]) -> _Offset:
        ridges = fit_ridges(bare, self.cohort, self.rows, graphs, self.scaler, self.parts)
        nothing = np.zeros(len(self.rows))
        if self.config.task == "stage":
            return _Offset(ridges=ridges, attention=None, factors={}, ratio=nothing)
        ratio, attention = dict(ridges.ratio), None
        if self.parts.n_parts > 1:
            attention = train_part_networks(
                self._job("attention", narrow, nothing, nothing, np.zeros(0)),
            )
            ratio["attention"] = attention.ratio[-1]
        factors = offset_factors(ratio, self.cohort.time_days[self.rows], self.cohort.event[self.rows])
        total = np.sum([factors[name] * values for name, values in ratio.items()], axis=0)
        return _Offset(ridges=ridges, attention=attention, factors=factors, ratio=total)

    def _correction(
        self, narrow: list[Standardised], offset: _Offset, progress: Progress | None
    ) -> PartNetworks | None:
        if self.config.design == "offset" or self.parts.n_parts < 2:
            return None
        ridges = offset.ridges
        job = self._job("correction", narrow, offset.ratio, ridges.stage_score, ridges.stage_threshold)
        return train_part_networks(job, progress)

    def _job(
        self,
        name: str,
        graphs: list[Standardised],
        ratio: NDArray[np.float64],
        score: NDArray[np.float64],
        threshold: NDArray[np.float64],
    ) -> PartJob:
        time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
        everything = CohortPart(
            coarsened=CoarsenedGraphs(rows=self.rows, graphs=graphs),
            stage=self.cohort.stage[self.rows],
            time_days=time,
            event=event,
            target=survival_target(time, event, self.ends_days),
            offset=ratio.astype(np.float32),
            stage_score=score.astype(np.float32),
        )
        stored = None
        if self.checkpoint is not None:
            path = self.checkpoint.with_name(f"{self.checkpoint.stem}-{name}")
            stored = path, fit_identity(self.cohort, self.rows, self.config, self.seed)
        is_attention = name == "attention"
        most = ATTENTION_EPOCHS if is_attention else self.config.correction_epochs
        task = "survival" if is_attention else self.config.task
        return PartJob(
            config=part_config(self.config, task, layers=0 if is_attention else None),
            n_epochs=min(most, self.config.epochs),
            everything=everything,
            part=self.parts.part,
            stage_threshold=threshold,
            seed=self.seed,
            device=self.device,
            checkpoint=stored,
        )

    def _losses(self, trained: PartNetworks, offset: _Offset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return survival and stage losses of every row by epoch and fraction, 0 included, (epochs, 1 + F, n) each."""
        time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
        shape = (len(trained.ratio), 1 + len(FRACTIONS), len(self.rows))
        of_survival, of_stage = np.zeros(shape), np.zeros(shape)
        for epoch in range(shape[0]):
            for number, fraction in enumerate((0.0, *FRACTIONS)):
                if self.config.task != "stage":
                    total = offset.ratio + fraction * trained.ratio[epoch]
                    of_survival[epoch, number] = cox_losses(total, time, event, self.parts.part)
                if self.config.task != "survival":
                    logits = _stage_sum(trained, offset, epoch, fraction)
                    of_stage[epoch, number] = stage_losses(logits, self.cohort.stage[self.rows])
        return of_survival, of_stage

    def _earned(self, losses: tuple[NDArray[np.float64], NDArray[np.float64]] | None) -> tuple[Earned, Earned]:
        survival, stage = (
            NO_CORRECTION if table is None or not table.any() else earn_fraction(table[0, 0], table[:, 1:], self.parts)
            for table in losses or (None, None)
        )
        if self.config.design == "full" and losses is not None:
            # only what the task predicts has networks
            return (
                survival if self.config.task == "stage" else replace(survival, fraction=1.0),
                stage if self.config.task == "survival" else replace(stage, fraction=1.0),
            )
        return survival, stage

    def _member(
        self,
        network: CorrectedNetwork,
        trained: PartNetworks | None,
        offset: _Offset,
        survival: Earned,
        stage: Earned,
    ) -> EnsembleMember:
        """Return the member, with baseline hazard and temperature from the predictions out of part."""
        ratio, logits = offset.ratio, offset.ridges.stage_logits
        if trained is not None:
            ratio = ratio + survival.fraction * trained.ratio[survival.epoch]
            logits = _stage_sum(trained, offset, stage.epoch, stage.fraction)
        if len(self.ends_days):
            time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
            increments = breslow_increments(ratio, time, event, self.ends_days)
            with torch.no_grad():
                network.log_increment.copy_(torch.from_numpy(np.log(increments)))
        # the offset alone has been calibrated already, with a prior that one more free slope would undo
        free_slope = self.config.task != "survival" and stage.fraction > 0
        return EnsembleMember(
            config=self.config.model_copy(update={"path": None}),
            arrays=network.arrays(),
            scaler=self.scaler,
            ends_days=self.ends_days,
            temperature=fit_temperature(logits, self.cohort.stage[self.rows]) if free_slope else 1.0,
        )


def _stage_sum(trained: PartNetworks, offset: _Offset, epoch: int, fraction: float) -> NDArray[np.float64]:
    """Return the stage logits of offset and correction out of part, float64 (n, K - 1)."""
    full = offset.ridges.stage_score[:, None] + trained.stage_logits[epoch]
    return np.asarray((1.0 - fraction) * offset.ridges.stage_logits + fraction * full)


def _history(trained: PartNetworks, losses: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float64]:
    # of the best fraction, which may be 0
    left_out = np.sum([table.mean(axis=2).min(axis=1) for table in losses], axis=0)
    return np.stack([trained.history, left_out], axis=1)


def _card(survival: Earned, stage: Earned, parts: InnerParts) -> CorrectionCard:
    values = {
        f"{name}_{field}": round(getattr(earned, field), 4)
        for name, earned in (("survival", survival), ("stage", stage))
        for field in ("fraction", "gain", "standard_error")
    }
    finite = {name: value if np.isfinite(value) else 0.0 for name, value in values.items()}
    return CorrectionCard(**finite, unit=parts.kind, n_units=parts.n_units)


def _load_offset(network: CorrectedNetwork, offset: _Offset, matrix: NDArray[np.float64] | None) -> None:
    """Set everything of a network that the offset decides, besides the units of its columns."""
    ridges, factors = offset.ridges, offset.factors
    weight = np.zeros(len(ridges.stage_weight))
    for name, own in ridges.weights.items():
        weight += factors.get(name, 0.0) * own
    set_offset(network.offset, weight=weight)
    with torch.no_grad():
        network.stage_weight.copy_(torch.from_numpy(ridges.stage_weight))
        network.stage_threshold.copy_(torch.from_numpy(ridges.stage_threshold))
        network.attention_weight.fill_(factors.get("attention", 0.0))
        if matrix is not None and network.projection is not None:
            network.projection.copy_(torch.from_numpy(matrix))
    for number, snapshots in enumerate([] if offset.attention is None else offset.attention.snapshots):
        cast(GraphNetwork, network.attention[number]).load_arrays(snapshots[-1])


def _load_corrections(network: CorrectedNetwork, trained: PartNetworks, survival: Earned, stage: Earned) -> None:
    for networks, earned, unused in (
        (network.survival_networks, survival, "stage."),
        (network.stage_networks, stage, "hazard."),
    ):
        # no networks where nothing was earned
        for own, snapshots in zip(networks, trained.snapshots, strict=False):
            arrays = snapshots[earned.epoch].items()
            cast(GraphNetwork, own).load_arrays({name: array for name, array in arrays if not name.startswith(unused)})
