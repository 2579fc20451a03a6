"""How the regions of a new slide are compared, so that it is coarsened as the slides that a model was trained on."""

from __future__ import annotations

from wsigraph.config import CoarseningConfig
from wsigraph.graph.coarsening.encoding import ENCODING_PREFIX
from wsigraph.model.bundle import ModelBundle
from wsigraph.records import TissueGraph


def as_trained(config: CoarseningConfig, bundle: ModelBundle, graph: TissueGraph) -> CoarseningConfig:
    """Return settings under which the regions of a graph are compared as those of a model's training slides.

    Parameters
    ----------
    config : CoarseningConfig
        Settings at hand; a stated space stays.
    bundle : ModelBundle
        The model.
    graph : TissueGraph
        The superpixels.

    Returns
    -------
    CoarseningConfig
        Changed only where a graph has an encoder's features and the training slides were merged without any.
    """
    trained = bundle.card.coarsening_embedding_id
    if config.space is not None or graph.encoding_sum is None or trained is None:
        return config
    return config if trained.startswith(ENCODING_PREFIX) else config.model_copy(update={"space": "features"})
