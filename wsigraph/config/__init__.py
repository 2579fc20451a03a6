"""One tree of settings, rendered one to one as ``configs/*.yaml``.

Every step has one section, named like its package; its class is in the file of that name here. Values are frozen. An
unknown key is an error that names its path and the most similar key. The order is: defaults, then files in the order
given, then ``--set`` overrides. There are no environment variables and no globals. The sections of
``wsigraph.config.runtime`` are left out of every hash: they may change how fast a result is computed, never the result.
"""

from __future__ import annotations

from wsigraph.config.coarsening import CoarseningConfig
from wsigraph.config.diffusion import DiffusionConfig
from wsigraph.config.explanation import ExplanationConfig
from wsigraph.config.feature import FeatureConfig
from wsigraph.config.loading import load
from wsigraph.config.model import ModelConfig
from wsigraph.config.prediction import PredictionConfig
from wsigraph.config.rendering import render, write
from wsigraph.config.report import ReportConfig
from wsigraph.config.service import ServiceConfig
from wsigraph.config.slide import SlideConfig
from wsigraph.config.superpixel import SuperpixelConfig
from wsigraph.config.synthesis import SynthesisConfig
from wsigraph.config.tissue import TissueConfig
from wsigraph.config.tree import Config, section_hash

__all__ = [
    "CoarseningConfig",
    "Config",
    "DiffusionConfig",
    "ExplanationConfig",
    "FeatureConfig",
    "ModelConfig",
    "PredictionConfig",
    "ReportConfig",
    "ServiceConfig",
    "SlideConfig",
    "SuperpixelConfig",
    "SynthesisConfig",
    "TissueConfig",
    "load",
    "render",
    "section_hash",
    "write",
]
