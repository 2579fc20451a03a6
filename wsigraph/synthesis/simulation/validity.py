"""Checks of a generative scenario: its survival, its independences, and which models can solve it.

Two cohorts of a scenario are simulated, the second with newly painted tissue. On the second, these statistics are
computed with bootstrap intervals over patients: the censored fraction, the oracle's C-index, correlations that should
be 0, and scores of baseline models fitted on the first. Baseline models see a slide as a bag of superpixels, a bag of
the layout's regions, or a bag of coarse regions. The networks are those of the package: without layers, attention over
a bag; with layers, a graph attention network; and the same network on rewired edges, which carry no information. A
scenario states bounds for some statistics; the others are for information.
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
from wsigraph.synthesis.simulation.scenarios import N_STAGES, STAGE_CUTS, find_scenario
from wsigraph.synthesis.simulation.simulate import SimulatedPatient, build_library, sample_sites, simulate
from wsigraph.training.dataset import Example
from wsigraph.training.train import About, train

Table = NDArray[np.float64]

_BAG = 0.56
"""Largest C-index allowed for a bag in the scenario ``spatial``, where only contacts are informative."""
_SMALL = {"design": "network", "heads": 2, "channels": 16, "epochs": 40, "patience": 10}
"""Size and training of the networks: enough for a scenario, minutes on one core."""
_ABOUT = About(
    name="scenario check", description="not kept", notice="not kept", licence="MIT", data="simulated", simulated=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A statistic of a scenario and its bounds.

    Attributes
    ----------
    name : str
        Name of the statistic.
    value : Score
        With its 95 % confidence interval.
    low, high : float or None
        Bounds that the scenario states, if any.
    """

    name: str
    value: Score
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the value is within its bounds; None without bounds."""
        if self.low is None and self.high is None:
            return None
        return (self.low is None or self.value.value >= self.low) and (
            self.high is None or self.value.value <= self.high
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """A cohort as input of the baseline models."""

    patients: list[SimulatedPatient]
    superpixels: Table
    regions: list[CoarseGraph]
    coarse: list[GraphInput]

    @cached_property
    def own(self) -> list[GraphInput]:
        return [graph_input(graph) for graph in self.regions]

    @cached_property
    def time_days(self) -> Table:
        return np.array([patient.outcome.time_days for patient in self.patients])

    @cached_property
    def event(self) -> NDArray[np.bool_]:
        return np.array([patient.outcome.event for patient in self.patients])

    @cached_property
    def stage(self) -> NDArray[np.int64]:
        stages = [patient.outcome.stage for patient in self.patients]
        return np.array([NO_STAGE if stage is None else stage for stage in stages])

    @cached_property
    def oracle(self) -> Table:
        return np.array([patient.outcome.oracle_risk for patient in self.patients])

    @cached_property
    def site(self) -> NDArray[np.int64]:
        return np.array([patient.site for patient in self.patients])

    @cached_property
    def fractions(self) -> Table:
        tissues = range(len(TISSUES))
        return np.array([[patient.layout.fraction(tissue) for tissue in tissues] for patient in self.patients])

    def measure(self, name: str) -> Table:
        return np.array([patient.measures[name] for patient in self.patients])


def check_scenario(
    name: str,
    settings: Config | None = None,
    *,
    n_train: int = 600,
    n_fresh: int = 2000,
    seed: int = 1,
    networks: bool = True,
) -> Iterator[Finding]:
    """Yield the statistics of a scenario.

    Parameters
    ----------
    name : str
        Name of the scenario.
    settings : Config, optional
        Sections ``synthesis``, ``feature``, ``coarsening`` and ``model``.
    n_train, n_fresh : int
        Number of patients to fit the baseline models on, and of other patients to measure on.
    seed : int
        Seed of all random numbers.
    networks : bool
        Train networks too, which takes minutes.

    Yields
    ------
    Finding
        Survival first, then independences, then baseline models.

    Raises
    ------
    SynthesisError
        If the scenario is unknown, or no two patients can be compared.
    """
    settings = settings or Config()
    options = settings.synthesis.model_copy(update={"scenario": name, "second_slide_fraction": 0.0})
    settings = settings.model_copy(update={"synthesis": options})
    find_scenario(name)
    scenery, first, second, draws, rng = np.random.default_rng(seed).spawn(5)
    sites = sample_sites(options.sites, rng=scenery)
    parts = []
    for cohort, own, n_patients in (("train", first, n_train), ("fresh", second, n_fresh)):
        library = build_library(sites, options, settings.feature, rng=own)
        parts.append(_part(simulate(n_patients, library, options, rng=own, cohort=cohort), settings))
    before, after = parts
    measure = _Measure(before, after, draw_weights(np.zeros(n_fresh, np.int64), n_draws=500, rng=draws), rng)
    censored = measure.weights @ ~after.event / n_fresh
    yield Finding(name="censored fraction", value=score(censored), low=0.35, high=0.40)
    yield Finding(name="oracle C-index", value=measure.c(after.oracle), low=0.80, high=0.86)
    yield from _independence_checks(name, measure)
    yield from _baseline_checks(name, measure)
    if name == "site":
        yield from measure.leaving_sites_out()
    if networks and name in ("spatial", "interface"):
        yield from _network_checks(name, measure, settings.model, seed)


def _part(patients: Iterator[SimulatedPatient], settings: Config) -> _Part:
    reduced, superpixels, regions, coarse = [], [], [], []
    for patient in patients:
        slide = patient.slides[0]
        superpixels.append(pooled(graph_input(slide.graph)))
        regions.append(own_regions(slide.graph, slide.tessellation))
        coarse.append(graph_input(coarsen(slide.graph, settings.coarsening)))
        # the graph of superpixels is dropped: it is not needed again
        reduced.append(replace(patient, slides=(replace(slide, graph=regions[-1].graph),)))
    return _Part(patients=reduced, superpixels=np.array(superpixels), regions=regions, coarse=coarse)


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
        correlations = []
        for weight in self.weights.astype(np.int64):
            covariance = np.cov(one, other, fweights=weight)
            correlations.append(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
        return score(np.array(correlations))

    def tables(self) -> Iterator[tuple[str, Table, Table]]:
        """Yield the name and the tables of both parts for each baseline input."""
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
        """Yield the C-index over pairs within a site, by baseline models fitted without that site."""
        before, after = self.before, self.after
        for word, baseline in (("ridge", cox_risk), ("forest", forest_risk)):
            draws = []
            for site in np.unique(after.site):
                others, unseen = before.site != site, after.site == site
                risk = baseline(
                    before.superpixels[others],
                    before.time_days[others],
                    before.event[others],
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


def _independence_checks(name: str, measure: _Measure) -> Iterator[Finding]:
    """Yield correlations that the scenario keeps near 0, and mean fractions that it keeps constant."""
    after = measure.after
    pairs = {
        "spatial": ("contact_fraction", ("tumour", "lymphocytes")),
        "interface": ("front_length", ("tumour",)),
    }
    if name not in pairs:
        return
    planted, tissues = pairs[name]
    for tissue in tissues:
        value = measure.correlation(after.measure(planted), after.fractions[:, TISSUES.index(tissue)])
        yield Finding(name=f"r of {planted} and fraction of {tissue}", value=value, low=-0.08, high=0.08)
    if name == "spatial":
        for tissue, low, high in (("tumour", 0.35, 0.45), ("lymphocytes", 0.10, 0.15)):
            fraction = after.fractions[:, TISSUES.index(tissue)]
            value = score(measure.weights @ fraction / len(fraction))
            yield Finding(name=f"mean fraction of {tissue}", value=value, low=low, high=high)


def _baseline_checks(name: str, measure: _Measure) -> Iterator[Finding]:
    """Yield the scores of baseline models on tables of a slide."""
    bounds: dict[str, tuple[float | None, float | None]] = {
        "spatial": (None, _BAG),
        "null": (0.45, 0.55),
    }
    for inputs, one, other in measure.tables():
        low, high = (None, None) if "after coarsening" in inputs else bounds.get(name, (None, None))
        if name == "site" and inputs == "pooled, superpixels":
            low = 0.60
        if name == "interface":
            stage = ridge_stage(one, measure.before.stage, other)
            high = 0.30 if "after coarsening" not in inputs else None
            yield Finding(name=f"{inputs}, ridge, kappa", value=measure.kappa(stage), high=high)
            continue
        for baseline, value in measure.both(one, other):
            yield Finding(name=f"{inputs}, {baseline}, C-index", value=value, low=low, high=high)
    for word, before, after in (
        ("regions", measure.before.own, measure.after.own),
        ("after coarsening", measure.before.coarse, measure.after.coarse),
    ):
        features = np.concatenate([graph.features for graph in before])
        mean, scale = features.mean(axis=0), features.std(axis=0)
        tables = [np.array([edge_products(graph, mean, scale) for graph in part]) for part in (before, after)]
        risk = cox_risk(tables[0], measure.before.time_days, measure.before.event, tables[1], rng=measure.rng)
        limits = {"low": 0.45, "high": 0.55} if name == "null" and word == "regions" else {}
        yield Finding(name=f"edge products, {word}, ridge, C-index", value=measure.c(risk), **limits)


def _network_checks(name: str, measure: _Measure, model: ModelConfig, seed: int) -> Iterator[Finding]:
    """Yield the scores of attention over a bag, the graph network, and the same network on rewired edges."""
    before, after = measure.before, measure.after
    if name == "interface":
        oracle = np.searchsorted(STAGE_CUTS, after.oracle / find_scenario(name).effect)
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
            stage = np.array([prediction.stage_probability.argmax() for prediction in predictions])
            bag_high = 0.30 if not layers else None
            yield Finding(name=f"{word}, regions, kappa", value=measure.kappa(stage), high=bag_high)
        high = _BAG if name == "spatial" and (not layers or not wired) else None
        risk = np.array([prediction.risk for prediction in predictions])
        yield Finding(name=f"{word}, regions, C-index", value=measure.c(risk), high=high)
