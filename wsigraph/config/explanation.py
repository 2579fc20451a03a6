"""Settings of the explanations."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from wsigraph.config.runtime import Section


class ExplanationConfig(Section):
    """How predictions are explained, and how the explanations are tested."""

    renamed_keys: ClassVar[dict[str, str]] = {
        "baseline": "reference",
        "max_gap": "max_completeness_error",
        "kinds": "clusters",
        "broad_kinds": "broad_clusters",
    }

    reference: Literal["cluster", "site", "draws", "mean"] = Field(
        "cluster", description="reference input of Integrated Gradients, with which a slide is compared"
    )
    steps: int = Field(
        50,
        ge=2,
        le=10000,
        description="quadrature steps along the integration path, up to 16 times as many if needed; half for "
        "a slide of more than 8192 regions",
    )
    max_completeness_error: float = Field(
        0.01, gt=0.0, le=1.0, description="largest completeness error, as a fraction of the explained difference"
    )
    random_orders: int = Field(100, ge=0, le=10000, description="random orders in each faithfulness curve")
    clusters: int = Field(8, ge=1, le=100, description="tissue clusters of the reference input, fitted in training")
    broad_clusters: int = Field(
        4, ge=1, le=100, description="broad tissue clusters, within which faithfulness curves replace regions"
    )
    top_regions: int = Field(6, ge=1, le=50, description="most important regions to describe and show")
    seed: int = Field(0, ge=0, description="seed of donor regions and random orders")

    @field_validator("reference", mode="before")
    @classmethod
    def _read_old_name(cls, value: Any) -> Any:
        return "cluster" if value == "kind" else value
