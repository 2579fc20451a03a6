"""Why a model read what it read from one slide: attributions with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wsigraph.records.display import RecordDisplay
from wsigraph.records.faults import refuse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Curves(RecordDisplay):
    """What becomes of the output while regions are taken away in several orders.

    Attributes
    ----------
    area_fraction : float64 (P,)
        Share of the tissue's area that has been taken, from 0.
    output : mapping of str to float64 (P,)
        Output by order: ``attribution`` and its rivals ``area``, ``attention``, ``gradient_x_input``, and the 5th,
        50th and 95th percentile and the mean of random orders (``random_p5`` ...).
    towards : float
        Output of the baseline that the order was made for: of ``drop`` that of the explanation, of ``replace`` that of
        the means of the regions' broad kinds.
    gain : mapping of str to float
        Mean over the curve of how far the output has moved towards the baseline, in standard deviations of the
        training outputs; higher is better.
    n_random, n_members : int
        Random orders drawn, and members of the ensemble that were asked.
    random_beaten : float
        Share of them whose gain is below that of the order by attribution.
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
        What is explained (``stage``, ``risk`` or ``survival@DAYS``), and in what it is measured.
    baseline_id : str
        What the slide is compared with: name and digest of the reference it was taken from.
    value, baseline_value : float
        Output for the slide and for the baseline, of an ensemble all members as one, as the prediction reports it.
    output_sd : float or None
        Standard deviation of the output over the training slides; None where the model brings no reference.
    gap, gap_limit : float
        Difference between the sum of all attributions and ``value - baseline_value``, and what it was allowed to be.
    n_steps : int
        Steps of the integral that were needed.
    node : float64 (C,)
        Attribution of every coarse node: its features', and half of those of every boundary it has.
    feature : float64 (C, F)
        Attribution of every feature of every coarse node, through all members together.
    feature_names, feature_groups : tuple of str
        What the columns are, and the group of each.
    kind_share : float64 (C,)
        The part of a node's feature attribution that is due to the kind of tissue it is, the rest being how it
        differs from its kind; 0 where the baseline does not part them.
    edge : float64 (E,)
        Attribution of the attributes of every directed edge of the coarse graph.
    other_targets : mapping of str to float64 (C,)
        Attribution of every node for further outputs.
    superpixel : float64 (N,)
        Attribution of every fine node, its share of its coarse node's by area.
    kind : int64 (C,)
        Kind of tissue of every node, index into `kind_names`: what the baseline ``kind`` compares it with, and what
        neighbourhoods are patches of.
    kind_names : tuple of str
        Kinds of tissue in the training cohort.
    broad_kind : int64 (C,)
        Broad kind of every node, index into `broad_names`: what it is replaced by in the curve ``replace``.
    broad_names : tuple of str
        Broad kinds of tissue in the training cohort, a division of their own.
    neighbourhood : int64 (C,)
        Number of the connected patch of one kind that a node belongs to.
    member_value : float64 (members,)
        Output of every member alone.
    member_agreement : float or None
        Mean rank correlation, over pairs of members, of what passes through each to the output of all; None of a single
        member.
    baseline_agreement : mapping of str to float
        Rank correlation of node attributions with those of other baselines; empty unless asked for.
    without_edges : float
        Output of the slide when no region hears any neighbour.
    cut_node, cut_change : int64 (k,), float64 (k,)
        Nodes of strongest attribution, and how the output changes when a node's edges alone are cut.
    curves : mapping of str to Curves
        ``replace`` (by training regions of the same broad kind and size) and ``drop``.
    notice : str
        What must be known of the model.
    warnings : tuple of str
        What is special about this explanation.
    """

    slide_id: str
    model_id: str
    target: str
    unit: str
    baseline_id: str
    value: float
    baseline_value: float
    output_sd: float | None
    gap: float
    gap_limit: float
    n_steps: int
    feature: NDArray[np.float64]
    feature_names: tuple[str, ...]
    feature_groups: tuple[str, ...]
    kind_share: NDArray[np.float64]
    edge: NDArray[np.float64]
    other_targets: Mapping[str, NDArray[np.float64]]
    superpixel: NDArray[np.float64]
    kind: NDArray[np.int64]
    kind_names: tuple[str, ...]
    broad_kind: NDArray[np.int64]
    broad_names: tuple[str, ...]
    neighbourhood: NDArray[np.int64]
    member_value: NDArray[np.float64]
    member_agreement: float | None
    without_edges: float
    cut_node: NDArray[np.int64]
    cut_change: NDArray[np.float64]
    node: NDArray[np.float64]
    notice: str
    baseline_agreement: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, Curves] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_nodes, n_features = self.feature.shape
        rows = {len(self.kind_share), len(self.neighbourhood), len(self.node)}
        kinds = ((self.kind, self.kind_names), (self.broad_kind, self.broad_names))
        rows |= {len(of) for of, _ in kinds}
        rows |= {len(each) for each in self.other_targets.values()}
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
                "a node is of a kind that has no name": not all(
                    0 <= int(of.min()) <= int(of.max()) < len(names) for of, names in kinds
                ),
                "cut_node and cut_change differ in length": len(self.cut_node) != len(self.cut_change),
            },
        )

    @property
    def is_complete(self) -> bool:
        """Whether the gap is within its limit."""
        return self.gap <= self.gap_limit

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
            "value": f"{self.value:.4g}, reference {self.baseline_value:.4g}",
            "nodes": f"{n_nodes:,}",
            "features": str(n_features),
            "completeness error": f"{self.gap:.2g} of at most {self.gap_limit:.2g}",
            "model": self.model_id[:12],
            "warnings": str(len(self.warnings)),
        }
