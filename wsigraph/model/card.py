"""What a model says of itself: the content of ``card.json``.

What it is, what it was trained on, how it did on patients it had not seen, what it cannot do, under which licence it
may be used, and all that is needed to rebuild its networks and to refuse data it was not made for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from wsigraph.cohort.manifest.manifest_row import patient_digest as patient_digest
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.store.header import canonical_document


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a model's author states on its card.

    Attributes
    ----------
    name, description, notice, licence : str
        As on the `Card`.
    data : str
        Where the training graphs came from.
    simulated : bool
        Whether they were made up.
    limits : tuple of str
        What the model cannot do.
    """

    name: str
    description: str
    notice: str
    licence: str
    data: str
    simulated: bool
    limits: tuple[str, ...] = ()


class _CardPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_CardPart):
    """A figure with its interval.

    Attributes
    ----------
    value, low, high : float
        Estimate and the ends of its 95 % bootstrap interval over patients.
    """

    value: float
    low: float
    high: float


class Training(_CardPart):
    """What a model was trained on.

    Attributes
    ----------
    data : str
        Where the graphs came from.
    simulated : bool
        Whether they were made up.
    n_patients, n_slides, n_events : int
        Counts over all that was given, the validation part included.
    n_validation_patients : int
        Patients that only decided when to stop; in an ensemble of folds, those of the first member.
    n_epochs : int
        Passes after which the weights were taken, of the first member.
    """

    data: str
    simulated: bool
    n_patients: int = Field(ge=1)
    n_slides: int = Field(ge=1)
    n_events: int = Field(ge=0)
    n_validation_patients: int = Field(ge=0)
    n_epochs: int = Field(ge=0)


class MemberCard(_CardPart):
    """One network of the ensemble.

    Attributes
    ----------
    config : ModelConfig
        Settings it was trained with; they rebuild the network.
    time_days : tuple of float
        Right ends of its time intervals, days.
    temperature : float
        Stage logits are divided by it.
    n_patients, n_validation_patients : int
        Patients it was trained on, and those that decided when to stop.
    n_epochs : int
        Passes after which the weights were taken.
    """

    config: ModelConfig
    time_days: tuple[float, ...]
    temperature: float = Field(gt=0)
    n_patients: int = Field(ge=1)
    n_validation_patients: int = Field(ge=0)
    n_epochs: int = Field(ge=0)


class Seen(_CardPart):
    """Whom the model knows, by digest: which member held a patient or a slide out.

    The digests tell whether a patient one already knows was in the cohort. They hide nobody whose id can be guessed.

    Attributes
    ----------
    patients, slides : dict of str to int
        Member that never saw the patient, or the slide with these bytes; -1 where every member was trained on it.
    """

    patients: dict[str, int] = Field(default_factory=dict)
    slides: dict[str, int] = Field(default_factory=dict)


def slide_digest(sha256: str) -> str:
    """Return the digest by which a card knows a slide with these bytes, 16 hexadecimal characters."""
    return hashlib.sha256(f"slide {sha256}".encode()).hexdigest()[:16]


class Card(_CardPart):
    """What a model is; the content of ``card.json``.

    Attributes
    ----------
    schema_version : int
        Layout of bundles.
    name, description : str
        What the model is called and what it is.
    notice : str
        What must be known before reading a number; it accompanies every prediction.
    licence : str
        Under which the weights may be used.
    training : Training
        What it was trained on.
    evaluation : str
        How the metrics were obtained; empty where there are none.
    metrics : dict of str to Score
        Figures on data outside training.
    limits : tuple of str
        What the model cannot do.
    config : ModelConfig
        Settings it was trained with.
    members : tuple of MemberCard
        The networks of the ensemble, whose answers are averaged.
    split_by : str
        What folds were made of: ``"patient"``, ``"site"``, or ``"none"`` for a single network.
    n_configurations : int
        How many configurations were tried; the more, the more optimistic a figure that chose among them.
    n_calibration_patients : int
        Held-out patients of known stage behind the stage sets; below 100 no set is given.
    seen : Seen
        Whom the model knows.
    feature_names : tuple of str
        Node features in order.
    feature_schema_id, moment_schema_id : str
        Digests of the schemas that a graph must have.
    coarsening_embedding_id : str or None
        Embedding that coarsens what the model reads; None where it reads graphs that are not coarsened. The training
        graphs' own, or, where it was trained with the task, that in the bundle.
    coarsening : CoarseningConfig or None
        Settings by which the bundle's own embedding coarsens; None where the model has none of its own.
    encoder : str or None
        Encoder whose features are read; None where none are.
    stage_names : tuple of str
        The K stages; none where stage is not predicted.
    time_days : tuple of float
        Right ends of the T intervals in which survival is stated, days; none where it is not predicted.
    seeds : dict of str to int
        Seeds of all that was random.
    weights_sha256 : str
        Digest of ``model.safetensors``.
    """

    schema_version: Literal[2] = 2
    name: str
    description: str
    notice: str = Field(min_length=1)
    licence: str
    training: Training
    evaluation: str = ""
    metrics: dict[str, Score] = Field(default_factory=dict)
    limits: tuple[str, ...] = ()
    config: ModelConfig
    members: tuple[MemberCard, ...] = Field(min_length=1)
    split_by: Literal["none", "patient", "site"] = "none"
    n_configurations: int = Field(default=1, ge=1)
    n_calibration_patients: int = Field(default=0, ge=0)
    seen: Seen = Field(default_factory=Seen)
    feature_names: tuple[str, ...] = Field(min_length=1)
    feature_schema_id: str
    moment_schema_id: str
    coarsening_embedding_id: str | None
    coarsening: CoarseningConfig | None = None
    encoder: str | None = None
    stage_names: tuple[str, ...]
    time_days: tuple[float, ...]
    seeds: dict[str, int]
    weights_sha256: str

    def document(self) -> bytes:
        """Return the bytes of ``card.json``; equal cards give equal bytes.

        Fields that cards have got since their layout was fixed are left out where nothing is stated in them, so that an
        older bundle keeps its identity.
        """
        fields = self.model_dump(mode="json", exclude={name for name in _LATER if getattr(self, name) is None})
        for config in (fields["config"], *(member["config"] for member in fields["members"])):
            for name in _LATER_SETTINGS:
                if config[name] == ModelConfig.model_fields[name].default:
                    del config[name]
        return canonical_document(fields)


_LATER = ("coarsening", "encoder")
_LATER_SETTINGS = (
    "inputs",
    "encoding_dimensions",
    "train_coarsening",
    "coarsening_rate",
    "recoarsen_every",
    "linear_start",
)
