"""Explanation of one slide's prediction: attributions, their checks, and curves that test them.

Integrated Gradients attributes the difference between the output for the slide and for a reference input. The output
is the one that the prediction reports, of the whole ensemble; the agreement of the members is reported. Attributions
are also given for stage and risk if the request names another output, so that maps of both can be shown. They are
aggregated to superpixels and to neighbourhoods of one tissue cluster. Edges are tested by edge ablation, because an
edge has no reference input of its own. Faithfulness curves test whether the attributions name what the model uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ExplanationConfig
from wsigraph.explanation.aggregate import find_neighbourhoods, rank_correlation, to_superpixels
from wsigraph.explanation.edge_ablation import ablate_edges
from wsigraph.explanation.faithfulness import draw_curves, dropping, find_donors, order_by, replacing
from wsigraph.explanation.findings import LEAST_AGREEMENT, LEAST_SD
from wsigraph.explanation.gradients import (
    CHUNK_NODES,
    Integral,
    Precision,
    gradient_x_input,
    integrate,
    pooling_weights,
)
from wsigraph.explanation.members import ExplainedMember, explained_members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.reference_input import (
    REFERENCE_INPUTS,
    ReferenceInput,
    make_broad_reference_input,
    make_reference_input,
)
from wsigraph.explanation.target import Target
from wsigraph.graph.device import find_device
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.columns import NodeColumns, column_groups
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.predict import check_graph
from wsigraph.records import CoarseGraph, Curves, Explanation, TissueGraph

_MAX_STEP_FACTOR = 16
_CURVE_NODES = 5000
"""Nodes times members up to which curves evaluate every member; fewer members, at least one, for a larger slide."""
_OTHER_DIVISOR = {False: 4, True: 6}
_LARGE_DIVISOR = 2
_RANDOM_NODES = 360_000
"""Nodes times random orders up to which all random orders of the settings are drawn; fewer, at least ten, above. The
outputs of random orders differ the less, the more regions there are."""
_LEAST_RANDOM_ORDERS = 10
_ONE_CLUSTER = "tissue"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Case:
    """A slide, a model and the request."""

    raw: GraphInput
    networks: tuple[ExplainedMember, ...]
    target: Target
    reference: Reference | None
    settings: ExplanationConfig
    site: str | None
    threads: int

    @property
    def sd(self) -> float | None:
        """Standard deviation of the output over the training slides."""
        return None if self.reference is None else self.reference.output_sd(self.target)

    def rng(self, purpose: int) -> np.random.Generator:
        """Return a separate generator for every purpose, so that no draw depends on the others."""
        return np.random.default_rng([self.settings.seed, purpose])

    def reference_input(self, name: str) -> ReferenceInput:
        rng = self.rng(REFERENCE_INPUTS.index(name))
        return make_reference_input(name, self.raw, self.networks[0], self.reference, site=self.site, rng=rng)

    def precision(self, target: Target, *, is_first: bool = True) -> Precision:
        """Return the required precision; a large slide, and all targets but the first, start with fewer steps.

        Steps are doubled until the completeness error is within its limit, except for the further targets of a large
        slide, which are shown as maps only.
        """
        floor = 0.0 if self.reference is None else LEAST_SD * self.reference.output_sd(target)
        settings, is_large = self.settings, len(self.raw.features) > CHUNK_NODES
        divisor = (_LARGE_DIVISOR if is_large else 1) if is_first else (_OTHER_DIVISOR[is_large])
        n_steps = max(2, settings.steps // divisor)
        return Precision(
            n_steps=n_steps,
            max_steps=n_steps if is_large and not is_first else _MAX_STEP_FACTOR * settings.steps,
            max_completeness_error=settings.max_completeness_error,
            floor=floor,
        )

    @property
    def curve_members(self) -> tuple[ExplainedMember, ...]:
        """Members that the faithfulness curves evaluate: fewer, at least one, for a larger slide."""
        return self.networks[: max(1, _CURVE_NODES // len(self.raw.features))]

    @property
    def n_random(self) -> int:
        """Random orders of the faithfulness curves."""
        return min(self.settings.random_orders, max(_LEAST_RANDOM_ORDERS, _RANDOM_NODES // len(self.raw.features)))

    def integrals(self, pairs: Sequence[tuple[Target, ReferenceInput]]) -> list[Integral]:
        targets, references = [target for target, _ in pairs], [reference for _, reference in pairs]
        precisions = [self.precision(target, is_first=number == 0) for number, target in enumerate(targets)]
        # the broad reference input orders the regions of a curve, so it needs only the members of the curve
        counts = [len(self.curve_members if reference.name == "broad" else self.networks) for reference in references]
        return integrate(
            self.networks, targets, self.raw, references, precisions, n_members=counts, threads=self.threads
        )


def explain(
    coarse: CoarseGraph,
    graph: TissueGraph,
    model: Path | str | ModelBundle | None = None,
    target: str = "risk",
    *,
    reference: Reference | None = None,
    config: ExplanationConfig | None = None,
    site: str | None = None,
    sha256: str | None = None,
    thorough: bool = False,
    threads: int = 1,
    device: str = "cpu",
) -> Explanation:
    """Return the explanation of a model's prediction for a slide.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    graph : TissueGraph
        Its superpixels.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model by default.
    target : str
        ``stage``, ``risk`` or ``survival@DAYS``.
    reference : Reference, optional
        The training cohort; read from the model's directory if `model` is a directory.
    config : ExplanationConfig, optional
        Settings.
    site : str, optional
        The slide's site, for the reference input ``site``.
    sha256 : str, optional
        Digest of the slide's bytes. A slide of the training cohort is explained by the member that was not trained on
        it.
    thorough : bool
        Whether to compute attributions for every reference input and report their agreement.
    threads : int
        Number of threads; results do not depend on it.
    device : str
        Where the networks run: ``cpu``, ``cuda``, ``mps`` or ``auto``.

    Returns
    -------
    Explanation
        Attributions, checks and curves.

    Raises
    ------
    ConfigError
        If the target or the reference input is unknown, or this model does not have it, or this machine has
        no such device.
    ModelError
        If bundle or reference are damaged or of another schema.
    StoreError
        If the reference is damaged.

    Notes
    -----
    Linear in regions, steps and members.
    """
    if not isinstance(model, ModelBundle):
        directory = SHIPPED if model is None else model
        model = load_bundle(directory)
        reference = reference or load_reference(directory, model)
    card = model.card
    check_graph(model, coarse)
    networks = explained_members(model, sha256, find_device(device))
    case = _Case(
        raw=graph_input(coarse, NodeColumns.of(card.config, card.encoder)),
        networks=networks,
        target=Target.parse(target),
        reference=reference,
        settings=config or ExplanationConfig(),
        site=site,
        threads=threads,
    )
    case.target.check([member.ends_days for member in networks], len(card.stage_names))
    main = case.reference_input(case.settings.reference if reference is not None else "mean")
    others = _other_targets(case, len(card.stage_names))
    broad = [] if reference is None else [(case.target, make_broad_reference_input(case.raw, reference))]
    integrals = case.integrals([(case.target, main), *broad, *((other, main) for other in others)])
    own = _explanation(case, coarse, graph, model, main, integrals[0])
    agreement = _reference_agreement(case, own.node, main) if thorough else {}
    further = integrals[1 + len(broad) :]
    nodes = {str(other): integral.of_regions(case.raw) for other, integral in zip(others, further, strict=True)}
    curves, curve_warnings = _curves(case, own, integrals[1] if broad else None)
    warnings = (*_warnings(case, own, agreement), *curve_warnings)
    return replace(own, other_targets=nodes, reference_agreement=agreement, curves=curves, warnings=warnings)


def _explanation(
    case: _Case,
    coarse: CoarseGraph,
    graph: TissueGraph,
    model: ModelBundle,
    reference_input: ReferenceInput,
    integral: Integral,
) -> Explanation:
    raw, reference = case.raw, case.reference
    node = integral.of_regions(raw)
    cluster = broad = np.zeros(len(node), np.int64)
    if reference is not None:
        cluster, broad = reference.clusters(raw.features), reference.broad_clusters(raw.features)
    top = order_by(np.abs(node))[: case.settings.top_regions]
    without_edges, without_edges_of_node = ablate_edges(case.networks, case.target, raw, top, threads=case.threads)
    no_region = np.zeros((1, len(node)), np.bool_)
    return Explanation(
        slide_id=coarse.graph.slide_id,
        model_id=model.model_id,
        target=str(case.target),
        unit=case.target.unit,
        reference_input_id=reference_input.reference_input_id,
        value=integral.value,
        reference_value=integral.reference_value,
        output_sd=case.sd,
        completeness_error=integral.completeness_error,
        completeness_limit=case.precision(case.target).limit(integral.value - integral.reference_value),
        n_steps=integral.n_steps,
        node=node,
        feature=integral.feature,
        feature_names=model.card.feature_names,
        feature_groups=column_groups(model.card.feature_names),
        cluster_attribution=integral.first_segment,
        edge=integral.edge,
        other_targets={},
        superpixel=to_superpixels(node, coarse.assignment, graph.moment("n")),
        cluster=cluster,
        cluster_names=(_ONE_CLUSTER,) if reference is None else reference.cluster_names,
        broad_cluster=broad,
        broad_cluster_names=(_ONE_CLUSTER,) if reference is None else reference.broad_cluster_names,
        neighbourhood=find_neighbourhoods(cluster, raw.edge_index),
        member_value=np.array([dropping([member], case.target, raw)(no_region)[0] for member in case.networks]),
        member_agreement=_mean_pairwise_correlation(integral.member_node),
        edge_ablation_value=without_edges,
        cut_node=top,
        cut_change=without_edges_of_node - integral.value,
        notice=model.card.notice,
    )


def _other_targets(case: _Case, n_stages: int) -> list[Target]:
    """Return stage and risk, if the model predicts them and the request names another output."""
    has_survival = all(len(member.ends_days) for member in case.networks)
    known = [Target("stage")] * bool(n_stages) + [Target("risk")] * has_survival
    return [target for target in known if target != case.target]


def _mean_pairwise_correlation(nodes: NDArray[np.float64]) -> float | None:
    """Return the mean rank correlation between all pairs of rows, float64 (M, N); None for fewer than two rows."""
    correlations = [rank_correlation(nodes[a], nodes[b]) for a in range(len(nodes)) for b in range(a)]
    return float(np.mean(correlations)) if correlations else None


def _reference_agreement(case: _Case, node: NDArray[np.float64], main: ReferenceInput) -> dict[str, float]:
    """Return the rank correlation of node attributions with those from every other reference input."""
    agreement = {}
    for name in REFERENCE_INPUTS:
        is_known = case.reference is not None and (name != "site" or case.site in case.reference.site_names)
        if name != main.name and (is_known or name == "mean"):
            (other,) = case.integrals([(case.target, case.reference_input(name))])
            agreement[name] = rank_correlation(node, other.of_regions(case.raw))
    return agreement


def _curves(case: _Case, own: Explanation, broad: Integral | None) -> tuple[dict[str, Curves], tuple[str, ...]]:
    """Return both faithfulness curves, and their warnings.

    Regions are ordered by their attribution per unit of area, because curves run over area. Replacing a region by
    another of its broad cluster can only undo what is not due to that cluster. The order of ``replace`` is therefore
    that of attributions against the mean of the broad cluster, towards the output of that mean.
    """
    raw, target = case.raw, case.target
    members = case.curve_members
    graphs = [(member, member.scaled(raw)) for member in members]
    gradient = gradient_x_input(members, target, raw)
    weight = np.mean([pooling_weights(member, graph) for member, graph in graphs], axis=0)
    towards, scores = {"drop": own.reference_value}, {"drop": own.node}
    if broad is not None:
        towards["replace"], scores["replace"] = broad.reference_value, broad.of_regions(raw)
    orders, signs = {}, {}
    for name, score in scores.items():
        signs[name] = sign = 1.0 if own.value >= towards[name] else -1.0
        orders[name] = {
            "attribution": order_by(score / raw.area_um2, sign),
            "area": order_by(raw.area_um2),
            "attention": order_by(weight / raw.area_um2),
            "gradient_x_input": order_by(gradient / raw.area_um2, sign),
        }
    outputs = {"drop": dropping(members, target, raw, threads=case.threads)}
    warnings: tuple[str, ...] = ()
    if case.reference is None:
        warnings = ("regions were not replaced by training regions, because the model has no training reference",)
    else:
        among = case.reference.region_broad_cluster
        donors = find_donors(raw, own.broad_cluster, case.reference, among=among, rng=case.rng(10))
        outputs["replace"] = replacing(members, target, raw, donors.feature, threads=case.threads)
        unmatched = 1 - float(donors.is_matched.mean())
        if unmatched > 0.1:
            warnings = (f"{100 * unmatched:.0f} % of the regions have no training region of similar area as a donor",)
    unit = own.output_sd or max(abs(own.value - own.reference_value), 1e-9)
    curves = {
        name: draw_curves(
            output,
            orders[name],
            raw.area_um2,
            value=float(output(np.zeros((1, len(raw.features)), np.bool_))[0]),
            towards=towards[name],
            sign=signs[name],
            unit=unit,
            n_random=case.n_random,
            n_members=len(members),
            rng=case.rng(11),
        )
        for name, output in sorted(outputs.items())
    }
    return curves, warnings


def _warnings(case: _Case, own: Explanation, agreement: dict[str, float]) -> tuple[str, ...]:
    warnings = []
    if case.reference is None:
        warnings.append("the model has no training reference; the slide is compared with the mean of its scaler")
    if not own.is_complete:
        warnings.append(
            f"the completeness error of the attributions is {own.completeness_error:.3g}, above the limit of "
            f"{own.completeness_limit:.3g}, after {own.n_steps} steps"
        )
    if own.member_agreement is not None and own.member_agreement < LEAST_AGREEMENT:
        warnings.append(
            f"ensemble members disagree on which regions matter (mean rank correlation {own.member_agreement:.2f})"
        )
    warnings += [
        f"attributions from the reference input '{name}' differ (rank correlation {value:.2f})"
        for name, value in agreement.items()
        if value < LEAST_AGREEMENT
    ]
    difference = abs(own.value - own.reference_value)
    if own.output_sd is not None and difference < LEAST_SD * own.output_sd:
        warnings.append(
            "the output is close to that of the reference input, so fractions of the difference are uncertain"
        )
    return tuple(warnings)
