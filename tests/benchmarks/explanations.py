"""Cost of an explanation: 2,000 regions, 50 steps, 5 members, and the page of a slide; with ``--large`` 36,000 regions.

The goals are 10 s for the explanation (60 s for the large one) and 5 s for the page on two cores. The members are five
networks of the shipped architecture with random weights, which cost as much as trained ones. Attribution and the curves
that test it are timed separately.
"""

from __future__ import annotations

import resource
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import psutil

from tests.benchmarks.measure import clocked
from tests.benchmarks.slide_maker import SOURCE
from tests.benchmarks.table import Table
from wsigraph.config import Config, ExplanationConfig, load
from wsigraph.explanation import explain as explaining
from wsigraph.explanation.members import ExplainedMember, explained_members
from wsigraph.explanation.reference import load_reference
from wsigraph.explanation.request import ExplanationRequest
from wsigraph.explanation.sanity_checks import randomise_weights
from wsigraph.geometry import Size
from wsigraph.model.bundle import SHIPPED, load_bundle
from wsigraph.records import CoarseGraph, TissueGraph
from wsigraph.run.steps import run_slide
from wsigraph.synthesis.simulation.layout import sample_layout, sample_tessellation
from wsigraph.synthesis.simulation.simulate import build_library, draw_graph, sample_sites


def simulated_graph(rows: int, columns: int) -> TissueGraph:
    """Return a graph of rows times columns regions."""
    rng = np.random.default_rng(0)
    settings = Config().synthesis.model_copy(update={"library_side": 6, "sites": 1})
    library = build_library(sample_sites(1, rng=rng), settings, rng=rng)
    tessellation = sample_tessellation(Size(rows, columns), 30, rng=rng)
    classes = sample_layout(tessellation.regions.shape, tumour_fraction=0.3, necrosis_fraction=0.1, rng=rng)
    return draw_graph(tessellation.to_layout(classes), tessellation, library, site=0, slide_id="synthetic", rng=rng)


def large_graph(rows: int, columns: int) -> TissueGraph:
    """Return a graph of rows times columns regions with six neighbours each: a small one, repeated and shuffled."""
    rng = np.random.default_rng(1)
    small, n_nodes = simulated_graph(8, 8), rows * columns
    number = np.arange(n_nodes).reshape(rows, columns)
    pairs = [(number[:, :-1], number[:, 1:]), (number[:-1], number[1:]), (number[:-1, :-1], number[1:, 1:])]
    edges = np.concatenate([np.stack([low.ravel(), high.ravel()], axis=1) for low, high in pairs])
    edges = np.concatenate([edges, edges[:, ::-1]])
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    # every region is on the side of its neighbours, as tissue is: blocks of the small graph's regions
    kind = rng.integers(0, small.n_nodes, (rows // 6 + 1, columns // 6 + 1))[
        number // columns // 6, number % columns // 6
    ]
    other = rng.integers(0, small.n_nodes, number.shape)
    return replace(
        small,
        moments=small.moments[np.where(rng.random(number.shape) < 0.3, other, kind).ravel()],
        edge_index=np.ascontiguousarray(edges.T),
        boundary=small.boundary[rng.integers(0, small.n_edges, len(edges))],
    )


def five_members() -> tuple[ExplainedMember, ...]:
    """Return five networks of the shipped architecture."""
    shipped = explained_members(load_bundle(SHIPPED))[:1]
    return tuple(randomise_weights(shipped, seed=seed)[0] for seed in range(5))


def large_table(threads: int = 2, rows: int = 180, columns: int = 200) -> Table:
    """Return the cost of the explanation of a large slide with the settings of a run."""
    graph, bundle = large_graph(rows, columns), load_bundle(SHIPPED)
    coarse = CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")
    reference, before = load_reference(SHIPPED, bundle), resident_gb()
    with mock.patch.object(explaining, "explained_members", return_value=five_members()):
        result, wall, cpu = clocked(
            lambda: explaining.explain(coarse, graph, bundle, "risk", reference=reference, threads=threads)
        )
    head = ("task", "wall s", "CPU s", "peak GB above the start", "goal, wall s")
    table = Table(f"An explanation of {graph.n_nodes:,} regions, {threads} threads", head)
    row = ("risk (50 steps), stage, both curves, 5 members", wall, cpu, peak_gb() - before, 60.0)
    table.rows.append(row)
    drop = result.curves["drop"]
    table.notes.append(
        f"{result.n_steps} steps, completeness error {result.completeness_error:.2g} of "
        f"{result.completeness_limit:.2g} allowed; curves with {drop.n_random} random orders of {drop.n_members} member"
    )
    return table


def resident_gb() -> float:
    """Return the memory of this process."""
    return psutil.Process().memory_info().rss / 1e9


def peak_gb() -> float:
    """Return the largest memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def benchmark(threads: int = 2, rows: int = 40, columns: int = 50, *, large: bool = False) -> list[Table]:
    """Return the cost of an explanation and of a page."""
    graph = simulated_graph(rows, columns)
    coarse = CoarseGraph(graph=graph, assignment=np.arange(graph.n_nodes), embedding_id="none")
    bundle = load_bundle(SHIPPED)
    reference = load_reference(SHIPPED, bundle)
    five = five_members()
    table = Table(
        f"An explanation of {graph.n_nodes:,} regions, {threads} threads", ("task", "wall s", "CPU s", "goal, wall s")
    )
    with mock.patch.object(explaining, "explained_members", return_value=five):
        for name, orders, goal in (
            ("attribution of risk (50 steps) and stage, 5 members", 0, 10.0),
            ("the same with 100 random orders, both curves", 100, None),
        ):
            config = ExplanationConfig(random_orders=orders)

            def run(config: ExplanationConfig = config) -> object:
                return explaining.explain(
                    coarse, graph, bundle, "risk", reference=reference, config=config, threads=threads
                )

            result, wall, cpu = clocked(run)
            table.rows.append((name, wall, cpu, goal))
            table.notes.append(
                f"{name}: {result.n_steps} steps, completeness error {result.completeness_error:.2g} of "
                f"{result.completeness_limit:.2g} allowed"
            )
    table.rows.append(_page(threads))
    return [table, *([large_table(threads)] if large else [])]


def _page(threads: int) -> tuple[str, float, None, float]:
    """Return the seconds of the page of the slide in the repository, as the run records them."""
    settings = load(overrides=[f"runtime.threads={threads}", "explanation.random_orders=0"])
    with tempfile.TemporaryDirectory() as folder:
        result = run_slide(SOURCE, Path(folder), settings, explain=ExplanationRequest())
    return f"page and outlines of {SOURCE.name}", result.seconds["page"], None, 5.0
