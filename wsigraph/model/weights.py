"""A model on disk: ``model.safetensors`` beside ``card.json``.

The card says what the model is, what it was trained on, how it did, what it cannot do and under which licence it may
be used, and holds all that is needed to rebuild the network and to refuse data it was not made for: the digests of
the feature and moment schemas and of the weights themselves. Loading checks everything before a number is computed;
nothing is unpickled. Equal weights give equal bytes: tensors are stored without metadata, the card as sorted JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from wsigraph.config import ModelConfig
from wsigraph.errors import ModelError
from wsigraph.feature.interpret import feature_schema_id
from wsigraph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.inputs import Scaler
from wsigraph.store.atomic import write_file
from wsigraph.store.header import canonical_document, parse_json

WEIGHTS_FILE = "model.safetensors"
"""Network and scaler."""
CARD_FILE = "card.json"
"""What the model is."""
SHIPPED = Path(__file__).parent / "shipped"
"""The demonstration model that comes with the package."""

_NETWORK, _SCALER = "network.", "scaler."
_REMEDY = "name another directory with --model, or fetch or train the model again"


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
        Patients that only decided when to stop.
    n_epochs : int
        Passes after which the weights were taken.
    """

    data: str
    simulated: bool
    n_patients: int = Field(ge=1)
    n_slides: int = Field(ge=1)
    n_events: int = Field(ge=0)
    n_validation_patients: int = Field(ge=0)
    n_epochs: int = Field(ge=0)


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
        Settings it was trained with; they rebuild the network.
    feature_names : tuple of str
        Node features in order.
    feature_schema_id, moment_schema_id : str
        Digests of the schemas that a graph must have.
    coarsening_embedding_id : str or None
        Embedding that coarsened the training graphs; None where they were not coarsened.
    stage_names : tuple of str
        The K stages.
    time_days : tuple of float
        Right ends of the T intervals, days.
    seeds : dict of str to int
        Seeds of all that was random.
    weights_sha256 : str
        Digest of ``model.safetensors``.
    """

    schema_version: Literal[1] = 1
    name: str
    description: str
    notice: str = Field(min_length=1)
    licence: str
    training: Training
    evaluation: str = ""
    metrics: dict[str, Score] = Field(default_factory=dict)
    limits: tuple[str, ...] = ()
    config: ModelConfig
    feature_names: tuple[str, ...] = Field(min_length=1)
    feature_schema_id: str
    moment_schema_id: str
    coarsening_embedding_id: str | None
    stage_names: tuple[str, ...] = Field(min_length=2)
    time_days: tuple[float, ...] = Field(min_length=1)
    seeds: dict[str, int]
    weights_sha256: str

    def document(self) -> bytes:
        """Return the bytes of ``card.json``; equal cards give equal bytes."""
        return canonical_document(self.model_dump(mode="json"))


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model with its card.

    Attributes
    ----------
    card : Card
        What the model is.
    weights : bytes
        Content of ``model.safetensors``.
    """

    card: Card
    weights: bytes

    @property
    def model_id(self) -> str:
        """Digest of card and weights, 16 hexadecimal characters."""
        return hashlib.sha256(self.weights + self.card.document()).hexdigest()[:16]

    @cached_property
    def scaler(self) -> Scaler:
        """The scaler fitted in training.

        Raises
        ------
        ModelError
            If an array is missing or does not fit the card's features.
        """
        arrays = self._arrays(_SCALER)
        names = [each.name for each in dataclasses.fields(Scaler)]
        if sorted(arrays) != sorted(names):
            raise ModelError(f"the model holds scaler arrays {sorted(arrays)}, expected {sorted(names)}; {_REMEDY}")
        n_features = len(self.card.feature_names)
        scaler = Scaler(**{name: value.astype(np.float64) for name, value in arrays.items()})
        lengths = {len(value) for name, value in arrays.items() if not name.startswith("edge")}
        if lengths != {n_features}:
            raise ModelError(f"the model scales {sorted(lengths)} features, its card names {n_features}; {_REMEDY}")
        return scaler

    def network_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters of the network by name."""
        return {name: value.astype(np.float32) for name, value in self._arrays(_NETWORK).items()}

    def _arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        tensors = load_tensors(self.weights)
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def pack(network: dict[str, NDArray[np.float32]], scaler: Scaler) -> bytes:
    """Return the content of ``model.safetensors``.

    Parameters
    ----------
    network : dict of str to float32 array
        Parameters by name.
    scaler : Scaler
        Fitted on the training part.

    Returns
    -------
    bytes
        Equal arrays give equal bytes.
    """
    tensors: dict[str, NDArray[Any]] = {f"{_NETWORK}{name}": value for name, value in network.items()}
    tensors |= {f"{_SCALER}{name}": value for name, value in scaler.arrays().items()}
    return save_tensors({name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())})


def save_bundle(bundle: ModelBundle, directory: Path | str) -> Path:
    """Write a bundle's two files.

    Parameters
    ----------
    bundle : ModelBundle
        What to write.
    directory : Path or str
        Destination; made where missing.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    directory = Path(directory)
    # the card last: until it is there, or while it is an older one, its digest refuses the weights beside it
    write_file(directory / WEIGHTS_FILE, bundle.weights)
    write_file(directory / CARD_FILE, bundle.card.document())
    return directory


def load_bundle(directory: Path | str) -> ModelBundle:
    """Read and check a bundle.

    Parameters
    ----------
    directory : Path or str
        Directory with ``model.safetensors`` and ``card.json``.

    Returns
    -------
    ModelBundle
        Weights whose digest is the card's, for the feature and moment schemas of this version.

    Raises
    ------
    ModelError
        If the directory or a file is missing, damaged, or of another schema.
    """
    directory = Path(directory)
    if not directory.is_dir():
        met = "is a file" if directory.exists() else "does not exist"
        raise ModelError(
            f"model {directory} {met}, expected a directory with {WEIGHTS_FILE} and {CARD_FILE}; {_REMEDY}"
        )
    card = _parse_card(_read(directory / CARD_FILE), directory / CARD_FILE)
    weights = _read(directory / WEIGHTS_FILE)
    sha256 = hashlib.sha256(weights).hexdigest()
    if sha256 != card.weights_sha256:
        raise ModelError(
            f"{directory / WEIGHTS_FILE} is damaged: its digest is {sha256[:12]}, "
            f"the card expects {card.weights_sha256[:12]}; {_REMEDY}"
        )
    check_schemas(card, feature_schema_id(), moment_schema_id())
    _check_tensors(weights, directory / WEIGHTS_FILE)
    return ModelBundle(card=card, weights=weights)


def check_schemas(card: Card, feature_id: str, moment_id: str) -> None:
    """Refuse a model that was trained on other features or moments.

    Parameters
    ----------
    card : Card
        The model's card.
    feature_id, moment_id : str
        Digests of the schemas at hand.

    Raises
    ------
    ModelError
        If one differs; the message names both.
    """
    for kind, trained, met in (
        ("feature", card.feature_schema_id, feature_id),
        ("moment", card.moment_schema_id, moment_id),
    ):
        if trained != met:
            raise ModelError(
                f"model {card.name!r} was trained on {kind} schema {trained}, the graph has {kind} schema {met}; "
                "use a model trained with this version, or the version of wsigraph that the model was trained with"
            )


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise ModelError(
            f"{path} is missing, expected a model directory with {WEIGHTS_FILE} and {CARD_FILE}; {_REMEDY}"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} does not read: {error.strerror or error}; check its permissions") from error


def _parse_card(content: bytes, path: Path) -> Card:
    try:
        return Card.model_validate(parse_json(content))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the whole"
        raise ModelError(f"{path} is no model card: {where}: {fault['msg'].lower()}; {_REMEDY}") from None
    except ValueError as error:
        raise ModelError(f"{path} is no JSON: {error}; expected a model card; {_REMEDY}") from None


def _check_tensors(weights: bytes, path: Path) -> None:
    try:
        tensors = load_tensors(weights)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is no safetensors file: {error}; {_REMEDY}") from None
    bad = sorted(name for name, value in tensors.items() if not np.isfinite(value).all())
    if bad:
        raise ModelError(f"{path} holds numbers that are not finite in {', '.join(bad[:3])}; {_REMEDY}")
