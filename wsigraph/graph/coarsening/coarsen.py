"""Coarsening: neighbouring superpixels of the same tissue are merged into one region."""

from __future__ import annotations

from wsigraph.config import CoarseningConfig
from wsigraph.errors import ConfigError
from wsigraph.geometry import um2_to_px
from wsigraph.graph.coarsening.contract import contract
from wsigraph.graph.coarsening.embed import Embedding, embed, load_embedding
from wsigraph.graph.coarsening.encoding import embed_encoding, encoding_id
from wsigraph.graph.coarsening.select import select
from wsigraph.records import CoarseGraph, TissueGraph


def coarsen(
    graph: TissueGraph, config: CoarseningConfig | None = None, *, embedding: Embedding | None = None
) -> CoarseGraph:
    """Merge neighbouring regions that are close in the learned embedding.

    Parameters
    ----------
    graph : TissueGraph
        Graph of superpixels.
    config : CoarseningConfig, optional
        Settings; the defaults if omitted.
    embedding : Embedding, optional
        Learned weights; if omitted, those that the configuration names, or the shipped ones. Not used if regions are
        compared by an encoder's features.

    Returns
    -------
    CoarseGraph
        Connected coarse regions with exact moments, numbered by their lowest superpixel.

    Raises
    ------
    ConfigError
        If two budgets are set.
    ModelError
        If the embedding's weights cannot be read or belong to other features.
    RecordError
        If the graph's moments follow another schema, or it lacks the encoder's features that regions are compared by.

    Notes
    -----
    Time is linear in nodes and edges; no dense matrix. A budget is met exactly, unless there are fewer superpixels, or
    pieces of tissue that do not touch or ``coarsening.max_area_um2`` leave more regions.
    """
    settings = config or CoarseningConfig()
    if _merges_by_encoding(graph, settings):
        position, embedding_id = embed_encoding(graph), encoding_id(graph)
    else:
        weights = embedding if embedding is not None else load_embedding(settings.weights)
        position, embedding_id = embed(graph, weights), weights.embedding_id
    assignment = select(
        position,
        graph.moment("n"),
        graph.edge_index,
        granularity=settings.granularity,
        max_area=um2_to_px(settings.max_area_um2, graph.mpp),
        n_wanted=budget(graph, settings),
    )
    coarse = contract(graph, assignment, int(assignment.max()) + 1)
    return CoarseGraph(graph=coarse, assignment=assignment, embedding_id=embedding_id)


def _merges_by_encoding(graph: TissueGraph, config: CoarseningConfig) -> bool:
    """Return whether regions are compared by an encoder's features: as configured, else if the graph has them."""
    return graph.encoding_sum is not None if config.space is None else config.space == "encoding"


def budget(graph: TissueGraph, config: CoarseningConfig) -> int | None:
    """Return the number of regions that the configured budget allows.

    Parameters
    ----------
    graph : TissueGraph
        Graph of superpixels.
    config : CoarseningConfig
        Settings.

    Returns
    -------
    int or None
        At least 1, rounded half to even; None if no budget is set.

    Raises
    ------
    ConfigError
        If two budgets are set.
    """
    if config.nodes_per_mm2 is not None and config.ratio is not None:
        raise ConfigError(
            f"coarsening.nodes_per_mm2 is {config.nodes_per_mm2:g} and coarsening.ratio is {config.ratio:g}; expected "
            "at most one budget; set the other to null"
        )
    if config.nodes_per_mm2 is not None:
        return max(1, round(config.nodes_per_mm2 * graph.tissue_mm2))
    return None if config.ratio is None else max(1, round(graph.n_nodes / config.ratio))
