"""Settings of the explanations."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsigraph.config.runtime import Section


class ExplanationConfig(Section):
    """Why the model reads what it reads, and how that is tested."""

    baseline: Literal["kind", "site", "draws", "mean"] = Field("kind", description="what a slide is compared with")
    steps: int = Field(50, ge=2, le=10000, description="steps of the integral, up to 16 times as many where needed")
    max_gap: float = Field(0.01, gt=0.0, le=1.0, description="largest gap, as a share of the difference explained")
    random_orders: int = Field(100, ge=0, le=10000, description="random orders that the curves compare with")
    kinds: int = Field(
        8, ge=1, le=100, description="kinds of tissue of the baselines, told apart when a model is trained"
    )
    broad_kinds: int = Field(
        4, ge=1, le=100, description="broad kinds within which curves replace regions, told apart in training likewise"
    )
    top_regions: int = Field(6, ge=1, le=50, description="regions that are told of and shown")
    seed: int = Field(0, ge=0, description="decides donors and random orders")
