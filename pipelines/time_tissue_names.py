"""Time the map of tissue classes on a made slide, beyond its graph.

    python -m pipelines.time_tissue_names GRAPH [--side-mm 15.1]

GRAPH is the graph.safetensors of a real slide; its superpixels are laid out at random as squares of 30 um over a slide
of that side, 228 mm2 by default and 253,009 superpixels. So the classes are scattered more than in tissue, and the
regions of the map are more and smaller. Prints seconds of processor time and of wall time as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from wsigraph.geometry import Size
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.tissue.mask import find_tissue
from wsigraph.graph.tissue_class.node_classifier import load_node_classifier
from wsigraph.records import TissueGraph
from wsigraph.report.tissue_map import write_tissue_map
from wsigraph.slide.reader import read
from wsigraph.store import create_labels, load_graph
from wsigraph.synthesis.simulation.pyramid import write_pyramid

SIDE_PX = 30


def tile_graph(graph: TissueGraph, side: int, *, rng: np.random.Generator) -> TissueGraph:
    """Return a square of `side` x `side` superpixels drawn from a graph's, in runs of eight of one row."""
    rows = np.repeat(rng.integers(0, graph.n_nodes, side * side // 8 + 1), 8)[: side * side]
    moments = graph.moments[rows].copy()
    moments[:, graph.moment_names.index("n")] = SIDE_PX**2
    node = np.arange(side * side).reshape(side, side)
    first = np.concatenate([node[:, :-1].ravel(), node[:-1].ravel()])
    second = np.concatenate([node[:, 1:].ravel(), node[1:].ravel()])
    order = np.lexsort((second, first))
    boundary = np.tile([SIDE_PX, 2 * SIDE_PX], (len(first), 1))
    edge_index, boundary = both_directions(first[order], second[order], boundary)
    return replace(
        graph,
        mpp=1.0,
        size=Size(side * SIDE_PX, side * SIDE_PX),
        moments=moments,
        edge_index=edge_index,
        boundary=boundary,
        class_names=(),
        class_pixels=None,
        encoding_sum=None,
        encoder=None,
    )


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("graph", type=Path)
    parser.add_argument("--side-mm", type=float, default=15.1)
    options = parser.parse_args()
    side = round(1000 * options.side_mm / SIDE_PX)
    graph = tile_graph(load_graph(options.graph), side, rng=np.random.default_rng(1))
    with tempfile.TemporaryDirectory() as folder:
        path, directory = Path(folder) / "made.tiff", Path(folder) / "made"
        pixels = np.broadcast_to(np.array([220, 150, 190], np.uint8), (side * SIDE_PX, side * SIDE_PX, 3)).copy()
        pixels[::64] -= 40
        write_pyramid(pixels, path, mpp=1.0, description="made")
        directory.mkdir()
        with read(path, mpp=1.0) as slide, create_labels(None, graph.size) as writer:
            y = np.arange(graph.size.height) // SIDE_PX
            for start in range(0, graph.size.height, 2048):
                block = y[start : start + 2048, None] * side + y[None, :] + 1
                writer.array[start : start + 2048] = block.astype(np.int32)
            tissue = find_tissue(slide)
            labels = writer.finish(n_superpixels=graph.n_nodes, mpp=1.0, tissue=tissue)
            cpu, wall = time.process_time(), time.perf_counter()
            written = write_tissue_map(
                directory,
                slide=slide,
                labels=labels,
                graph=graph,
                model=load_node_classifier(),
                model_digest="",
                level="compartment",
            )
            facts = {
                "superpixels": graph.n_nodes,
                "tissue_mm2": written.composition.tissue_mm2 + written.composition.glass_mm2,
                "cpu_seconds": round(time.process_time() - cpu, 1),
                "wall_seconds": round(time.perf_counter() - wall, 1),
            }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
