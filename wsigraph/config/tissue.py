"""Settings of the tissue map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from wsigraph.config.runtime import Section
from wsigraph.geometry import MPP_MAX, MPP_MIN


class TissueConfig(Section):
    """Tissue detection, artefacts and stain estimation."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"blur_max_share": "blur_max_fraction"}

    mpp: float = Field(4.0, ge=MPP_MIN, le=MPP_MAX, description="spacing of the low-power grid, um")
    min_optical_density: float = Field(
        0.03, ge=0.0, le=1.0, description="smallest mean optical density of tissue above the glass"
    )
    min_saturation: float = Field(
        0.0025,
        ge=0.0,
        le=1.0,
        description="smallest mean optical density by which green exceeds red or blue in a window of tissue",
    )
    noise_factor: float = Field(
        3.0, ge=0.0, le=1000.0, description="and that mean exceeds the noise of the slide's glass by this multiple"
    )
    close_um: float = Field(24.0, ge=0.0, le=1000.0, description="gaps narrower than this are bridged, um")
    min_area_um2: float = Field(
        40000.0, ge=0.0, description="smaller pieces are debris, um2; on small pictures, those under a quarter of it"
    )
    max_hole_um2: float = Field(
        20000.0,
        ge=0.0,
        description="smaller holes (fat cells, small lumina) count as tissue, larger ones are glass, um2",
    )
    mask_ink: bool = Field(True, description="leave pen ink out of the tissue")
    mask_edge: bool = Field(True, description="leave coverslip edges and bubble rims out of the tissue")
    mask_blur: bool = Field(True, description="leave out-of-focus areas out of the tissue")
    mask_fold: bool = Field(False, description="leave folds out of the tissue; they are recorded in any case")
    ink_min_area_um2: float = Field(40000.0, ge=0.0, description="smaller spots of strange colour are not ink, um2")
    ink_margin_um: float = Field(8.0, ge=0.0, le=1000.0, description="ink is widened by this much, um")
    edge_min_length_um: float = Field(350.0, ge=50.0, le=1e5, description="shorter grey lines are no edge, um")
    edge_max_width_um: float = Field(40.0, ge=4.0, le=500.0, description="wider grey strips are no edge, um")
    edge_min_optical_density: float = Field(
        0.06, ge=0.01, le=2.0, description="smallest optical density by which an edge is darker than both its sides"
    )
    blur_max_ratio: float = Field(
        0.19,
        ge=0.0,
        le=4.0,
        description="blurred cells have at most this ratio of detail at 4 um to detail at 8 um",
    )
    blur_max_fraction: float | None = Field(
        None, ge=0.0, le=1.0, description="and less than this fraction of the median of the slide's tissue; null: any"
    )
    blur_cell_um: float = Field(64.0, ge=16.0, le=1024.0, description="side of the cells in which focus is judged, um")
    blur_min_area_um2: float = Field(40000.0, ge=0.0, description="smaller blurred areas are taken as tissue, um2")
    fold_min_ratio: float = Field(
        1.6, ge=1.0, le=10.0, description="smallest ratio of the density of a fold to that of the tissue on both sides"
    )
    fold_min_length_um: float = Field(350.0, ge=20.0, le=1e5, description="shorter dark strips are no fold, um")
    fold_max_width_um: float = Field(400.0, ge=8.0, le=2000.0, description="wider dark strips are no fold, um")
    section_gap_um: float = Field(
        500.0, ge=0.0, le=1e5, description="pieces of tissue nearer than this are one cross-section, um"
    )
    section_min_fraction: float = Field(
        0.05, ge=0.0, le=1.0, description="smaller groups, as a fraction of the largest, join the nearest cross-section"
    )
    stain: Literal["macenko", "reference"] = Field(
        "macenko", description="estimate the stain vectors from the slide, or use the reference vectors"
    )
    stain_window_um: float = Field(64.0, ge=16.0, le=1024.0, description="side of a stain sample window, um")
    stain_windows: int = Field(512, ge=1, le=65536, description="most windows sampled for the stains")
