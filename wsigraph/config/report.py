"""Settings of the report."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section
from wsigraph.geometry import MPP_MIN, Origin


class ReportConfig(Section):
    """What the pictures and outlines look like."""

    thumbnail_px: int = Field(1600, ge=200, le=8000, description="longer side of the slide picture, px")
    outline_mpp: float = Field(2.0, ge=MPP_MIN, le=64.0, description="spacing at which outlines are traced, um")
    outline_tolerance_um: float = Field(3.0, ge=0.0, le=100.0, description="outlines may move by this much, um")
    outline_max_area_error: float = Field(
        0.05,
        gt=0.0,
        description="most by which the area of an outline may differ from its region's; it is simplified less there",
    )
    outline_max_px: int = Field(
        6000, ge=200, le=30000, description="most cells along a side of the outline grid; its spacing grows beyond"
    )
    origin: Origin = Field(
        "bounds",
        description="coordinates of the GeoJSON files: of the scanned area, as QuPath shows it, or of the whole plane",
    )
    map_feature: str | None = Field(
        "nuclear_density", description="feature that colours the regions in report.png, or null for their mean colour"
    )
    measurements: tuple[str, ...] = Field(
        (
            "nuclear_density",
            "hematoxylin_mean",
            "eosin_mean",
            "nuclear_area_mean",
            "texture_entropy",
            "white_fraction",
            "circularity",
            "outside_fraction",
            "nuclear_fraction",
            "nuclear_eccentricity_mean",
            "lightness_mean",
            "perimeter_um",
        ),
        description="features given with each region in report.geojson, the most important first",
    )
    geojson_max_mb: float = Field(
        100.0, gt=0.0, le=10000.0, description="report.geojson leaves out measurements, the last first, above this, MB"
    )
