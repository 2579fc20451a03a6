"""The records that pass between stages, and what they say of themselves."""

from __future__ import annotations

from wsigraph.records.explanation import Curves, Explanation
from wsigraph.records.slide_records import (
    CoarseGraph,
    LazyArray,
    Level,
    Prediction,
    SlideInfo,
    StainBasis,
    SuperpixelLabels,
    TissueGraph,
    TissueMap,
)

__all__ = [
    "CoarseGraph",
    "Curves",
    "Explanation",
    "LazyArray",
    "Level",
    "Prediction",
    "SlideInfo",
    "StainBasis",
    "SuperpixelLabels",
    "TissueGraph",
    "TissueMap",
]
