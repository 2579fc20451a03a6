"""Fits the training reference of a model from its training graphs.

The reference holds a bounded sample of regions, equally many from each tissue cluster, so that rare tissue can replace
regions too. Means and clusters use all regions, weighted by area. A slide with very many regions contributes a random
sample of them, whose weights are scaled up to the area of the slide.
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
from wsigraph.explanation.members import ExplainedMember, Shape, explained_members, read
from wsigraph.explanation.reference import Reference, save_reference
from wsigraph.explanation.target import Target, mean_log_survival
from wsigraph.explanation.tissue_clusters import cluster, cluster_labels, nearest, without_shape
from wsigraph.model.bundle import ModelBundle
from wsigraph.model.columns import Reading
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.member import inputs_of
from wsigraph.model.nn.network import one_thread
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.training.dataset import Cohort

_MAX_CLUSTERED_REGIONS = 20_000
_MAX_VALUES_PER_SLIDE = 64_000
"""Feature values that a slide contributes at most: 1,000 regions of 64 features, half a megabyte."""
_SIGNIFICANT_BITS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSlide:
    """A training graph with its site and follow-up.

    Attributes
    ----------
    graph : CoarseGraph, TissueGraph or GraphInput
        The graph that the model was trained on.
    site : str or None
        Hospital or scanner site.
    time_days : float or None
        Follow-up, days.
    event : bool
        Whether follow-up ended with the event.
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
    n_clusters: int = 8,
    n_broad_clusters: int = 4,
    n_regions: int = 2000,
    cluster_names: Sequence[str] | None = None,
) -> Reference:
    """Return the training reference of a model.

    Parameters
    ----------
    slides : iterable of TrainingSlide
        Training slides; iterated once.
    bundle : ModelBundle
        The trained model.
    rng : numpy.random.Generator
        Source of the k-means++ starts and of the sample.
    n_clusters : int
        Tissue clusters. Choose at least as many as there are tissues that the model may distinguish; otherwise
        attribution leaks between the tissues of one cluster.
    n_broad_clusters : int
        Broad tissue clusters. Choose few, so that a donor from the same broad cluster can differ in what the model
        uses.
    n_regions : int
        Size of the sample of regions.
    cluster_names : sequence of str, optional
        Names of the clusters, by falling area; by default their most distinctive features.

    Returns
    -------
    Reference
        Not stored yet, so without a digest.

    Raises
    ------
    ModelError
        If there is no slide.
    """
    networks, reading = explained_members(bundle), Reading.of(bundle.card.config, bundle.card.encoder)
    sites, times, events, outputs, samples, edges = [], [], [], [], [], []
    for slide in slides:
        raw = slide.graph if isinstance(slide.graph, GraphInput) else graph_input(slide.graph, reading)
        sites.append(slide.site or "")
        times.append(np.nan if slide.time_days is None else slide.time_days)
        events.append(slide.event)
        outputs.append(_outputs(networks, raw, np.array(bundle.card.time_days)))
        samples.append(_Regions.of(raw, rng))
        edges.append((raw.edge_attribute.sum(axis=0), len(raw.edge_attribute)))
    if not samples:
        raise ModelError("there is no training slide to fit a reference to, expected those the model was trained on")
    features, area, weight = (
        np.concatenate([getattr(sample, name) for sample in samples]) for name in ("features", "area", "weight")
    )
    site_of_region = np.repeat(np.array(sites, np.str_), [len(sample.area) for sample in samples])
    del samples
    centre, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-9 * np.maximum(np.abs(centre), 1e-3), scale, 0.0)
    points = np.divide(features - centre, scale, out=np.zeros_like(features), where=scale > 0)
    points = without_shape(points, bundle.card.feature_names)
    few = rng.permutation(len(points))[:_MAX_CLUSTERED_REGIONS]
    cluster_centre = cluster(points[few], weight[few], n_clusters, rng=rng)
    labels = nearest(points, cluster_centre)
    chosen = _sample(labels, len(cluster_centre), n_regions, rng)
    broad_cluster_centre = cluster(points[few], weight[few], n_broad_clusters, rng=rng)
    broad_labels = nearest(points, broad_cluster_centre)
    site_names = tuple(sorted(set(sites) - {""}))
    stage, risk, log_survival = (np.array(values) for values in zip(*outputs, strict=True))
    names = bundle.card.feature_names
    return Reference(
        weights_sha256=bundle.card.weights_sha256,
        feature_names=names,
        centre=centre,
        scale=scale,
        mean=_by_area(features, weight),
        edge_mean=np.sum([total for total, _ in edges], axis=0) / max(1, sum(number for _, number in edges)),
        cluster_names=tuple(cluster_names or cluster_labels(cluster_centre, names)),
        cluster_centre=cluster_centre,
        cluster_mean=_means(features, weight, labels, range(len(cluster_centre))),
        cluster_fraction=np.bincount(labels, weight, len(cluster_centre)) / weight.sum(),
        broad_cluster_names=cluster_labels(broad_cluster_centre, names),
        broad_cluster_centre=broad_cluster_centre,
        broad_cluster_mean=_means(features, weight, broad_labels, range(len(broad_cluster_centre))),
        site_names=site_names,
        site_mean=_means(features, weight, site_of_region, site_names),
        region_feature=_round_mantissa(features[chosen]),
        region_area_um2=area[chosen].astype(np.float32),
        region_cluster=labels[chosen].astype(np.int16),
        region_broad_cluster=broad_labels[chosen].astype(np.int16),
        percentile=np.percentile(features, np.arange(101), axis=0).astype(np.float32),
        output_stage=stage,
        output_risk=risk,
        output_log_survival=log_survival.reshape(len(sites), -1),
        time_days=np.array(bundle.card.time_days),
        survival=kaplan_meier(np.array(times), np.array(events)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Regions:
    """Regions of a slide: features (n, F), areas (n,), um2, and the area that each represents (n,), um2."""

    features: NDArray[np.float64]
    area: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, raw: GraphInput, rng: np.random.Generator) -> _Regions:
        n_regions, n_features = raw.features.shape
        most = max(1, _MAX_VALUES_PER_SLIDE // n_features)
        if n_regions <= most:
            return cls(raw.features, raw.area_um2, raw.area_um2)
        rows = np.sort(rng.permutation(n_regions)[:most])
        area = raw.area_um2[rows]
        return cls(raw.features[rows], area, area * (raw.area_um2.sum() / area.sum()))


def write_reference(
    cohort: Cohort, bundle: ModelBundle, directory: Path | str, settings: ExplanationConfig, *, seed: int
) -> Path:
    """Fit the reference of a model to its training cohort and write it.

    Parameters
    ----------
    cohort : Cohort
        One row per patient; the slides of a patient are one graph.
    bundle : ModelBundle
        The trained model.
    directory : Path or str
        Directory of the bundle.
    settings : ExplanationConfig
        Numbers of tissue clusters.
    seed : int
        Seed of the clusters and the sample.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        If the cohort was coarsened by another embedding than the model's and holds no superpixel graphs.
    StoreError
        If it cannot be written.

    Notes
    -----
    One forward pass of every member per row, and about four times `_MAX_VALUES_PER_SLIDE` values per row in memory.
    """
    slides = (
        TrainingSlide(graph=graph, site=site or None, time_days=None if isnan(days) else days, event=event)
        for graph, site, days, event in zip(
            inputs_of(cohort, bundle.embedding),
            cohort.site.tolist(),
            cohort.time_days.tolist(),
            cohort.event.tolist(),
            strict=True,
        )
    )
    rng = np.random.default_rng(seed)
    reference = gather_reference(
        slides, bundle, rng=rng, n_clusters=settings.clusters, n_broad_clusters=settings.broad_clusters
    )
    return save_reference(reference, directory)


def _outputs(
    networks: Sequence[ExplainedMember], raw: GraphInput, time_days: NDArray[np.float64]
) -> tuple[float, float, NDArray[np.float64]]:
    """Return stage, risk and log survival of one slide; 0 and empty if not predicted."""
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
    """Return area-weighted means of the regions of every group, float64 (groups, F)."""
    means = [_by_area(features[group == name], area[group == name]) for name in names]
    return np.array(means, np.float64).reshape(len(names), features.shape[1])


def _sample(labels: NDArray[np.int64], n_clusters: int, n_regions: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return rising row numbers, about equally many of each cluster."""
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)
    for label in range(n_clusters):
        own = order[labels[order] == label]
        rank[own] = np.arange(len(own))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:n_regions])


def _round_mantissa(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values in float32, rounded to the leading bits of the mantissa, so that they compress well."""
    mantissa, exponent = np.frexp(values)
    unit = 2.0**_SIGNIFICANT_BITS
    return np.ldexp(np.round(mantissa * unit) / unit, exponent).astype(np.float32)
