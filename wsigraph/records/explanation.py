"""The explanation of one slide's prediction: attributions and the tests of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsigraph.records.display import RecordDisplay
from wsigraph.records.faults import refuse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Curves(RecordDisplay):
    """Faithfulness curves: the output while regions are ablated in several orders.

    Attributes
    ----------
    area_fraction : float64 (P,)
        Fraction of the tissue's area that is ablated, from 0.
    output : mapping of str to float64 (P,)
        Output by order: ``attribution``, the baselines ``area``, ``attention`` and ``gradient_x_input``, and the 5th,
        50th and 95th percentile and the mean of random orders (``random_p5`` ...).
    towards : float
        Output of the reference input of the order: for ``drop`` that of the explanation, for ``replace`` the means of
        the regions' broad tissue clusters.
    gain : mapping of str to float
        Mean over the curve of how far the output moves towards the reference, in standard deviations of the training
        outputs; higher is better.
    n_random, n_members : int
        Random orders drawn, and ensemble members that were evaluated.
    random_beaten : float
        Fraction of the random orders whose gain is below that of the order by attribution.
    """

    area_fraction: NDArray[np.float64]
    output: Mapping[str, NDArray[np.float64]]
    towards: float
    gain: Mapping[str, float]
    n_random: int
    n_members: int
    random_beaten: float

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        return {
            "points": str(len(self.area_fraction)),
            "orders": ", ".join(sorted(self.output)),
            "random orders beaten": f"{self.random_beaten:.0%} of {self.n_random}",
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Explanation(RecordDisplay):
    """Attributions of one output of a model to the regions, features and edges of one slide.

    Attributes
    ----------
    slide_id, model_id : str
        The slide, and the digest of the model bundle.
    target, unit : str
        The explained output (``stage``, ``risk`` or ``survival@DAYS``), and its unit.
    reference_input_id : str
        Name of the reference input, and digest of the training reference that it was computed from.
    value, reference_value : float
        Output of the whole ensemble, as the prediction reports it, for the slide and for the reference input.
    output_sd : float or None
        Standard deviation of the output over the training slides; None for a model without a training reference.
    completeness_error, completeness_limit : float
        Difference between the sum of all attributions and ``value - baseline_value``, and what it was allowed to be.
    n_steps : int
        Quadrature steps that were needed.
    node : float64 (C,)
        Attribution of every coarse node: that of its features, and half of that of each of its edges.
    feature : float64 (C, F)
        Attribution of every feature of every coarse node, summed over the members.
    feature_names, feature_groups : tuple of str
        Names of the columns, and the group of each.
    cluster_attribution : float64 (C,)
        The part of a node's feature attribution that is due to its tissue cluster; the rest is due to how the node
        differs from its cluster. 0 where the reference input does not separate the two.
    edge : float64 (E,)
        Attribution of the attributes of every directed edge of the coarse graph.
    other_targets : mapping of str to float64 (C,)
        Attribution of every node for further outputs.
    superpixel : float64 (N,)
        Attribution of every fine node: that of its coarse node, divided by area.
    cluster : int64 (C,)
        Tissue cluster of every node, index into `cluster_names`. The reference input ``cluster`` starts from its mean,
        and neighbourhoods are connected patches of one cluster.
    cluster_names : tuple of str
        Tissue clusters of the training cohort.
    broad_cluster : int64 (C,)
        Broad tissue cluster of every node, index into `broad_cluster_names`. The curve ``replace`` replaces a node by
        a training region of this cluster.
    broad_cluster_names : tuple of str
        Broad tissue clusters of the training cohort, from a clustering of their own.
    neighbourhood : int64 (C,)
        Number of the connected patch of one tissue cluster that a node belongs to.
    member_value : float64 (members,)
        Output of every member alone.
    member_agreement : float or None
        Mean rank correlation between the attributions of pairs of members; None for a single member.
    reference_agreement : mapping of str to float
        Rank correlation of node attributions with those from other reference inputs; empty unless requested.
    edge_ablation_value : float
        Output of the slide without any edges.
    cut_node, cut_change : int64 (k,), float64 (k,)
        Nodes of strongest attribution, and the change of the output when only the edges of that node are removed.
    curves : mapping of str to Curves
        ``replace`` (by training regions of the same broad tissue cluster and size) and ``drop``.
    notice : str
        Notice of the model, for the reader of a result.
    warnings : tuple of str
        Limits of this explanation.
    """

    slide_id: str
    model_id: str
    target: str
    unit: str
    reference_input_id: str
    value: float
    reference_value: float
    output_sd: float | None
    completeness_error: float
    completeness_limit: float
    n_steps: int
    feature: NDArray[np.float64]
    feature_names: tuple[str, ...]
    feature_groups: tuple[str, ...]
    cluster_attribution: NDArray[np.float64]
    edge: NDArray[np.float64]
    other_targets: Mapping[str, NDArray[np.float64]]
    superpixel: NDArray[np.float64]
    cluster: NDArray[np.int64]
    cluster_names: tuple[str, ...]
    broad_cluster: NDArray[np.int64]
    broad_cluster_names: tuple[str, ...]
    neighbourhood: NDArray[np.int64]
    member_value: NDArray[np.float64]
    member_agreement: float | None
    edge_ablation_value: float
    cut_node: NDArray[np.int64]
    cut_change: NDArray[np.float64]
    node: NDArray[np.float64]
    notice: str
    reference_agreement: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curves] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_nodes, n_features = self.feature.shape
        rows = {len(self.cluster_attribution), len(self.neighbourhood), len(self.node)}
        clusters = ((self.cluster, self.cluster_names), (self.broad_cluster, self.broad_cluster_names))
        rows |= {len(index) for index, _ in clusters}
        rows |= {len(attribution) for attribution in self.other_targets.values()}
        numbers = np.concatenate([self.feature.ravel(), self.edge, self.superpixel, self.node])
        refuse(
            "Explanation",
            {
                f"arrays have {sorted(rows)} rows, expected {n_nodes} nodes": rows != {n_nodes},
                f"{n_features} features for {len(self.feature_names)} names": {
                    len(self.feature_names),
                    len(self.feature_groups),
                }
                != {n_features},
                "an attribution is not a finite number": not np.isfinite(numbers).all(),
                "a node belongs to a tissue cluster without a name": not all(
                    0 <= int(index.min()) <= int(index.max()) < len(names) for index, names in clusters
                ),
                "cut_node and cut_change differ in length": len(self.cut_node) != len(self.cut_change),
            },
        )

    @property
    def is_complete(self) -> bool:
        """Whether the completeness error is within its limit."""
        return self.completeness_error <= self.completeness_limit

    def groups(self) -> dict[str, float]:
        """Return the attribution of every feature group, and of the edges under ``boundaries``."""
        names = list(dict.fromkeys(self.feature_groups))
        total = self.feature.sum(axis=0)
        attribution = {name: float(total[[group == name for group in self.feature_groups]].sum()) for name in names}
        return attribution | {"boundaries": float(self.edge.sum())}

    def facts(self) -> dict[str, str]:
        """Return what identifies the record and how large it is, by name."""
        n_nodes, n_features = self.feature.shape
        return {
            "slide": self.slide_id,
            "target": f"{self.target} ({self.unit})",
            "value": f"{self.value:.4g}, reference {self.reference_value:.4g}",
            "nodes": f"{n_nodes:,}",
            "features": str(n_features),
            "completeness error": f"{self.completeness_error:.2g} of at most {self.completeness_limit:.2g}",
            "model": self.model_id[:12],
            "warnings": str(len(self.warnings)),
        }
