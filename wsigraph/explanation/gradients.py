"""Integrated Gradients of a model's output, by captum, on node features and edge attributes.

What is integrated is the output that the prediction reports. Of an ensemble that is no mean of its members' outputs, so
all members go along the way together: each reads the same point of it in its own units, the output is read from all
their answers, and a feature's attribution is the sum of what it does through each. What passes through one member is
that member's part, by which their agreement is judged.

The way's straight parts are integrated by Gauss-Legendre quadrature in chunks whose memory does not grow with the
number of steps. Attributions must add up to the difference of the outputs at both ends; where a part misses its own by
more than its share of what is allowed, its steps are doubled, and where that does not help, the gap is told. Not
optimal where the output saturates along the way: then most steps fall where nothing happens.

References
----------
Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, equation 1 and proposition 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from wsigraph.explanation.baseline import Baseline
from wsigraph.explanation.members import ExplainedMember, Shape, read
from wsigraph.explanation.target import Target
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput, Standardised

CHUNK_NODES = 8192
"""Nodes of all versions of a slide that are read at once; more would leave the processor's cache."""

Output = Callable[..., Tensor]
"""From versions of features (S, N, F) of every member, then of edge attributes (S, E, A) of each, to outputs (S,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integral:
    """Attributions of one output.

    Attributes
    ----------
    feature : float64 (N, F)
        Attribution of every feature of every region.
    first_part : float64 (N,)
        What of a region's attribution arose on the first part of the way; 0 where the way has one part.
    edge : float64 (E,)
        Attribution of every directed edge, its attributes together.
    member_node : float64 (M, N)
        Part of every member in what a region contributes, features and edges; their sum is that of the model.
    value, baseline_value : float
        Output at both ends; the mean over ways.
    gap : float
        How far the attributions miss the difference.
    n_steps : int
        Steps of all parts of a way together; the most that a way took.
    """

    feature: NDArray[np.float64]
    first_part: NDArray[np.float64]
    edge: NDArray[np.float64]
    member_node: NDArray[np.float64]
    value: float
    baseline_value: float
    gap: float
    n_steps: int

    def of_regions(self, raw: GraphInput) -> NDArray[np.float64]:
        """Return what every region contributes, features and edges (see `to_nodes`), float64 (N,)."""
        return to_nodes(self.feature, self.edge, raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How closely attributions must add up.

    Attributes
    ----------
    n_steps : int
        Steps to begin with, over all parts of a way.
    max_steps : int
        Steps to end with.
    max_gap : float
        Largest gap, as a share of the difference of the outputs.
    floor : float
        Least difference that this share is taken of, in the output's unit.
    """

    n_steps: int = 50
    max_steps: int = 800
    max_gap: float = 0.01
    floor: float = 0.0

    def limit(self, difference: float) -> float:
        """Return the largest gap that is allowed."""
        # below a hundred-thousandth of a unit there are only the roundings of float32
        return self.max_gap * max(abs(difference), self.floor, 1e-3)


def integrate(
    members: Sequence[ExplainedMember],
    targets: Sequence[Target],
    raw: GraphInput,
    baseline: Baseline | Sequence[Baseline],
    precision: Precision | Sequence[Precision],
    *,
    threads: int = 1,
) -> list[Integral]:
    """Return the attributions of several outputs of a model.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The model, all of it as one.
    targets : sequence of Target
        Outputs.
    raw : GraphInput
        The slide.
    baseline : Baseline or sequence of Baseline
        What it is compared with, for all targets or each.
    precision : Precision or sequence of Precision
        How closely attributions must add up, for all targets or each.
    threads : int
        Parts of ways and outputs worked on at once; each takes one torch thread, so that numbers do not depend on it.

    Returns
    -------
    list of Integral
        By target.
    """
    exact = [precision] * len(targets) if isinstance(precision, Precision) else list(precision)
    starts = [baseline] * len(targets) if isinstance(baseline, Baseline) else list(baseline)
    jobs = [
        _Job(members=members, target=target, way=(*way, raw), parts=parts, precision=each, n_ways=len(start.ways))
        for number, (target, start, each) in enumerate(zip(targets, starts, exact, strict=True))
        for way in start.ways
        # parts to the first output are worked on at once, those to a further one, which are quick, judged together
        for parts in ([(part,) for part in range(len(way))] if number == 0 else [tuple(range(len(way)))])
    ]
    with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
        # the many quick ones of further outputs fill the threads before the parts of the first, which are long
        waiting = [pool.submit(_integrate_parts, job) for job in reversed(jobs)]
        found = chain.from_iterable(each.result() for each in reversed(waiting))
        return [_of_ways([[next(found) for _ in way] for way in start.ways], raw, start) for start in starts]


def output_of(members: Sequence[ExplainedMember], target: Target, shape: Shape) -> Output:
    """Return a model's output as a function of every member's features (S, N, F), then edge attributes (S, E, A)."""
    is_large = len(shape.area) > CHUNK_NODES

    def output(*inputs: Tensor) -> Tensor:
        logits = []
        for number, member in enumerate(members):
            versions = inputs[number], inputs[len(members) + number]
            # members are held until all have answered; of a large slide each is read again rather than held
            logits.append(
                checkpoint(read, member.network, shape, *versions, use_reentrant=False, preserve_rng_state=False)
                if is_large and torch.is_grad_enabled()
                else read(member.network, shape, *versions)
            )
        # a network without attention layers never looks at edges, and captum asks for their gradient all the same
        unread = sum(0.0 * edges.sum(dim=(1, 2)) for edges in inputs[len(members) :])
        return target.read(members, logits) + unread

    return output


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """Straight parts of a way to one output, which together must be exact."""

    members: Sequence[ExplainedMember]
    target: Target
    way: tuple[GraphInput, ...]
    parts: tuple[int, ...]
    precision: Precision
    n_ways: int

    def stop(self, number: int) -> tuple[Tensor, ...]:
        """Return what members read at a stop of the way: features (1, N, F) of each, then edge attributes."""
        graphs = [member.scaled(self.way[number]) for member in self.members]
        names = ("features", "edge_attribute")
        return tuple(torch.from_numpy(getattr(graph, name))[None] for name in names for graph in graphs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """What came of it: features (N, F), edges (E,) and nodes (M, N) as in `Integral`, outputs at its ends, steps."""

    feature: NDArray[np.float64]
    edge: NDArray[np.float64]
    member_feature: NDArray[np.float64]
    member_edge: NDArray[np.float64]
    values: tuple[float, float]
    n_steps: int


def _integrate_parts(job: _Job) -> list[_Part]:
    output = output_of(job.members, job.target, Shape.of(job.members[0].scaled(job.way[-1])))
    stops, n_parts, precision = [job.stop(k) for k in range(len(job.way))], len(job.way) - 1, job.precision
    with torch.no_grad():
        values = [float(output(*stop)) for stop in stops]
    share = len(job.parts) / n_parts
    limit = precision.limit(values[-1] - values[0]) * share
    # many ways average out their errors, so each may take fewer steps
    n_steps = max(8, precision.n_steps // 5) if job.n_ways > 1 else precision.n_steps
    steps = [max(2, n_steps // n_parts)] * len(job.parts)
    found = [_attribute(output, stops[k], stops[k + 1], n) for k, n in zip(job.parts, steps, strict=True)]
    while True:
        misses = [
            sum(float(each.sum()) for each in part) - (values[k + 1] - values[k])
            for k, part in zip(job.parts, found, strict=True)
        ]
        if abs(sum(misses)) <= limit or 2 * sum(steps) > precision.max_steps * share:
            break
        for row, k in enumerate(job.parts):
            # a part that is exact already is not worth more steps
            if abs(misses[row]) > limit / (2 * len(job.parts)):
                steps[row] *= 2
                found[row] = _attribute(output, stops[k], stops[k + 1], steps[row])
    return [
        _summed(part, len(job.members), (values[k], values[k + 1]), n)
        for k, part, n in zip(job.parts, found, steps, strict=True)
    ]


def _summed(found: list[NDArray[np.float64]], n_members: int, values: tuple[float, float], n_steps: int) -> _Part:
    """Return a part from what every member attributes, features (N, F) of each, then edges (E, A) of each."""
    features, edges = found[:n_members], [each.sum(axis=1) for each in found[n_members:]]
    return _Part(
        feature=np.sum(features, axis=0),
        edge=np.sum(edges, axis=0),
        member_feature=np.stack([each.sum(axis=1) for each in features]),
        member_edge=np.stack(edges),
        values=values,
        n_steps=n_steps,
    )


def _attribute(
    output: Output, start: tuple[Tensor, ...], end: tuple[Tensor, ...], n_steps: int
) -> list[NDArray[np.float64]]:
    """Return attributions of everything that members read, features (N, F) of each, then edges (E, A) of each."""
    chunk = max(1, CHUNK_NODES // end[0].shape[1])
    ways: Any = IntegratedGradients(output)
    found = ways.attribute(end, start, n_steps=n_steps, method="gausslegendre", internal_batch_size=min(chunk, n_steps))
    return [each[0].double().numpy() for each in found]


def _of_ways(ways: Sequence[Sequence[_Part]], raw: GraphInput, baseline: Baseline) -> Integral:
    """Return the mean over ways of the sums over their parts."""
    feature, edge, member_feature, member_edge = (
        np.sum([getattr(part, name) for way in ways for part in way], axis=0) / len(ways)
        for name in ("feature", "edge", "member_feature", "member_edge")
    )
    value = float(np.mean([way[-1].values[1] for way in ways]))
    start = float(np.mean([way[0].values[0] for way in ways]))
    first = np.mean([way[0].feature.sum(axis=1) for way in ways], axis=0)
    return Integral(
        feature=feature,
        first_part=first if baseline.parts_kind else np.zeros(len(first)),
        edge=edge,
        member_node=np.stack(
            [to_nodes(own[:, None], edges, raw) for own, edges in zip(member_feature, member_edge, strict=True)]
        ),
        value=value,
        baseline_value=start,
        gap=abs(float(feature.sum() + edge.sum()) - (value - start)),
        n_steps=max(sum(part.n_steps for part in way) for way in ways),
    )


def gradient_x_input(members: Sequence[ExplainedMember], target: Target, raw: GraphInput) -> NDArray[np.float64]:
    """Return the gradient of an output times the standardised features, summed over features, float64 (N,)."""
    graphs = [member.scaled(raw) for member in members]
    features = [torch.from_numpy(graph.features)[None].requires_grad_() for graph in graphs]
    edges = [torch.from_numpy(graph.edge_attribute)[None] for graph in graphs]
    with one_thread():
        value = output_of(members, target, Shape.of(graphs[0]))(*features, *edges)
        gradients = torch.autograd.grad(value.sum(), features)
    parts = [(slope * at.detach())[0].double().sum(dim=1) for slope, at in zip(gradients, features, strict=True)]
    return np.asarray(torch.stack(parts).sum(dim=0).numpy())


def pooling_weights(member: ExplainedMember, graph: Standardised) -> NDArray[np.float64]:
    """Return how much every region counts in the slide embedding, as the network's pooling says, float64 (N,)."""
    shape = Shape.of(graph)
    edge_index, area, batch = shape.union(1)
    features, edge_attr = torch.from_numpy(graph.features), torch.from_numpy(graph.edge_attribute)
    with one_thread(), torch.inference_mode():
        weights = member.network.pooling_weights(features, edge_index, edge_attr, batch, area, 1)
    return np.asarray(weights.double().numpy())


def to_nodes(feature: NDArray[np.float64], edge: NDArray[np.float64], raw: GraphInput) -> NDArray[np.float64]:
    """Return what each region contributes: its features, and half of every edge that it sends or receives.

    Parameters
    ----------
    feature : float64 (N, F)
        Attribution of features.
    edge : float64 (E,)
        Attribution of directed edges.
    raw : GraphInput
        The edges.

    Returns
    -------
    float64 (N,)
        With the same sum as features and edges together.
    """
    total = feature.sum(axis=1)
    for end in raw.edge_index:
        total = total + 0.5 * np.bincount(end, edge, len(total))
    return np.asarray(total)
