"""Whether attributions name what the model rests on: regions are taken away in their order, and the output watched.

If an order is right, the output moves towards the baseline soonest. Regions are taken in two ways: replaced by matched
training regions, of the same broad kind of tissue and within a fifth of the area, which keeps the slide like the
training slides; and dropped with their edges, which the model met in training. Broad kinds are few, so that a donor can
differ in what the model tells apart: one of a region's own narrow kind, against which attributions are taken, would
leave the output as it is. The share of area taken is what orders are compared at, so that large regions bring no
advantage of their own. Every order replaces a region by the same donor. A random order costs as much as the one that is
tested, so that of a large slide only some members are asked.

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
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput, Standardised
from wsigraph.records import Curves

AREA_FRACTIONS = (0.0, 0.05, 0.1, 0.2, 0.4)
"""Shares of the tissue's area at which curves are shown."""
MATCH_AREA = 0.2
"""Most that the area of a donor may differ, as a share."""

Outputs = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""From sets of regions taken, bool (S, N), to the output of every version, float64 (S,)."""
_Answer = Callable[[NDArray[np.bool_]], Logits]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Donors:
    """A training region for every region of a slide.

    Attributes
    ----------
    feature : float64 (N, F)
        Their features.
    is_matched : bool (N,)
        Whether one within `MATCH_AREA` was found; else it is the one nearest in area.
    """

    feature: NDArray[np.float64]
    is_matched: NDArray[np.bool_]


def find_donors(
    raw: GraphInput,
    kind: NDArray[np.int64],
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
    kind : int64 (N,)
        Kind of tissue that each donor shall have.
    reference : Reference
        Where donors come from.
    among : int16 (R,)
        Kind of every region of the reference, by the same division of tissue as `kind`: ``region_kind`` or
        ``region_broad_kind``.
    rng : numpy.random.Generator
        Source of the choice.

    Returns
    -------
    Donors
        One a region.
    """
    feature = np.empty(raw.features.shape)
    is_matched = np.zeros(len(kind), np.bool_)
    u = rng.random(len(kind))
    for each in np.unique(kind):
        own = np.flatnonzero(kind == each)
        rows = np.flatnonzero(among == each)
        if not len(rows):
            rows = np.arange(len(among))
        rows = rows[np.argsort(reference.region_area_um2[rows], kind="stable")]
        areas = reference.region_area_um2[rows].astype(np.float64)
        low = np.searchsorted(areas, raw.area_um2[own] * (1 - MATCH_AREA), side="left")
        high = np.searchsorted(areas, raw.area_um2[own] * (1 + MATCH_AREA), side="right")
        found = high > low
        right = np.clip(np.searchsorted(areas, raw.area_um2[own]), 1, max(1, len(areas) - 1))
        left_nearer = raw.area_um2[own] - areas[right - 1] <= np.abs(
            areas[np.minimum(right, len(areas) - 1)] - raw.area_um2[own]
        )
        nearest = np.where(left_nearer, right - 1, np.minimum(right, len(areas) - 1))
        drawn = low + np.floor(u[own] * (high - low)).astype(np.int64)
        feature[own] = reference.region_feature[rows[np.where(found, drawn, nearest)]]
        is_matched[own] = found
    return Donors(feature=feature, is_matched=is_matched)


def replacing(
    members: Sequence[ExplainedMember],
    target: Target,
    raw: GraphInput,
    donors: NDArray[np.float64],
    *,
    threads: int = 1,
) -> Outputs:
    """Return the model's output as a function of which regions are replaced by their donors.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The model, or some of its members, as one.
    target : Target
        The output.
    raw : GraphInput
        The slide.
    donors : float64 (N, F)
        Features to put in place.
    threads : int
        Chunks worked on at once.

    Returns
    -------
    callable
        From bool (S, N) to float64 (S,).
    """
    pairs = [(member, member.scaled(raw), member.scaled(replace(raw, features=donors))) for member in members]

    def one(member: ExplainedMember, slide: Standardised, other: Standardised, taken: NDArray[np.bool_]) -> Logits:
        mask = torch.from_numpy(taken)[:, :, None]
        features = torch.where(mask, torch.from_numpy(other.features), torch.from_numpy(slide.features))
        edges = torch.from_numpy(slide.edge_attribute).expand(len(taken), -1, -1)
        return read(member.network, Shape.of(slide), features, edges)

    return _together(members, target, [partial(one, *pair) for pair in pairs], threads)


def dropping(members: Sequence[ExplainedMember], target: Target, raw: GraphInput, *, threads: int = 1) -> Outputs:
    """Return the model's output as a function of which regions are dropped; parameters as in `replacing`."""
    pairs = [(member, member.scaled(raw)) for member in members]

    def one(member: ExplainedMember, slide: Standardised, taken: NDArray[np.bool_]) -> Logits:
        kept = ~taken
        kept[~kept.any(axis=1), np.argmax(slide.area)] = True  # the last region stays, as in training
        version, node = np.nonzero(kept)
        number = np.cumsum(kept.ravel()) - 1
        source, end = slide.edge_index
        row, edge = np.nonzero(kept[:, source] & kept[:, end])
        offset = row * kept.shape[1]
        stage, hazard = member.network(
            torch.from_numpy(slide.features[node]),
            torch.from_numpy(np.stack([number[offset + source[edge]], number[offset + end[edge]]])),
            torch.from_numpy(slide.edge_attribute[edge]),
            torch.from_numpy(version),
            torch.from_numpy(slide.area[node]),
            len(kept),
        )
        return stage, hazard

    return _together(members, target, [partial(one, *pair) for pair in pairs], threads)


def _together(members: Sequence[ExplainedMember], target: Target, answers: Sequence[_Answer], threads: int) -> Outputs:
    """Return the output that members reach together, worked out in chunks of bounded size."""

    def outputs(taken: NDArray[np.bool_]) -> NDArray[np.float64]:
        chunk = max(1, CHUNK_NODES // taken.shape[1])
        jobs = [(answer, start) for start in range(0, len(taken), chunk) for answer in answers]

        def work(job: tuple[_Answer, int]) -> Logits:
            # inference mode holds for a thread, not for a block
            with torch.inference_mode():
                return job[0](taken[job[1] : job[1] + chunk])

        with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
            logits = list(pool.map(work, jobs))
        with one_thread(), torch.inference_mode():
            parts = [target.read(members, logits[k : k + len(answers)]) for k in range(0, len(jobs), len(answers))]
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
    """Return what becomes of an output while regions are taken in several orders.

    Parameters
    ----------
    outputs : callable
        `replacing` or `dropping`.
    orders : mapping of str to int64 (N,)
        Regions from first to last by the name of the order; ``attribution`` is the one that is tested.
    area : float64 (N,)
        Area of every region.
    value : float
        Output of the whole slide.
    towards : float
        Output of its baseline; noted alone.
    sign : float
        1 where the output shall fall to reach its baseline, -1 where it shall rise.
    unit : float
        What gains are measured in, e.g. the standard deviation of the training outputs.
    n_random : int
        Random orders to compare with.
    n_members : int
        Members that `outputs` asks; noted alone.
    rng : numpy.random.Generator
        Their source.

    Returns
    -------
    Curves
        With `AREA_FRACTIONS` as shares.
    """
    random = [rng.permutation(len(area)) for _ in range(n_random)]
    every = [*orders.values(), *random]
    grid = np.array(AREA_FRACTIONS)
    share = np.cumsum(area[np.array(every)] / area.sum(), axis=1)  # (orders, N)
    n_taken = _nearest_prefix(share, grid[1:])  # (orders, points)
    rank = np.argsort(np.array(every), axis=1)
    taken = rank[:, None, :] < n_taken[:, :, None]
    found = outputs(taken.reshape(-1, len(area))).reshape(n_taken.shape)
    curves = np.empty((len(every), len(grid)))
    for row in range(len(every)):
        # what was taken differs a little from what was asked for, since regions are whole
        at = np.concatenate([[0.0], np.take(share[row], n_taken[row] - 1)])
        curves[row] = np.interp(grid, at, np.concatenate([[value], found[row]]))
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


def _nearest_prefix(share: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many regions of every order, at least one, come nearest to each share; int64 (orders, points)."""
    found = np.empty((len(share), len(grid)), np.int64)
    for row, cumulated in enumerate(share):
        after = np.minimum(np.searchsorted(cumulated, grid), len(cumulated) - 1)
        before = np.maximum(after - 1, 0)
        nearer = np.abs(cumulated[before] - grid) <= np.abs(cumulated[after] - grid)
        found[row] = np.where(nearer, before, after) + 1
    return found


def order_by(score: NDArray[np.float64], sign: float = 1.0) -> NDArray[np.int64]:
    """Return regions by falling score times sign, ties by number, int64 (N,)."""
    return np.asarray(np.argsort(-sign * score, kind="stable"))
