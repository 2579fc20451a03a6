"""Settings of simulated tissue."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from wsigraph.config.runtime import Section
from wsigraph.geometry import MPP_MIN


class SynthesisConfig(Section):
    """What simulated tissue looks like."""

    renamed_keys: ClassVar[dict[str, str]] = {"law": "scenario"}

    scenario: Literal["composition", "spatial", "interface", "site", "null"] = Field(
        "composition", description="what decides stage and survival of simulated tissue: the generative scenario"
    )
    second_slide_fraction: float = Field(
        0.2, ge=0.0, le=1.0, description="share of the patients that have two slides instead of one"
    )
    glass_um: float = Field(200.0, ge=0.0, le=1e4, description="empty glass around the tissue of a painted slide, um")
    mpp: float = Field(1.0, ge=MPP_MIN, le=4.0, description="pixel size of painted tissue, um")
    spacing_um: float = Field(30.0, ge=10.0, le=200.0, description="distance between neighbouring superpixels, um")
    grain: int = Field(3, ge=1, le=32, description="superpixels along the side of a region of one tissue class")
    min_side: int = Field(10, ge=2, le=1000, description="fewest regions along a side of a slide's tissue")
    max_side: int = Field(14, ge=2, le=1000, description="most regions along a side of a slide's tissue")
    sites: int = Field(6, ge=1, le=1000, description="hospitals, each with its own stain and scanner")
    library_side: int = Field(
        14, ge=2, le=200, description="superpixels along a side of a tile painted for the library"
    )
