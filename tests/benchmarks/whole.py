"""The whole way from file to graph, beside what a user would run instead, in turns in one process.

The process is warm: the way has been walked once on a small slide, so everything compiled is loaded. Each round walks
the slide with interpretable features, then with an encoder's as well, then runs a part of each rival.
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
from tests.benchmarks import rivals
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
class Walk:
    """Wall and CPU seconds of every stage, and what came out."""

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
        """Seconds in all."""
        return sum(self.wall_s.values())

    @property
    def cpu(self) -> float:
        """CPU seconds in all."""
        return sum(self.cpu_s.values())


def walk(path: Path, config: Config, threads: int) -> Walk:
    """Walk one slide from file to graph."""
    found = Walk()
    with dask.config.set(scheduler="threads", num_workers=threads):
        slide = found.step("read", lambda: wsigraph.read(path))
        with slide:
            found.tissue = tissue = found.step(
                "find_tissue", lambda: wsigraph.find_tissue(slide, config.tissue, working_mpp=config.superpixel.mpp)
            )
            labels = found.step("segment", lambda: wsigraph.segment(slide, config, tissue=tissue))
            found.graph = found.step("build_graph", lambda: wsigraph.build_graph(slide, labels, config))
    return found


def warm(config: Config, threads: int) -> bool:
    """Walk the small slide once; False where the configuration's encoder is not installed."""
    try:
        walk(SOURCE, config, threads)
    except PluginError:
        return False
    return True


def tissue_mpx(found: Walk, mpp: float) -> float:
    """Return the tissue of a walked slide in megapixels of a pixel size."""
    assert found.tissue is not None
    return float(found.tissue.tissue.sum()) * (found.tissue.mpp / mpp) ** 2 / 1e6


class _Rivals:
    """The rivals' parts of one slide, ready to run, and what to scale them by."""

    def __init__(self, path: Path, tissue: TissueMap, threads: int) -> None:
        with wsigraph.read(path) as slide:
            self.mpp = slide.info.mpp
            tiles = rivals.tissue_tiles(slide, tissue)
            size = slide.size(1.0)
            box = rivals.fullest_square(slide, tissue, 1.0, min(_SQUARE_PX, size.height, size.width))
            self.square = slide.read(box, 1.0)
        self.path, self.n_tiles = path, len(tiles)
        self.tiles = tiles[:: max(1, len(tiles) // _SAMPLE_TILES)][:_SAMPLE_TILES]
        self.tile_factor = self.n_tiles / len(self.tiles)
        self.square_factor = float(tissue.tissue.sum()) * tissue.mpp**2 / (box.size.area)
        self.network = rivals.resnet18(threads)
        self.network(np.zeros((2, rivals.TILE_PX, rivals.TILE_PX, 3), np.uint8))
        rivals.region_graph(self.square[:128, :128], _SPACING_PX)

    def network_seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of reading and encoding all tissue tiles, pro rata."""

        def run() -> None:
            with openslide.OpenSlide(self.path) as handle:
                for start in range(0, len(self.tiles), rivals.BATCH):
                    self.network(rivals.read_tiles(handle, self.mpp, self.tiles[start : start + rivals.BATCH]))

        _, wall, cpu = clocked(run)
        return wall * self.tile_factor, cpu * self.tile_factor

    def region_seconds(self) -> tuple[float, float]:
        """Return wall and CPU seconds of scikit-image's route over all tissue, pro rata."""
        _, wall, cpu = clocked(lambda: rivals.region_graph(self.square, _SPACING_PX))
        return wall * self.square_factor, cpu * self.square_factor


def benchmark(path: Path, repeats: int, threads: int = 2) -> list[Table]:
    """Return the table of the whole way against its rivals and the table of its stages."""
    plain, encoded = load(), load(overrides=[f"feature.encoder={ENCODER}"])
    warm(plain, threads)
    has_encoder = warm(encoded, threads)
    first = walk(path, plain, threads)
    assert first.tissue is not None
    others = _Rivals(path, first.tissue, threads)
    walks: dict[str, list[Walk]] = {"read to graph": []}
    if has_encoder:
        walks[f"read to graph, with {ENCODER}"] = []
    totals: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for (name, found), config in zip(walks.items(), (plain, encoded), strict=False):
            found.append(walk(path, config, threads))
            totals.setdefault(name, []).append((found[-1].wall, found[-1].cpu))
        network = f"ResNet-18 over {others.n_tiles} tissue tiles of 256 px at 0.5 um/px"
        totals.setdefault(network, []).append(others.network_seconds())
        totals.setdefault("scikit-image and networkx", []).append(others.region_seconds())
    tables = [_totals_table(path, totals, first, others, threads)]
    tables += [_stages_table(name, found, first, threads) for name, found in walks.items()]
    if not has_encoder:
        tables[0].notes.append(f"{ENCODER} is not installed here (extra 'encoder') and was left out")
    return tables


def _totals_table(
    path: Path, totals: dict[str, list[tuple[float, float]]], first: Walk, others: _Rivals, threads: int
) -> Table:
    assert first.graph is not None
    area = _slide_mpx(path)
    table = Table(
        f"The whole way, {path.name}, {area:.0f} Mpx, {threads} threads",
        ("way", "wall over ours", "CPU over ours", "wall s", "CPU s", "Mpx/s of level 0"),
    )
    own = totals["read to graph"]
    for name, found in totals.items():
        wall, cpu = statistics.median([each[0] for each in found]), statistics.median([each[1] for each in found])
        wall_ratio = statistics.median([a[0] / b[0] for a, b in zip(found, own, strict=True)])
        cpu_ratio = statistics.median([a[1] / b[1] for a, b in zip(found, own, strict=True)])
        table.rows.append((name, wall_ratio, cpu_ratio, wall, cpu, area / wall))
    table.notes.extend(
        [
            f"{first.graph.n_nodes} superpixels, {first.graph.n_edges} edges; tissue {tissue_mpx(first, 1.0):.1f} Mpx "
            f"at 1 um/px; medians of {len(own)} rounds; fastest read to graph {min(each[0] for each in own):.2f} s",
            f"ResNet-18: {len(others.tiles)} tiles timed, read by OpenSlide, x {others.tile_factor:.1f}; random "
            f"weights, fp32, torch threads {threads}",
            f"scikit-image: SLIC, rag_mean_color, regionprops_table on {others.square.shape[1]} px squared of tissue "
            f"at 1 um/px, x {others.square_factor:.1f} by area; reading and tissue detection not counted",
        ]
    )
    return table


def _stages_table(name: str, found: list[Walk], first: Walk, threads: int) -> Table:
    area = tissue_mpx(first, 1.0)
    table = Table(
        f"Stages of {name}, {threads} threads",
        ("stage", "share of the wall time", "cores in use", "wall s", "CPU s", "CPU ms per tissue Mpx"),
    )
    total = statistics.median(each.wall for each in found)
    for stage in STAGES:
        wall = statistics.median(each.wall_s[stage] for each in found)
        cpu = statistics.median(each.cpu_s[stage] for each in found)
        table.rows.append((stage, wall / total, cpu / wall, wall, cpu, 1000 * cpu / area))
    return table


def _slide_mpx(path: Path) -> float:
    with wsigraph.read(path) as slide:
        return slide.size().area / 1e6
