"""Made superpixel graphs in which what matters to the task is quiet, and what the eye sees does not matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import Size
from wsigraph.graph.adjacency import both_directions
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.graph.feature.interpret import FEATURE_NAMES, feature_schema_id, interpret
from wsigraph.graph.feature.moments import COLUMN, MOMENT_NAMES
from wsigraph.graph.tissue.stain import empty_histogram, estimate_stain
from wsigraph.records import TissueGraph
from wsigraph.training.dataset import Example

SIDE, BLOCK, PX = 12, 2, 20
LOUD, QUIET = FEATURE_NAMES.index("eosin_p50"), FEATURE_NAMES.index("nuclear_density")


def made_graph(name: str, nuclei: NDArray[np.int64], rng: np.random.Generator) -> TissueGraph:
    """Return a lattice of superpixels: eosin falls in bands at random, nuclei are as given, the rest is equal."""
    n = SIDE * SIDE
    y, x = np.divmod(np.arange(n), SIDE)
    moments = np.zeros((n, len(MOMENT_NAMES)), np.int64)

    def put(moment: str, values: NDArray[np.int64] | int) -> None:
        moments[:, COLUMN[moment]] = values

    area = PX * PX
    put("n", area)
    for axis, at in (("x", x), ("y", y)):
        put(f"sum_{axis}", area * (PX * at + PX // 2))
        put(f"sum_{axis}{axis}", area * (PX * at + PX // 2) ** 2 + area * PX * PX // 12)
    put("sum_xy", area * (PX * x + PX // 2) * (PX * y + PX // 2))
    for moment, value in (("od_r", 60), ("od_g", 120), ("od_b", 60), ("lightness_bin_8", 1), ("hematoxylin_bin_3", 1)):
        put(moment, area * value)
    put("cooccurrence_2_2", 4 * area)
    band = (x // 4 + rng.integers(0, 3, SIDE)[y] // 2) % 2
    level = 4 + 4 * band + rng.integers(0, 2, n)
    moments[np.arange(n), COLUMN["eosin_bin_0"] + level] = area
    put("nuclei", nuclei.ravel())
    put("nucleus_area", 30 * nuclei.ravel())
    put("nucleus_area_sq", 900 * nuclei.ravel())
    right, down = (np.flatnonzero(at < SIDE - 1) for at in (x, y))
    source, target = np.concatenate([right, down]), np.concatenate([right + 1, down + SIDE])
    edge_index, boundary = both_directions(source, target, np.tile([[PX, 2 * PX]], (len(source), 1)))
    return TissueGraph(
        slide_id=name,
        mpp=1.0,
        size=Size(SIDE * PX, SIDE * PX),
        moments=moments,
        moment_names=MOMENT_NAMES,
        edge_index=edge_index,
        boundary=boundary,
        stain=estimate_stain(empty_histogram()),
    )


def classes(rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the class, 0 or 1, of every superpixel of a lattice, in square blocks."""
    blocks = rng.integers(0, 2, (SIDE // BLOCK, SIDE // BLOCK))
    return np.kron(blocks, np.ones((BLOCK, BLOCK), np.int64))


def made_examples(n_patients: int, rng: np.random.Generator) -> tuple[list[Example], list[NDArray[np.int64]]]:
    """Return patients of two stages, and the class of every superpixel.

    In stage 1 tissue is made of blocks with few and with many nuclei, in stage 0 it has as many everywhere: the mean
    over a region of both classes is that of stage 0.
    """
    examples, kinds = [], []
    for number in range(n_patients):
        stage, kind = number % 2, classes(rng)
        nuclei = rng.binomial(12, np.where(kind == 1, 0.85, 0.15)) if stage else rng.binomial(12, 0.5, kind.shape)
        graph = made_graph(f"made_{number}", nuclei, rng)
        examples.append(Example(graph=graph, patient=f"p{number}", stage=stage))
        kinds.append(kind.ravel())
    return examples, kinds


def loud_embedding(examples: list[Example]) -> Embedding:
    """Return an embedding that sees eosin alone, as training without labels would."""
    table = np.concatenate([interpret(each.graph).values for each in examples])
    scale = table.std(axis=0)
    own = np.zeros((4, len(FEATURE_NAMES)))
    own[0, LOUD] = 1.0
    return Embedding(
        mean=table.mean(axis=0).astype(np.float32).astype(np.float64),
        scale=np.where(scale > 1e-9, scale, 1.0).astype(np.float32).astype(np.float64),
        own_weight=own,
        message_weight=np.zeros_like(own),
        offset=np.ones(1),
        feature_schema=feature_schema_id(),
    )
