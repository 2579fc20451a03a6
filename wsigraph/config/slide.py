"""Settings of the slide reader."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section


class SlideConfig(Section):
    """What is put up with in a slide file."""

    max_bad_tile_fraction: float = Field(
        0.01, ge=0.0, le=1.0, description="share of a level's tiles that may fail to decode; those are left white"
    )
