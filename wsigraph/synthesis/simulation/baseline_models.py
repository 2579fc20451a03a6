"""Baseline models that see a slide as a table of numbers, not as a graph.

Ridge Cox regression by Breslow's partial likelihood, and extremely randomised trees (Geurts, Ernst and Wehenkel,
"Extremely randomized trees", Machine Learning 2006) on martingale residuals (Therneau, Grambsch and Fleming,
Biometrika 1990). Their settings are fixed in advance, or chosen within the training patients. They check whether a
generative scenario can be solved without the graph.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from wsigraph.model.inputs import GraphInput
from wsigraph.model.nn.heads import OrdinalHead, stage_probability
from wsigraph.model.nn.losses import NO_STAGE, ordinal_loss
from wsigraph.model.nn.network import one_thread

Table = NDArray[np.float64]

_PENALTIES = (0.003, 0.03, 0.3, 3.0)
_TREES, _LEAF, _DEPTH = 200, 8, 8


def pooled(graph: GraphInput) -> Table:
    """Return means and standard deviations of a slide's features, by area and by region, float64 (4 F,)."""
    fraction = graph.area_um2 / graph.area_um2.sum()
    parts = []
    for weight in (fraction, np.full(len(fraction), 1.0 / len(fraction))):
        mean = weight @ graph.features
        parts += [mean, np.sqrt(np.maximum(weight @ graph.features**2 - mean**2, 0.0))]
    return np.concatenate(parts)


def size_and_degree(graph: GraphInput) -> Table:
    """Return the number of regions, and mean, deviation and quantiles of log area and degree, float64 (15,)."""
    degree = np.bincount(graph.edge_index[0], minlength=len(graph.area_um2)).astype(np.float64)
    parts = [
        np.concatenate([[values.mean(), values.std()], np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])])
        for values in (np.log(graph.area_um2), degree)
    ]
    return np.concatenate([[float(len(degree))], *parts])


def edge_products(graph: GraphInput, mean: Table, scale: Table) -> Table:
    """Return products of the standardised features of neighbours, averaged over edges, float64 (F (F + 1) / 2,)."""
    features = np.divide(graph.features - mean, scale, out=np.zeros_like(graph.features), where=scale > 0)
    source, target = graph.edge_index
    product = features[source].T @ features[target] / max(1, graph.edge_index.shape[1])
    return np.asarray(product[np.triu_indices(len(product))])


def cox_risk(
    before: Table, time_days: Table, event: NDArray[np.bool_], after: Table, *, rng: np.random.Generator
) -> Table:
    """Return the risk that a ridge Cox regression predicts for other patients.

    Parameters
    ----------
    before : float64 (n, p)
        Training patients.
    time_days : float64 (n,)
        Their follow-up, days.
    event : bool (n,)
        Whether follow-up ended with the event.
    after : float64 (m, p)
        Other patients.
    rng : numpy.random.Generator
        Draws the third of the training patients on which the penalty is chosen.

    Returns
    -------
    float64 (m,)
        Higher is worse.
    """
    x, fresh = scaled(before, after)
    order = rng.permutation(len(x))
    inner, outer = order[len(x) // 3 :], order[: len(x) // 3]
    losses = []
    for penalty in _PENALTIES:
        weight = _fit_cox(x[inner], time_days[inner], event[inner], penalty)
        losses.append(_partial_loss(weight, x[outer], time_days[outer], event[outer])[0])
    return np.asarray(fresh @ _fit_cox(x, time_days, event, _PENALTIES[int(np.argmin(losses))]))


def forest_risk(
    before: Table, time_days: Table, event: NDArray[np.bool_], after: Table, *, rng: np.random.Generator
) -> Table:
    """Return the risk that a forest on martingale residuals predicts for other patients.

    Parameters
    ----------
    before, time_days, event, after
        As for `cox_risk`.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    float64 (m,)
        Higher is worse.
    """
    x, fresh = scaled(before, after)
    order = np.argsort(time_days, kind="stable")
    step = event[order] / np.arange(len(order), 0, -1)
    residual = np.empty(len(order))
    residual[order] = event[order] - np.cumsum(step)
    risk = np.zeros(len(fresh))
    for _ in range(_TREES):
        drawn = rng.integers(0, len(x), len(x))
        _grow(x[drawn], residual[drawn], fresh, np.arange(len(fresh)), risk, _DEPTH, rng)
    return risk / _TREES


def ridge_stage(before: Table, stage: NDArray[np.int64], after: Table, *, penalty: float = 0.1) -> NDArray[np.int64]:
    """Return the stages that a ridge ordinal regression predicts for other patients.

    Parameters
    ----------
    before : float64 (n, p)
        Training patients.
    stage : int64 (n,)
        Their stages, -1 where unknown.
    after : float64 (m, p)
        Other patients.
    penalty : float
        Weight of the mean squared coefficient.

    Returns
    -------
    int64 (m,)
        The likeliest stage.
    """
    x_known, fresh = scaled(before, after)
    known = stage != NO_STAGE
    x, target = torch.from_numpy(x_known[known].astype(np.float32)), torch.from_numpy(stage[known])
    with one_thread(), torch.random.fork_rng(devices=[]):
        head = OrdinalHead(x.shape[1], int(stage.max()) + 1)
        torch.nn.init.zeros_(head.score.weight)
        optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            value = ordinal_loss(head(x), target) + 0.5 * penalty * head.score.weight.square().sum() / x.shape[1]
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            probability = stage_probability(head(torch.from_numpy(fresh.astype(np.float32))))
    return np.asarray(probability.argmax(dim=1).numpy())


def scaled(before: Table, after: Table) -> tuple[Table, Table]:
    """Return both tables standardised by the first one's mean and deviation, without columns nearly constant in it."""
    mean, std = before.mean(axis=0), before.std(axis=0)
    varies = std > 1e-6 * np.maximum(np.abs(mean), 1e-3)
    return (before - mean)[:, varies] / std[varies], (after - mean)[:, varies] / std[varies]


def _partial_loss(weight: Table, x: Table, time_days: Table, event: NDArray[np.bool_]) -> tuple[float, Table]:
    """Return the negative log partial likelihood per event, and its gradient."""
    order = np.argsort(-time_days, kind="stable")
    x, event = x[order], event[order]
    eta = x @ weight
    factor = np.exp(eta - eta.max())
    total = np.cumsum(factor)
    n_events = max(1, int(event.sum()))
    loss = -(eta[event] - np.log(total[event]) - eta.max()).sum() / n_events
    # each patient is at risk at all events up to the end of its follow-up
    at_risk = np.cumsum((event / total)[::-1])[::-1]
    return float(loss), np.asarray((factor * at_risk - event) @ x / n_events)


def _fit_cox(x: Table, time_days: Table, event: NDArray[np.bool_], penalty: float) -> Table:
    def loss(weight: Table) -> tuple[float, Table]:
        value, gradient = _partial_loss(weight, x, time_days, event)
        return value + 0.5 * penalty * float(weight @ weight), gradient + penalty * weight

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)


def _grow(
    x: Table, residual: Table, fresh: Table, rows: NDArray[np.int64], risk: Table, depth: int, rng: np.random.Generator
) -> None:
    """Grow one tree below a node and add the mean residual of each leaf to the risk of the rows that reach it."""
    if depth == 0 or len(x) < 2 * _LEAF or not len(rows):
        risk[rows] += residual.mean()
        return
    columns = rng.permutation(x.shape[1])[: max(1, round(x.shape[1] ** 0.5))]
    low, high = x[:, columns].min(axis=0), x[:, columns].max(axis=0)
    cuts = rng.uniform(low, high)
    left = x[:, columns] < cuts  # (n, tried)
    n_left = left.sum(axis=0)
    n_right = len(x) - n_left
    allowed = (n_left >= _LEAF) & (n_right >= _LEAF)
    if not allowed.any():
        risk[rows] += residual.mean()
        return
    sum_left = residual @ left
    gain = sum_left**2 / np.maximum(n_left, 1) + (residual.sum() - sum_left) ** 2 / np.maximum(n_right, 1)
    best = int(np.argmax(np.where(allowed, gain, -np.inf)))
    is_left, rows_left = left[:, best], fresh[rows, columns[best]] < cuts[best]
    _grow(x[is_left], residual[is_left], fresh, rows[rows_left], risk, depth - 1, rng)
    _grow(x[~is_left], residual[~is_left], fresh, rows[~rows_left], risk, depth - 1, rng)
