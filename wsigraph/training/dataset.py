"""The data set of training: graphs with known outcomes, checked, and their split by patient."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import CohortError, ModelError
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.graph.feature.interpret import feature_schema_id
from wsigraph.graph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.columns import NodeColumns, column_names
from wsigraph.model.inputs import GraphInput, graph_input, join
from wsigraph.model.nn.losses import NO_STAGE
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.training.superpixel_graphs import SuperpixelGraphs

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """A graph with the outcome of its patient.

    Attributes
    ----------
    graph : CoarseGraph or TissueGraph
        The slide.
    patient : str
        Patient id; all slides of a patient are in one part.
    stage : int or None
        Index into the stage names; None where unknown.
    time_days : float or None
        Follow-up, days; None where unknown.
    event : bool
        Whether follow-up ended with the event.
    site : str or None
        Hospital or scanner site.
    sha256 : str or None
        SHA-256 of the slide's bytes.
    covariates : mapping of str to str
        Further covariates of the patient, as text.
    """

    graph: CoarseGraph | TissueGraph
    patient: str
    stage: int | None = None
    time_days: float | None = None
    event: bool = False
    site: str | None = None
    sha256: str | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cohort:
    """Network inputs and outcomes of all rows, as arrays.

    Attributes
    ----------
    inputs : list of GraphInput
        One a row, B of them.
    patient : str (B,)
        Patient id.
    site : str (B,)
        Hospital or scanner site; empty where unknown.
    slides : tuple of tuple of str, length B
        SHA-256 of the slides of a row; empty where unknown.
    covariates : tuple of mapping of str to str, length B
        Further covariates of the patient.
    stain : float64 (B, 8)
        Stain vectors and maximum concentrations; NaN where there are none.
    stage : int64 (B,)
        Stage index, -1 where unknown.
    time_days : float64 (B,)
        Follow-up, days; NaN where unknown.
    event : bool (B,)
        Whether follow-up ended with the event.
    moment_id, feature_id : str
        Digests of the schemas of moments and features.
    embedding_id : str or None
        Embedding that coarsened the graphs; None where they are not coarsened.
    feature_names : tuple of str
        Columns of the node features.
    columns : NodeColumns
        Choice of the node features, with the encoder.
    superpixel_graphs : SuperpixelGraphs or None
        The rows before coarsening, kept where the coarsening is to be trained.
    nuclei : str
        What found the nuclei of the graphs.
    stained_with : str
        What the slides are stained with.
    """

    inputs: list[GraphInput]
    patient: NDArray[np.str_]
    site: NDArray[np.str_]
    slides: tuple[tuple[str, ...], ...]
    covariates: tuple[Mapping[str, str], ...]
    stain: NDArray[np.float64]
    stage: NDArray[np.int64]
    time_days: NDArray[np.float64]
    event: NDArray[np.bool_]
    moment_id: str
    feature_id: str
    embedding_id: str | None
    feature_names: tuple[str, ...]
    columns: NodeColumns = field(default_factory=NodeColumns)
    superpixel_graphs: SuperpixelGraphs | None = None
    nuclei: str = "rule"
    stained_with: str = "h&e"

    @property
    def n_rows(self) -> int:
        """Number of rows, B."""
        return len(self.inputs)

    def settled(self, configurations: Sequence[ModelConfig]) -> list[ModelConfig]:
        """Return settings whose ``inputs: auto`` is replaced by what the cohort's graphs gave."""
        inputs = "features" if self.columns.inputs == "auto" else self.columns.inputs
        return [one.model_copy(update={"inputs": inputs}) if one.inputs == "auto" else one for one in configurations]

    def take(self, rows: NDArray[np.int64]) -> Cohort:
        """Return some rows, in the given order."""
        return replace(
            self,
            inputs=[self.inputs[row] for row in rows],
            slides=tuple(self.slides[row] for row in rows),
            covariates=tuple(self.covariates[row] for row in rows),
            superpixel_graphs=None if self.superpixel_graphs is None else self.superpixel_graphs.take(rows.tolist()),
            **{name: getattr(self, name)[rows] for name in ("patient", "site", "stain", "stage", "time_days", "event")},
        )


def join_patients(cohort: Cohort) -> Cohort:
    """Return a cohort with one row a patient, joining the slides of each.

    The graphs of a patient's slides become one graph without edges between slides. So every region is weighted by its
    fraction of all the patient's tissue, in training, in scores and in every baseline model.

    Parameters
    ----------
    cohort : Cohort
        One row a slide.

    Returns
    -------
    Cohort
        Patients in the order of their first slide; stain is the mean over slides.

    Raises
    ------
    CohortError
        If the slides of a patient differ in stage, follow-up, event or site.
    """
    _, first, number = np.unique(cohort.patient, return_index=True, return_inverse=True)
    order = np.argsort(first)
    if len(order) == cohort.n_rows:
        return cohort
    members = [np.flatnonzero(number == patient) for patient in order]
    for rows in members:
        for name in ("stage", "time_days", "event", "site"):
            values = getattr(cohort, name)[rows]
            if len(np.unique(values)) > 1:
                raise CohortError(
                    f"the slides of patient {cohort.patient[rows[0]]!r} differ in {name} "
                    f"({', '.join(str(value) for value in np.unique(values)[:3])}), expected one; correct the manifest"
                )
    joined = cohort.take(np.array([rows[0] for rows in members]))
    superpixel_graphs = cohort.superpixel_graphs
    if superpixel_graphs is not None:
        superpixel_graphs = replace(
            superpixel_graphs, rows=tuple(sum((superpixel_graphs.rows[row] for row in rows), ()) for rows in members)
        )
    return replace(
        joined,
        superpixel_graphs=superpixel_graphs,
        inputs=[join([cohort.inputs[row] for row in rows]) for rows in members],
        slides=tuple(tuple(sha256 for row in rows for sha256 in cohort.slides[row]) for rows in members),
        stain=np.stack([cohort.stain[rows].mean(axis=0) for rows in members]),
    )


def collect(
    examples: Iterable[Example],
    stage_names: tuple[str, ...],
    *,
    columns: NodeColumns | None = None,
    coarsening: tuple[CoarseningConfig, Embedding] | None = None,
) -> Cohort:
    """Return the cohort of examples; their graphs are kept only where their coarsening is to be trained.

    Parameters
    ----------
    examples : iterable of Example
        Iterated once.
    stage_names : tuple of str
        The K stages that indices point to.
    columns : NodeColumns, optional
        Choice of the node features; the interpretable features where left out.
    coarsening : (CoarseningConfig, Embedding), optional
        Coarsen the examples' graphs, which must be superpixel graphs, with these, and keep the superpixel graphs.

    Returns
    -------
    Cohort
        In the order of the examples.

    Raises
    ------
    ModelError
        If there is no example, a stage index is out of range, follow-up is not a number above 0, or the graphs differ
        in schema, coarsening or encoder, or are coarse where superpixel graphs are needed.
    """
    columns, n_encoded = columns or NodeColumns(), 0
    is_auto = columns.inputs == "auto"
    inputs, rows, superpixel_graphs, schemas = [], [], [], set()
    details: list[tuple[str, tuple[str, ...], Mapping[str, str], NDArray[np.float64]]] = []
    for example in examples:
        graph = example.graph
        if coarsening is not None:
            superpixel_graphs.append((_superpixels(graph),))
            graph = coarsen(superpixel_graphs[-1][0], coarsening[0], embedding=coarsening[1])
        tissue, embedding_id = (graph.graph, graph.embedding_id) if isinstance(graph, CoarseGraph) else (graph, None)
        _check_stage(example, stage_names)
        _check_follow_up(example)
        columns = columns.chosen_for(tissue)
        n_encoded += tissue.encoding_sum is not None
        encoder = tissue.encoder if columns.needs_encoding else None
        nuclei = tissue.nuclei if columns.needs_features else "rule"
        schemas.add((moment_schema_id(tissue.moment_names), embedding_id, encoder, nuclei, tissue.stain.name))
        inputs.append(graph_input(graph, columns))
        stage = NO_STAGE if example.stage is None else example.stage
        time_days = math.nan if example.time_days is None else example.time_days
        rows.append((example.patient, stage, time_days, example.event))
        stain = np.concatenate([tissue.stain.vectors.ravel(), tissue.stain.max_concentration])
        details.append((example.site or "", (example.sha256,) if example.sha256 else (), example.covariates, stain))
    if is_auto and not columns.needs_encoding:
        _warn_of_unused(n_encoded, len(rows))
    if not rows:
        raise ModelError("no graph to train on, expected graphs of at least two patients; check the manifest")
    if len(schemas) != 1:
        raise ModelError(
            f"training graphs have {len(schemas)} combinations of moment schema, coarsening and encoder (or of what "
            "found nuclei, or of the stain), expected one; build and coarsen all of them with one version and one "
            "configuration"
        )
    patient, stages, times, events = zip(*rows, strict=True)
    sites, slides, covariates, stains = zip(*details, strict=True)
    moment_id, embedding_id, encoder, nuclei, stained_with = schemas.pop()
    return Cohort(
        inputs=inputs,
        patient=np.array(patient, np.str_),
        site=np.array(sites, np.str_),
        slides=slides,
        covariates=covariates,
        stain=np.array(stains, np.float64),
        stage=np.array(stages, np.int64),
        time_days=np.array(times, np.float64),
        event=np.array(events, np.bool_),
        moment_id=moment_id,
        feature_id=feature_schema_id(),
        embedding_id=embedding_id,
        nuclei=nuclei,
        stained_with=stained_with,
        feature_names=column_names(columns, inputs[0].features.shape[1]),
        columns=replace(columns, encoder=encoder),
        superpixel_graphs=None
        if coarsening is None
        else SuperpixelGraphs(rows=tuple(superpixel_graphs), config=coarsening[0], embedding=coarsening[1]),
    )


def _warn_of_unused(n_encoded: int, n_graphs: int) -> None:
    """Warn if some graphs hold an encoder's features and the first does not."""
    if n_encoded:
        text = "%d of %d graphs hold an encoder's features, which are not used: others have none"
        _log.warning(text, n_encoded, n_graphs)


def _superpixels(graph: CoarseGraph | TissueGraph) -> TissueGraph:
    if isinstance(graph, CoarseGraph):
        raise ModelError(
            f"slide {graph.graph.slide_id!r} is coarsened already, expected its superpixel graph, because the "
            "coarsening is to be trained; keep graph.safetensors next to it, or set model.train_coarsening to false"
        )
    return graph


def _check_stage(example: Example, stage_names: Sequence[str]) -> None:
    """Refuse a stage index that is none of the stages."""
    if example.stage is not None and not 0 <= example.stage < len(stage_names):
        raise ModelError(
            f"patient {example.patient!r} has stage index {example.stage}, "
            f"expected 0 to {len(stage_names) - 1} for stages {', '.join(stage_names)}"
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
    """Return the patients of the validation part, drawn separately among those with and without an event.

    Parameters
    ----------
    patient : str (B,)
        Patient of every slide.
    event : bool (B,)
        Whether the patient had the event.
    fraction : float
        Fraction of the patients.
    rng : numpy.random.Generator
        Source of randomness.

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
    # one of each group stays in training whatever the fraction: survival cannot be learned without an event
    sizes = [min(int(len(group) * fraction + 0.5), max(0, len(group) - 1)) for group in groups]
    drawn = [rng.permutation(group)[:size] for group, size in zip(groups, sizes, strict=True)]
    chosen = np.concatenate(drawn)
    # too few patients for the fraction: one patient, without an event if there is one
    return np.sort(chosen if len(chosen) else rng.permutation(groups[-1] if len(groups[-1]) else with_event)[:1])
