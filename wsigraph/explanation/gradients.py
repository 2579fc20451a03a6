"""Integrated Gradients of a model's output on node features and edge attributes, with captum.

The attribution of input i along a straight path from reference x' to x is

    (x_i - x'_i) * integral over a in [0, 1] of dF/dx_i (x' + a (x - x')) da.

F is the output that the prediction reports. For an ensemble it is not the mean of the members' outputs, so all members
move along the integration path together: each member reads the same point, standardised by its own scaler, the output
is computed from all their logits, and a feature's attribution is the sum over members. The summand of one member is
used to report the agreement of the members.

An integration path consists of straight segments, which are integrated by Gauss-Legendre quadrature in chunks, so
memory does not grow with the number of steps. Members are read one at a time: the activations of one are freed before
the next is read, and only gradients of the inputs are kept (`_gradients_by_member`). So memory does not grow with the
number of members either: about 20 kB for a region and a thread. Attributions must add up to the difference of the
outputs at both ends (completeness). If the completeness error of a segment is above its limit, its steps are doubled;
the remaining error is reported. The method is not optimal where the output saturates along the path: most steps then
fall on a plateau.

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

from wsigraph.explanation.members import ExplainedMember, Shape, read
from wsigraph.explanation.reference_input import ReferenceInput
from wsigraph.explanation.target import Target
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.inputs import GraphInput, Standardised

CHUNK_NODES = 8192
"""Nodes of all versions of a slide in one forward pass; more would not fit the processor's cache."""

Output = Callable[..., Tensor]
"""From features (S, N, F) of every member, then edge attributes (S, E, A) of every member, to outputs (S,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Integral:
    """Attributions of one output.

    Attributes
    ----------
    feature : float64 (N, F)
        Attribution of every feature of every region.
    first_segment : float64 (N,)
        Feature attribution of every region on the first segment of the path; 0 if the path has one segment.
    edge : float64 (E,)
        Attribution of every directed edge, summed over its attributes.
    member_node : float64 (M, N)
        Attribution of every region through every member, features and edges; the sum over members is that of the model.
    value, reference_value : float
        Output at both ends; means over paths.
    completeness_error : float
        Absolute difference between the sum of attributions and ``value - reference_value``.
    n_steps : int
        Steps of all segments of a path together; the maximum over paths.
    """

    feature: NDArray[np.float64]
    first_segment: NDArray[np.float64]
    edge: NDArray[np.float64]
    member_node: NDArray[np.float64]
    value: float
    reference_value: float
    completeness_error: float
    n_steps: int

    def of_regions(self, raw: GraphInput) -> NDArray[np.float64]:
        """Return the attribution of every region, features and edges (see `to_nodes`), float64 (N,)."""
        return to_nodes(self.feature, self.edge, raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Required precision of the integration.

    Attributes
    ----------
    n_steps : int
        Initial number of steps, over all segments of a path.
    max_steps : int
        Maximum number of steps.
    max_completeness_error : float
        Largest completeness error, as a fraction of the difference of the outputs.
    floor : float
        Least difference that this fraction refers to, in the output's unit.
    """

    n_steps: int = 50
    max_steps: int = 800
    max_completeness_error: float = 0.01
    floor: float = 0.0

    def limit(self, difference: float) -> float:
        """Return the largest allowed completeness error, in the output's unit."""
        # below a hundred-thousandth of a unit only rounding errors of float32 remain
        return self.max_completeness_error * max(abs(difference), self.floor, 1e-3)


def integrate(
    members: Sequence[ExplainedMember],
    targets: Sequence[Target],
    raw: GraphInput,
    reference_input: ReferenceInput | Sequence[ReferenceInput],
    precision: Precision | Sequence[Precision],
    *,
    n_members: Sequence[int] | None = None,
    threads: int = 1,
) -> list[Integral]:
    """Return the attributions of several outputs of a model.

    Parameters
    ----------
    members : sequence of ExplainedMember
        The whole ensemble.
    targets : sequence of Target
        Outputs.
    raw : GraphInput
        The slide.
    reference_input : ReferenceInput or sequence of ReferenceInput
        Reference input of all targets, or of each.
    precision : Precision or sequence of Precision
        Precision of all targets, or of each.
    n_members : sequence of int, optional
        How many members, the first ones, each target is read from; all by default.
    threads : int
        Number of threads. Each runs torch with one thread, so that results do not depend on it.

    Returns
    -------
    list of Integral
        By target.
    """
    n_targets = len(targets)
    precisions = [precision] * n_targets if isinstance(precision, Precision) else list(precision)
    references = [reference_input] * n_targets if isinstance(reference_input, ReferenceInput) else list(reference_input)
    is_large = len(raw.features) > CHUNK_NODES
    counts = [len(members)] * n_targets if n_members is None else list(n_members)
    jobs = [
        _Job(
            members=members[: counts[number]],
            target=target,
            path=(*path, raw),
            segments=segments,
            precision=required,
            n_paths=n_paths,
        )
        for number, (target, reference, required) in enumerate(zip(targets, references, precisions, strict=True))
        for n_paths in [len(reference.paths)]
        for path in reference.paths
        # segments of the first output are separate jobs; those of a further output, which are quick, are one job
        for segments in ([(k,) for k in range(len(path))] if number == 0 or is_large else [tuple(range(len(path)))])
    ]
    with one_thread(), ThreadPoolExecutor(max(1, min(threads, len(jobs)))) as pool:
        # the quick jobs of further outputs start before the long ones of the first, so that all threads stay busy
        futures = [pool.submit(_integrate_segments, job) for job in reversed(jobs)]
        results = chain.from_iterable(future.result() for future in reversed(futures))
        return [
            _mean_over_paths([[next(results) for _ in path] for path in reference.paths], raw, reference)
            for reference in references
        ]


def output_of(members: Sequence[ExplainedMember], target: Target, shape: Shape) -> Output:
    """Return the output as a function of every member's features (S, N, F), then edge attributes (S, E, A)."""

    def output(*inputs: Tensor) -> Tensor:
        logits = []
        for number, member in enumerate(members):
            logits.append(read(member.network, shape, inputs[number], inputs[len(members) + number]))
        # a network without attention layers does not use edges, but captum still needs a gradient for them
        unused = sum(0.0 * edges.sum(dim=(1, 2)) for edges in inputs[len(members) :])
        return target.read(members, logits) + unused

    return output


def _gradients_by_member(members: Sequence[ExplainedMember], target: Target, shape: Shape) -> Callable[..., Any]:
    """Return a function from inputs to the gradients of an output, which reads one member at a time.

    The output is a function of one number u_m of every member, its log survival, so that

        dF/dx_m = dF/du_m * du_m/dx_m.

    Each member is read once and differentiated at once; the factors dF/du_m follow when all numbers are known. The
    log-odds of a stage are a function of several numbers of each member: then logits come first, without gradients, and
    every member is read a second time. The function takes captum's arguments; it does not need captum's output.
    """
    n_members = len(members)

    def gradients(inputs: tuple[Tensor, ...], **_: Any) -> tuple[Tensor, ...]:
        pairs = [(inputs[number], inputs[n_members + number]) for number in range(n_members)]
        by_member: list[tuple[Tensor, ...]] = []
        if target.is_of_survival:
            numbers = []
            for member, pair in zip(members, pairs, strict=True):
                number = target.member_number(member, read(member.network, shape, *pair))
                by_member.append(_gradient(number.sum(), pair))
                numbers.append(number.detach())
            stacked = torch.stack(numbers).requires_grad_()
            (factor,) = torch.autograd.grad(target.combine(stacked).sum(), [stacked])
            by_member = [
                tuple(gradient * scale[:, None, None].to(gradient.dtype) for gradient in own)
                for own, scale in zip(by_member, factor, strict=True)
            ]
        else:
            with torch.no_grad():
                known = [read(member.network, shape, *pair) for member, pair in zip(members, pairs, strict=True)]
            leaves = [stage.requires_grad_() for stage, hazard in known]
            slopes = torch.autograd.grad(target.read(members, known).sum(), leaves)
            for member, pair, slope in zip(members, pairs, slopes, strict=True):
                logits = read(member.network, shape, *pair)[0]
                by_member.append(_gradient((logits * slope).sum(), pair))
        return (*(own[0] for own in by_member), *(own[1] for own in by_member))

    return gradients


def _gradient(value: Tensor, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Return the gradients of a number; 0 for edges that a network does not use."""
    return torch.autograd.grad(value, inputs, allow_unused=True, materialize_grads=True)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Job:
    """Segments of an integration path, which share a limit of the completeness error."""

    members: Sequence[ExplainedMember]
    target: Target
    path: tuple[GraphInput, ...]
    segments: tuple[int, ...]
    precision: Precision
    n_paths: int

    def point(self, number: int) -> tuple[Tensor, ...]:
        """Return the inputs at a point of the path: features (1, N, F) of every member, then edge attributes."""
        graphs = [member.scaled(self.path[number]) for member in self.members]
        names = ("features", "edge_attribute")
        return tuple(torch.from_numpy(getattr(graph, name))[None] for name in names for graph in graphs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Segment:
    """Attributions of one segment: features (N, F), edges (E,), both by member, outputs at its ends, and steps."""

    feature: NDArray[np.float64]
    edge: NDArray[np.float64]
    member_feature: NDArray[np.float64]
    member_edge: NDArray[np.float64]
    values: tuple[float, float]
    n_steps: int


def _integrate_segments(job: _Job) -> list[_Segment]:
    """Return the attributions of a job's segments, with as many steps as the completeness error requires."""
    shape = Shape.of(job.members[0].scaled(job.path[-1]))
    output = output_of(job.members, job.target, shape)
    method: Any = IntegratedGradients(output)
    if job.target.is_of_survival or len(shape.area) > CHUNK_NODES:
        method.gradient_func = _gradients_by_member(job.members, job.target, shape)
    points, n_segments, precision = [job.point(k) for k in range(len(job.path))], len(job.path) - 1, job.precision
    with torch.no_grad():
        values = [float(output(*point)) for point in points]
    fraction = len(job.segments) / n_segments
    limit = precision.limit(values[-1] - values[0]) * fraction
    # errors average out over many paths, so each path needs fewer steps
    n_steps = max(8, precision.n_steps // 5) if job.n_paths > 1 else precision.n_steps
    steps = [max(2, n_steps // n_segments)] * len(job.segments)
    attributions = [_attribute(method, points[k], points[k + 1], n) for k, n in zip(job.segments, steps, strict=True)]
    while True:
        errors = [
            sum(float(array.sum()) for array in arrays) - (values[k + 1] - values[k])
            for k, arrays in zip(job.segments, attributions, strict=True)
        ]
        if abs(sum(errors)) <= limit or 2 * sum(steps) > precision.max_steps * fraction:
            break
        for row, k in enumerate(job.segments):
            # only a segment with a relevant error gets more steps
            if abs(errors[row]) > limit / (2 * len(job.segments)):
                steps[row] *= 2
                attributions[row] = _attribute(method, points[k], points[k + 1], steps[row])
    return [
        _sum_members(arrays, len(job.members), (values[k], values[k + 1]), n)
        for k, arrays, n in zip(job.segments, attributions, steps, strict=True)
    ]


def _sum_members(
    arrays: list[NDArray[np.float64]], n_members: int, values: tuple[float, float], n_steps: int
) -> _Segment:
    """Return a segment from attributions of every member: features (N, F) of each, then edges (E, A) of each."""
    features, edges = arrays[:n_members], [edge.sum(axis=1) for edge in arrays[n_members:]]
    return _Segment(
        feature=np.sum(features, axis=0),
        edge=np.sum(edges, axis=0),
        member_feature=np.stack([feature.sum(axis=1) for feature in features]),
        member_edge=np.stack(edges),
        values=values,
        n_steps=n_steps,
    )


def _attribute(
    method: Any, start: tuple[Tensor, ...], end: tuple[Tensor, ...], n_steps: int
) -> list[NDArray[np.float64]]:
    """Return attributions of all inputs on a segment: features (N, F) of every member, then edges (E, A) of each."""
    chunk = max(1, CHUNK_NODES // end[0].shape[1])
    attributions = method.attribute(
        end, start, n_steps=n_steps, method="gausslegendre", internal_batch_size=min(chunk, n_steps)
    )
    return [tensor[0].double().numpy() for tensor in attributions]


def _mean_over_paths(paths: Sequence[Sequence[_Segment]], raw: GraphInput, reference_input: ReferenceInput) -> Integral:
    """Return the mean over paths of the sums over their segments."""
    feature, edge, member_feature, member_edge = (
        np.sum([getattr(segment, name) for path in paths for segment in path], axis=0) / len(paths)
        for name in ("feature", "edge", "member_feature", "member_edge")
    )
    value = float(np.mean([path[-1].values[1] for path in paths]))
    start = float(np.mean([path[0].values[0] for path in paths]))
    first = np.mean([path[0].feature.sum(axis=1) for path in paths], axis=0)
    return Integral(
        feature=feature,
        first_segment=first if reference_input.splits_by_cluster else np.zeros(len(first)),
        edge=edge,
        member_node=np.stack(
            [to_nodes(own[:, None], edges, raw) for own, edges in zip(member_feature, member_edge, strict=True)]
        ),
        value=value,
        reference_value=start,
        completeness_error=abs(float(feature.sum() + edge.sum()) - (value - start)),
        n_steps=max(sum(segment.n_steps for segment in path) for path in paths),
    )


def gradient_x_input(members: Sequence[ExplainedMember], target: Target, raw: GraphInput) -> NDArray[np.float64]:
    """Return the gradient of an output times the standardised features, summed over features, float64 (N,)."""
    graphs = [member.scaled(raw) for member in members]
    features = [torch.from_numpy(graph.features)[None].requires_grad_() for graph in graphs]
    edges = [torch.from_numpy(graph.edge_attribute)[None].requires_grad_() for graph in graphs]
    with one_thread():
        by_input = _gradients_by_member(members, target, Shape.of(graphs[0]))(inputs=(*features, *edges))
    gradients = by_input[: len(members)]
    products = [(slope * at.detach())[0].double().sum(dim=1) for slope, at in zip(gradients, features, strict=True)]
    return np.asarray(torch.stack(products).sum(dim=0).numpy())


def pooling_weights(member: ExplainedMember, graph: Standardised) -> NDArray[np.float64]:
    """Return how much every region counts in the slide embedding, as the network's pooling says, float64 (N,)."""
    shape = Shape.of(graph)
    edge_index, area, batch = shape.union(1)
    features, edge_attr = torch.from_numpy(graph.features), torch.from_numpy(graph.edge_attribute)
    with one_thread(), torch.inference_mode():
        network: Any = member.network
        weights = network.pooling_weights(features, edge_index, edge_attr, batch, area, 1)
    return np.asarray(weights.double().numpy())


def to_nodes(feature: NDArray[np.float64], edge: NDArray[np.float64], raw: GraphInput) -> NDArray[np.float64]:
    """Return the attribution of every region: of its features, and half of that of every edge it sends or receives.

    Parameters
    ----------
    feature : float64 (N, F)
        Attribution of features.
    edge : float64 (E,)
        Attribution of directed edges.
    raw : GraphInput
        The slide, for its edges.

    Returns
    -------
    float64 (N,)
        With the same sum as features and edges together.
    """
    total = feature.sum(axis=1)
    for end in raw.edge_index:
        total = total + 0.5 * np.bincount(end, edge, len(total))
    return np.asarray(total)
