"""The pipeline from file to graph, compared with what a user would run instead, in turns in one process.

The process is warm: the pipeline has run once on a small slide, so all compiled code is loaded. Each round runs the
slide with interpretable features, then with an encoder's as well, then a part of each baseline.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import numpy as np
import openslide

import wsigraph
from tests.benchmarks import baselines
from tests.benchmarks.measure import clocked
from tests.benchmarks.slide_maker import SOURCE
from tests.benchmarks.table import Table
from wsigraph.config import Config, load
from wsigraph.errors import PluginError
from wsigraph.records import TissueGraph, TissueMap

ENCODER = "efficientnet_lite0"
STAGES = ("read", "find_tissue", "segment", "build_graph")
_SAMPLE_TILES, _SQUARE_PX, _SPACING_PX = 64, 1024, 30


@dataclass(slots=True)
class PipelineRun:
    """Wall and CPU seconds of every stage, and the results."""

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    graph: TissueGraph | None = None
    tissue: TissueMap | None = None

    def step(self, name: str, run: Callable[[], Any]) -> Any:
        """Run and time one stage."""
        result, self.wall_s[name], self.cpu_s[name] = clocked(run)
        return result

    @property
    def wall(self) -> float:
        """Total seconds."""
        return sum(self.wall_s.values())

    @property
    def cpu(self) -> float:
        """Total CPU seconds."""
        return sum(self.cpu_s.values())


def run_pipeline(path: Path, config: Config, threads: int) -> PipelineRun:
    """Process one slide from file to graph."""
    run = PipelineRun()
    with dask.config.set(scheduler="threads", num_workers=threads):
        slide = run.step("read", lambda: wsigraph.read(path))
        with slide:
            run.tissue = tissue = run.step(
                "find_tissue", lambda: wsigraph.find_tissue(slide, config.tissue, working_mpp=config.superpixel.mpp)
            )
            labels = run.step("segment", lambda: wsigraph.segment(slide, config, tissue=tissue))
            run.graph = run.step("build_graph", lambda: wsigraph.build_graph(slide, labels, config))
    return run


def warm(config: Config, threads: int) -> bool:
    """Process the small slide once; return False if the configured encoder is not installed."""
    try:
        run_pipeline(SOURCE, config, threads)
    except PluginError:
        return False
    return True


def tissue_mpx(run: PipelineRun, mpp: float) -> float:
    """Return the tissue area of a processed slide in megapixels at a pixel size."""
    assert run.tissue is not None
    return float(run.tissue.tissue.sum()) * (run.tissue.mpp / mpp) ** 2 / 1e6


class _Baselines:
    """The baselines on parts of one slide, and the factors that scale their times to the whole slide."""

    def __init__(self, path: Path, tissue: TissueMap, threads: int) -> None:
        with wsigraph.read(path) as slide:
            self.mpp = slide.info.mpp
            tiles = baselines.tissue_tiles(slide, tissue)
            size = slide.size(1.0)
            box = baselines.fullest_square(slide, tissue, 1.0, min(_SQUARE_PX, size.height, size.width))
            self.square = slide.read(box, 1.0)
        self.path, self.n_tiles = path, len(tiles)
        self.tiles = tiles[:: max(1, len(tiles) // _SAMPLE_TILES)][:_SAMPLE_TILES]
        self.tile_factor = self.n_tiles / len(self.tiles)
        self.square_factor = float(tissue.tissue.sum()) * tissue.mpp**2 / (box.size.area)
        self.network = baselines.resnet18(threads)
        self.network(np.zeros((2, baselines.TILE_PX, baselines.TILE_PX, 3), np.uint8))
        baselines.region_graph(self.square[:128, :128], _SPACING_PX)

    def network_seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of reading and encoding all tissue tiles, extrapolated."""

        def run() -> None:
            with openslide.OpenSlide(self.path) as handle:
                for start in range(0, len(self.tiles), baselines.BATCH):
                    self.network(baselines.read_tiles(handle, self.mpp, self.tiles[start : start + baselines.BATCH]))

        _, wall, cpu = clocked(run)
        return wall * self.tile_factor, cpu * self.tile_factor

    def region_seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of scikit-image's pipeline over all tissue, extrapolated."""
        _, wall, cpu = clocked(lambda: baselines.region_graph(self.square, _SPACING_PX))
        return wall * self.square_factor, cpu * self.square_factor


def benchmark(path: Path, repeats: int, threads: int = 2) -> list[Table]:
    """Return the table of the pipeline and its baselines, and the table of its stages."""
    plain, encoded = load(), load(overrides=[f"feature.encoder={ENCODER}"])
    warm(plain, threads)
    has_encoder = warm(encoded, threads)
    first = run_pipeline(path, plain, threads)
    assert first.tissue is not None
    others = _Baselines(path, first.tissue, threads)
    runs_by_method: dict[str, list[PipelineRun]] = {"read to graph": []}
    if has_encoder:
        runs_by_method[f"read to graph, with {ENCODER}"] = []
    totals: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for (name, runs_of_method), config in zip(runs_by_method.items(), (plain, encoded), strict=False):
            runs_of_method.append(run_pipeline(path, config, threads))
            totals.setdefault(name, []).append((runs_of_method[-1].wall, runs_of_method[-1].cpu))
        network = f"ResNet-18 over {others.n_tiles} tissue tiles of 256 px at 0.5 um/px"
        totals.setdefault(network, []).append(others.network_seconds())
        totals.setdefault("scikit-image and networkx", []).append(others.region_seconds())
    tables = [_totals_table(path, totals, first, others, threads)]
    tables += [_stages_table(name, runs_of_method, first, threads) for name, runs_of_method in runs_by_method.items()]
    if not has_encoder:
        tables[0].notes.append(f"{ENCODER} is not installed here (extra 'encoder') and was left out")
    return tables


def _totals_table(
    path: Path, totals: dict[str, list[tuple[float, float]]], first: PipelineRun, others: _Baselines, threads: int
) -> Table:
    assert first.graph is not None
    area = _slide_mpx(path)
    table = Table(
        f"Read to graph, {path.name}, {area:.0f} Mpx, {threads} threads",
        ("method", "wall over ours", "CPU over ours", "wall s", "CPU s", "Mpx/s of level 0"),
    )
    own = totals["read to graph"]
    for name, seconds in totals.items():
        wall, cpu = statistics.median([pair[0] for pair in seconds]), statistics.median([pair[1] for pair in seconds])
        wall_ratio = statistics.median([a[0] / b[0] for a, b in zip(seconds, own, strict=True)])
        cpu_ratio = statistics.median([a[1] / b[1] for a, b in zip(seconds, own, strict=True)])
        table.rows.append((name, wall_ratio, cpu_ratio, wall, cpu, area / wall))
    table.notes.extend(
        [
            f"{first.graph.n_nodes} superpixels, {first.graph.n_edges} edges; tissue {tissue_mpx(first, 1.0):.1f} Mpx "
            f"at 1 um/px; medians of {len(own)} rounds; fastest read to graph {min(pair[0] for pair in own):.2f} s",
            f"ResNet-18: {len(others.tiles)} tiles timed, read by OpenSlide, x {others.tile_factor:.1f}; random "
            f"weights, fp32, torch threads {threads}",
            f"scikit-image: SLIC, rag_mean_color, regionprops_table on {others.square.shape[1]} px squared of tissue "
            f"at 1 um/px, x {others.square_factor:.1f} by area; reading and tissue detection not counted",
        ]
    )
    return table


def _stages_table(name: str, runs: list[PipelineRun], first: PipelineRun, threads: int) -> Table:
    area = tissue_mpx(first, 1.0)
    table = Table(
        f"Stages of {name}, {threads} threads",
        ("stage", "fraction of the wall time", "cores in use", "wall s", "CPU s", "CPU ms per tissue Mpx"),
    )
    total = statistics.median(run.wall for run in runs)
    for stage in STAGES:
        wall = statistics.median(run.wall_s[stage] for run in runs)
        cpu = statistics.median(run.cpu_s[stage] for run in runs)
        table.rows.append((stage, wall / total, cpu / wall, wall, cpu, 1000 * cpu / area))
    return table


def _slide_mpx(path: Path) -> float:
    with wsigraph.read(path) as slide:
        return slide.size().area / 1e6
