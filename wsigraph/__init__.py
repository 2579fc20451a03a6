"""Whole-slide images as graphs of tissue regions: stage, survival and the reasons for both.

The verbs ``read``, ``segment``, ``build_graph``, ``coarsen`` and ``predict`` walk one slide through all of it; each
is imported when first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsigraph.graph.build import build_graph
    from wsigraph.graph.coarsening.coarsen import coarsen
    from wsigraph.graph.superpixel.segment import segment
    from wsigraph.graph.tissue.mask import find_tissue
    from wsigraph.model.predict import predict
    from wsigraph.slide.reader import Slide, read
    from wsigraph.synthesis.diffusion.synthesize import synthesize

__version__ = "0.1.0"

_HOMES = {
    "Slide": "wsigraph.slide.reader",
    "build_graph": "wsigraph.graph.build",
    "coarsen": "wsigraph.graph.coarsening.coarsen",
    "find_tissue": "wsigraph.graph.tissue.mask",
    "predict": "wsigraph.model.predict",
    "read": "wsigraph.slide.reader",
    "segment": "wsigraph.graph.superpixel.segment",
    "synthesize": "wsigraph.synthesis.diffusion.synthesize",
}

__all__ = ["Slide", "__version__", "build_graph", "coarsen", "find_tissue", "predict", "read", "segment", "synthesize"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'wsigraph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
