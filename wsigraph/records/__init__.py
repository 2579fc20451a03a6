"""The records that pass between steps. They check themselves, and print in a few words."""

from __future__ import annotations

from wsigraph.records.explanation import Curves, Explanation
from wsigraph.records.graph_records import CoarseGraph, TissueGraph
from wsigraph.records.prediction import Prediction
from wsigraph.records.slide_records import LazyArray, Level, SlideInfo, StainBasis, SuperpixelLabels, TissueMap

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
