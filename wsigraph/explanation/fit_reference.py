"""The reference of a model from its training graphs.

Regions are kept in a sample of bounded size, equally many from each kind of tissue so that rare kinds can serve for
replacement too. Means and kinds are of all regions by area; of slides with very many, of as many drawn at random as fit
into memory, each of which then stands for more of its slide's area.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wsigraph.cohort.metrics.kaplan_meier import kaplan_meier
from wsigraph.config import ExplanationConfig
from wsigraph.errors import ModelError
from wsigraph.explanation.kinds import cluster, nearest, of_tissue, telling_names
from wsigraph.explanation.members import ExplainedMember, Shape, members, read
from wsigraph.explanation.reference import Reference, save_reference
from wsigraph.explanation.target import Target, mean_log_survival
from wsigraph.graph.one_thread import one_thread
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.columns import NodeColumns
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.member import coarsened_inputs
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.training.dataset import Cohort

_CLUSTERED = 20_000
_NUMBERS_A_SLIDE = 64_000
"""Features of all regions together that are kept of a slide, half a megabyte; a thousand regions of 64 features."""
_SIGNIFICANT_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSlide:
    """A graph that a model was trained on, and what is known of it.

    Attributes
    ----------
    graph : CoarseGraph, TissueGraph or GraphInput
        What the model saw.
    site : str or None
        Hospital or scanner site.
    time_days : float or None
        Follow-up, days.
    event : bool
        Whether it ended with the event.
    """

    graph: CoarseGraph | TissueGraph | GraphInput
    site: str | None = None
    time_days: float | None = None
    event: bool = False


def gather_reference(
    slides: Iterable[TrainingSlide],
    bundle: ModelBundle,
    *,
    rng: np.random.Generator,
    n_kinds: int = 8,
    n_broad_kinds: int = 4,
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
        Kinds of tissue: as many as a model may tell apart, or what lies between two of them is laid to the wrong one.
    n_broad_kinds : int
        Broad kinds of tissue: so few that a region replaced by another of its own can lose what the model heeds.
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
    networks, columns = members(bundle), NodeColumns.of(bundle.card.config, bundle.card.encoder)
    sites, times, events, outputs, kept, edges = [], [], [], [], [], []
    for slide in slides:
        raw = slide.graph if isinstance(slide.graph, GraphInput) else graph_input(slide.graph, columns)
        sites.append(slide.site or "")
        times.append(np.nan if slide.time_days is None else slide.time_days)
        events.append(slide.event)
        outputs.append(_outputs(networks, raw, np.array(bundle.card.time_days)))
        kept.append(_Regions.of(raw, rng))
        edges.append((raw.edge_attribute.sum(axis=0), len(raw.edge_attribute)))
    if not kept:
        raise ModelError("no training slide to gather a reference from, expected those the model was trained on")
    features, area, weight = (
        np.concatenate([getattr(each, name) for each in kept]) for name in ("features", "area", "weight")
    )
    of_region = np.repeat(np.array(sites, np.str_), [len(each.area) for each in kept])
    del kept
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(centre), 1e-3), scale, 0.0)
    points = np.divide(features - centre, scale, out=np.zeros_like(features), where=scale > 0)
    points = of_tissue(points, bundle.card.feature_names)
    few = rng.permutation(len(points))[:_CLUSTERED]
    kind_centre = cluster(points[few], weight[few], n_kinds, rng=rng)
    kind = nearest(points, kind_centre)
    chosen = _sample(kind, len(kind_centre), n_regions, rng)
    broad_centre = cluster(points[few], weight[few], n_broad_kinds, rng=rng)
    broad = nearest(points, broad_centre)
    named = tuple(sorted(set(sites) - {""}))
    stage, risk, log_alive = (np.array([each[part] for each in outputs]) for part in range(3))
    names = bundle.card.feature_names
    return Reference(
        weights_sha256=bundle.card.weights_sha256,
        feature_names=names,
        centre=centre,
        scale=scale,
        mean=_by_area(features, weight),
        edge_mean=np.sum([total for total, _ in edges], axis=0) / max(1, sum(number for _, number in edges)),
        kind_names=tuple(kind_names or telling_names(kind_centre, names)),
        kind_centre=kind_centre,
        kind_mean=_means(features, weight, kind, range(len(kind_centre))),
        kind_fraction=np.bincount(kind, weight, len(kind_centre)) / weight.sum(),
        broad_names=telling_names(broad_centre, names),
        broad_centre=broad_centre,
        broad_mean=_means(features, weight, broad, range(len(broad_centre))),
        site_names=named,
        site_mean=_means(features, weight, of_region, named),
        region_feature=_short(features[chosen]),
        region_area_um2=area[chosen].astype(np.float32),
        region_kind=kind[chosen].astype(np.int16),
        region_broad_kind=broad[chosen].astype(np.int16),
        percentile=np.percentile(features, np.arange(101), axis=0).astype(np.float32),
        output_stage=stage,
        output_risk=risk,
        output_log_survival=log_alive.reshape(len(sites), -1),
        time_days=np.array(bundle.card.time_days),
        survival=kaplan_meier(np.array(times), np.array(events)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Regions:
    """Regions of a slide: features (n, F), areas (n,) and the tissue each stands for (n,), um2."""

    features: NDArray[np.float64]
    area: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, raw: GraphInput, rng: np.random.Generator) -> _Regions:
        n_regions, n_features = raw.features.shape
        most = max(1, _NUMBERS_A_SLIDE // n_features)
        if n_regions <= most:
            return cls(raw.features, raw.area_um2, raw.area_um2)
        rows = np.sort(rng.permutation(n_regions)[:most])
        area = raw.area_um2[rows]
        return cls(raw.features[rows], area, area * (raw.area_um2.sum() / area.sum()))


def write_reference(
    cohort: Cohort, bundle: ModelBundle, directory: Path | str, settings: ExplanationConfig, *, seed: int
) -> Path:
    """Write the reference of a model from the cohort that it was trained on.

    Parameters
    ----------
    cohort : Cohort
        One row a patient; slides of a patient count as one.
    bundle : ModelBundle
        The finished model.
    directory : Path or str
        Directory of the bundle.
    settings : ExplanationConfig
        Says how many kinds of tissue, and how many broad ones.
    seed : int
        Decides clusters and sample.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the cohort was coarsened by another embedding than the model's and keeps no superpixel graphs.
    StoreError
        If it cannot be written.

    Notes
    -----
    One reading of every row by every member, and about four times `_NUMBERS_A_SLIDE` numbers a row in memory.
    """
    slides = (
        TrainingSlide(graph=graph, site=site or None, time_days=None if isnan(days) else days, event=event)
        for graph, site, days, event in zip(
            coarsened_inputs(cohort, bundle.embedding),
            cohort.site.tolist(),
            cohort.time_days.tolist(),
            cohort.event.tolist(),
            strict=True,
        )
    )
    rng = np.random.default_rng(seed)
    found = gather_reference(slides, bundle, rng=rng, n_kinds=settings.kinds, n_broad_kinds=settings.broad_kinds)
    return save_reference(found, directory)


def _outputs(
    networks: Sequence[ExplainedMember], raw: GraphInput, time_days: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Return stage, risk and log survival of one slide; 0 and empty where not predicted."""
    with one_thread(), torch.inference_mode():
        graphs = [member.scaled(raw) for member in networks]
        logits = [
            read(
                member.network,
                Shape.of(graph),
                torch.from_numpy(graph.features)[None],
                torch.from_numpy(graph.edge_attribute)[None],
            )
            for member, graph in zip(networks, graphs, strict=True)
        ]
        has_stage, has_survival = (bool(part.shape[1]) for part in logits[0])
        stage = float(Target("stage").read(networks, logits)[0]) if has_stage else 0.0
        if not has_survival:
            return stage, 0.0, np.zeros(0)
        risk = float(Target("risk").read(networks, logits)[0])
        return stage, risk, mean_log_survival(networks, logits, time_days)[0].numpy()


def _by_area(features: NDArray[np.float64], area: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(area @ features / max(float(area.sum()), 1e-300))


def _means(
    features: NDArray[np.float64], area: NDArray[np.float64], group: NDArray[Any], names: Sequence[Any]
) -> NDArray[np.float64]:
    """Return means by area of the regions of every group, float64 (groups, F)."""
    found = [_by_area(features[group == name], area[group == name]) for name in names]
    return np.array(found, np.float64).reshape(len(names), features.shape[1])


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
