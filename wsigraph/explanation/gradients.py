"""Integrated Gradients of a model's output, by captum, on node features and edge attributes.

Every member of an ensemble is integrated on its own, in its own units, along straight parts of a baseline's way, by
Gauss-Legendre quadrature in chunks whose memory does not grow with the number of steps. Attributions must add up to the
difference of the outputs at both ends; where they miss it by more than is allowed, the number of steps is doubled, and
where that does not help either, the gap is told. Not optimal where the output saturates along the way: then most steps
fall where nothing happens.

References
----------
Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, equation 1 and proposition 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from wsigraph.explanation.baseline import Baseline
from wsigraph.explanation.members import Member, Shape, read
from wsigraph.explanation.target import Target
from wsigraph.model.inputs import GraphInput, Standardised
from wsigraph.model.network import one_thread

CHUNK_NODES = 8192
"""Nodes of all versions of a slide that are read at once; more would leave the processor's cache."""

Output = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integral:
    """Attributions of one member.

    Attributes
    ----------
    feature : float64 (N, F)
        Attribution of every feature of every region.
    first_part : float64 (N,)
        What of a region's attribution arose on the first part of the way; 0 where the way has one part.
    edge : float64 (E,)
        Attribution of every directed edge, its attributes together.
    value, baseline_value : float
        Output at both ends; the mean over ways.
    gap : float
        How far the attributions miss the difference.
    n_steps : int
        Steps of all parts of a way together.
    """

    feature: NDArray[np.float64]
    first_part: NDArray[np.float64]
    edge: NDArray[np.float64]
    value: float
    baseline_value: float
    gap: float
    n_steps: int

    @property
    def node(self) -> NDArray[np.float64]:
        """Attribution of every region's features, float64 (N,)."""
        return np.asarray(self.feature.sum(axis=1))


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
    members: Sequence[Member],
    targets: Sequence[Target],
    raw: GraphInput,
    baseline: Baseline,
    precision: Precision | Sequence[Precision],
    *,
    threads: int = 1,
) -> list[list[Integral]]:
    """Return the attributions of several outputs by every member.

    Parameters
    ----------
    members : sequence of Member
        The model.
    targets : sequence of Target
        Outputs.
    raw : GraphInput
        The slide.
    baseline : Baseline
        What it is compared with.
    precision : Precision or sequence of Precision
        How closely attributions must add up, for all targets or each.
    threads : int
        Members and outputs worked on at once; each takes one torch thread, so that numbers do not depend on it.

    Returns
    -------
    list of list of Integral
        By target, then by member.
    """
    each = [precision] * len(targets) if isinstance(precision, Precision) else list(precision)
    jobs = [(member, target, exact) for target, exact in zip(targets, each, strict=True) for member in members]
    with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
        found = list(pool.map(lambda job: _integrate_ways(job[0], job[1], raw, baseline, job[2]), jobs))
    return [found[start : start + len(members)] for start in range(0, len(found), len(members))]


def output_of(member: Member, target: Target, shape: Shape) -> Output:
    """Return a member's output as a function of versions of features (S, N, F) and edge attributes (S, E, A)."""

    def output(features: Tensor, edge_attribute: Tensor) -> Tensor:
        stage_logits, hazard_logits = read(member.network, shape, features, edge_attribute)
        value = target.read(stage_logits, hazard_logits, member.ends_days)
        # a network without attention layers never looks at edges, and captum asks for their gradient all the same
        return value + 0.0 * edge_attribute.sum(dim=(1, 2))

    return output


def _integrate_ways(
    member: Member, target: Target, raw: GraphInput, baseline: Baseline, precision: Precision
) -> Integral:
    slide = member.scaled(raw)
    output = output_of(member, target, Shape.of(slide))
    # many ways average out their errors, so each may take fewer steps
    n_ways = len(baseline.ways)
    n_steps = max(8, precision.n_steps // 5) if n_ways > 1 else precision.n_steps
    found = [
        _integrate_way([*(member.scaled(stop) for stop in way), slide], output, n_steps, precision)
        for way in baseline.ways
    ]
    return Integral(
        feature=np.mean([each.feature for each in found], axis=0),
        first_part=np.mean([each.first_part for each in found], axis=0)
        if baseline.parts_kind
        else np.zeros(len(raw.features)),
        edge=np.mean([each.edge for each in found], axis=0),
        value=float(np.mean([each.value for each in found])),
        baseline_value=float(np.mean([each.baseline_value for each in found])),
        gap=float(np.mean([each.gap for each in found])),
        n_steps=max(each.n_steps for each in found),
    )


def _integrate_way(stops: list[Standardised], output: Output, n_steps: int, precision: Precision) -> Integral:
    points = [(torch.from_numpy(stop.features)[None], torch.from_numpy(stop.edge_attribute)[None]) for stop in stops]
    with torch.no_grad():
        values = [float(output(*point)) for point in points]
    limit = precision.limit(values[-1] - values[0])
    n_parts = len(points) - 1
    steps = [max(2, n_steps // n_parts)] * n_parts
    parts = [_part(output, points[k], points[k + 1], steps[k]) for k in range(n_parts)]
    while True:
        misses = [_total(part) - (values[k + 1] - values[k]) for k, part in enumerate(parts)]
        if abs(sum(misses)) <= limit or 2 * sum(steps) > precision.max_steps:
            break
        for k in range(n_parts):
            # a part that is exact already is not worth more steps
            if abs(misses[k]) > limit / (2 * n_parts):
                steps[k] *= 2
                parts[k] = _part(output, points[k], points[k + 1], steps[k])
    feature = np.sum([part[0] for part in parts], axis=0)
    return Integral(
        feature=feature,
        first_part=parts[0][0].sum(axis=1),
        edge=np.sum([part[1] for part in parts], axis=0),
        value=values[-1],
        baseline_value=values[0],
        gap=abs(sum(misses)),
        n_steps=sum(steps),
    )


def _part(
    output: Output, start: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor], n_steps: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return attributions of features (N, F) and edges (E,) on a straight part of the way."""
    chunk = max(1, CHUNK_NODES // end[0].shape[1])
    ways: Any = IntegratedGradients(output)
    features, edges = ways.attribute(
        end, start, n_steps=n_steps, method="gausslegendre", internal_batch_size=min(chunk, n_steps)
    )
    return features[0].double().numpy(), edges[0].double().numpy().sum(axis=1)


def _total(part: tuple[NDArray[np.float64], NDArray[np.float64]]) -> float:
    return float(part[0].sum() + part[1].sum())


def gradient_x_input(member: Member, target: Target, graph: Standardised) -> NDArray[np.float64]:
    """Return the gradient of an output times the standardised features, summed over features, float64 (N,)."""
    output = output_of(member, target, Shape.of(graph))
    features = torch.from_numpy(graph.features)[None].requires_grad_()
    with one_thread():
        value = output(features, torch.from_numpy(graph.edge_attribute)[None])
        (gradient,) = torch.autograd.grad(value.sum(), [features])
    return np.asarray((gradient * features.detach())[0].double().sum(dim=1).numpy())


def attention(member: Member, graph: Standardised) -> NDArray[np.float64]:
    """Return the weight of every region in the attention pooling, float64 (N,); sums to one."""
    heard: list[Tensor] = []
    pooling = member.network.pooling
    handle = pooling.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    try:
        with one_thread(), torch.inference_mode():
            read(
                member.network,
                Shape.of(graph),
                torch.from_numpy(graph.features)[None],
                torch.from_numpy(graph.edge_attribute)[None],
            )
            normed = pooling.norm(heard[0])
            score = pooling.score(torch.tanh(pooling.value(normed)) * torch.sigmoid(pooling.gate(normed))).squeeze(1)
            weight = torch.softmax(score + torch.from_numpy(graph.area).log(), dim=0)
    finally:
        handle.remove()
    return weight.double().numpy()


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
