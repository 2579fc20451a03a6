"""Learn the coarsening embedding that the package ships.

    python -m pipelines.train_shipped_embedding [--out PATH] [--seed N] [SLIDE ...]

Without slides, the CC0 slide in ``tests/data`` is used. No label enters: pairs of regions come from the slides
themselves. Rerun with the same slides and seed, the file is the same byte for byte on one machine type.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wsigraph import build_graph, read, segment
from wsigraph.graph.coarsening.coarsen import coarsen
from wsigraph.graph.coarsening.embed import save_embedding
from wsigraph.graph.coarsening.train_embedding import train_embedding

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run the recipe."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("slides", nargs="*", type=Path, default=[ROOT / "tests/data/CMU-1-Small-Region.svs"])
    parser.add_argument("--out", type=Path, default=ROOT / "wsigraph/graph/coarsening/shipped/embedding.safetensors")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    graphs = []
    for path in options.slides:
        with read(path) as slide:
            graphs.append(build_graph(slide, segment(slide)))
    embedding = train_embedding(graphs, generator=np.random.default_rng(options.seed))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_embedding(embedding, options.out)
    for graph in graphs:
        n_coarse = coarsen(graph, embedding=embedding).graph.n_nodes
        print(f"{graph.slide_id}: {graph.n_nodes} superpixels, {n_coarse} coarse regions")
    print(f"embedding {embedding.embedding_id} written to {options.out}")


if __name__ == "__main__":
    main()
