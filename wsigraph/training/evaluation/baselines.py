"""Rivals of a model, fitted in its own folds.

What a network over a graph must be held against: a forest and ridges on pooled features, a ridge on products over
edges, attention without edges, the network on graphs that were not coarsened, and what has nothing to do with tissue:
the site, the stain, and the clinical covariates, alone and with the model's risk beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.survival import log_cumulative_hazard
from wsigraph.config import ModelConfig
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.linear_offset import LinearOffset
from wsigraph.training.cox_ridge import cox_risk
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import predict_held_out
from wsigraph.training.evaluation.forest import forest_risk, forest_stage
from wsigraph.training.evaluation.pooled import Table, clinical, edge_products, means_and_spreads, one_hot
from wsigraph.training.evaluation.ridge import stage_ridge
from wsigraph.training.parallel_fits import FitJob, run_fits
from wsigraph.training.stacking import evaluate_linear_offset, fit_linear_offset

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

CLINICAL_COLUMNS = ("age", "sex", "gender", "grade", "stage")
"""Covariates that count as clinical where a manifest has them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortPredictions:
    """What a rival says of held-out rows.

    Attributes
    ----------
    risk : float64 (n,)
        Higher is worse; NaN where survival is not asked for.
    stage_probability : float64 (n, K)
        No column where stage is not asked for.
    """

    risk: NDArray[np.float64]
    stage_probability: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaselineTask:
    """What rivals are asked.

    Attributes
    ----------
    cohort : Cohort
        n rows.
    fold : int64 (n,)
        Fold of every row; -1 is trained on in every fold and never answered for.
    config : ModelConfig
        Of the model; names the task and the stages.
    seed : int
        Decides everything random.
    clinical_columns : tuple of str
        Covariates that count as clinical.
    """

    cohort: Cohort
    fold: NDArray[np.int64]
    config: ModelConfig
    seed: int
    clinical_columns: tuple[str, ...] = CLINICAL_COLUMNS

    @property
    def folds(self) -> list[int]:
        """Folds that are answered for."""
        return sorted({int(each) for each in self.fold if each >= 0})

    @property
    def n_stages(self) -> int:
        """Stages asked for; 0 where only survival is."""
        return 0 if self.config.task == "survival" else len(self.config.stage_names)


def pooled_forest(question: BaselineTask) -> CohortPredictions:
    """Return what a random forest on means and spreads says."""
    x = means_and_spreads(question.cohort)
    return _by_fold(
        question,
        lambda _: x,
        lambda x, train, cohort: forest_risk(x, cohort.time_days, cohort.event, train, seed=question.seed),
        lambda x, train, cohort: forest_stage(x, cohort.stage, train, question.n_stages, seed=question.seed),
    )


def pooled_ridge(question: BaselineTask) -> CohortPredictions:
    """Return what ridges on means and spreads say."""
    x = means_and_spreads(question.cohort)
    return ridge_on(question, lambda _: x)


def edge_product_ridge(question: BaselineTask) -> CohortPredictions:
    """Return what ridges on products over edges say."""
    return ridge_on(question, lambda train: edge_products(question.cohort, train))


def site_only(question: BaselineTask) -> CohortPredictions:
    """Return what the site says, without any pixel."""
    return ridge_on(question, lambda train: one_hot(question.cohort.site.tolist(), train))


def stain_only(question: BaselineTask) -> CohortPredictions:
    """Return what the slide's stain vectors and strengths say, without any tissue."""
    return ridge_on(question, lambda _: np.nan_to_num(question.cohort.stain))


def clinical_only(question: BaselineTask) -> CohortPredictions:
    """Return what the clinical covariates say; the stage is one of survival's alone."""
    columns = question.clinical_columns
    survival = ridge_on(question, lambda train: clinical(question.cohort, columns, train), stage=False)
    without = [name for name in columns if name != "stage"]
    stage = ridge_on(question, lambda train: clinical(question.cohort, without, train), risk=False)
    return CohortPredictions(risk=survival.risk, stage_probability=stage.stage_probability)


def clinical_and_image(
    question: BaselineTask, members: Sequence[EnsembleMember], validation: Sequence[NDArray[np.str_]]
) -> CohortPredictions:
    """Return what the clinical covariates say with the model's risk beside them.

    Parameters
    ----------
    question : BaselineTask
        The folds.
    members : sequence of EnsembleMember
        The model's, one a fold.
    validation : sequence of str array
        Patients that each member was not trained on. The weight of the image against the clinical risk is fitted on
        them alone, for on those it was trained on its risk is too good; a linear start, which is fitted to them too,
        counts by what ridges that left them out say.

    Returns
    -------
    CohortPredictions
        Risks alone.
    """
    cohort = question.cohort
    risk = np.full(cohort.n_rows, np.nan)
    for number in question.folds:
        train, test = (np.flatnonzero(question.fold != number), np.flatnonzero(question.fold == number))
        x = clinical(cohort, question.clinical_columns, train)
        of_clinic = cox_risk(x, cohort.time_days, cohort.event, cohort.patient, train, seed=question.seed)
        outside = train[np.isin(cohort.patient[train], validation[number])]
        of_image = image_risk(members[number], cohort)
        trained_on = train[question.fold[train] >= 0]
        of_image[outside] += _left_out(members[number], cohort, trained_on, question.seed + number)[outside]
        both = np.stack([of_clinic, of_image], axis=1)
        # the clinical risk keeps its own scale; two slopes on a fifth of the patients
        joint = cox_risk(both, cohort.time_days, cohort.event, cohort.patient, outside, seed=question.seed)
        risk[test] = joint[test]
    return CohortPredictions(risk=risk, stage_probability=np.zeros((cohort.n_rows, 0)))


def image_risk(member: EnsembleMember, cohort: Cohort) -> Table:
    """Return the risk that one member gives to all rows, float64 (n,)."""
    hazard_logits = member.read(member.inputs(cohort))[1]
    return log_cumulative_hazard(np.exp(-np.logaddexp(0.0, hazard_logits).sum(axis=1)))


def _left_out(member: EnsembleMember, cohort: Cohort, train: NDArray[np.int64], seed: int) -> Table:
    """Return by how much ridges that left a row out differ from those a member starts at, float64 (n,)."""
    found, ready = np.zeros(cohort.n_rows), member.network().linear_offset
    if ready is not None:
        again = LinearOffset(member.scaler.n_features)
        found[train] = fit_linear_offset(again, cohort, train, member.scaler, seed=seed)
        found[train] -= evaluate_linear_offset(ready, [member.scaler.standardise(cohort.inputs[row]) for row in train])
    return found


def network(
    question: BaselineTask, changes: Mapping[str, object], *, workers: int = 1, progress: Progress | None = None
) -> CohortPredictions:
    """Return what the model's own network says with some settings changed.

    Parameters
    ----------
    question : BaselineTask
        The folds.
    changes : mapping of str to value
        Settings, e.g. ``{"layers": 0}`` for attention over regions without their edges.
    workers : int
        Processes.
    progress : callable, optional
        Told of passes and folds.

    Returns
    -------
    CohortPredictions
        In the order of the rows.

    Raises
    ------
    ModelError
        If a fold cannot be fitted.
    """
    # a rival reads graphs as training without labels coarsens them, unless it is asked to train that too
    config = question.config.model_copy(update={"train_coarsening": False, **changes})
    folds = question.folds
    jobs = [
        FitJob(rows=np.flatnonzero(question.fold != number), config=config, seed=question.seed + number)
        for number in folds
    ]
    members = [each.member for each in run_fits(question.cohort, jobs, workers=workers, progress=progress)]
    return predict_folds(question, members)


def predict_folds(question: BaselineTask, members: Sequence[EnsembleMember]) -> CohortPredictions:
    """Return what the members of the folds say of the rows of their folds."""
    asked = np.flatnonzero(question.fold >= 0)
    held_out, _ = predict_held_out(question.cohort.take(asked), question.fold[asked], members)
    risk = np.full(len(question.fold), np.nan)
    probability = np.full((len(question.fold), held_out.stage_probability.shape[1]), np.nan)
    risk[asked], probability[asked] = held_out.risk, held_out.stage_probability
    return CohortPredictions(risk=risk, stage_probability=probability)


def ridge_on(
    question: BaselineTask, table: Callable[[NDArray[np.int64]], Table], *, risk: bool = True, stage: bool = True
) -> CohortPredictions:
    """Return what ridges on a table say.

    Parameters
    ----------
    question : BaselineTask
        The folds.
    table : callable
        From training rows to the table of all rows, float64 (n, p).
    risk, stage : bool
        Which of the two is asked for, where the model's task holds it.

    Returns
    -------
    CohortPredictions
        In the order of the rows.
    """
    return _by_fold(
        question,
        table,
        lambda x, train, cohort: cox_risk(x, cohort.time_days, cohort.event, cohort.patient, train, seed=question.seed),
        lambda x, train, cohort: stage_ridge(
            x, cohort.stage, cohort.patient, train, question.n_stages, seed=question.seed
        ),
        risk=risk,
        stage=stage,
    )


_Answer = Callable[[Table, NDArray[np.int64], Cohort], Table]


def _by_fold(
    question: BaselineTask,
    table: Callable[[NDArray[np.int64]], Table],
    of_survival: _Answer,
    of_stage: _Answer,
    *,
    risk: bool = True,
    stage: bool = True,
) -> CohortPredictions:
    n = question.cohort.n_rows
    risks, probability = np.full(n, np.nan), np.full((n, question.n_stages if stage else 0), np.nan)
    for number in question.folds:
        train, test = np.flatnonzero(question.fold != number), np.flatnonzero(question.fold == number)
        x = table(train)
        if risk and question.config.task != "stage":
            risks[test] = of_survival(x, train, question.cohort)[test]
        if probability.shape[1]:
            probability[test] = of_stage(x, train, question.cohort)[test]
    return CohortPredictions(risk=risks, stage_probability=probability)
