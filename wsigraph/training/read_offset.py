"""What a fitted offset says of graphs part by part, and of its own training patients out of part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput
from wsigraph.model.member import EnsembleMember
from wsigraph.model.nn.corrected_network import CorrectedNetwork
from wsigraph.model.nn.linear_offset import MAX_STANDARD_DEVIATIONS
from wsigraph.model.nn.network import GraphNetwork
from wsigraph.training.dataset import Cohort
from wsigraph.training.fixed_offset import column_blocks, fit_ridges, offset_factors
from wsigraph.training.inner_parts import inner_parts
from wsigraph.training.network_columns import project
from wsigraph.training.part_networks import log_ratios
from wsigraph.training.stacking import pooled_columns


@one_thread()
def out_of_part_ratio(
    member: EnsembleMember, cohort: Cohort, rows: NDArray[np.int64], *, seed: int
) -> NDArray[np.float64]:
    """Return the log hazard ratios of a member's own training patients, each without their part, float64 (n,).

    Parameters
    ----------
    member : EnsembleMember
        With an offset.
    cohort : Cohort
        Graphs and outcomes.
    rows : int64 (n,)
        Rows that the member was fitted to.
    seed : int
        Of that fit.

    Returns
    -------
    float64 (n,)
        As the fit saw them: a weight against other covariates can be fitted to them.

    Raises
    ------
    ModelError
        If the graphs do not fit the member.
    """
    network = member.network()
    if not isinstance(network, CorrectedNetwork):
        raise ModelError("the member has no offset, expected model.design earned, full or offset")
    parts = inner_parts(cohort, rows, seed=seed)
    graphs = [member.scaler.standardise(cohort.inputs[row]) for row in rows]
    bare = CorrectedNetwork(member.config, n_features=member.scaler.n_features, n_intervals=len(member.ends_days))
    ridges = fit_ridges(bare, cohort, rows, graphs, member.scaler, parts)
    ratio, corrections = dict(ridges.ratio), np.zeros(len(rows))
    matrix = None if network.projection is None else network.projection.numpy().astype(np.float64)
    narrow = graphs if matrix is None else [project(graph, matrix) for graph in graphs]
    for name, networks in (("attention", network.attention), ("correction", network.survival_networks)):
        if not len(networks):
            continue
        values = np.zeros(len(rows))
        for number, one in enumerate(networks):
            left_out = np.flatnonzero(parts.part == number)
            values[left_out] = log_ratios(cast(GraphNetwork, one), [narrow[row] for row in left_out])
        if name == "attention":
            ratio[name] = values
        else:
            corrections = float(network.survival_fraction) * values
    factors = offset_factors(ratio, cohort.time_days[rows], cohort.event[rows])
    return np.asarray(np.sum([factors[name] * values for name, values in ratio.items()], axis=0) + corrections)


@one_thread()
def offset_parts(member: EnsembleMember, inputs: Sequence[GraphInput]) -> dict[str, NDArray[np.float64]]:
    """Return the parts of the survival offset of graphs: ``means``, ``edges`` and ``attention``, float64 (n,) each.

    Parameters
    ----------
    member : EnsembleMember
        With an offset.
    inputs : sequence of GraphInput
        The n graphs.

    Returns
    -------
    dict of str to float64 (n,)
        Without the weight of the attention.

    Raises
    ------
    ModelError
        If the graphs do not fit the member, or it has no offset.
    """
    network = member.network()
    if not isinstance(network, CorrectedNetwork):
        raise ModelError("the member has no offset, expected model.design earned, full or offset")
    graphs = [member.scaler.standardise(graph) for graph in inputs]
    offset = network.offset
    limit = MAX_STANDARD_DEVIATIONS
    weight = offset.weight.double().numpy()
    centre, std = offset.centre.double().numpy(), offset.std.double().numpy()
    standard = np.clip((pooled_columns(offset, graphs) - centre) / std, -limit, limit)
    parts = {
        name: standard[:, block] @ weight[block]
        for name, block in column_blocks(offset, member.scaler.n_features).items()
    }
    matrix = None if network.projection is None else network.projection.numpy().astype(np.float64)
    narrow = graphs if matrix is None else [project(graph, matrix) for graph in graphs]
    networks = [log_ratios(cast(GraphNetwork, one), narrow) for one in network.attention]
    return {**parts, "attention": np.mean(networks, axis=0) if networks else np.zeros(len(graphs))}
