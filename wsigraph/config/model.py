"""Settings of the model and its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from wsigraph.config.runtime import Section


class ModelConfig(Section):
    """Which model reads the graph, and how one is trained."""

    renamed_keys: ClassVar[Mapping[str, str]] = {"linear_start": "linear_offset"}

    path: str | None = Field(None, description="model bundle directory, or null for the shipped demonstration model")
    stage_names: tuple[str, ...] = Field(
        ("I", "II", "III", "IV"), min_length=2, description="stages from best to worst"
    )
    task: Literal["both", "stage", "survival"] = Field("both", description="what is learned and predicted")
    design: Literal["earned", "full", "offset", "network"] = Field(
        "earned",
        description=(
            "earned (fixed ridges, and a correction by networks where it lowers the loss of patients left out), full "
            "(the correction always counts in full), offset (no correction), or network (a network alone)"
        ),
    )
    survival_head: str = Field(
        "hazard",
        min_length=1,
        description="of design network: hazard (a logit an interval), cox (proportional), or a plugin's name",
    )
    pooling: str = Field(
        "gated_attention", min_length=1, description="gated_attention, or the name of a pooling plugin"
    )
    inputs: Literal["auto", "features", "encoding", "both"] = Field(
        "auto", description="node features: interpretable features, an encoder's, both, or auto: all that graphs have"
    )
    encoding_dimensions: int = Field(
        64,
        ge=1,
        le=4096,
        description="most columns of an encoder that networks read, by random signs beyond; ridges read all",
    )
    train_coarsening: bool = Field(
        False, description="train the coarsening's embedding with the task, from where training without labels left it"
    )
    coarsening_rate: float = Field(3e-3, gt=0.0, le=1.0, description="peak learning rate of AdamW for that embedding")
    recoarsen_every: int = Field(
        2, ge=1, le=1000, description="epochs between two coarsenings of the cohort by the embedding in training"
    )
    linear_offset: bool = Field(
        False,
        description="add ridges on pooled features and edge products to the log hazard ratio of survival_head cox",
    )
    layers: int = Field(3, ge=0, le=16, description="attention layers between neighbouring regions")
    heads: int = Field(4, ge=1, le=32, description="attention heads a layer")
    channels: int = Field(16, ge=1, le=256, description="channels a head")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="fraction of activations dropped in training")
    region_dropout: float = Field(
        0.3,
        ge=0.0,
        lt=1.0,
        description="largest fraction of regions dropped from a graph in training; drawn for each graph",
    )
    time_intervals: int = Field(8, ge=1, le=100, description="intervals of the discrete-time hazard")
    stage_weight: float = Field(0.5, ge=0.0, le=100.0, description="weight of the stage loss against the survival loss")
    learning_rate: float = Field(3e-3, gt=0.0, le=1.0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0.0, le=10.0, description="decoupled weight decay of AdamW")
    correction_epochs: int = Field(
        20, ge=1, le=10000, description="epochs of the networks of a correction; at most `epochs` too"
    )
    epochs: int = Field(60, ge=1, le=10000, description="most epochs of training")
    warmup_epochs: int = Field(
        3, ge=0, le=1000, description="epochs over which the learning rate rises; it falls afterwards"
    )
    patience: int = Field(
        15,
        ge=1,
        le=10000,
        description="of design network: epochs without a lower validation loss before early stopping",
    )
    batch_graphs: int = Field(16, ge=1, le=4096, description="graphs a batch; each holds an event where events suffice")
    accumulate: int = Field(1, ge=1, le=1024, description="batches whose gradients are summed for one step")
    validation_fraction: float = Field(
        0.2,
        gt=0.0,
        lt=1.0,
        description="of design network: fraction of the patients used for early stopping; never trained on",
    )
    miscoverage: float = Field(
        0.1, gt=0.0, lt=0.5, description="fraction of true stages outside stage sets that is aimed at, not guaranteed"
    )
