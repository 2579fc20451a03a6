"""Settings of the model and its training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsigraph.config.runtime import Section


class ModelConfig(Section):
    """Which model reads the graph, and how one is trained."""

    path: str | None = Field(None, description="model bundle directory, or null for the shipped demonstration model")
    stage_names: tuple[str, ...] = Field(
        ("I", "II", "III", "IV"), min_length=2, description="stages from best to worst"
    )
    task: Literal["both", "stage", "survival"] = Field("both", description="what is learned and predicted")
    survival_head: Literal["hazard", "cox"] = Field("hazard", description="hazards of intervals, or proportional")
    inputs: Literal["features", "encoding", "both"] = Field(
        "features", description="what is read of a region: interpretable features, an encoder's, or both"
    )
    encoding_dimensions: int = Field(
        64, ge=1, le=4096, description="most columns of an encoder's features; more are projected by random signs"
    )
    train_coarsening: bool = Field(
        False, description="train the coarsening's embedding with the task, from where training without labels left it"
    )
    coarsening_rate: float = Field(3e-3, gt=0.0, le=1.0, description="peak step of AdamW for that embedding")
    recoarsen_every: int = Field(
        2, ge=1, le=1000, description="passes between two coarsenings of the cohort by the embedding as it stands"
    )
    linear_start: bool = Field(
        False,
        description="start the log hazard ratio (survival_head cox) at ridges on pooled features and edge products",
    )
    layers: int = Field(3, ge=0, le=16, description="attention layers between neighbouring regions")
    heads: int = Field(4, ge=1, le=32, description="attention heads a layer")
    channels: int = Field(16, ge=1, le=256, description="channels a head")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="share of activations dropped in training")
    region_dropout: float = Field(
        0.3, ge=0.0, lt=1.0, description="most regions left out of a graph in training; each graph draws its share"
    )
    time_intervals: int = Field(8, ge=1, le=100, description="intervals of the discrete-time hazard")
    stage_weight: float = Field(0.5, ge=0.0, le=100.0, description="weight of the stage loss against the survival loss")
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0, description="peak step of AdamW")
    weight_decay: float = Field(1e-2, ge=0.0, le=10.0, description="decoupled weight decay of AdamW")
    epochs: int = Field(60, ge=1, le=10000, description="most passes over the training part")
    warmup_epochs: int = Field(3, ge=0, le=1000, description="passes over which the step rises; it falls afterwards")
    patience: int = Field(15, ge=1, le=10000, description="passes without a better validation loss before stopping")
    batch_graphs: int = Field(16, ge=1, le=4096, description="graphs a batch; each holds an event where events suffice")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients are summed for one step")
    validation_fraction: float = Field(
        0.2, gt=0.0, lt=1.0, description="share of the patients that decides when to stop; never trained on"
    )
    miscoverage: float = Field(
        0.1, gt=0.0, lt=0.5, description="share of true stages outside stage sets that is aimed at, not guaranteed"
    )
