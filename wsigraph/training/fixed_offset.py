"""The fixed offset of a corrected network: ridges with fixed penalties, added with fixed weights.

For survival: a Cox ridge on area-weighted means, and the mean of a few attention networks over regions without edges. A
ridge on products over edges is fitted too, but has weight 0: on scenario ``hospital`` it lowers every mix. Each is
divided by the standard deviation of its predictions for parts that it was not fitted to, and weighted by
`PART_WEIGHTS`. One slope, fitted to the same out-of-part predictions, gives the sum the scale of a log hazard ratio. It
changes no ranking. For stage: an ordinal ridge on means (``ordinal_ridge.py``), with a slope and thresholds that
predictions out of part correct as far as they are many (``stage_calibration.py``).

Nothing here is chosen inside a cohort: penalties chosen in inner folds and stacking learn the hospital
(docs/learning.md has the figures). The weights were settled on simulated cohorts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import Scaler, Standardised
from wsigraph.model.nn.corrected_network import CorrectedNetwork
from wsigraph.model.nn.linear_offset import MAX_STANDARD_DEVIATIONS, LinearOffset
from wsigraph.training.cox_ridge import Table, cox_ridge, units
from wsigraph.training.dataset import Cohort
from wsigraph.training.inner_parts import InnerParts
from wsigraph.training.ordinal_ridge import ordinal_ridge
from wsigraph.training.stacking import pooled_columns, set_offset
from wsigraph.training.stage_calibration import SLOPE_LIMITS, calibrate_stage

PENALTY = 1.0
"""Of the Cox ridges, per patient and on standardised columns."""
PART_WEIGHTS = {"means": 2.0, "edges": 0.0, "attention": 1.0}
"""Weights of the parts of the survival offset, each in standard deviations."""
_SLOPE_PENALTY = 1e-3
_MIN_STD = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RidgeFit:
    """Ridges of both tasks, fitted to all rows, and their predictions out of part.

    Attributes
    ----------
    weights : dict of str to float64 (p,)
        Cox coefficients of ``means`` and ``edges`` in standardised columns of the offset.
    stage_weight, stage_threshold : float64 (p,), float64 (K - 1,)
        Of the ordinal ridge.
    ratio : dict of str to float64 (n,)
        Log hazard ratios out of part, by name.
    stage_score : float64 (n,)
        Out of part; the stage logits are score minus threshold.
    """

    weights: dict[str, Table]
    stage_weight: Table
    stage_threshold: Table
    ratio: dict[str, Table]
    stage_score: Table

    @property
    def stage_logits(self) -> Table:
        """Cumulative stage logits out of part, float64 (n, K - 1)."""
        return np.asarray(self.stage_score[:, None] - self.stage_threshold)


def column_blocks(offset: LinearOffset, n_features: int) -> dict[str, slice]:
    """Return which columns of an offset belong to each ridge."""
    return {"means": slice(0, n_features), "edges": slice(offset.n_pooled, None)}


@one_thread()
def fit_ridges(
    network: CorrectedNetwork,
    cohort: Cohort,
    rows: NDArray[np.int64],
    graphs: list[Standardised],
    scaler: Scaler,
    parts: InnerParts,
) -> RidgeFit:
    """Fit the ridges of a corrected network, and set the units of its columns in place.

    Parameters
    ----------
    network : CorrectedNetwork
        For the scaler's features.
    cohort : Cohort
        Outcomes.
    rows : int64 (n,)
        Rows to fit to.
    graphs : list of Standardised
        Their graphs, in the units of `scaler`.
    scaler : Scaler
        Units of the network.
    parts : InnerParts
        Each part is predicted by ridges fitted to the others.

    Returns
    -------
    RidgeFit
        Zeros where no outcome is known.
    """
    offset, n_features = network.offset, scaler.n_features
    nodes = np.concatenate([graph.features for graph in graphs]).astype(np.float64)  # (all nodes, F)
    _, vectors = np.linalg.eigh(nodes.T @ nodes / len(nodes))
    edge_unit = np.array([scaler.edge_mean[0], scaler.edge_scale[0]])
    set_offset(offset, axes=vectors[:, ::-1][:, : offset.axes.shape[1]], length_unit=edge_unit)
    x = pooled_columns(offset, graphs)
    centre, std, varies = units(x)
    set_offset(offset, centre=centre, std=np.where(varies, std, 1.0))
    time, event, stage = cohort.time_days[rows], cohort.event[rows], cohort.stage[rows]
    n_thresholds = len(network.stage_threshold)
    blocks = column_blocks(offset, n_features)
    weights = {name: np.zeros(len(centre)) for name in blocks}
    ratio = {name: np.zeros(len(rows)) for name in blocks}
    stage_score = np.zeros(len(rows))
    everything = np.arange(len(rows))
    n_left_out = parts.n_parts if parts.n_parts > 1 else 0
    for number in (-1, *range(n_left_out)):
        fit_to, left_out = everything[parts.part != number], everything[parts.part == number]
        own_centre, own_std, varies = units(x[fit_to])
        z = np.where(varies, (x - own_centre) / np.where(varies, own_std, 1.0), 0.0)
        z = np.clip(z, -MAX_STANDARD_DEVIATIONS, MAX_STANDARD_DEVIATIONS)
        followed = fit_to[np.isfinite(time[fit_to])]
        for name, block in blocks.items():
            beta = cox_ridge(z[followed][:, block], time[followed], event[followed], PENALTY)
            if number < 0:
                weights[name][block] = beta
            else:
                ratio[name][left_out] = z[left_out][:, block] @ beta
        if not n_thresholds:
            continue
        staged = fit_to[stage[fit_to] >= 0]
        block = blocks["means"]
        beta, threshold = ordinal_ridge(z[staged][:, block], stage[staged], n_thresholds + 1)
        if number < 0:
            stage_weight, stage_threshold = np.zeros(len(centre)), threshold
            stage_weight[block] = beta
        else:
            stage_score[left_out] = z[left_out][:, block] @ beta
    if not n_thresholds:
        stage_weight, stage_threshold = np.zeros(len(centre)), np.zeros(0)
    elif n_left_out and np.ptp(stage_score) > _MIN_STD:
        known = stage >= 0
        slope, stage_threshold = calibrate_stage(stage_score[known], stage[known], stage_threshold)
        stage_weight, stage_score = slope * stage_weight, slope * stage_score
    return RidgeFit(
        weights=weights,
        stage_weight=stage_weight,
        stage_threshold=stage_threshold,
        ratio=ratio,
        stage_score=stage_score,
    )


def offset_factors(ratio: dict[str, Table], time_days: Table, event: NDArray[np.bool_]) -> dict[str, float]:
    """Return the factor of every part of the survival offset.

    Parameters
    ----------
    ratio : dict of str to float64 (n,)
        Log hazard ratios out of part: ``means``, ``edges`` and, where there are networks, ``attention``.
    time_days, event
        Follow-up of the n rows; NaN where unknown.

    Returns
    -------
    dict of str to float
        Weight over standard deviation, times the common slope; 0 for a part that predicts one number.
    """
    factors = {
        name: PART_WEIGHTS[name] / values.std() if values.std() > _MIN_STD else 0.0 for name, values in ratio.items()
    }
    known = np.isfinite(time_days)
    total = np.sum([factors[name] * values for name, values in ratio.items()], axis=0)
    if not event[known].any() or total[known].std() < _MIN_STD:
        return factors
    slope = float(cox_ridge(total[known][:, None], time_days[known], event[known], _SLOPE_PENALTY)[0])
    return {name: factor * float(np.clip(slope, *SLOPE_LIMITS)) for name, factor in factors.items()}
