"""Reference inputs of Integrated Gradients: what a slide is compared with.

A reference input is an integration path that starts at uninformative tissue and ends at the slide, in the features'
own units. All edges stay in place along the path, because a boundary of length zero is no tissue. Only the edge
attributes move, from their training mean.

- ``cluster`` (the default): from the mean of all training tissue to the mean of each region's tissue cluster, and from
  there to the region. The first segment attributes which tissue is present. The second attributes how the tissue
  differs from other tissue of its cluster. Their sum is the attribution of the slide.
- ``site``: from the mean of the training tissue of the same site.
- ``draws``: from training regions drawn at random, 20 times. The mean of these attributions is expected gradients.
- ``mean``: from the mean of the scaler, for a model without a training reference.

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

REFERENCE_INPUTS = ("cluster", "site", "draws", "mean")
"""Names of the reference inputs."""
N_DRAWS = 20
"""Draws of training regions for expected gradients."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceInput:
    """One or several integration paths to a slide.

    Attributes
    ----------
    name : str
        One of `REFERENCE_INPUTS`, or ``broad``.
    reference_input_id : str
        The name, and the digest of the training reference that it was computed from.
    paths : tuple of tuple of GraphInput
        Points of each path, from its start to the last one before the slide. Attributions are means over paths.
    """

    name: str
    reference_input_id: str
    paths: tuple[tuple[GraphInput, ...], ...]

    @property
    def splits_by_cluster(self) -> bool:
        """Whether the first segment of the path attributes which tissue clusters are present."""
        return self.name == "cluster"


def make_reference_input(
    name: str,
    raw: GraphInput,
    member: ExplainedMember,
    reference: Reference | None,
    *,
    site: str | None = None,
    rng: np.random.Generator,
) -> ReferenceInput:
    """Return a reference input for a slide.

    Parameters
    ----------
    name : str
        One of `REFERENCE_INPUTS`.
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
    ReferenceInput
        With as many regions and edges as the slide.

    Raises
    ------
    ConfigError
        If the name is unknown, or needs a training reference or a site that the model does not have.
    """
    if name not in REFERENCE_INPUTS:
        raise ConfigError(f"reference input {name!r} is unknown, expected one of {', '.join(REFERENCE_INPUTS)}")
    if name == "mean":
        scaler = member.scaler
        path = (_same(raw, scaler.feature_mean, scaler.edge_mean),)
        return ReferenceInput(name=name, reference_input_id=name, paths=(path,))
    if reference is None:
        raise ConfigError(
            f"reference input {name!r} needs the model's training reference, and this model has none; "
            "set explanation.reference=mean"
        )
    label = f"{name} {reference.reference_id or 'unstored'}"
    if name == "site":
        if site not in reference.site_names:
            known = ", ".join(reference.site_names) or "none"
            raise ConfigError(f"reference input 'site': site {site!r} was not in training, expected one of {known}")
        start = _same(raw, reference.site_mean[reference.site_names.index(str(site))], reference.edge_mean)
        return ReferenceInput(name=name, reference_input_id=f"{label} {site}", paths=((start,),))
    if name == "draws":
        drawn = rng.integers(0, len(reference.region_feature), (N_DRAWS, len(raw.features)))
        paths = tuple((_same(raw, reference.region_feature[rows], reference.edge_mean),) for rows in drawn)
        return ReferenceInput(name=name, reference_input_id=label, paths=paths)
    start = _same(raw, reference.mean, reference.edge_mean)
    typical = _same(raw, reference.cluster_mean[reference.clusters(raw.features)], reference.edge_mean)
    return ReferenceInput(name=name, reference_input_id=label, paths=((start, typical),))


def make_broad_reference_input(raw: GraphInput, reference: Reference) -> ReferenceInput:
    """Return the path from the mean of each region's broad tissue cluster to the slide, with the slide's own edges.

    Parameters
    ----------
    raw : GraphInput
        The slide.
    reference : Reference
        The training cohort.

    Returns
    -------
    ReferenceInput
        For the order of the curve ``replace``: replacing a region by another of its broad cluster can undo only these
        attributions. Slides are not explained by it.
    """
    start = _same(raw, reference.broad_cluster_mean[reference.broad_clusters(raw.features)], reference.edge_mean)
    path = (replace(start, edge_attribute=raw.edge_attribute),)
    return ReferenceInput(name="broad", reference_input_id="broad", paths=(path,))


def _same(raw: GraphInput, features: NDArray[np.floating], edge_attribute: NDArray[np.float64]) -> GraphInput:
    """Return a graph of the same areas and edges with other features and edge attributes."""
    return GraphInput(
        features=np.broadcast_to(features, raw.features.shape).astype(np.float64),
        area_um2=raw.area_um2,
        edge_index=raw.edge_index,
        edge_attribute=np.broadcast_to(edge_attribute, raw.edge_attribute.shape).astype(np.float64),
    )
