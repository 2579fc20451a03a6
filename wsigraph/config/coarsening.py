"""Settings of the coarsening."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsigraph.config.runtime import Section


class CoarseningConfig(Section):
    """How neighbouring superpixels become one region."""

    space: Literal["features", "encoding"] | None = Field(
        None, description="compare neighbours by the learned embedding, or by encodings; null takes what is there"
    )
    weights: str | None = Field(None, description="embedding weights file, or null for the shipped ones")
    granularity: float = Field(
        1.75,
        gt=0.0,
        le=100.0,
        description="merging scale k, in medians of the embedding distance between the slide's own neighbours; "
        "without effect under a budget",
    )
    nodes_per_mm2: float | None = Field(
        None, gt=0.0, description="regions a mm2 of tissue to merge down to, whatever k that takes, or null"
    )
    ratio: float | None = Field(
        None, ge=1.0, description="superpixels a region to merge down to, likewise, or null; at most one of the two"
    )
    max_area_um2: float = Field(4.0e6, gt=0.0, description="no region grows beyond this, um2")
