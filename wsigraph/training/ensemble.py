"""An ensemble of cross-validation folds: every member is trained without the patients of one fold and predicts them.

So every patient has an out-of-fold prediction. Temperature, stage sets, the band for survival and all scores come from
these. Where several configurations are tried, each fold chooses by its own validation part, never by the patients it
holds out. For a new slide, probabilities and survival are averaged over members, and the risk is computed from the
averaged survival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.survival import log_cumulative_hazard
from wsigraph.config import ModelConfig
from wsigraph.errors import CohortError
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.model.bundle import Calibration, ModelBundle, pack
from wsigraph.model.card import About, patient_digest
from wsigraph.model.conformal import recalibration_draws, stage_probabilities
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.losses import SurvivalTarget, survival_target
from wsigraph.training.dataset import Cohort
from wsigraph.training.fit import Fitted
from wsigraph.training.held_out import HeldOut, pad_intervals
from wsigraph.training.make_card import held_out_distances, make_card
from wsigraph.training.parallel_fits import FitJob, run_fits
from wsigraph.training.straight_through import mean_embedding

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ensemble:
    """A trained ensemble with its out-of-fold predictions.

    Attributes
    ----------
    bundle : ModelBundle
        Card without metrics, and weights.
    held_out : HeldOut
        Prediction of every patient by the member not trained on them.
    fitted : tuple of Fitted
        The chosen fit of every fold.
    """

    bundle: ModelBundle
    held_out: HeldOut
    fitted: tuple[Fitted, ...]


def train_folds(
    cohort: Cohort,
    fold: NDArray[np.int64],
    configurations: Sequence[ModelConfig],
    *,
    seed: int,
    about: About,
    split_by: Literal["patient", "site"] = "patient",
    checkpoints: Path | None = None,
    workers: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Ensemble:
    """Return an ensemble of folds.

    Parameters
    ----------
    cohort : Cohort
        One row a patient (`join_patients`), or rows of which no patient is in two folds.
    fold : int64 (n,)
        Fold of every row, 0 to n_folds - 1.
    configurations : sequence of ModelConfig
        Settings to try; the card shows the first.
    seed : int
        Decides everything random.
    about : About
        The author's part of the card.
    split_by : str
        What folds keep whole.
    checkpoints : Path, optional
        Directory for the checkpoint of every fit, from which it resumes.
    workers : int
        Processes; 0 uses one per available core.
    device : str
        Where tensors are in training, e.g. ``"cuda"``.
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    Ensemble
        The same bytes for any number of workers, whether killed and resumed or not.

    Raises
    ------
    CohortError
        If a patient, or a slide with the same bytes, is in two folds.
    ModelError
        If a fold cannot be fitted.
    StoreError
        If a checkpoint cannot be written.
    """
    n_folds = check_folds(cohort, fold)
    jobs = [
        FitJob(
            rows=np.flatnonzero(fold != number),
            config=config,
            seed=seed + number,
            checkpoint=None if checkpoints is None else checkpoints / f"fold{number}-{tried}.safetensors",
            device=device,
        )
        for number in range(n_folds)
        for tried, config in enumerate(configurations)
    ]
    fits = run_fits(cohort, jobs, workers=workers, progress=progress)
    n_tried = len(configurations)
    chosen = [min(fits[k * n_tried : (k + 1) * n_tried], key=lambda fitted: fitted.best_loss) for k in range(n_folds)]
    members = [fitted.member for fitted in chosen]
    held_out, logits = predict_held_out(cohort, fold, members)
    calibration = calibrate(held_out, logits, rng=np.random.default_rng(seed))
    embedding = own_embedding(members, cohort)
    weights = pack(members, calibration, embedding)
    card = make_card(
        cohort,
        fold,
        chosen,
        about=about,
        seed=seed,
        config=configurations[0],
        weights=weights,
        embedding=embedding,
        distances=held_out_distances(cohort, fold, members),
    ).model_copy(
        update={
            "split_by": split_by,
            "n_configurations": n_tried,
            "n_calibration_patients": len(calibration.score),
        }
    )
    return Ensemble(bundle=ModelBundle(card=card, weights=weights), held_out=held_out, fitted=tuple(chosen))


def check_folds(cohort: Cohort, fold: NDArray[np.int64]) -> int:
    """Return the number of folds; raise an error if two of them share a patient or a slide.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    fold : int64 (n,)
        Fold of every row.

    Returns
    -------
    int
        Folds, at least 2.

    Raises
    ------
    CohortError
        If folds are not numbered 0, 1, ..., or a patient, or a slide with the same bytes, is in two of them.
    """
    n_folds = int(fold.max()) + 1
    if n_folds < 2 or set(np.unique(fold).tolist()) != set(range(n_folds)) or len(fold) != cohort.n_rows:
        raise CohortError(f"folds are {np.unique(fold).tolist()}, expected two or more, numbered from 0, none empty")
    places: dict[tuple[str, str], int] = {}
    for row, number in enumerate(fold.tolist()):
        keys = [("patient", str(cohort.patient[row])), *(("slide of digest", sha256) for sha256 in cohort.slides[row])]
        for kind, name in keys:
            if places.setdefault((kind, name), number) != number:
                raise CohortError(
                    f"{kind} {name!r} is in folds {places[kind, name]} and {number}, expected one; "
                    "scores would include patients of the training part; correct the split or the manifest"
                )
    return n_folds


def predict_held_out(
    cohort: Cohort, fold: NDArray[np.int64], members: Sequence[EnsembleMember]
) -> tuple[HeldOut, list[NDArray[np.float64]]]:
    """Return the prediction of every patient by the member of their fold, and the hazard logits behind it.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    fold : int64 (n,)
        Member that predicts each row.
    members : sequence of EnsembleMember
        One a fold.

    Returns
    -------
    held_out : HeldOut
        In the order of the rows.
    logits : list of float64 (n_k, T_k)
        Hazard logits of the rows of every fold.

    Raises
    ------
    ModelError
        If the graphs do not fit the members.
    """
    n_stages = len(members[0].config.stage_names) if members[0].config.task != "survival" else 0
    probability = np.zeros((len(fold), n_stages))
    hazards, curves = [], []
    for number, member in enumerate(members):
        rows = np.flatnonzero(fold == number)
        stage_logits, hazard_logits = member.read(member.inputs(cohort.take(rows)))
        if n_stages:
            probability[rows] = stage_probabilities(stage_logits, member.temperature)
        hazards.append(hazard_logits)
        curves.append(np.exp(-np.logaddexp(0.0, hazard_logits).cumsum(axis=1)))
    survival, risk = np.zeros((len(fold), 0)), np.full(len(fold), np.nan)
    ends_days = np.stack(pad_ends([member.ends_days for member in members]))
    if ends_days.shape[1]:
        survival = np.zeros((len(fold), ends_days.shape[1]))
        for number, curve in enumerate(pad_intervals(curves)):
            survival[fold == number] = curve
        risk = log_cumulative_hazard(survival[:, -1])
    held_out = HeldOut(
        patient=np.array([patient_digest(name) for name in cohort.patient], np.str_),
        site=cohort.site,
        fold=fold,
        stage=cohort.stage,
        time_days=cohort.time_days,
        event=cohort.event,
        stage_probability=probability,
        ends_days=ends_days,
        survival=survival,
        risk=risk,
        risk_cut=np.array([_median_risk(cohort, fold != number, member) for number, member in enumerate(members)]),
    )
    return held_out, hazards


def _median_risk(cohort: Cohort, trained_on: NDArray[np.bool_], member: EnsembleMember) -> float:
    """Return the median risk of the patients a member was trained on, the threshold between low and high risk."""
    if not len(member.ends_days) or not trained_on.any():
        return float("nan")
    hazard_logits = member.read(member.inputs(cohort.take(np.flatnonzero(trained_on))))[1]
    return float(np.median(log_cumulative_hazard(np.exp(-np.logaddexp(0.0, hazard_logits).sum(axis=1)))))


def own_embedding(members: Sequence[EnsembleMember], cohort: Cohort) -> Embedding | None:
    """Return the embedding that coarsens new slides for an ensemble whose members trained their own.

    Parameters
    ----------
    members : sequence of EnsembleMember
        The ensemble.
    cohort : Cohort
        Training cohort.

    Returns
    -------
    Embedding or None
        The mean of the members' weights, which had the same initial values; None where no member has its own.
    """
    if cohort.superpixel_graphs is None or all(member.embedding is None for member in members):
        return None
    return mean_embedding([member.embedding or cohort.superpixel_graphs.embedding for member in members])


def pad_ends(ends_days: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return interval ends padded to the largest number of intervals, with steps of a day after the last."""
    widest = max(len(ends) for ends in ends_days)
    return [
        np.concatenate([ends, (ends[-1:] if len(ends) else np.zeros(1)) + 1 + np.arange(widest - len(ends))])
        for ends in ends_days
    ]


def calibrate(held_out: HeldOut, logits: Sequence[NDArray[np.float64]], *, rng: np.random.Generator) -> Calibration:
    """Return the calibration of stage sets and survival bands from held-out patients.

    Parameters
    ----------
    held_out : HeldOut
        Out-of-fold predictions and outcomes.
    logits : sequence of float64 (n_k, T_k)
        Hazard logits of the rows of every fold.
    rng : numpy.random.Generator
        Source of the bootstrap draws.

    Returns
    -------
    Calibration
        Empty parts where stage or survival is not predicted.
    """
    score, member, draws = np.zeros(0), np.zeros(0, np.int64), np.zeros((0, 2))
    stage = np.zeros(0, np.int64)
    if held_out.has_stage:
        known = held_out.stage >= 0
        own = held_out.stage_probability[known, held_out.stage[known]]
        score, member, stage = 1.0 - own, held_out.fold[known], held_out.stage[known]
    if held_out.has_survival:
        targets, ends = [], held_out.ends_days
        for number, table in enumerate(logits):
            rows = held_out.fold == number
            intervals = ends[number][: table.shape[1]]
            targets.append(survival_target(held_out.time_days[rows], held_out.event[rows], intervals))
        # padded intervals have no patients at risk
        widest = ends.shape[1]
        padded = [np.pad(table, ((0, 0), (0, widest - table.shape[1]))) for table in logits]
        survived, died = (
            np.concatenate(
                [np.pad(part, ((0, 0), (0, widest - part.shape[1]))) for part in (getattr(t, name) for t in targets)]
            )
            for name in ("survived", "died")
        )
        target = SurvivalTarget(survived=survived, died=died)
        draws = recalibration_draws(np.concatenate(padded), target, rng=rng)
    return Calibration(score=score, member=member, recalibration=draws, stage=stage)
