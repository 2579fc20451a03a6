"""Settings of the superpixels."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section
from wsigraph.geometry import MPP_MAX, MPP_MIN


class SuperpixelConfig(Section):
    """How SLIC divides tissue into superpixels."""

    mpp: float = Field(1.0, ge=MPP_MIN, le=MPP_MAX, description="working pixel size, um")
    spacing_um: float = Field(30.0, ge=4.0, le=2000.0, description="distance between superpixel seeds, um")
    smoothing_um: float = Field(1.2, ge=0.0, le=8.0, description="std of the smoothing before clustering, um")
    compactness: float = Field(
        30.0, gt=0.0, le=200.0, description="weight of position over colour, Lab levels a spacing; last round half"
    )
    iterations: int = Field(5, ge=1, le=20, description="iterations of SLIC")
    min_area_um2: float = Field(180.0, ge=0.0, description="smaller pieces join a neighbour, um2")
