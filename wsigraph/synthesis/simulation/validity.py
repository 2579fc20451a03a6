"""Whether a planted law is what it says: its survival, what it keeps apart, and what must not see it.

Two cohorts of a law are simulated, the second painted anew. On the second, everything is measured with bootstrap
intervals over patients: censoring, the oracle's C-index, correlations that should not be, and rivals fitted on the
first. Rivals see a slide as a bag of superpixels, as a bag of the layout's own regions, or as what coarsening made of
it. The networks are the package's own: without layers it is attention over a bag, with layers a graph attention
network, and on rewired edges the same network with nothing to go by. Bounds are those that the law claims; a figure
without bounds is for information.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wsigraph.cohort.metrics.bootstrap import draw_weights
from wsigraph.cohort.metrics.stage import quadratic_kappa
from wsigraph.cohort.metrics.survival import c_index
from wsigraph.config import Config, ModelConfig
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.model.bundle import Score
from wsigraph.model.inputs import GraphInput, graph_input
from wsigraph.model.nn.losses import NO_STAGE
from wsigraph.model.predict import predict
from wsigraph.records import CoarseGraph, Prediction
from wsigraph.synthesis.simulation.assess import score
from wsigraph.synthesis.simulation.baseline_models import (
    cox_risk,
    edge_products,
    forest_risk,
    pooled,
    ridge_stage,
    size_and_degree,
)
from wsigraph.synthesis.simulation.cohort import own_regions
from wsigraph.synthesis.simulation.layout import TISSUES
from wsigraph.synthesis.simulation.rewire import rewire
from wsigraph.synthesis.simulation.scenarios import N_STAGES, STAGE_CUTS, law
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, build_library, sample_sites, simulate
from wsigraph.training.dataset import Example
from wsigraph.training.train import About, train

Table = NDArray[np.float64]

_BAG = 0.56
"""What no bag may exceed where only contacts tell."""
_SMALL = {"heads": 2, "channels": 16, "epochs": 40, "patience": 10}
"""Size and training of the networks: enough for a law, minutes on one core."""
_ABOUT = About(
    name="law check", description="not kept", notice="not kept", licence="MIT", data="simulated", simulated=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A figure of a law.

    Attributes
    ----------
    name : str
        What was measured.
    value : Score
        With its 95 % interval.
    low, high : float or None
        Between what it has to lie, where the law claims something.
    """

    name: str
    value: Score
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value lies in its bounds; None where there are none."""
        if self.low is None and self.high is None:
            return None
        return (self.low is None or self.value.value >= self.low) and (
            self.high is None or self.value.value <= self.high
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A cohort as the rivals see it."""

    patients: list[SimulatedPatient]
    superpixels: Table
    regions: list[CoarseGraph]
    coarse: list[GraphInput]

    @cached_property
    def own(self) -> list[GraphInput]:
        return [graph_input(each) for each in self.regions]

    @cached_property
    def time_days(self) -> Table:
        return np.array([each.outcome.time_days for each in self.patients])

    @cached_property
    def event(self) -> NDArray[np.bool_]:
        return np.array([each.outcome.event for each in self.patients])

    @cached_property
    def stage(self) -> NDArray[np.int64]:
        return np.array([NO_STAGE if each.outcome.stage is None else each.outcome.stage for each in self.patients])

    @cached_property
    def oracle(self) -> Table:
        return np.array([each.outcome.oracle_risk for each in self.patients])

    @cached_property
    def site(self) -> NDArray[np.int64]:
        return np.array([each.site for each in self.patients])

    @cached_property
    def fractions(self) -> Table:
        return np.array([[each.layout.fraction(kind) for kind in range(len(TISSUES))] for each in self.patients])

    def measure(self, name: str) -> Table:
        return np.array([each.measures[name] for each in self.patients])


def check_law(
    name: str,
    settings: Config | None = None,
    *,
    n_train: int = 600,
    n_fresh: int = 2000,
    seed: int = 1,
    networks: bool = True,
) -> Iterator[Finding]:
    """Yield the figures of a law.

    Parameters
    ----------
    name : str
        The law.
    settings : Config, optional
        Sections ``synthesis``, ``feature``, ``coarsening`` and ``model``.
    n_train, n_fresh : int
        Patients that the rivals are fitted on, and others that everything is measured on.
    seed : int
        Decides everything random.
    networks : bool
        Whether to train networks too, which takes minutes.

    Yields
    ------
    Finding
        The survival first, then what the law keeps apart, then the rivals.

    Raises
    ------
    SynthesisError
        If there is no such law, or no two patients can be compared.
    """
    settings = settings or Config()
    options = settings.synthesis.model_copy(update={"law": name, "second_slide_fraction": 0.0})
    settings = settings.model_copy(update={"synthesis": options})
    law(name)
    scenery, first, second, draws, rng = np.random.default_rng(seed).spawn(5)
    sites = sample_sites(options.sites, rng=scenery)
    parts = []
    for cohort, own, n_patients in (("train", first, n_train), ("fresh", second, n_fresh)):
        library = build_library(sites, options, settings.feature, rng=own)
        parts.append(_part(simulate(n_patients, library, options, rng=own, cohort=cohort), settings))
    before, after = parts
    measure = _Measure(before, after, draw_weights(np.zeros(n_fresh, np.int64), n_draws=500, rng=draws), rng)
    censored = measure.weights @ ~after.event / n_fresh
    yield Finding(name="censored share", value=score(censored), low=0.35, high=0.40)
    yield Finding(name="oracle C-index", value=measure.c(after.oracle), low=0.80, high=0.86)
    yield from _apart(name, measure)
    yield from _rivals(name, measure)
    if name == "site":
        yield from measure.leaving_sites_out()
    if networks and name in ("spatial", "interface"):
        yield from _networks(name, measure, settings.model, seed)


def _part(patients: Iterator[SimulatedPatient], settings: Config) -> _Part:
    kept, superpixels, regions, coarse = [], [], [], []
    for patient in patients:
        slide = patient.slides[0]
        superpixels.append(pooled(graph_input(slide.graph)))
        regions.append(own_regions(slide.graph, slide.lattice))
        coarse.append(graph_input(coarsen(slide.graph, settings.coarsening)))
        # the superpixels themselves are not needed again
        kept.append(replace(patient, slides=(replace(slide, graph=regions[-1].graph),)))
    return _Part(patients=kept, superpixels=np.array(superpixels), regions=regions, coarse=coarse)


@dataclass(frozen=True, eq=False)
class _Measure:
    """Fits on one part, scores on the other."""

    before: _Part
    after: _Part
    weights: Table
    rng: np.random.Generator

    def c(self, risk: Table) -> Score:
        return score(c_index(risk, self.after.time_days, self.after.event, weights=self.weights))

    def kappa(self, stage: NDArray[np.int64]) -> Score:
        return score(quadratic_kappa(stage, self.after.stage, N_STAGES, weights=self.weights))

    def correlation(self, one: Table, other: Table) -> Score:
        found = []
        for weight in self.weights.astype(np.int64):
            covariance = np.cov(one, other, fweights=weight)
            found.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
        return score(np.array(found))

    def tables(self) -> Iterator[tuple[str, Table, Table]]:
        """Yield what bags see, of both parts."""
        before, after = self.before, self.after
        graphs = (("regions", before.own, after.own), ("after coarsening", before.coarse, after.coarse))
        yield "counts", before.fractions[:, 1:], after.fractions[:, 1:]
        for word, one, other in graphs:
            yield f"size and degree, {word}", _table(size_and_degree, one), _table(size_and_degree, other)
        yield "pooled, superpixels", before.superpixels, after.superpixels
        for word, one, other in graphs:
            yield f"pooled, {word}", _table(pooled, one), _table(pooled, other)

    def both(self, one: Table, other: Table) -> Iterator[tuple[str, Score]]:
        fitted = (one, self.before.time_days, self.before.event, other)
        yield "ridge", self.c(cox_risk(*fitted, rng=self.rng))
        yield "forest", self.c(forest_risk(*fitted, rng=self.rng))

    def leaving_sites_out(self) -> Iterator[Finding]:
        """Yield C over pairs within a site, by rivals that never saw that site."""
        before, after = self.before, self.after
        for word, rival in (("ridge", cox_risk), ("forest", forest_risk)):
            draws = []
            for site in np.unique(after.site):
                seen, unseen = before.site != site, after.site == site
                risk = rival(
                    before.superpixels[seen],
                    before.time_days[seen],
                    before.event[seen],
                    after.superpixels[unseen],
                    rng=self.rng,
                )
                stratum = np.zeros(int(unseen.sum()), np.int64)
                weights = draw_weights(stratum, n_draws=len(self.weights) - 1, rng=self.rng)
                draws.append(c_index(risk, after.time_days[unseen], after.event[unseen], weights=weights))
            value = score(np.mean(draws, axis=0))
            yield Finding(name=f"pooled {word}, leaving sites out, C-index", value=value, low=0.48, high=0.52)


def _table(describe: Callable[[GraphInput], Table], graphs: Sequence[GraphInput]) -> Table:
    return np.array([describe(graph) for graph in graphs])


def _apart(name: str, measure: _Measure) -> Iterator[Finding]:
    """Yield correlations that the law keeps near 0."""
    after = measure.after
    pairs = {
        "spatial": ("contact_share", ("tumour", "lymphocytes")),
        "interface": ("front_length", ("tumour",)),
    }
    if name not in pairs:
        return
    planted, kinds = pairs[name]
    for kind in kinds:
        value = measure.correlation(after.measure(planted), after.fractions[:, TISSUES.index(kind)])
        yield Finding(name=f"r of {planted} and share of {kind}", value=value, low=-0.08, high=0.08)
    if name == "spatial":
        for kind, low, high in (("tumour", 0.35, 0.45), ("lymphocytes", 0.10, 0.15)):
            share = after.fractions[:, TISSUES.index(kind)]
            value = score(measure.weights @ share / len(share))
            yield Finding(name=f"mean share of {kind}", value=value, low=low, high=high)


def _rivals(name: str, measure: _Measure) -> Iterator[Finding]:
    """Yield what tables of a slide tell."""
    bounds: dict[str, tuple[float | None, float | None]] = {
        "spatial": (None, _BAG),
        "null": (0.45, 0.55),
    }
    for what, one, other in measure.tables():
        low, high = (None, None) if "after coarsening" in what else bounds.get(name, (None, None))
        if name == "site" and what == "pooled, superpixels":
            low = 0.60
        if name == "interface":
            found = ridge_stage(one, measure.before.stage, other)
            high = 0.30 if "after coarsening" not in what else None
            yield Finding(name=f"{what}, ridge, kappa", value=measure.kappa(found), high=high)
            continue
        for rival, value in measure.both(one, other):
            yield Finding(name=f"{what}, {rival}, C-index", value=value, low=low, high=high)
    for word, before, after in (
        ("regions", measure.before.own, measure.after.own),
        ("after coarsening", measure.before.coarse, measure.after.coarse),
    ):
        every = np.concatenate([graph.features for graph in before])
        mean, scale = every.mean(axis=0), every.std(axis=0)
        tables = [np.array([edge_products(graph, mean, scale) for graph in part]) for part in (before, after)]
        risk = cox_risk(tables[0], measure.before.time_days, measure.before.event, tables[1], rng=measure.rng)
        limits = {"low": 0.45, "high": 0.55} if name == "null" and word == "regions" else {}
        yield Finding(name=f"edge products, {word}, ridge, C-index", value=measure.c(risk), **limits)


def _networks(name: str, measure: _Measure, model: ModelConfig, seed: int) -> Iterator[Finding]:
    """Yield what attention over a bag, the graph network, and the same on rewired edges find among the regions."""
    before, after = measure.before, measure.after
    if name == "interface":
        oracle = np.searchsorted(STAGE_CUTS, after.oracle / law(name).effect)
        yield Finding(name="oracle, kappa", value=measure.kappa(oracle.astype(np.int64)))
    for word, layers, wired in (("attention MIL", 0, True), ("GAT", 2, True), ("GAT on rewired edges", 2, False)):
        options = model.model_copy(update={"layers": layers, **_SMALL})
        graphs: list[Sequence[CoarseGraph]] = [part.regions for part in (before, after)]
        if not wired:
            graphs = [[rewire(graph, rng=measure.rng) for graph in part] for part in graphs]
        examples = [
            Example(
                graph=graph,
                patient=patient.patient,
                stage=patient.outcome.stage,
                time_days=patient.outcome.time_days,
                event=patient.outcome.event,
            )
            for graph, patient in zip(graphs[0], before.patients, strict=True)
        ]
        bundle = train(examples, options, seed=seed, about=_ABOUT).bundle
        predictions: list[Prediction] = [predict(graph, bundle) for graph in graphs[1]]
        if name == "interface":
            stage = np.array([each.stage_probability.argmax() for each in predictions])
            bag_high = 0.30 if not layers else None
            yield Finding(name=f"{word}, regions, kappa", value=measure.kappa(stage), high=bag_high)
        high = _BAG if name == "spatial" and (not layers or not wired) else None
        risk = np.array([each.risk for each in predictions])
        yield Finding(name=f"{word}, regions, C-index", value=measure.c(risk), high=high)
