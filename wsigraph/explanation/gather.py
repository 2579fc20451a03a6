"""The reference of a model from its training graphs.

Regions are kept in a sample of bounded size, equally many from each kind of tissue so that rare kinds can serve for
replacement too. Means are by area over all regions, the sample aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.errors import ModelError
from wsigraph.explanation.kaplan_meier import kaplan_meier
from wsigraph.explanation.kinds import cluster, nearest, of_tissue, telling_names
from wsigraph.explanation.members import Member, Shape, members, read
from wsigraph.explanation.reference import Reference
from wsigraph.explanation.target import Target
from wsigraph.model.heads import log_survival
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.network import one_thread
from wsigraph.model.reading import Reading
from wsigraph.model.weights import ModelBundle
from wsigraph.records import CoarseGraph, TissueGraph

_CLUSTERED = 20_000
_SIGNIFICANT_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSlide:
    """A graph that a model was trained on, and what is known of it.

    Attributes
    ----------
    graph : CoarseGraph or TissueGraph
        What the model saw.
    site : str or None
        Hospital or scanner site.
    time_days : float or None
        Follow-up, days.
    event : bool
        Whether it ended with the event.
    """

    graph: CoarseGraph | TissueGraph
    site: str | None = None
    time_days: float | None = None
    event: bool = False


def gather_reference(
    slides: Iterable[TrainingSlide],
    bundle: ModelBundle,
    *,
    rng: np.random.Generator,
    n_kinds: int = 4,
    n_regions: int = 2000,
    kind_names: Sequence[str] | None = None,
) -> Reference:
    """Return what explanations of a model must know of its training cohort.

    Parameters
    ----------
    slides : iterable of TrainingSlide
        Read once.
    bundle : ModelBundle
        The finished model.
    rng : numpy.random.Generator
        Source of the clusters' start and of the sample.
    n_kinds : int
        Kinds of tissue; few.
    n_regions : int
        Regions to keep for replacement.
    kind_names : sequence of str, optional
        Names of the kinds, the one with most area first; by their most telling features where left out.

    Returns
    -------
    Reference
        Not yet stored, and so without a digest of its own.

    Raises
    ------
    ModelError
        If there is no slide.
    """
    networks = members(bundle)
    inputs, sites, times, events, outputs = [], [], [], [], []
    for slide in slides:
        raw = graph_input(slide.graph, Reading.of(bundle.card.config, bundle.card.encoder))
        inputs.append(raw)
        sites.append(slide.site or "")
        times.append(np.nan if slide.time_days is None else slide.time_days)
        events.append(slide.event)
        outputs.append(_outputs(networks, raw, np.array(bundle.card.time_days)))
    if not inputs:
        raise ModelError("no training slide to gather a reference from, expected those the model was trained on")
    features = np.concatenate([each.features for each in inputs])
    area = np.concatenate([each.area_um2 for each in inputs])
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(centre), 1e-3), scale, 0.0)
    points = np.divide(features - centre, scale, out=np.zeros_like(features), where=scale > 0)
    points = of_tissue(points, bundle.card.feature_names)
    few = rng.permutation(len(points))[:_CLUSTERED]
    kind_centre = cluster(points[few], area[few], n_kinds, rng=rng)
    kind = nearest(points, kind_centre)
    chosen = _sample(kind, len(kind_centre), n_regions, rng)
    named = tuple(sorted(set(sites) - {""}))
    of_region = np.repeat(np.array(sites, np.str_), [len(each.features) for each in inputs])
    stage, risk, log_alive = (np.array([each[part] for each in outputs]) for part in range(3))
    return Reference(
        weights_sha256=bundle.card.weights_sha256,
        feature_names=bundle.card.feature_names,
        centre=centre,
        scale=scale,
        mean=_by_area(features, area),
        edge_mean=np.concatenate([each.edge_attribute for each in inputs]).mean(axis=0),
        kind_names=tuple(kind_names or telling_names(kind_centre, bundle.card.feature_names)),
        kind_centre=kind_centre,
        kind_mean=np.stack([_by_area(features[kind == each], area[kind == each]) for each in range(len(kind_centre))]),
        kind_fraction=np.bincount(kind, area, len(kind_centre)) / area.sum(),
        site_names=named,
        site_mean=np.array([_by_area(features[of_region == each], area[of_region == each]) for each in named]).reshape(
            len(named), features.shape[1]
        ),
        region_feature=_short(features[chosen]),
        region_area_um2=area[chosen].astype(np.float32),
        region_kind=kind[chosen].astype(np.int16),
        percentile=np.percentile(features, np.arange(101), axis=0).astype(np.float32),
        output_stage=stage,
        output_risk=risk,
        output_log_survival=log_alive.reshape(len(inputs), -1),
        time_days=np.array(bundle.card.time_days),
        survival=kaplan_meier(np.array(times), np.array(events)),
    )


def _outputs(
    networks: Sequence[Member], raw: GraphInput, time_days: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Return stage, risk and log survival of one slide, means over members; 0 and empty where not predicted."""
    stages, risks, curves = [], [], []
    for member in networks:
        graph = member.scaled(raw)
        with one_thread(), torch.inference_mode():
            stage, hazard = read(
                member.network,
                Shape.of(graph),
                torch.from_numpy(graph.features)[None],
                torch.from_numpy(graph.edge_attribute)[None],
            )
            if stage.shape[1]:
                stages.append(float(stage.mean()))
            if hazard.shape[1]:
                risks.append(float(Target("risk").read(stage, hazard, member.ends_days)[0]))
                alive = np.concatenate([[0.0], log_survival(hazard.double())[0].numpy()])
                curves.append(np.interp(time_days, np.concatenate([[0.0], member.ends_days]), alive))
    mean = np.mean(curves, axis=0) if curves else np.zeros(0)
    return float(np.mean(stages)) if stages else 0.0, float(np.mean(risks)) if risks else 0.0, np.asarray(mean)


def _by_area(features: NDArray[np.float64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(area @ features / max(float(area.sum()), 1e-300))


def _sample(kind: NDArray[np.int64], n_kinds: int, n_regions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return rows, about equally many of each kind, in their order."""
    order = rng.permutation(len(kind))
    rank = np.empty(len(kind), np.int64)
    for each in range(n_kinds):
        own = order[kind[order] == each]
        rank[own] = np.arange(len(own))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:n_regions])


def _short(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values in float32 of which only the leading bits are kept, so that they pack well."""
    mantissa, exponent = np.frexp(values)
    unit = 2.0**_SIGNIFICANT_BITS
    return np.ldexp(np.round(mantissa * unit) / unit, exponent).astype(np.float32)
