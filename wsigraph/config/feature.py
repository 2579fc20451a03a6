"""Settings of the features."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from wsigraph.config.runtime import Section


class FeatureConfig(Section):
    """What is measured in each superpixel."""

    encoder: str | None = Field(None, description="encoder plugin, or null for interpretable features alone")
    nuclei: str = Field(
        "rule",
        min_length=1,
        description="what finds nuclei: rule (dark spots), network (the package's own), none, or a plugin",
    )
    nuclei_weights: str | None = Field(
        None, description="file of weights for the network or plugin of nuclei, or null for its own"
    )
    texture_offset_um: float = Field(2.0, gt=0.0, le=32.0, description="distance of co-occurring pixels, um")
    nucleus_min_area_um2: float = Field(12.0, ge=0.0, description="smaller dark spots are no nucleus, um2")
    nucleus_max_diameter_um: float = Field(24.0, gt=0.0, le=128.0, description="larger dark spots are no nucleus, um")
    nucleus_scale_um: float = Field(5.0, gt=0.0, le=32.0, description="radius of the local background of a nucleus, um")

    @field_validator("nuclei", mode="before")
    @classmethod
    def _read_null(cls, value: Any) -> Any:
        """Take null for the rule, as files of the version before say."""
        return "rule" if value is None else value
