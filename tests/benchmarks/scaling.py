"""How cost grows with the slide and with the number of regions.

By area: the pipeline on slides of several sizes, and the line t = a + b x area that fits best in relative error; a line
fitted in seconds would only fit the largest slide. By regions: copies of one real graph side by side, ten times more in
each step, through the functions that work on graphs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import wsigraph
from tests.benchmarks import slide_maker, whole
from tests.benchmarks.measure import clocked
from tests.benchmarks.table import Table
from wsigraph.config import load
from wsigraph.geometry import Box
from wsigraph.graph.adjacency import both_directions, count_boundaries, sum_boundaries
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.feature.interpret import interpret
from wsigraph.records import TissueGraph

SIZES = ((10_000, 7_500), (20_000, 15_000), (30_000, 22_500), (40_000, 30_000))
LARGE_SIZES = ((10_000, 7_500), (20_000, 15_000), (40_000, 30_000), (80_000, 60_000))
NODES = (10_000, 100_000, 1_000_000)


def line(area: NDArray[np.float64], seconds: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
    """Return a and b of t = a + b x area by least squares of relative deviations, and the deviations."""
    weighted = np.stack([1 / seconds, area / seconds], axis=1)
    (a, b), *_ = np.linalg.lstsq(weighted, np.ones(len(seconds)), rcond=None)
    return float(a), float(b), seconds / (a + b * area) - 1


def by_area(slides: list[Path], repeats: int, threads: int = 2) -> Table:
    """Return wall and CPU time of the pipeline over slide sizes, with the deviation of each from its line."""
    config = load()
    whole.warm(config, threads)
    runs = [[whole.run_pipeline(path, config, threads) for path in slides] for _ in range(repeats)]
    sizes = []
    for path in slides:
        with wsigraph.read(path) as slide:
            sizes.append(slide.size())
    area = np.array([size.area / 1e6 for size in sizes])
    wall = np.array([statistics.median(row[k].wall for row in runs) for k in range(len(slides))])
    cpu = np.array([statistics.median(row[k].cpu for row in runs) for k in range(len(slides))])
    fits = {"wall": line(area, wall), "CPU": line(area, cpu)}
    table = Table(
        f"Read to graph over slide size, {threads} threads",
        ("slide", "wall off its line", "CPU off its line", "wall s", "CPU s", "Mpx/s", "superpixels"),
    )
    for k, size in enumerate(sizes):
        graph = runs[0][k].graph
        assert graph is not None
        off = [f"{100 * fits[clock][2][k]:+.1f} %" for clock in ("wall", "CPU")]
        table.rows.append(
            (
                f"{size.width} x {size.height}",
                *off,
                wall[k].item(),
                cpu[k].item(),
                float(area[k] / wall[k]),
                graph.n_nodes,
            )
        )
    for clock, (a, b, _) in fits.items():
        table.notes.append(f"{clock}: t = {a:.2f} s + {1000 * b:.2f} s a Gpx of level 0")
    table.notes.append(f"medians of {repeats} rounds; least squares of relative deviations")
    return table


def copies(graph: TissueGraph, n_nodes: int) -> TissueGraph:
    """Return whole copies of a graph side by side, at least `n_nodes` nodes, without edges between them."""
    n_copies = -(-n_nodes // graph.n_nodes)
    shift = np.repeat(np.arange(n_copies) * graph.n_nodes, graph.edge_index.shape[1])
    return TissueGraph(
        slide_id=graph.slide_id,
        mpp=graph.mpp,
        size=graph.size,
        moments=np.tile(graph.moments, (n_copies, 1)),
        moment_names=graph.moment_names,
        edge_index=np.tile(graph.edge_index, (1, n_copies)) + shift,
        boundary=np.tile(graph.boundary, (n_copies, 1)),
        stain=graph.stain,
    )


def _adjacency_seconds(labels: NDArray[np.int32], n_labels: int, n_copies: int) -> float:
    """Return the CPU seconds of counting and merging the boundaries of copies of a label image."""
    box = Box(y0=0, x0=0, y1=labels.shape[0], x1=labels.shape[1])
    total, tables = 0.0, []
    for copy in range(n_copies):
        moved = np.where(labels > 0, labels + np.int32(copy * n_labels), 0).astype(np.int32)
        table, _, cpu = clocked(lambda moved=moved: count_boundaries(moved, box, box))  # type: ignore[misc]
        tables.append(table)
        total += cpu

    def merge() -> None:
        key, boundary = sum_boundaries(np.concatenate([t[0] for t in tables]), np.concatenate([t[1] for t in tables]))
        both_directions((key >> 32) - 1, (key & 0xFFFFFFFF) - 1, boundary)

    return total + clocked(merge)[2]


def by_nodes(nodes: tuple[int, ...], repeats: int) -> Table:
    """Return the CPU time of adjacency, features and coarsening over the number of regions."""
    with wsigraph.read(slide_maker.SOURCE) as slide:
        labels_of_slide = wsigraph.segment(slide)
        small = wsigraph.build_graph(slide, labels_of_slide)
        labels = np.asarray(labels_of_slide.labels[:])
    coarsen(small)
    table = Table(
        "Cost over the number of regions, one thread",
        ("step", "time x at nodes x 10", "nodes", "CPU s", "us a node"),
    )
    steps: dict[str, Callable[[TissueGraph], Any]] = {"interpret": interpret, "coarsen": coarsen}
    before: dict[str, tuple[int, float]] = {}
    for n_wanted in nodes:
        graph = copies(small, n_wanted)
        n_copies = graph.n_nodes // small.n_nodes
        # a step of milliseconds is repeated, because the clock is too coarse for one run
        rounds = repeats if n_wanted < 500_000 else max(1, repeats // 2)
        seconds = {
            "adjacency": statistics.median(
                _adjacency_seconds(labels, small.n_nodes, n_copies) for _ in range(1 if n_wanted > 50_000 else rounds)
            ),
            **{
                name: statistics.median(clocked(lambda run=run, graph=graph: run(graph))[2] for _ in range(rounds))  # type: ignore[misc]
                for name, run in steps.items()
            },
        }
        for name, second in seconds.items():
            n_before, earlier = before.get(name, (0, 0.0))
            growth = second / earlier / (graph.n_nodes / n_before / 10) if n_before else None
            table.rows.append((name, growth, graph.n_nodes, second, 1e6 * second / graph.n_nodes))
            before[name] = (graph.n_nodes, second)
    table.rows.sort(key=lambda row: (str(row[0]), row[2]))
    table.notes.append(
        f"copies of the graph of {slide_maker.SOURCE.name} ({small.n_nodes} superpixels) side by side; adjacency "
        "counts the boundaries of as many copies of its label image; growth is corrected for the exact number of nodes"
    )
    return table


def benchmark(folder: Path, repeats: int, threads: int = 2, *, large: bool = False) -> list[Table]:
    """Return both tables; slides are made in `folder`, up to 80,000 x 60,000 px where `large`."""
    slides = [slide_maker.made(folder, *size) for size in (LARGE_SIZES if large else SIZES)]
    return [by_area(slides, repeats, threads), by_nodes(NODES, repeats)]
