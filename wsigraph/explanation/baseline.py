"""What a slide is compared with.

A baseline is a way from tissue that says nothing to the slide itself, in features' own units; edges stay in place all
along, because a boundary of length zero is no tissue, and only their attributes move from the training mean.

- ``kind`` (the default): from the mean of all training tissue to the mean of each region's kind, and from there to the
  region. The first part of the way tells what it matters which tissue there is, the second how the tissue differs from
  others of its kind; their sum is what the model made of the slide.
- ``site``: from the mean of the training tissue of the same site.
- ``draws``: from training regions drawn at random, 20 times over; the mean of these attributions are expected
  gradients.
- ``mean``: from the mean of the scaler, for a model that brings no reference.

References
----------
Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017 (the integral along a path, remark 2);
Erion et al., "Improving performance of deep learning models with axiomatic attribution priors and expected
gradients", Nature Machine Intelligence 2021.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsigraph.errors import ConfigError
from wsigraph.explanation.members import ExplainedMember
from wsigraph.explanation.reference import Reference
from wsigraph.model.inputs import GraphInput

BASELINES = ("kind", "site", "draws", "mean")
"""Names of the baselines."""
N_DRAWS = 20
"""Draws of training regions for expected gradients."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """One or several ways to a slide.

    Attributes
    ----------
    name : str
        One of `BASELINES`, or ``broad``.
    baseline_id : str
        Name and digest of the reference that it was taken from.
    ways : tuple of tuple of GraphInput
        Each from its start to just before the slide; attributions are means over ways.
    """

    name: str
    baseline_id: str
    ways: tuple[tuple[GraphInput, ...], ...]

    @property
    def parts_kind(self) -> bool:
        """Whether the first part of the way tells which tissue there is."""
        return self.name == "kind"


def make_baseline(
    name: str,
    raw: GraphInput,
    member: ExplainedMember,
    reference: Reference | None,
    *,
    site: str | None = None,
    rng: np.random.Generator,
) -> Baseline:
    """Return a baseline of a slide.

    Parameters
    ----------
    name : str
        One of `BASELINES`.
    raw : GraphInput
        The slide.
    member : ExplainedMember
        Any member of the model, for the mean of its scaler.
    reference : Reference or None
        The training cohort.
    site : str, optional
        The slide's site.
    rng : numpy.random.Generator
        Source of the draws.

    Returns
    -------
    Baseline
        With as many regions and edges as the slide.

    Raises
    ------
    ConfigError
        If the name is unknown, or needs a reference or a site that is not there.
    """
    if name not in BASELINES:
        raise ConfigError(f"baseline {name!r} is unknown, expected one of {', '.join(BASELINES)}")
    if name == "mean":
        scaler = member.scaler
        return Baseline(name=name, baseline_id=name, ways=((_same(raw, scaler.feature_mean, scaler.edge_mean),),))
    if reference is None:
        raise ConfigError(f"baseline {name!r} needs the model's reference, which is not there; take baseline 'mean'")
    named = f"{name} {reference.reference_id or 'unstored'}"
    if name == "site":
        if site not in reference.site_names:
            known = ", ".join(reference.site_names) or "none"
            raise ConfigError(f"baseline 'site': site {site!r} was not in training, expected one of {known}")
        start = _same(raw, reference.site_mean[reference.site_names.index(str(site))], reference.edge_mean)
        return Baseline(name=name, baseline_id=f"{named} {site}", ways=((start,),))
    if name == "draws":
        drawn = rng.integers(0, len(reference.region_feature), (N_DRAWS, len(raw.features)))
        ways = tuple((_same(raw, reference.region_feature[rows], reference.edge_mean),) for rows in drawn)
        return Baseline(name=name, baseline_id=named, ways=ways)
    start = _same(raw, reference.mean, reference.edge_mean)
    typical = _same(raw, reference.kind_mean[reference.kinds(raw.features)], reference.edge_mean)
    return Baseline(name=name, baseline_id=named, ways=((start, typical),))


def broad_baseline(raw: GraphInput, reference: Reference) -> Baseline:
    """Return the way from the mean of each region's broad kind to the slide, with the slide's own edges.

    Parameters
    ----------
    raw : GraphInput
        The slide.
    reference : Reference
        The training cohort.

    Returns
    -------
    Baseline
        What replacing regions by others of their broad kind can undo; not one to explain a slide by.
    """
    start = _same(raw, reference.broad_mean[reference.broad_kinds(raw.features)], reference.edge_mean)
    return Baseline(name="broad", baseline_id="broad", ways=((replace(start, edge_attribute=raw.edge_attribute),),))


def _same(raw: GraphInput, features: NDArray[np.floating], edge_attribute: NDArray[np.float64]) -> GraphInput:
    """Return a graph of the same areas and edges with other features and edge attributes."""
    return GraphInput(
        features=np.broadcast_to(features, raw.features.shape).astype(np.float64),
        area_um2=raw.area_um2,
        edge_index=raw.edge_index,
        edge_attribute=np.broadcast_to(edge_attribute, raw.edge_attribute.shape).astype(np.float64),
    )
