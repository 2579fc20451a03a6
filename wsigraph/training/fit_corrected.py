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
from wsigraph.graph.feature.interpret import FEATURE_NAMES
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.card import CorrectionCard
from wsigraph.model.columns import projection
from wsigraph.model.conformal import fit_temperature
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.corrected_network import CorrectedNetwork, NetworkCounts, part_config
from wsigraph.model.nn.losses import breslow_increments, survival_intervals, survival_target
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.dataset import Cohort
from wsigraph.training.earned_fraction import FRACTIONS, Earned, cox_losses, earn_fraction, stage_losses
from wsigraph.training.epochs import CohortPart
from wsigraph.training.fixed_offset import fit_ridges, offset_factors
from wsigraph.training.inner_parts import InnerParts, inner_parts
from wsigraph.training.joint import CoarsenedGraphs
from wsigraph.training.part_networks import PartJob, PartNetworks, train_part_networks
from wsigraph.training.settings_identity import Identity, fit_identity
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
    graphs = [scaler.standardise(cohort.inputs[row]) for row in rows]
    identity = None if checkpoint is None else fit_identity(cohort, rows, config, seed)
    with one_thread(), torch.random.fork_rng():
        learner = _Learner(cohort, rows, config, scaler, graphs, ends_days, parts, seed, checkpoint, identity, device)
        return learner.fit(progress)


@dataclass(slots=True, eq=False)
class _Learner:
    """The steps of one fit."""

    cohort: Cohort
    rows: NDArray[np.int64]
    config: ModelConfig
    scaler: Scaler
    graphs: list[Standardised]
    ends_days: NDArray[np.float64]
    parts: InnerParts
    seed: int
    checkpoint: Path | None
    identity: Identity | None
    device: str

    def fit(self, progress: Progress | None) -> CorrectedFit:
        """Return offset and correction."""
        with_survival = self.config.task != "stage" and self.parts.n_parts > 1
        matrix = network_projection(self.cohort, self.config)
        width = self.scaler.n_features if matrix is None else matrix.shape[1]
        sizes = {"n_features": self.scaler.n_features, "n_intervals": len(self.ends_days), "n_network_features": width}
        bare = CorrectedNetwork(self.config, **sizes)
        ridges = fit_ridges(bare, self.cohort, self.rows, self.graphs, self.scaler, self.parts)
        narrow = self.graphs if matrix is None else [_project(graph, matrix) for graph in self.graphs]
        attention = self._attention(narrow) if with_survival else None
        ratio = {} if self.config.task == "stage" else dict(ridges.ratio)
        if attention is not None:
            ratio["attention"] = attention.ratio[-1]
        time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
        factors = offset_factors(ratio, time, event) if ratio else {}
        offset = np.sum([factors[name] * values for name, values in ratio.items()], axis=0) + np.zeros(len(self.rows))
        trained = self._correction(narrow, offset, ridges.stage_score, ridges.stage_threshold, progress)
        survival, stage = self._earned(trained, offset, ridges.stage_score, ridges.stage_logits)
        counts = NetworkCounts(
            attention=0 if attention is None else self.parts.n_parts,
            survival_networks=self.parts.n_parts if survival.fraction else 0,
            stage_networks=self.parts.n_parts if stage.fraction else 0,
        )
        network = CorrectedNetwork(self.config, **sizes, counts=counts)
        network.offset.load_state_dict(bare.offset.state_dict())
        weight = np.sum([factors[name] * ridges.weights[name] for name in factors if name in ridges.weights], axis=0)
        set_offset(network.offset, weight=weight + np.zeros(len(ridges.stage_weight)))
        with torch.no_grad():
            network.stage_weight.copy_(torch.from_numpy(ridges.stage_weight))
            network.stage_threshold.copy_(torch.from_numpy(ridges.stage_threshold))
            network.attention_weight.fill_(factors.get("attention", 0.0))
            network.survival_fraction.fill_(survival.fraction)
            network.stage_fraction.fill_(stage.fraction)
            if matrix is not None and network.projection is not None:
                network.projection.copy_(torch.from_numpy(matrix))
        for number, snapshot in enumerate([] if attention is None else attention.snapshots):
            cast(GraphNetwork, network.attention[number]).load_arrays(snapshot[-1])
        self._load_corrections(network, trained, survival, stage)
        total, logits = self._out_of_part(trained, offset, ridges.stage_score, ridges.stage_logits, survival, stage)
        if len(self.ends_days):
            increments = breslow_increments(total, time, event, self.ends_days)
            with torch.no_grad():
                network.log_increment.copy_(torch.from_numpy(np.log(increments)))
        temperature = 1.0 if self.config.task == "survival" else fit_temperature(logits, self.cohort.stage[self.rows])
        member = EnsembleMember(
            config=self.config.model_copy(update={"path": None}),
            arrays=network.arrays(),
            scaler=self.scaler,
            ends_days=self.ends_days,
            temperature=temperature,
        )
        first = stage if self.config.task == "stage" else survival
        return CorrectedFit(
            member=member,
            history=self._history(trained, offset, ridges.stage_score, ridges.stage_logits),
            n_epochs=first.epoch + 1 if trained is not None else 0,
            correction=self._card(survival, stage),
        )

    def _part(self, graphs: list[Standardised], offset: NDArray[np.float64], score: NDArray[np.float64]) -> CohortPart:
        time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
        return CohortPart(
            coarsened=CoarsenedGraphs(rows=self.rows, graphs=graphs),
            stage=self.cohort.stage[self.rows],
            time_days=time,
            event=event,
            target=survival_target(time, event, self.ends_days),
            offset=offset.astype(np.float32),
            stage_score=score.astype(np.float32),
        )

    def _checkpoint(self, name: str) -> tuple[Path, Identity] | None:
        if self.checkpoint is None or self.identity is None:
            return None
        return self.checkpoint.with_name(f"{self.checkpoint.stem}-{name}"), self.identity

    def _attention(self, graphs: list[Standardised]) -> PartNetworks:
        nothing = np.zeros(len(self.rows))
        job = PartJob(
            config=part_config(self.config, "survival", layers=0),
            n_epochs=min(ATTENTION_EPOCHS, self.config.epochs),
            everything=self._part(graphs, nothing, nothing),
            part=self.parts.part,
            stage_threshold=np.zeros(0),
            seed=self.seed,
            device=self.device,
            checkpoint=self._checkpoint("attention"),
        )
        return train_part_networks(job)

    def _correction(
        self,
        graphs: list[Standardised],
        offset: NDArray[np.float64],
        score: NDArray[np.float64],
        threshold: NDArray[np.float64],
        progress: Progress | None,
    ) -> PartNetworks | None:
        if self.config.design == "offset" or self.parts.n_parts < 2:
            return None
        job = PartJob(
            config=part_config(self.config, self.config.task),
            n_epochs=min(self.config.correction_epochs, self.config.epochs),
            everything=self._part(graphs, offset, score),
            part=self.parts.part,
            stage_threshold=threshold,
            seed=self.seed,
            device=self.device,
            checkpoint=self._checkpoint("correction"),
        )
        return train_part_networks(job, progress)

    def _losses(
        self, trained: PartNetworks, offset: NDArray[np.float64], score: NDArray[np.float64], logits: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return survival and stage losses of every row by epoch and fraction, 0 included, (epochs, 1 + F, n) each."""
        time, event = self.cohort.time_days[self.rows], self.cohort.event[self.rows]
        stage = self.cohort.stage[self.rows]
        shape = (len(trained.ratio), 1 + len(FRACTIONS), len(self.rows))
        of_survival, of_stage = np.zeros(shape), np.zeros(shape)
        for epoch in range(shape[0]):
            for number, fraction in enumerate((0.0, *FRACTIONS)):
                if self.config.task != "stage":
                    total = offset + fraction * trained.ratio[epoch]
                    of_survival[epoch, number] = cox_losses(total, time, event, self.parts.part)
                if self.config.task != "survival":
                    full = score[:, None] + trained.stage_logits[epoch]
                    of_stage[epoch, number] = stage_losses((1 - fraction) * logits + fraction * full, stage)
        return of_survival, of_stage

    def _earned(
        self,
        trained: PartNetworks | None,
        offset: NDArray[np.float64],
        score: NDArray[np.float64],
        logits: NDArray[np.float64],
    ) -> tuple[Earned, Earned]:
        if trained is None:
            return NO_CORRECTION, NO_CORRECTION
        earned = []
        for losses in self._losses(trained, offset, score, logits):
            if not losses.any():
                earned.append(NO_CORRECTION)
                continue
            one = earn_fraction(losses[0, 0], losses[:, 1:], self.parts)
            earned.append(replace(one, fraction=1.0) if self.config.design == "full" else one)
        return earned[0], earned[1]

    def _load_corrections(
        self, network: CorrectedNetwork, trained: PartNetworks | None, survival: Earned, stage: Earned
    ) -> None:
        if trained is None:
            return
        for networks, earned, unused in (
            (network.survival_networks, survival, "stage."),
            (network.stage_networks, stage, "hazard."),
        ):
            for own, snapshots in zip(networks, trained.snapshots, strict=False):
                arrays = snapshots[earned.epoch]
                chosen = {name: value for name, value in arrays.items() if not name.startswith(unused)}
                cast(GraphNetwork, own).load_arrays(chosen)

    def _out_of_part(
        self,
        trained: PartNetworks | None,
        offset: NDArray[np.float64],
        score: NDArray[np.float64],
        logits: NDArray[np.float64],
        survival: Earned,
        stage: Earned,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return log hazard ratios and stage logits of the sum, out of part."""
        if trained is None:
            return offset, logits
        full = score[:, None] + trained.stage_logits[stage.epoch]
        return (
            offset + survival.fraction * trained.ratio[survival.epoch],
            (1 - stage.fraction) * logits + stage.fraction * full,
        )

    def _history(
        self,
        trained: PartNetworks | None,
        offset: NDArray[np.float64],
        score: NDArray[np.float64],
        logits: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        if trained is None:
            return np.zeros((0, 2))
        of_survival, of_stage = self._losses(trained, offset, score, logits)
        left_out = (of_survival + of_stage)[:, -1].mean(axis=1)
        return np.stack([trained.history, left_out], axis=1)

    def _card(self, survival: Earned, stage: Earned) -> CorrectionCard:
        return CorrectionCard(
            survival_fraction=survival.fraction,
            stage_fraction=stage.fraction,
            survival_gain=round(survival.gain, 4),
            survival_standard_error=round(survival.standard_error, 4) if np.isfinite(survival.standard_error) else 0.0,
            stage_gain=round(stage.gain, 4),
            stage_standard_error=round(stage.standard_error, 4) if np.isfinite(stage.standard_error) else 0.0,
            unit=self.parts.kind,
            n_units=self.parts.n_units,
        )


def network_projection(cohort: Cohort, config: ModelConfig) -> NDArray[np.float64] | None:
    """Return the matrix by which networks read the columns of an encoder, float64 (F, F').

    Parameters
    ----------
    cohort : Cohort
        Its columns; ridges read all of them.
    config : ModelConfig
        ``encoding_dimensions`` is the most columns of an encoder that networks read.

    Returns
    -------
    float64 (F, F') or None
        Interpretable features as they are, an encoder's by random signs; None where it has no more columns than that.
    """
    n_columns = len(cohort.feature_names)
    n_own = len(FEATURE_NAMES) if cohort.columns.needs_features else 0
    n_encoding = n_columns - n_own
    if not cohort.columns.needs_encoding or n_encoding <= config.encoding_dimensions:
        return None
    signs = projection(str(cohort.columns.encoder), n_encoding, config.encoding_dimensions)
    # 1 / sqrt(n_in) instead of 1 / sqrt(n_out): standardised columns stay near a standard deviation of 1
    signs = signs * np.sqrt(config.encoding_dimensions / n_encoding)
    matrix = np.zeros((n_columns, n_own + config.encoding_dimensions))
    matrix[:n_own, :n_own] = np.eye(n_own)
    matrix[n_own:, n_own:] = signs
    return matrix


def _project(graph: Standardised, matrix: NDArray[np.float64]) -> Standardised:
    return replace(graph, features=(graph.features @ matrix.astype(np.float32)).astype(np.float32))
