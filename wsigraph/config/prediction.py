"""Settings of prediction."""

from __future__ import annotations

from pydantic import Field

from wsigraph.config.runtime import Section


class PredictionConfig(Section):
    """What is known of the slides, and from which slides it withholds its prediction."""

    organ: str | None = Field(
        None, description="organ of the slides, compared with the model's card (--organ, or a manifest column organ)"
    )
    max_distance_ratio: float = Field(
        1.5,
        gt=0.0,
        description="a model trained on real slides withholds its prediction from a slide farther from its training "
        "slides than this multiple of what 99 of 100 held-out training slides lie within",
    )
    withhold: bool = Field(
        True, description="withhold predictions of slides that the model was not made for; false marks them (--force)"
    )
