"""Baseline models, fitted in the folds of the model that they are compared with.

A forest and ridges on pooled features, a ridge on products over edges, attention without edges (MIL), the network on
superpixel graphs, and three that see no tissue: the site, the stain, and the clinical covariates, alone and together
with the model's risk.
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
from wsigraph.training.cox_ridge import cox_ridge, cox_risk, fit_cox
from wsigraph.training.dataset import Cohort
from wsigraph.training.ensemble import predict_held_out
from wsigraph.training.evaluation.forest import forest_risk, forest_stage
from wsigraph.training.evaluation.pooled import Table, clinical, edge_products, means_and_stds, one_hot
from wsigraph.training.evaluation.ridge import mean_stage_ridge, stage_ridge, standardise
from wsigraph.training.fixed_offset import PENALTY
from wsigraph.training.inner_parts import inner_parts
from wsigraph.training.parallel_fits import FitJob, run_fits
from wsigraph.training.read_offset import out_of_part_ratio
from wsigraph.training.stacking import evaluate_linear_offset, fit_linear_offset

if TYPE_CHECKING:
    from wsigraph.slide.map_boxes import Progress

CLINICAL_COLUMNS = ("age", "sex", "gender", "grade", "stage")
"""Covariates that count as clinical where a manifest has them."""
_JOINT_PENALTY = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CohortPredictions:
    """Risks and stage probabilities of the rows of a cohort.

    Attributes
    ----------
    risk : float64 (n,)
        Higher is worse; NaN where survival is not predicted.
    stage_probability : float64 (n, K)
        No column where stage is not predicted.
    """

    risk: NDArray[np.float64]
    stage_probability: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaselineTask:
    """The prediction task of a model, for its baseline models: cohort, folds and settings.

    Attributes
    ----------
    cohort : Cohort
        n rows.
    fold : int64 (n,)
        Fold of every row; rows of fold -1 are trained on in every fold and never predicted.
    config : ModelConfig
        Of the model; names the task and the stages.
    seed : int
        Random seed.
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
        """Folds whose rows are predicted."""
        return sorted({int(fold) for fold in self.fold if fold >= 0})

    @property
    def n_stages(self) -> int:
        """Number of stages; 0 where only survival is predicted."""
        return 0 if self.config.task == "survival" else len(self.config.stage_names)


def pooled_forest(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of random forests on means and standard deviations."""
    x = means_and_stds(task.cohort)
    return _by_fold(
        task,
        lambda _: x,
        lambda x, train, cohort: forest_risk(x, cohort.time_days, cohort.event, train, seed=task.seed),
        lambda x, train, cohort: forest_stage(x, cohort.stage, train, task.n_stages, seed=task.seed),
    )


def pooled_ridge(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of ridges on means and standard deviations."""
    x = means_and_stds(task.cohort)
    return ridge_on(task, lambda _: x)


def edge_product_ridge(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of ridges on products over edges."""
    return ridge_on(task, lambda train: edge_products(task.cohort, train))


def means_at_1(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of ridges on means alone, penalty 1 for survival, three averaged for stage."""
    x = means_and_stds(task.cohort)
    return fixed_ridge(task, lambda _: x[:, : x.shape[1] // 2])


def edges_at_1(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of ridges on products over edges, with the penalties of `means_at_1`."""
    return fixed_ridge(task, lambda train: edge_products(task.cohort, train))


def fixed_ridge(task: BaselineTask, table: Callable[[NDArray[np.int64]], Table]) -> CohortPredictions:
    """Return the predictions of ridges on a table, with fixed penalties; arguments as for `ridge_on`."""
    return _by_fold(
        task,
        table,
        lambda x, train, cohort: fixed_cox_risk(x, cohort.time_days, cohort.event, train),
        lambda x, train, cohort: mean_stage_ridge([x], cohort.stage, train, task.n_stages),
    )


def fixed_cox_risk(
    x: Table, time_days: Table, event: NDArray[np.bool_], train: NDArray[np.int64], penalty: float = PENALTY
) -> Table:
    """Return the risks of all rows by a ridge Cox regression of one penalty, float64 (n,)."""
    followed = train[np.isfinite(time_days[train])]
    if not len(followed):
        return np.zeros(len(x))
    scaled, everything = standardise(x[followed], x)
    return np.asarray(everything @ cox_ridge(scaled, time_days[followed], event[followed], penalty))


def site_only(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of the site, without any pixel."""
    return ridge_on(task, lambda train: one_hot(task.cohort.site.tolist(), train))


def stain_only(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of the slide's stain vectors and concentrations, without any tissue."""
    return ridge_on(task, lambda _: np.nan_to_num(task.cohort.stain))


def clinical_only(task: BaselineTask) -> CohortPredictions:
    """Return the predictions of clinical covariates; the stage counts as one for survival only."""
    columns = task.clinical_columns
    survival = ridge_on(task, lambda train: clinical(task.cohort, columns, train), stage=False)
    without_stage = [name for name in columns if name != "stage"]
    stage = ridge_on(task, lambda train: clinical(task.cohort, without_stage, train), risk=False)
    return CohortPredictions(risk=survival.risk, stage_probability=stage.stage_probability)


def clinical_and_image(
    task: BaselineTask, members: Sequence[EnsembleMember], validation: Sequence[NDArray[np.str_]]
) -> CohortPredictions:
    """Return the predictions of the clinical covariates together with the model's risk.

    Parameters
    ----------
    task : BaselineTask
        Cohort, folds and settings.
    members : sequence of EnsembleMember
        The model's, one a fold.
    validation : sequence of str array
        Validation patients of each member. The weight of the image against the clinical risk is fitted on them, because
        a member's risks of its training patients are too good. A linear offset, which is fitted to them too, is
        replaced by its out-of-fold prediction.

    Returns
    -------
    CohortPredictions
        Risks only.
    """
    cohort = task.cohort
    risk = np.full(cohort.n_rows, np.nan)
    for number in task.folds:
        train, test = (np.flatnonzero(task.fold != number), np.flatnonzero(task.fold == number))
        x = clinical(cohort, task.clinical_columns, train)
        clinical_risk = cox_risk(x, cohort.time_days, cohort.event, cohort.patient, train, seed=task.seed)
        if members[number].config.design != "network":
            risk[test] = _with_clinical(task, members[number], x, train, test, task.seed + number)
            continue
        outside = train[np.isin(cohort.patient[train], validation[number])]
        model_risk = image_risk(members[number], cohort)
        trained_on = train[task.fold[train] >= 0]
        difference = _out_of_fold_difference(members[number], cohort, trained_on, task.seed + number)
        model_risk[outside] += difference[outside]
        both = np.stack([clinical_risk, model_risk], axis=1)
        # the clinical risk keeps its scale; two slopes are fitted on a fifth of the patients
        joint = cox_risk(both, cohort.time_days, cohort.event, cohort.patient, outside, seed=task.seed)
        risk[test] = joint[test]
    return CohortPredictions(risk=risk, stage_probability=np.zeros((cohort.n_rows, 0)))


def _with_clinical(
    task: BaselineTask,
    member: EnsembleMember,
    x: Table,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    seed: int,
) -> Table:
    """Return the risk of test rows by clinical covariates and a model with an offset; both weighted out of part."""
    cohort = task.cohort
    own = train[task.fold[train] >= 0]
    inner = np.zeros(cohort.n_rows, np.int64)
    inner[own] = inner_parts(cohort, own, seed=seed).part
    clinical_fit = fit_cox(x, cohort.time_days, cohort.event, own, inner)
    image = np.zeros(cohort.n_rows)
    image[own] = out_of_part_ratio(member, cohort, own, seed=seed)
    image[test] = np.sum(member.read_parts([cohort.inputs[row] for row in test]), axis=0)
    both = np.stack([clinical_fit.held_out, image], axis=1)
    return fixed_cox_risk(both, cohort.time_days, cohort.event, own, _JOINT_PENALTY)[test]


def image_risk(member: EnsembleMember, cohort: Cohort) -> Table:
    """Return the risk of all rows by one member, float64 (n,)."""
    hazard_logits = member.read(member.inputs(cohort))[1]
    return log_cumulative_hazard(np.exp(-np.logaddexp(0.0, hazard_logits).sum(axis=1)))


def _out_of_fold_difference(member: EnsembleMember, cohort: Cohort, train: NDArray[np.int64], seed: int) -> Table:
    """Return the out-of-fold linear offset minus the member's own, float64 (n,)."""
    difference, own = np.zeros(cohort.n_rows), getattr(member.network(), "linear_offset", None)
    if isinstance(own, LinearOffset):
        graphs = [member.scaler.standardise(cohort.inputs[row]) for row in train]
        out_of_fold = fit_linear_offset(LinearOffset(member.scaler.n_features), cohort, train, member.scaler, seed=seed)
        difference[train] = out_of_fold
        difference[train] -= evaluate_linear_offset(own, graphs)
    return difference


def network(
    task: BaselineTask, changes: Mapping[str, object], *, workers: int = 1, progress: Progress | None = None
) -> CohortPredictions:
    """Return the predictions of the model's own network with some settings changed.

    Parameters
    ----------
    task : BaselineTask
        Cohort, folds and settings.
    changes : mapping of str to value
        Settings, e.g. ``{"layers": 0}`` for attention over regions without edges.
    workers : int
        Processes.
    progress : callable, optional
        Called after every epoch and fold.

    Returns
    -------
    CohortPredictions
        In the order of the rows.

    Raises
    ------
    ModelError
        If a fold cannot be fitted.
    """
    # baseline networks use the coarsening trained without labels, unless `changes` says otherwise
    config = task.config.model_copy(update={"train_coarsening": False, **changes})
    folds = task.folds
    jobs = [
        FitJob(rows=np.flatnonzero(task.fold != number), config=config, seed=task.seed + number) for number in folds
    ]
    members = [fitted.member for fitted in run_fits(task.cohort, jobs, workers=workers, progress=progress)]
    return predict_folds(task, members)


def predict_folds(task: BaselineTask, members: Sequence[EnsembleMember]) -> CohortPredictions:
    """Return the predictions of the rows of every fold by its member."""
    rows = np.flatnonzero(task.fold >= 0)
    held_out, _ = predict_held_out(task.cohort.take(rows), task.fold[rows], members)
    risk = np.full(len(task.fold), np.nan)
    probability = np.full((len(task.fold), held_out.stage_probability.shape[1]), np.nan)
    risk[rows], probability[rows] = held_out.risk, held_out.stage_probability
    return CohortPredictions(risk=risk, stage_probability=probability)


def ridge_on(
    task: BaselineTask, table: Callable[[NDArray[np.int64]], Table], *, risk: bool = True, stage: bool = True
) -> CohortPredictions:
    """Return the predictions of ridges on a table.

    Parameters
    ----------
    task : BaselineTask
        Cohort, folds and settings.
    table : callable
        From training rows to the covariates of all rows, float64 (n, p).
    risk, stage : bool
        Which of the two to predict, where it is part of the model's task.

    Returns
    -------
    CohortPredictions
        In the order of the rows.
    """
    return _by_fold(
        task,
        table,
        lambda x, train, cohort: cox_risk(x, cohort.time_days, cohort.event, cohort.patient, train, seed=task.seed),
        lambda x, train, cohort: stage_ridge(x, cohort.stage, cohort.patient, train, task.n_stages, seed=task.seed),
        risk=risk,
        stage=stage,
    )


_Predict = Callable[[Table, NDArray[np.int64], Cohort], Table]


def _by_fold(
    task: BaselineTask,
    table: Callable[[NDArray[np.int64]], Table],
    predict_survival: _Predict,
    predict_stage: _Predict,
    *,
    risk: bool = True,
    stage: bool = True,
) -> CohortPredictions:
    n = task.cohort.n_rows
    risks, probability = np.full(n, np.nan), np.full((n, task.n_stages if stage else 0), np.nan)
    for number in task.folds:
        train, test = np.flatnonzero(task.fold != number), np.flatnonzero(task.fold == number)
        x = table(train)
        if risk and task.config.task != "stage":
            risks[test] = predict_survival(x, train, task.cohort)[test]
        if probability.shape[1]:
            probability[test] = predict_stage(x, train, task.cohort)[test]
    return CohortPredictions(risk=risks, stage_probability=probability)
