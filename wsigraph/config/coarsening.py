"""Settings of the coarsening."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsigraph.config.runtime import Section


class CoarseningConfig(Section):
    """How neighbouring superpixels become one region."""

    space: Literal["features", "encoding"] | None = Field(
        None, description="compare neighbours by the learned embedding, or by encodings; null uses what the graph has"
    )
    weights: str | None = Field(None, description="embedding weights file, or null for the shipped ones")
    granularity: float = Field(
        1.75,
        gt=0.0,
        le=100.0,
        description="merging scale k, in medians of the embedding distance between the slide's own neighbours; "
        "not used with nodes_per_mm2 or ratio",
    )
    nodes_per_mm2: float | None = Field(
        None, gt=0.0, description="target number of regions per mm2 of tissue, in place of granularity, or null"
    )
    ratio: float | None = Field(
        None,
        ge=1.0,
        description="target number of superpixels per region, in place of granularity, or null; not with nodes_per_mm2",
    )
    max_area_um2: float = Field(4.0e6, gt=0.0, description="no region grows beyond this, um2")
