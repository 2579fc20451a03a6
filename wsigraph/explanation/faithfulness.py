"""Faithfulness curves: regions are ablated in the order of their attributions, and the output is recorded.

If attributions are faithful, the output moves towards the reference sooner than in any other order. Regions are
ablated in two ways. ``replace`` puts a matched training region in place, of the same broad tissue cluster and within a
fifth of the area, which keeps the slide similar to the training slides. ``drop`` removes the region with its edges, as
region dropout does in training. Broad clusters are few, so that a donor can differ in what the model distinguishes; a
donor of the region's own narrow cluster would leave the output nearly unchanged. Orders are compared at equal
fractions of area, so that large regions have no advantage. Every order replaces a region by the same donor. A random
order costs as much as the tested one, so only some members are evaluated for a large slide.

References
----------
Samek et al., "Evaluating the visualization of what a deep neural network has learned", IEEE TNNLS 2017; Hase, Xie and
Bansal, "The out-of-distribution problem in explainability", NeurIPS 2021 (why what replaces a region must be likely).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.explanation.gradients import CHUNK_NODES
from wsigraph.explanation.members import ExplainedMember, Logits, Shape, read
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.target import Target
from wsigraph.model.inputs import GraphInput, Standardised
from wsigraph.model.nn.network import one_thread
from wsigraph.records import Curves

AREA_FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Fractions of the tissue's area at which curves are sampled."""
MATCH_AREA = 0.2
"""Largest relative difference between the areas of a donor and a region."""

Outputs = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""From masks of ablated regions, bool (S, N), to the output of every version, float64 (S,)."""
_MemberLogits = Callable[[NDArray[np.bool_]], Logits]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Donors:
    """A training region for every region of a slide.

    Attributes
    ----------
    feature : float64 (N, F)
        Features of the donors.
    is_matched : bool (N,)
        Whether the donor is within `MATCH_AREA`; else it is the one nearest in area.
    """

    feature: NDArray[np.float64]
    is_matched: NDArray[np.bool_]


def find_donors(
    raw: GraphInput,
    cluster: NDArray[np.int64],
    reference: Reference,
    *,
    among: NDArray[np.int16],
    rng: np.random.Generator,
) -> Donors:
    """Return a random matched training region for every region.

    Parameters
    ----------
    raw : GraphInput
        The slide.
    cluster : int64 (N,)
        Tissue cluster that each donor must have.
    reference : Reference
        Source of the donors.
    among : int16 (R,)
        Cluster of every region of the reference, from the same clustering as `cluster`: ``region_cluster`` or
        ``region_broad_cluster``.
    rng : numpy.random.Generator
        Source of the choice.

    Returns
    -------
    Donors
        One donor per region.
    """
    feature = np.empty(raw.features.shape)
    is_matched = np.zeros(len(cluster), np.bool_)
    u = rng.random(len(cluster))
    for label in np.unique(cluster):
        own = np.flatnonzero(cluster == label)
        rows = np.flatnonzero(among == label)
        if not len(rows):
            rows = np.arange(len(among))
        rows = rows[np.argsort(reference.region_area_um2[rows], kind="stable")]
        areas = reference.region_area_um2[rows].astype(np.float64)
        low = np.searchsorted(areas, raw.area_um2[own] * (1 - MATCH_AREA), side="left")
        high = np.searchsorted(areas, raw.area_um2[own] * (1 + MATCH_AREA), side="right")
        is_similar = high > low
        right = np.clip(np.searchsorted(areas, raw.area_um2[own]), 1, max(1, len(areas) - 1))
        left_nearer = raw.area_um2[own] - areas[right - 1] <= np.abs(
            areas[np.minimum(right, len(areas) - 1)] - raw.area_um2[own]
        )
        nearest = np.where(left_nearer, right - 1, np.minimum(right, len(areas) - 1))
        drawn = low + np.floor(u[own] * (high - low)).astype(np.int64)
        feature[own] = reference.region_feature[rows[np.where(is_similar, drawn, nearest)]]
        is_matched[own] = is_similar
    return Donors(feature=feature, is_matched=is_matched)


def replacing(
    members: Sequence[ExplainedMember],
    target: Target,
    raw: GraphInput,
    donors: NDArray[np.float64],
    *,
    threads: int = 1,
) -> Outputs:
    """Return the output as a function of which regions are replaced by their donors.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The ensemble, or some of its members.
    target : Target
        The output.
    raw : GraphInput
        The slide.
    donors : float64 (N, F)
        Features of the donor of every region.
    threads : int
        Number of threads.

    Returns
    -------
    callable
        From bool (S, N) to float64 (S,).
    """
    pairs = [(member, member.scaled(raw), member.scaled(replace(raw, features=donors))) for member in members]

    def forward(
        member: ExplainedMember, slide: Standardised, other: Standardised, ablated: NDArray[np.bool_]
    ) -> Logits:
        mask = torch.from_numpy(ablated)[:, :, None]
        features = torch.where(mask, torch.from_numpy(other.features), torch.from_numpy(slide.features))
        edges = torch.from_numpy(slide.edge_attribute).expand(len(ablated), -1, -1)
        return read(member.network, Shape.of(slide), features, edges)

    return _ensemble_output(members, target, [partial(forward, *pair) for pair in pairs], threads)


def dropping(members: Sequence[ExplainedMember], target: Target, raw: GraphInput, *, threads: int = 1) -> Outputs:
    """Return the output as a function of which regions are removed; parameters as in `replacing`."""
    pairs = [(member, member.scaled(raw)) for member in members]

    def forward(member: ExplainedMember, slide: Standardised, ablated: NDArray[np.bool_]) -> Logits:
        keep = ~ablated  # (S, N)
        keep[~keep.any(axis=1), np.argmax(slide.area)] = True  # the last region stays, as in training
        # the versions become one disjoint union of graphs, whose nodes are numbered anew
        version, node = np.nonzero(keep)
        number = np.cumsum(keep.ravel()) - 1
        source, end = slide.edge_index
        row, edge = np.nonzero(keep[:, source] & keep[:, end])
        offset = row * keep.shape[1]
        stage, hazard = member.network(
            torch.from_numpy(slide.features[node]),
            torch.from_numpy(np.stack([number[offset + source[edge]], number[offset + end[edge]]])),
            torch.from_numpy(slide.edge_attribute[edge]),
            torch.from_numpy(slide.area[node]),
            torch.from_numpy(version),
            len(keep),
        )
        return stage, hazard

    return _ensemble_output(members, target, [partial(forward, *pair) for pair in pairs], threads)


def _ensemble_output(
    members: Sequence[ExplainedMember], target: Target, functions: Sequence[_MemberLogits], threads: int
) -> Outputs:
    """Return the output of the ensemble, computed in chunks of bounded size; one function per member."""

    def outputs(ablated: NDArray[np.bool_]) -> NDArray[np.float64]:
        chunk = max(1, CHUNK_NODES // ablated.shape[1])
        jobs = [(function, start) for start in range(0, len(ablated), chunk) for function in functions]

        def work(job: tuple[_MemberLogits, int]) -> Logits:
            # inference mode is per thread
            with torch.inference_mode():
                return job[0](ablated[job[1] : job[1] + chunk])

        with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
            logits = list(pool.map(work, jobs))
        with one_thread(), torch.inference_mode():
            step = len(functions)
            parts = [target.read(members, logits[k : k + step]) for k in range(0, len(jobs), step)]
            return np.asarray(torch.cat(parts).numpy())

    return outputs


def draw_curves(
    outputs: Outputs,
    orders: Mapping[str, NDArray[np.int64]],
    area: NDArray[np.float64],
    *,
    value: float,
    towards: float,
    sign: float,
    unit: float,
    n_random: int,
    n_members: int = 1,
    rng: np.random.Generator,
) -> Curves:
    """Return the curves of an output while regions are ablated in several orders.

    Parameters
    ----------
    outputs : callable
        `replacing` or `dropping`.
    orders : mapping of str to int64 (N,)
        Regions from first to last, by the name of the order; ``attribution`` is the tested one.
    area : float64 (N,)
        Area of every region.
    value : float
        Output of the whole slide.
    towards : float
        Output of the reference input; only recorded.
    sign : float
        1 if the output must fall to reach the reference, -1 if it must rise.
    unit : float
        Unit of the gains, e.g. the standard deviation of the training outputs.
    n_random : int
        Number of random orders.
    n_members : int
        Members that `outputs` evaluates; only recorded.
    rng : numpy.random.Generator
        Source of the random orders.

    Returns
    -------
    Curves
        Sampled at `AREA_FRACTIONS`.
    """
    random = [rng.permutation(len(area)) for _ in range(n_random)]
    all_orders = np.array([*orders.values(), *random])  # (orders, N)
    grid = np.array(AREA_FRACTIONS)
    fraction = np.cumsum(area[all_orders] / area.sum(), axis=1)  # (orders, N)
    n_ablated = _nearest_prefix(fraction, grid[1:])  # (orders, points)
    rank = np.argsort(all_orders, axis=1)
    ablated = rank[:, None, :] < n_ablated[:, :, None]  # (orders, points, N)
    values = outputs(ablated.reshape(-1, len(area))).reshape(n_ablated.shape)
    curves = np.empty((len(all_orders), len(grid)))
    for row in range(len(all_orders)):
        # regions are whole, so the ablated fraction differs a little from the grid
        at = np.concatenate([[0.0], np.take(fraction[row], n_ablated[row] - 1)])
        curves[row] = np.interp(grid, at, np.concatenate([[value], values[row]]))
    moved = (value - curves) * sign / unit
    gains = np.trapezoid(moved, grid, axis=1) / (grid[-1] - grid[0])
    named = {name: curves[row] for row, name in enumerate(orders)}
    gain = {name: float(gains[row]) for row, name in enumerate(orders)}
    chance, own = gains[len(orders) :], gains[list(orders).index("attribution")]
    if n_random:
        block = curves[len(orders) :]
        named |= {f"random_p{level}": np.percentile(block, level, axis=0) for level in (5, 50, 95)}
        named["random_mean"] = block.mean(axis=0)
        gain["random_mean"] = float(chance.mean())
    return Curves(
        area_fraction=grid,
        output=named,
        towards=towards,
        gain=gain,
        n_random=n_random,
        n_members=n_members,
        random_beaten=float((chance < own).mean()) if n_random else 0.0,
    )


def _nearest_prefix(fraction: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many regions of every order, at least one, come nearest to each fraction; int64 (orders, points)."""
    n_regions = np.empty((len(fraction), len(grid)), np.int64)
    for row, cumulated in enumerate(fraction):
        after = np.minimum(np.searchsorted(cumulated, grid), len(cumulated) - 1)
        before = np.maximum(after - 1, 0)
        nearer = np.abs(cumulated[before] - grid) <= np.abs(cumulated[after] - grid)
        n_regions[row] = np.where(nearer, before, after) + 1
    return n_regions


def order_by(score: NDArray[np.float64], sign: float = 1.0) -> NDArray[np.int64]:
    """Return regions by falling score times sign, int64 (N,); ties by number."""
    return np.asarray(np.argsort(-sign * score, kind="stable"))
