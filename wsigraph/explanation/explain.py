"""One slide's explanation: attributions with their gap, agreement and interventions, and curves that test them.

The slide is compared with a baseline, and what is integrated is the output that the prediction reports, of an ensemble
all members as one; how far their parts in it agree is told.
Beside the output that was asked for, the attributions of stage and risk are given, so that maps of both can be shown.
Attributions go down to superpixels and up to neighbourhoods of one kind of tissue. What each region hears from its
neighbours is tested by cutting its edges, because an edge has no baseline of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.config import ExplanationConfig
from wsigraph.explanation.aggregate import find_neighbourhoods, rank_correlation, to_superpixels
from wsigraph.explanation.baseline import BASELINES, Baseline, broad_baseline, make_baseline
from wsigraph.explanation.faithfulness import draw_curves, dropping, find_donors, order_by, replacing
from wsigraph.explanation.gradients import (
    Integral,
    Precision,
    gradient_x_input,
    integrate,
    pooling_weights,
)
from wsigraph.explanation.intervene import cut_edges
from wsigraph.explanation.members import ExplainedMember, members
from wsigraph.explanation.reference import Reference, load_reference
from wsigraph.explanation.target import Target
from wsigraph.model.bundle import SHIPPED, ModelBundle, load_bundle
from wsigraph.model.columns import NodeColumns, column_groups
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.predict import check_graph
from wsigraph.records import CoarseGraph, Curves, Explanation, TissueGraph

LEAST_SD = 0.05
"""Gaps are judged against no less than this many standard deviations of the training outputs."""
LEAST_AGREEMENT = 0.5
"""Rank correlation between members, or baselines, below which a warning is given."""
_MOST_TIMES = 16
_CURVE_NODES = 5000
"""Nodes of all members together up to which curves ask every member; of a larger slide fewer, at least one."""
_OTHERS_SHARE = 4
_ONE_KIND = "tissue"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Case:
    """A slide, a model and a question."""

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
        """Return a generator of its own for every purpose, so that none depends on what others draw."""
        return np.random.default_rng([self.settings.seed, purpose])

    def baseline(self, name: str) -> Baseline:
        return make_baseline(
            name, self.raw, self.networks[0], self.reference, site=self.site, rng=self.rng(BASELINES.index(name))
        )

    def precision(self, target: Target, *, is_first: bool = True) -> Precision:
        """Return how exact attributions must be; all but the first begin with fewer steps, under the same limit."""
        floor = 0.0 if self.reference is None else LEAST_SD * self.reference.output_sd(target)
        settings = self.settings
        n_steps = settings.steps if is_first else max(2, settings.steps // _OTHERS_SHARE)
        return Precision(n_steps=n_steps, max_steps=_MOST_TIMES * settings.steps, max_gap=settings.max_gap, floor=floor)

    def integrals(self, asked: Sequence[tuple[Target, Baseline]]) -> list[Integral]:
        targets, baselines = [target for target, _ in asked], [baseline for _, baseline in asked]
        exact = [self.precision(target, is_first=number == 0) for number, target in enumerate(targets)]
        return integrate(self.networks, targets, self.raw, baselines, exact, threads=self.threads)


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
) -> Explanation:
    """Return why a model reads what it reads from a slide.

    Parameters
    ----------
    coarse : CoarseGraph
        The slide's regions.
    graph : TissueGraph
        Its superpixels.
    model : Path, str or ModelBundle, optional
        A bundle or its directory; the shipped demonstration model where left out.
    target : str
        ``stage``, ``risk`` or ``survival@DAYS``.
    reference : Reference, optional
        The training cohort; read from the model's directory where `model` names one.
    config : ExplanationConfig, optional
        Settings.
    site : str, optional
        The slide's site, for baseline ``site``.
    sha256 : str, optional
        Digest of the slide's bytes; a slide of the training cohort is explained by the member that never saw it.
    thorough : bool
        Whether to try every baseline and say how far they agree.
    threads : int
        Work done at once; results do not depend on it.

    Returns
    -------
    Explanation
        Attributions, checks and curves.

    Raises
    ------
    ConfigError
        If target or baseline are unknown or not to be had of this model.
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
    networks = members(model, sha256)
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
    baseline = case.baseline(case.settings.baseline if reference is not None else "mean")
    others = _other_targets(case, len(card.stage_names))
    broad = [] if reference is None else [(case.target, broad_baseline(case.raw, reference))]
    integrals = case.integrals([(case.target, baseline), *broad, *((each, baseline) for each in others)])
    own = _explanation(case, coarse, graph, model, baseline, integrals[0])
    agreement = _baseline_agreement(case, own.node, baseline) if thorough else {}
    further = integrals[1 + len(broad) :]
    nodes = {str(each): found.of_regions(case.raw) for each, found in zip(others, further, strict=True)}
    curves, told = _curves(case, own, integrals[1] if broad else None)
    warnings = (*_warnings(case, own, agreement), *told)
    return replace(own, other_targets=nodes, baseline_agreement=agreement, curves=curves, warnings=warnings)


def _explanation(
    case: _Case,
    coarse: CoarseGraph,
    graph: TissueGraph,
    model: ModelBundle,
    baseline: Baseline,
    found: Integral,
) -> Explanation:
    raw, reference = case.raw, case.reference
    node = found.of_regions(raw)
    kind = broad = np.zeros(len(node), np.int64)
    if reference is not None:
        kind, broad = reference.kinds(raw.features), reference.broad_kinds(raw.features)
    top = order_by(np.abs(node))[: case.settings.top_regions]
    without, cut = cut_edges(case.networks, case.target, raw, top)
    nothing = np.zeros((1, len(node)), np.bool_)
    return Explanation(
        slide_id=coarse.graph.slide_id,
        model_id=model.model_id,
        target=str(case.target),
        unit=case.target.unit,
        baseline_id=baseline.baseline_id,
        value=found.value,
        baseline_value=found.baseline_value,
        output_sd=case.sd,
        gap=found.gap,
        gap_limit=case.precision(case.target).limit(found.value - found.baseline_value),
        n_steps=found.n_steps,
        node=node,
        feature=found.feature,
        feature_names=model.card.feature_names,
        feature_groups=column_groups(model.card.feature_names),
        kind_share=found.first_part,
        edge=found.edge,
        other_targets={},
        superpixel=to_superpixels(node, coarse.assignment, graph.moment("n")),
        kind=kind,
        kind_names=(_ONE_KIND,) if reference is None else reference.kind_names,
        broad_kind=broad,
        broad_names=(_ONE_KIND,) if reference is None else reference.broad_names,
        neighbourhood=find_neighbourhoods(kind, raw.edge_index),
        member_value=np.array([dropping([each], case.target, raw)(nothing)[0] for each in case.networks]),
        member_agreement=_pairwise(found.member_node),
        without_edges=without,
        cut_node=top,
        cut_change=cut - found.value,
        notice=model.card.notice,
    )


def _other_targets(case: _Case, n_stages: int) -> list[Target]:
    """Return stage and risk, where the model predicts them and they were not asked for."""
    has_survival = all(len(member.ends_days) for member in case.networks)
    known = [Target("stage")] * bool(n_stages) + [Target("risk")] * has_survival
    return [each for each in known if each != case.target]


def _pairwise(nodes: NDArray[np.float64]) -> float | None:
    """Return the mean rank correlation between all pairs; None of fewer than two."""
    found = [rank_correlation(nodes[a], nodes[b]) for a in range(len(nodes)) for b in range(a)]
    return float(np.mean(found)) if found else None


def _baseline_agreement(case: _Case, node: NDArray[np.float64], baseline: Baseline) -> dict[str, float]:
    found = {}
    for name in BASELINES:
        is_known = case.reference is not None and (name != "site" or case.site in case.reference.site_names)
        if name != baseline.name and (is_known or name == "mean"):
            (other,) = case.integrals([(case.target, case.baseline(name))])
            found[name] = rank_correlation(node, other.of_regions(case.raw))
    return found


def _curves(case: _Case, own: Explanation, broad: Integral | None) -> tuple[dict[str, Curves], tuple[str, ...]]:
    """Return both curves, and what is to be said of them.

    Regions are taken by their attribution for each unit of area, since curves run over area. Whoever replaces a region
    by another of its broad kind can only undo what is not due to that kind: the order is that of attributions against
    the mean of the broad kind, towards the output of that mean.
    """
    raw, target = case.raw, case.target
    asked = case.networks[: max(1, _CURVE_NODES // len(raw.features))]
    graphs = [(member, member.scaled(raw)) for member in asked]
    rival = gradient_x_input(asked, target, raw)
    heard = np.mean([pooling_weights(member, graph) for member, graph in graphs], axis=0)
    towards, tested = {"drop": own.baseline_value}, {"drop": own.node}
    if broad is not None:
        towards["replace"], tested["replace"] = broad.baseline_value, broad.of_regions(raw)
    orders, signs = {}, {}
    for name, score in tested.items():
        signs[name] = sign = 1.0 if own.value >= towards[name] else -1.0
        orders[name] = {
            "attribution": order_by(score / raw.area_um2, sign),
            "area": order_by(raw.area_um2),
            "attention": order_by(heard / raw.area_um2),
            "gradient_x_input": order_by(rival / raw.area_um2, sign),
        }
    outputs = {"drop": dropping(asked, target, raw, threads=case.threads)}
    told: tuple[str, ...] = ()
    if case.reference is None:
        told = ("regions were not replaced by training regions, because the model brings no reference",)
    else:
        among = case.reference.region_broad_kind
        donors = find_donors(raw, own.broad_kind, case.reference, among=among, rng=case.rng(10))
        outputs["replace"] = replacing(asked, target, raw, donors.feature, threads=case.threads)
        unmatched = 1 - float(donors.is_matched.mean())
        if unmatched > 0.1:
            told = (f"{100 * unmatched:.0f} % of the regions have no training region of their size to be replaced by",)
    unit = own.output_sd or max(abs(own.value - own.baseline_value), 1e-9)
    curves = {
        name: draw_curves(
            output,
            orders[name],
            raw.area_um2,
            value=float(output(np.zeros((1, len(raw.features)), np.bool_))[0]),
            towards=towards[name],
            sign=signs[name],
            unit=unit,
            n_random=case.settings.random_orders,
            n_members=len(asked),
            rng=case.rng(11),
        )
        for name, output in sorted(outputs.items())
    }
    return curves, told


def _warnings(case: _Case, own: Explanation, agreement: dict[str, float]) -> tuple[str, ...]:
    found = []
    if case.reference is None:
        found.append(
            "the model brings no reference of its training cohort; the slide is compared with the mean of its scaler"
        )
    if not own.is_complete:
        found.append(
            f"attributions miss the difference that they explain by {own.gap:.3g}, more than the {own.gap_limit:.3g} "
            f"allowed, after {own.n_steps} steps"
        )
    if own.member_agreement is not None and own.member_agreement < LEAST_AGREEMENT:
        found.append(
            f"members of the ensemble disagree on what matters (mean rank correlation {own.member_agreement:.2f})"
        )
    found += [
        f"baseline '{name}' gives another picture (rank correlation {value:.2f})"
        for name, value in agreement.items()
        if value < LEAST_AGREEMENT
    ]
    difference = abs(own.value - own.baseline_value)
    if own.output_sd is not None and difference < LEAST_SD * own.output_sd:
        found.append("the output hardly differs from the baseline's, so that shares of the difference say little")
    return tuple(found)
