"""Graphs with known outcomes, read once and checked, and their split by patient."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.losses import NO_STAGE
from wsigraph.records import CoarseGraph, TissueGraph


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A graph with what is known of its patient.

    Attributes
    ----------
    graph : CoarseGraph or TissueGraph
        What the model sees.
    patient : str
        Whose it is; all slides of a patient fall into one part.
    stage : int or None
        Index into the stage names; None where unknown.
    time_days : float or None
        Follow-up, days; None where unknown.
    event : bool
        Whether follow-up ended with the event.
    """

    graph: CoarseGraph | TissueGraph
    patient: str
    stage: int | None = None
    time_days: float | None = None
    event: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """Training graphs and their outcomes.

    Attributes
    ----------
    inputs : list of GraphInput
        One a slide, B of them.
    patient : str (B,)
        Whose slide it is.
    stage : int64 (B,)
        Stage index, -1 where unknown.
    time_days : float64 (B,)
        Follow-up, days; NaN where unknown.
    event : bool (B,)
        Whether follow-up ended with the event.
    moment_id : str
        Digest of the graphs' moment schema.
    embedding_id : str or None
        Embedding that coarsened the graphs; None where they are not coarsened.
    """

    inputs: list[GraphInput]
    patient: NDArray[np.str_]
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    moment_id: str
    embedding_id: str | None


def collect(examples: Iterable[Example], stage_names: tuple[str, ...]) -> Cohort:
    """Return the numbers of all examples; the graphs themselves are not kept.

    Parameters
    ----------
    examples : iterable of Example
        Read once.
    stage_names : tuple of str
        The K stages that indices point to.

    Returns
    -------
    Cohort
        In the order of the examples.

    Raises
    ------
    ModelError
        If there is no example, a stage index is out of range, follow-up is not a number above 0, or the graphs differ
        in schema or coarsening.
    """
    inputs, rows, schemas = [], [], set()
    for example in examples:
        graph = example.graph
        tissue, embedding_id = (graph.graph, graph.embedding_id) if isinstance(graph, CoarseGraph) else (graph, None)
        if example.stage is not None and not 0 <= example.stage < len(stage_names):
            raise ModelError(
                f"patient {example.patient!r} has stage index {example.stage}, "
                f"expected 0 to {len(stage_names) - 1} for stages {', '.join(stage_names)}"
            )
        _check_follow_up(example)
        schemas.add((moment_schema_id(tissue.moment_names), embedding_id))
        inputs.append(graph_input(graph))
        stage = NO_STAGE if example.stage is None else example.stage
        time_days = math.nan if example.time_days is None else example.time_days
        rows.append((example.patient, stage, time_days, example.event))
    if not rows:
        raise ModelError("no graph to train on, expected graphs of at least two patients; check the manifest")
    if len(schemas) != 1:
        raise ModelError(
            f"training graphs have {len(schemas)} kinds of moment schema and coarsening, expected one; "
            "build and coarsen all of them with one version and one configuration"
        )
    patient, stages, times, events = zip(*rows, strict=True)
    moment_id, embedding_id = schemas.pop()
    return Cohort(
        inputs=inputs,
        patient=np.array(patient, np.str_),
        stage=np.array(stages, np.int64),
        time_days=np.array(times, np.float64),
        event=np.array(events, np.bool_),
        moment_id=moment_id,
        embedding_id=embedding_id,
    )


def _check_follow_up(example: Example) -> None:
    if example.time_days is None and not example.event:
        return
    if example.time_days is None or not (math.isfinite(example.time_days) and example.time_days > 0):
        raise ModelError(
            f"patient {example.patient!r} has follow-up of {example.time_days} days (event: {example.event}), "
            "expected days above 0 with an event, or neither; correct the manifest"
        )


def validation_patients(
    patient: NDArray[np.str_], event: NDArray[np.bool_], fraction: float, *, rng: np.random.Generator
) -> NDArray[np.str_]:
    """Return the patients that only decide when to stop, drawn apart among those with and without an event.

    Parameters
    ----------
    patient : str (B,)
        Patient of every slide.
    event : bool (B,)
        Whether the patient had the event.
    fraction : float
        Share of the patients wanted.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    str (n,)
        At least one patient, and never all of them.

    Raises
    ------
    ModelError
        If there are fewer than two patients.
    """
    with_event = np.unique(patient[event])
    groups = [with_event, np.setdiff1d(np.unique(patient), with_event)]
    n_patients = sum(len(group) for group in groups)
    if n_patients < 2:
        raise ModelError(f"{n_patients} patients to train on, expected at least 2; add patients")
    # one of each group stays in training whatever the fraction: without an event there would be nothing to learn
    sizes = [min(int(len(group) * fraction + 0.5), max(0, len(group) - 1)) for group in groups]
    drawn = [rng.permutation(group)[:size] for group, size in zip(groups, sizes, strict=True)]
    chosen = np.concatenate(drawn)
    # of too few patients for a share, one without an event if there is one
    return np.sort(chosen if len(chosen) else rng.permutation(groups[-1] if len(groups[-1]) else with_event)[:1])
