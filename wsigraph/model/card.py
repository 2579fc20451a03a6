"""The description of a model: the content of ``card.json``.

Name and licence, training data, scores on held-out patients, limits, and everything needed to rebuild the networks and
to refuse data that the model was not made for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from wsigraph.cohort.manifest.manifest_row import patient_digest as patient_digest
from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.store.header import canonical_document


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The part of a card that the model's author writes.

    Attributes
    ----------
    name, description, notice, licence : str
        See `Card`.
    data : str
        Where the training graphs came from.
    simulated : bool
        Whether they were simulated.
    limits : tuple of str
        What the model cannot do.
    organ, inclusion : str
        Organ of the training slides, and what was included, as "a proven carcinoma"; empty where not stated.
    """

    name: str
    description: str
    notice: str
    licence: str
    data: str
    simulated: bool
    limits: tuple[str, ...] = ()
    organ: str = ""
    inclusion: str = ""


_BEFORE: dict[str, object] = {"design": "network"}
"""Settings that were added to the layout with a default that changes the model, and what older bundles are."""


def read_stored_config(value: object) -> object:
    """Return stored settings with the values that settings added later had before there were any."""
    return {**_BEFORE, **value} if isinstance(value, dict) else value


class _CardPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(_CardPart):
    """A score with its confidence interval.

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
        Whether they were simulated.
    n_patients, n_slides, n_events : int
        Counts over the whole cohort, the validation part included.
    n_validation_patients : int
        Patients of the validation part; in an ensemble of folds, of the first member.
    n_epochs : int
        Epoch of the stored weights, of the first member.
    """

    data: str
    simulated: bool
    n_patients: int = Field(ge=1)
    n_slides: int = Field(ge=1)
    n_events: int = Field(ge=0)
    n_validation_patients: int = Field(ge=0)
    n_epochs: int = Field(ge=0)


class CorrectionCard(_CardPart):
    """What the correction of one ensemble member earned on parts of its training patients that were left out.

    Attributes
    ----------
    survival_fraction, stage_fraction : float
        Fraction of the correction that counts, 0 to 1; 0 where its gain was not above two standard errors.
    survival_gain, stage_gain : float
        By how much the best fraction lowers the loss of the offset alone, summed over patients (nats).
    survival_standard_error, stage_standard_error : float
        Of the gains, over units.
    unit : str
        What parts keep whole and standard errors count: ``"site"`` or ``"patient"``.
    n_units : int
        How many.
    """

    survival_fraction: float = Field(ge=0, le=1)
    stage_fraction: float = Field(ge=0, le=1)
    survival_gain: float
    survival_standard_error: float
    stage_gain: float
    stage_standard_error: float
    unit: Literal["site", "patient"]
    n_units: int = Field(ge=1)


class MemberCard(_CardPart):
    """One ensemble member.

    Attributes
    ----------
    config : ModelConfig
        Settings that it was trained with; they rebuild the network.
    time_days : tuple of float
        Right ends of its time intervals, days.
    temperature : float
        Stage logits are divided by it.
    n_patients, n_validation_patients : int
        Patients of its training and its validation part.
    n_epochs : int
        Epoch of the stored weights.
    correction : CorrectionCard or None
        What the correction earned; None for a network without an offset.
    """

    config: ModelConfig
    time_days: tuple[float, ...]
    temperature: float = Field(gt=0)
    n_patients: int = Field(ge=1)
    n_validation_patients: int = Field(ge=0)
    n_epochs: int = Field(ge=0)
    correction: CorrectionCard | None = None

    _read_config = field_validator("config", mode="before")(read_stored_config)


class KnownPatients(_CardPart):
    """Patients and slides of the training cohort, by digest, and the member that held each of them out.

    A digest shows whether a patient with a known id was in the cohort. It does not protect an id that can be guessed.

    Attributes
    ----------
    patients, slides : dict of str to int
        Member not trained on the patient, or on the slide with these bytes; -1 where every member was.
    """

    patients: dict[str, int] = Field(default_factory=dict)
    slides: dict[str, int] = Field(default_factory=dict)


def slide_digest(sha256: str) -> str:
    """Return the digest of a slide on a card, 16 hexadecimal characters, from the SHA-256 of its bytes."""
    return hashlib.sha256(f"slide {sha256}".encode()).hexdigest()[:16]


class Card(_CardPart):
    """The description of a model; the content of ``card.json``.

    Attributes
    ----------
    schema_version : int
        Layout of bundles.
    name, description : str
        Name, and one or two sentences about the model.
    notice : str
        Warning that accompanies every prediction.
    licence : str
        Licence of the weights.
    training : Training
        Training data.
    evaluation : str
        How the metrics were computed; empty where there are none.
    metrics : dict of str to Score
        Scores on held-out data.
    limits : tuple of str
        What the model cannot do.
    config : ModelConfig
        Settings it was trained with.
    members : tuple of MemberCard
        The ensemble members, whose predictions are averaged.
    split_by : str
        What folds keep whole: ``"patient"``, ``"site"``, or ``"none"`` for a single network.
    n_configurations : int
        Number of configurations tried; scores of the best of many are optimistic.
    n_calibration_patients : int
        Held-out patients of known stage that calibrate the stage sets; below 100 there are no sets.
    seen : KnownPatients
        Patients and slides of the training cohort.
    feature_names : tuple of str
        Node features in order.
    feature_schema_id, moment_schema_id : str
        Digests of the schemas that a graph must have.
    coarsening_embedding_id : str or None
        Embedding that coarsens the model's graphs: that of the training graphs, or the bundle's own where it was
        trained with the task. None where graphs are not coarsened.
    coarsening : CoarseningConfig or None
        Settings of coarsening by the bundle's own embedding; None where it has none.
    encoder : str or None
        Encoder whose features are node features; None where there is none.
    nuclei : str or None
        What found the nuclei of the training graphs (``TissueGraph.nuclei``); None for the rule.
    stage_names : tuple of str
        The K stages; empty where stage is not predicted.
    time_days : tuple of float
        Right ends of the T intervals of predicted survival, days; empty where it is not predicted.
    seeds : dict of str to int
        Random seeds.
    weights_sha256 : str
        Digest of ``model.safetensors``.
    organ, inclusion : str
        Organ of the training slides (several names divided by commas), and what was included; empty where not stated.
    stain : str or None
        What the training slides were stained with; None for hematoxylin and eosin.
    distances : tuple of float
        Distance from the training slides of every patient by the member that held the patient out, ascending; empty
        where none was held out.
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
    seen: KnownPatients = Field(default_factory=KnownPatients)
    feature_names: tuple[str, ...] = Field(min_length=1)
    feature_schema_id: str
    moment_schema_id: str
    coarsening_embedding_id: str | None
    coarsening: CoarseningConfig | None = None
    encoder: str | None = None
    nuclei: str | None = None
    stage_names: tuple[str, ...]
    time_days: tuple[float, ...]
    seeds: dict[str, int]
    weights_sha256: str
    organ: str = ""
    inclusion: str = ""
    stain: str | None = None
    distances: tuple[float, ...] = ()

    _read_config = field_validator("config", mode="before")(read_stored_config)

    def document(self) -> bytes:
        """Return the bytes of ``card.json``; equal cards give equal bytes.

        Fields and settings that were added to the layout later are left out at their defaults, so that an older bundle
        keeps its id.
        """
        fields = self.model_dump(mode="json", exclude={name for name in _ADDED_FIELDS if not getattr(self, name)})
        for member in fields["members"]:
            if member["correction"] is None:
                del member["correction"]
        for config in (fields["config"], *(member["config"] for member in fields["members"])):
            for name in _ADDED_SETTINGS:
                if config[name] == _BEFORE.get(name, ModelConfig.model_fields[name].default):
                    del config[name]
        return canonical_document(fields)


_ADDED_FIELDS = ("coarsening", "encoder", "nuclei", "organ", "inclusion", "stain", "distances")
_ADDED_SETTINGS = (
    "inputs",
    "encoding_dimensions",
    "train_coarsening",
    "coarsening_rate",
    "recoarsen_every",
    "linear_offset",
    "pooling",
    "design",
    "correction_epochs",
)
