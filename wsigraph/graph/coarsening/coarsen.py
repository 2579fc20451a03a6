"""Neighbouring superpixels of one tissue merged into one region."""

from __future__ import annotations

from wsigraph.config import CoarseningConfig
from wsigraph.errors import ConfigError
from wsigraph.geometry import um2_to_px
from wsigraph.graph.coarsening.contract import contract
from wsigraph.graph.coarsening.embed import Embedding, embed, load_embedding
from wsigraph.graph.coarsening.encoding import embed_encoding, encoding_id
from wsigraph.graph.coarsening.select import select
from wsigraph.graph.feature.moments import MOMENT_NAMES
from wsigraph.records import CoarseGraph, TissueGraph


def coarsen(
    graph: TissueGraph, config: CoarseningConfig | None = None, *, embedding: Embedding | None = None
) -> CoarseGraph:
    """Merge regions that the learned embedding takes for one tissue.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels.
    config : CoarseningConfig, optional
        Settings; the defaults where left out.
    embedding : Embedding, optional
        Weights; those the configuration names, or the shipped ones, where left out. Not used where an encoder's
        features decide.

    Returns
    -------
    CoarseGraph
        Connected coarse regions with exact moments, numbered by their lowest superpixel.

    Raises
    ------
    ConfigError
        If two budgets are asked for.
    ModelError
        If the embedding's weights cannot be read or belong to other features.
    RecordError
        If the graph's moments follow another schema, or it lacks the encoder's features that shall decide.

    Notes
    -----
    Linear in nodes and edges; no dense matrix. A budget is met to the region, except where there are fewer superpixels,
    or where pieces of tissue that do not touch or ``coarsening.max_area_um2`` leave more.
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
    """Return whether an encoder's features decide: where asked for, or where the graph's pixels were not counted."""
    if config.space is not None:
        return config.space == "encoding"
    return graph.moment_names != MOMENT_NAMES and graph.encoding_sum is not None


def budget(graph: TissueGraph, config: CoarseningConfig) -> int | None:
    """Return the number of regions that a budget asks for, at least 1; None where none is set.

    Parameters
    ----------
    graph : TissueGraph
        Superpixels.
    config : CoarseningConfig
        Settings.

    Returns
    -------
    int or None
        Half a region is rounded to the even number.

    Raises
    ------
    ConfigError
        If two budgets are asked for.
    """
    if config.nodes_per_mm2 is not None and config.ratio is not None:
        raise ConfigError(
            f"coarsening.nodes_per_mm2 is {config.nodes_per_mm2:g} and coarsening.ratio is {config.ratio:g}; expected "
            "at most one budget; set the other to null"
        )
    if config.nodes_per_mm2 is not None:
        return max(1, round(config.nodes_per_mm2 * graph.tissue_mm2))
    return None if config.ratio is None else max(1, round(graph.n_nodes / config.ratio))
