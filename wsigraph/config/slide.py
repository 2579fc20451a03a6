"""Settings of the slide reader."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from wsigraph.config.runtime import Section


class SlideConfig(Section):
    """How much damage of a slide file is tolerated, and which slides are refused as no H&E section."""

    max_bad_tile_fraction: float = Field(
        0.01, ge=0.0, le=1.0, description="fraction of a level's tiles that may fail to decode; these are left white"
    )
    z: int | None = Field(None, ge=1, description="focal plane of a z-stack, from 1, or null for the middle one (--z)")
    icc: Literal["ignore", "apply"] = Field(
        "ignore", description="whether colours are converted to sRGB by the file's ICC profile, where it has one"
    )
    window: tuple[int, int] | None = Field(
        None,
        description="levels of a file of 16-bit RGB that become 0 and 255, such as [0, 65535]; null: it is refused",
    )
    stain: Literal["h&e", "h-dab", "h-aec", "pas", "alcian-blue", "perls", "trichrome"] = Field(
        "h&e", description="what the section is stained with (--stain); a model of another stain gives no prediction"
    )
    allow_non_he: bool = Field(
        False, description="go on with a slide that is no H&E section, every output marked (--force)"
    )
    max_dark_fraction: float = Field(
        0.5,
        ge=0.0,
        le=1.0,
        description="a larger fraction of dark, colourless pixels means a dark ground",
    )
    min_tissue_windows: float = Field(
        0.08,
        ge=0.0,
        le=1.0,
        description="smallest fraction of stained windows with texture and two stains; below it there is no tissue",
    )

    @field_validator("window")
    @classmethod
    def _check_window(cls, window: tuple[int, int] | None) -> tuple[int, int] | None:
        if window is not None and not 0 <= window[0] < window[1] <= 65535:
            raise ValueError(f"the window is {window[0]} to {window[1]}, expected rising levels from 0 to 65535")
        return window
