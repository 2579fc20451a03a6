"""Settings of the diffusion model that paints tissue from a graph."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsigraph.config.runtime import Section
from wsigraph.geometry import MPP_MAX, MPP_MIN

PAINTING = ("path", "sampler", "steps", "guidance", "overlap", "repaint_um")
"""Settings of painting alone: they may differ from those a model was trained with."""
SIZES = (
    "canvas_px", "mpp", "max_nodes", "min_area_um2", "unshuffle", "channels", "attention_levels", "heads",
    "token_width", "token_layers", "token_heads", "noise_levels",
)  # fmt: skip
"""Settings that a model which goes on from another's weights has to share with it."""


class DiffusionConfig(Section):
    """How tissue is painted from a graph, and how the model that paints it is trained."""

    path: str | None = Field(None, description="model directory, or null for the shipped one")
    sampler: Literal["ddim", "dpmsolver"] = Field("dpmsolver", description="how noise becomes a picture")
    steps: int = Field(12, ge=1, le=1000, description="steps of the sampler")
    guidance: float | None = Field(
        None,
        ge=0.0,
        le=50.0,
        description="weight of the graph: 0 ignores it, 1 is the plain model, more exaggerates; null is what the "
        "model's card says for painted or real tissue",
    )
    overlap: float = Field(
        0.25, ge=0.0, le=0.75, description="least share of a canvas that neighbouring ones have in common"
    )
    repaint_um: float | None = Field(
        10.0, ge=0.0, description="an edit repaints its region and this much around it, um; null paints all anew"
    )
    canvas_px: int = Field(64, ge=16, le=1024, description="side of the model's canvas, px; trained")
    mpp: float = Field(2.0, ge=MPP_MIN, le=MPP_MAX, description="pixel size of the canvas, um; trained")
    max_nodes: int = Field(64, ge=1, le=1024, description="most regions on a canvas; trained")
    min_area_um2: float = Field(100.0, ge=0.0, description="smaller pieces of a region join a neighbour, um2; trained")
    spacing_um: float = Field(20.0, ge=4.0, le=2000.0, description="superpixels of real tissue, um apart; trained")
    granularity: float = Field(1.0, gt=0.0, le=100.0, description="how far they are merged into regions; trained")
    unshuffle: int = Field(2, ge=2, le=16, description="pixels along the side of a cell of the network; even; trained")
    channels: tuple[int, ...] = Field((32, 64, 96), min_length=1, description="channels of each level; trained")
    attention_levels: int = Field(2, ge=1, le=8, description="levels that look at the graph, from the deepest; trained")
    heads: int = Field(4, ge=1, le=32, description="attention heads of the network; trained")
    token_width: int = Field(96, ge=8, le=1024, description="numbers a region becomes; trained")
    token_layers: int = Field(3, ge=0, le=16, description="layers of the graph transformer; trained")
    token_heads: int = Field(4, ge=1, le=32, description="attention heads of the graph transformer; trained")
    drop_graph: float = Field(0.3, ge=0.0, le=1.0, description="share of examples trained without their graph")
    drop_raster: float = Field(0.6, ge=0.0, le=1.0, description="share of examples trained without their class map")
    drop_class: float = Field(0.25, ge=0.0, le=1.0, description="share of graphs trained without classes")
    drop_density: float = Field(0.5, ge=0.0, le=1.0, description="share of graphs trained without optical density")
    painted_share: float = Field(0.5, ge=0.0, le=1.0, description="share of examples cut from painted tissue")
    training_steps: int = Field(6000, ge=1, le=10_000_000, description="batches of training")
    batch: int = Field(16, ge=1, le=4096, description="examples a batch")
    learning_rate: float = Field(1e-3, gt=0.0, le=1.0, description="peak step of AdamW")
    warmup_steps: int = Field(
        200, ge=0, le=1_000_000, description="batches over which the step rises; it falls over the last quarter"
    )
    weight_decay: float = Field(1e-2, ge=0.0, le=10.0, description="decoupled weight decay of AdamW")
    half: bool = Field(True, description="compute in bfloat16 where the processor does; weights stay whole")
    ema: float = Field(0.999, ge=0.0, lt=1.0, description="share of the averaged weights kept at a step")
    min_snr: float = Field(5.0, gt=0.0, le=1e6, description="bound on the signal-to-noise weight of the loss")
    noise_levels: int = Field(1000, ge=10, le=10000, description="levels of noise; trained")
    checkpoint_steps: int = Field(200, ge=1, le=1_000_000, description="batches between checkpoints and sample grids")
