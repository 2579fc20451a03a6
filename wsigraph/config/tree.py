"""The tree of settings: one section for each step."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from wsigraph.config.coarsening import CoarseningConfig
from wsigraph.config.diffusion import DiffusionConfig
from wsigraph.config.explanation import ExplanationConfig
from wsigraph.config.feature import FeatureConfig
from wsigraph.config.model import ModelConfig
from wsigraph.config.prediction import PredictionConfig
from wsigraph.config.report import ReportConfig
from wsigraph.config.runtime import BatchConfig, ClusterConfig, RuntimeConfig, Section
from wsigraph.config.service import ServiceConfig
from wsigraph.config.slide import SlideConfig
from wsigraph.config.superpixel import SuperpixelConfig
from wsigraph.config.synthesis import SynthesisConfig
from wsigraph.config.tissue import TissueConfig


class Config(Section):
    """All settings; each field is one file in ``configs/``."""

    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    slide: SlideConfig = Field(default_factory=SlideConfig)
    tissue: TissueConfig = Field(default_factory=TissueConfig)
    superpixel: SuperpixelConfig = Field(default_factory=SuperpixelConfig)
    feature: FeatureConfig = Field(default_factory=FeatureConfig)
    coarsening: CoarseningConfig = Field(default_factory=CoarseningConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    prediction: PredictionConfig = Field(default_factory=PredictionConfig)
    synthesis: SynthesisConfig = Field(default_factory=SynthesisConfig)
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig)
    explanation: ExplanationConfig = Field(default_factory=ExplanationConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    batch: BatchConfig = Field(default_factory=BatchConfig)
    service: ServiceConfig = Field(default_factory=ServiceConfig)

    def with_organ(self, organ: str | None) -> Config:
        """Return the settings of a slide whose organ a manifest states; the same where it states none."""
        if organ is None:
            return self
        return self.model_copy(update={"prediction": self.prediction.model_copy(update={"organ": organ})})


def section_hash(section: Section) -> str:
    """Return the SHA-256 of a section's canonical JSON, the identity of its values.

    Notes
    -----
    A renamed key keeps its old name in the hash, so that records of the version before still count as done.
    """
    old_names = {new: old for old, new in section.renamed_keys.items()}
    values = {old_names.get(key, key): value for key, value in section.model_dump(mode="json").items()}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
