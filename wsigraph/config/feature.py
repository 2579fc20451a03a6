"""Settings of the features."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section


class FeatureConfig(Section):
    """What is measured in each superpixel."""

    encoder: str | None = Field(None, description="encoder plugin, or null for interpretable features alone")
    nuclei: str | None = Field(None, description="nucleus detector plugin, or null for the built-in spot count")
    texture_offset_um: float = Field(2.0, gt=0.0, le=32.0, description="distance of co-occurring pixels, um")
    nucleus_min_area_um2: float = Field(12.0, ge=0.0, description="smaller dark spots are no nucleus, um2")
    nucleus_max_diameter_um: float = Field(24.0, gt=0.0, le=128.0, description="larger dark spots are no nucleus, um")
    nucleus_scale_um: float = Field(5.0, gt=0.0, le=32.0, description="radius of the local background of a nucleus, um")
