"""Covariates of baseline models: a row of numbers for each patient, not a graph.

Whatever is fitted (centres, principal axes, levels of a covariate) is fitted on the training rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsigraph.model.inputs import GraphInput
from wsigraph.training.dataset import Cohort

Table = NDArray[np.float64]

N_AXES = 8
"""Principal axes of the features whose products over edges are taken."""
_MIN_STD = 1e-9


def means_and_stds(cohort: Cohort) -> Table:
    """Return area-weighted means and standard deviations of the node features, float64 (n, 2 F)."""
    rows = []
    for graph in cohort.inputs:
        weight = graph.area_um2 / graph.area_um2.sum()
        mean = weight @ graph.features
        rows.append(np.concatenate([mean, np.sqrt(np.maximum(weight @ (graph.features - mean) ** 2, 0.0))]))
    return np.array(rows)


def edge_products(cohort: Cohort, train: NDArray[np.int64]) -> Table:
    """Return products of neighbouring regions' features, averaged over edges, and the means.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    train : int64 (m,)
        Rows on which centre, scale and the `N_AXES` principal axes are fitted.

    Returns
    -------
    float64 (n, A + A (A + 1) / 2)
        Means on A axes, and products of all pairs of axes over edges weighted by the shared boundary's length. A row
        without edges has products of 0.
    """
    nodes = np.concatenate([cohort.inputs[row].features for row in train])
    mean, scale = nodes.mean(axis=0), nodes.std(axis=0)
    varies = scale > _MIN_STD * np.maximum(np.abs(mean), 1e-3)
    scaled = (nodes - mean)[:, varies] / scale[varies]
    _, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    axes = vectors[:, ::-1][:, :N_AXES]
    return np.array([_products(graph, mean, scale, varies, axes) for graph in cohort.inputs])


def _products(graph: GraphInput, mean: Table, scale: Table, varies: NDArray[np.bool_], axes: Table) -> Table:
    # clipped as the network's inputs are, so that one unusual region cannot decide the row
    scores = np.clip((graph.features - mean)[:, varies] / scale[varies], -6.0, 6.0) @ axes
    weight = graph.area_um2 / graph.area_um2.sum()
    pooled = weight @ scores
    source, target = graph.edge_index
    length = np.expm1(graph.edge_attribute[:, 0]) + 1e-9
    product = scores[source].T @ (scores[target] * length[:, None]) / length.sum() if len(source) else 0.0
    symmetric = 0.5 * (product + np.transpose(product)) + np.zeros((axes.shape[1], axes.shape[1]))
    return np.concatenate([pooled, symmetric[np.triu_indices(axes.shape[1])]])


def one_hot(values: Sequence[str], train: NDArray[np.int64]) -> Table:
    """Return a column for each value of the training rows; a row with another value, or none, is all zeros."""
    array = np.array(values, np.str_)
    known = [value for value in np.unique(array[train]) if value]
    return (
        np.stack([array == value for value in known], axis=1).astype(np.float64) if known else np.zeros((len(array), 0))
    )


def clinical(cohort: Cohort, columns: Sequence[str], train: NDArray[np.int64]) -> Table:
    """Return clinical covariates as numbers.

    Parameters
    ----------
    cohort : Cohort
        n rows.
    columns : sequence of str
        Names of covariates, and ``"stage"`` for the stage; a covariate that no patient has is left out.
    train : int64 (m,)
        Rows on which levels and means are fitted.

    Returns
    -------
    float64 (n, c)
        Numbers as they are, with the training mean where unknown; text as one column a level.
    """
    parts = [np.zeros((cohort.n_rows, 0))]
    for name in columns:
        if name == "stage":
            values = ["" if stage < 0 else str(stage) for stage in cohort.stage]
        else:
            values = [str(covariates.get(name, "")).strip() for covariates in cohort.covariates]
        if not any(values):
            continue
        numbers = _numbers(values)
        if numbers is None or name == "stage":
            parts.append(one_hot(values, train))
        else:
            centre = np.nanmean(numbers[train]) if np.isfinite(numbers[train]).any() else 0.0
            parts.append(np.where(np.isfinite(numbers), numbers, centre)[:, None])
    return np.concatenate(parts, axis=1)


def _numbers(values: Sequence[str]) -> Table | None:
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        return None
    return np.where(np.isfinite(numbers), numbers, np.nan)
