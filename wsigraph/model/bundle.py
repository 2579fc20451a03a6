"""A model on disk: ``model.safetensors`` and ``card.json``.

The card (``card.py``) holds the digests of the feature and moment schemas and of the weights. Loading checks all of
them before anything is computed; nothing is unpickled. Equal weights give equal bytes: tensors are stored without
metadata, the card as sorted JSON. Bundles of the version before are read, with the names that settings and weights had
then.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from wsigraph.config import CoarseningConfig, ModelConfig
from wsigraph.errors import ModelError
from wsigraph.graph.coarsening.embed import Embedding
from wsigraph.graph.feature.interpret import feature_schema_id
from wsigraph.graph.feature.moments import schema_id as moment_schema_id
from wsigraph.model.card import Card, KnownPatients, MemberCard, Score, Training, patient_digest, slide_digest
from wsigraph.model.inputs import Scaler
from wsigraph.model.member import EnsembleMember
from wsigraph.store.atomic import write_file
from wsigraph.store.header import parse_json

__all__ = [
    "CARD_FILE",
    "SHIPPED",
    "WEIGHTS_FILE",
    "Calibration",
    "Card",
    "KnownPatients",
    "MemberCard",
    "ModelBundle",
    "Score",
    "Training",
    "check_schemas",
    "load_bundle",
    "pack",
    "patient_digest",
    "save_bundle",
    "slide_digest",
]

WEIGHTS_FILE = "model.safetensors"
"""Weights, scalers and calibration."""
CARD_FILE = "card.json"
"""Description of the model."""
SHIPPED = Path(__file__).parent / "shipped"
"""The demonstration model that comes with the package."""

_NETWORK, _SCALER, _CALIBRATION, _EMBEDDING = "network.", "scaler.", "calibration.", "embedding."
_REMEDY = "name another directory, or fetch or train the model again"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Calibration of stage sets and survival bands, from held-out patients.

    Attributes
    ----------
    score : float64 (m,)
        One minus the predicted probability of the true stage, for held-out patients of known stage.
    member : int64 (m,)
        Ensemble member that was not trained on each of them.
    recalibration : float64 (draws, 2)
        Bootstrap draws of intercept and slope of held-out hazards.
    stage : int64 (m,) or None
        Their true stage, for class-conditional sets; None in a bundle of the version before.
    """

    score: NDArray[np.float64]
    member: NDArray[np.int64]
    recalibration: NDArray[np.float64]
    stage: NDArray[np.int64] | None = None

    @classmethod
    def none(cls) -> Calibration:
        """Return the empty calibration of a model without held-out patients."""
        return cls(score=np.zeros(0), member=np.zeros(0, np.int64), recalibration=np.zeros((0, 2)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the fields by name, as a bundle stores them."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: array for name, array in fields.items() if array is not None}


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A model with its card.

    Attributes
    ----------
    card : Card
        Description of the model.
    weights : bytes
        Content of ``model.safetensors``.
    stored_card : bytes or None
        Content of a ``card.json`` that uses names of the version before. The model's id stays the digest of this.
    """

    card: Card
    weights: bytes
    stored_card: bytes | None = None

    @property
    def model_id(self) -> str:
        """Digest of card and weights, 16 hexadecimal characters."""
        return hashlib.sha256(self.weights + (self.stored_card or self.card.document())).hexdigest()[:16]

    @cached_property
    def members(self) -> tuple[EnsembleMember, ...]:
        """The ensemble members.

        Raises
        ------
        ModelError
            If an array is missing or does not fit the card's features.
        """
        return tuple(self._member(number, card) for number, card in enumerate(self.card.members))

    @property
    def scaler(self) -> Scaler:
        """The scaler of the first member.

        Raises
        ------
        ModelError
            If an array is missing or does not fit the card's features.
        """
        return self.members[0].scaler

    @cached_property
    def calibration(self) -> Calibration:
        """Calibration of stage sets and survival bands.

        Raises
        ------
        ModelError
            If an array is missing.
        """
        arrays = self._arrays(_CALIBRATION)
        names = [field.name for field in dataclasses.fields(Calibration)]
        if sorted({*arrays, "stage"}) != sorted(names):
            raise ModelError(
                f"the model holds calibration arrays {sorted(arrays)}, expected {sorted(names)}; {_REMEDY}"
            )
        return Calibration(**arrays)

    @cached_property
    def embedding(self) -> Embedding | None:
        """Embedding that coarsens slides for this model; None where it was not trained with the task.

        Raises
        ------
        ModelError
            If an array is missing.
        """
        return self._embedding(_EMBEDDING)

    def coarsening(
        self, config: CoarseningConfig, sha256: str | None = None
    ) -> tuple[CoarseningConfig, Embedding] | None:
        """Return the settings and the embedding that coarsen a slide for this model.

        Parameters
        ----------
        config : CoarseningConfig
            Settings at hand; a model with an embedding of its own uses those it was trained with.
        sha256 : str, optional
            Digest of the slide's bytes. A slide of the training cohort is coarsened by the member not trained on it.

        Returns
        -------
        (CoarseningConfig, Embedding) or None
            None where the model has no embedding of its own.

        Raises
        ------
        ModelError
            If an array is missing.
        """
        if self.embedding is None:
            return None
        member = -1 if sha256 is None else self.card.seen.slides.get(slide_digest(sha256), -1)
        own = self.members[member].embedding if member >= 0 else None
        return self.card.coarsening or config, own or self.embedding

    def _embedding(self, prefix: str) -> Embedding | None:
        arrays = {name: value.astype(np.float64) for name, value in self._arrays(prefix).items()}
        if not arrays:
            return None
        names = [field.name for field in dataclasses.fields(Embedding) if field.name != "feature_schema"]
        if sorted(arrays) != sorted(names):
            raise ModelError(f"the model holds embedding arrays {sorted(arrays)}, expected {sorted(names)}; {_REMEDY}")
        return Embedding(**arrays, feature_schema=self.card.feature_schema_id)

    def _member(self, number: int, card: MemberCard) -> EnsembleMember:
        arrays = self._arrays(f"{number}.{_SCALER}")
        names = [field.name for field in dataclasses.fields(Scaler)]
        if sorted(arrays) != sorted(names):
            raise ModelError(f"the model holds scaler arrays {sorted(arrays)}, expected {sorted(names)}; {_REMEDY}")
        n_features = len(self.card.feature_names)
        scaler = Scaler(**{name: value.astype(np.float64) for name, value in arrays.items()})
        by_feature = {len(value) for name, value in arrays.items() if not name.startswith("edge")} - {1}
        if by_feature - {n_features}:
            raise ModelError(f"the model scales {sorted(by_feature)} features, its card names {n_features}; {_REMEDY}")
        return EnsembleMember(
            config=card.config,
            arrays={name: value.astype(np.float32) for name, value in self._arrays(f"{number}.{_NETWORK}").items()},
            scaler=scaler,
            ends_days=np.array(card.time_days, np.float64),
            temperature=card.temperature,
            embedding=self._embedding(f"{number}.{_EMBEDDING}"),
        )

    @cached_property
    def _tensors(self) -> dict[str, NDArray[Any]]:
        return dict(load_tensors(self.weights))

    def _arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(prefix): value for name, value in self._tensors.items() if name.startswith(prefix)}


def pack(members: Sequence[EnsembleMember], calibration: Calibration, embedding: Embedding | None = None) -> bytes:
    """Return the content of ``model.safetensors``.

    Parameters
    ----------
    members : sequence of EnsembleMember
        The ensemble.
    calibration : Calibration
        From held-out patients.
    embedding : Embedding, optional
        Coarsens new slides, where the coarsening was trained with the task.

    Returns
    -------
    bytes
        Equal arrays give equal bytes.
    """
    tensors: dict[str, NDArray[Any]] = {f"{_CALIBRATION}{name}": value for name, value in calibration.arrays().items()}
    for number, member in enumerate(members):
        tensors |= {f"{number}.{_NETWORK}{name}": value for name, value in member.arrays.items()}
        tensors |= {f"{number}.{_SCALER}{name}": value for name, value in member.scaler.arrays().items()}
        tensors |= _embedding_tensors(f"{number}.{_EMBEDDING}", member.embedding)
    tensors |= _embedding_tensors(_EMBEDDING, embedding)
    return save_tensors({name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())})


def _embedding_tensors(prefix: str, embedding: Embedding | None) -> dict[str, NDArray[Any]]:
    if embedding is None:
        return {}
    names = [field.name for field in dataclasses.fields(Embedding) if field.name != "feature_schema"]
    return {f"{prefix}{name}": getattr(embedding, name) for name in names}


def save_bundle(bundle: ModelBundle, directory: Path | str) -> Path:
    """Write the two files of a bundle.

    Parameters
    ----------
    bundle : ModelBundle
        The model.
    directory : Path or str
        Destination; created if missing.

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
    # the card comes last: while it is missing or older, its digest does not match the new weights
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
        problem = "is a file" if directory.exists() else "does not exist"
        raise ModelError(
            f"model {directory} {problem}, expected a directory with {WEIGHTS_FILE} and {CARD_FILE}; {_REMEDY}"
        )
    content = _read(directory / CARD_FILE)
    card = _parse_card(content, directory / CARD_FILE)
    weights = _read(directory / WEIGHTS_FILE)
    sha256 = hashlib.sha256(weights).hexdigest()
    if sha256 != card.weights_sha256:
        raise ModelError(
            f"{directory / WEIGHTS_FILE} is damaged: its digest is {sha256[:12]}, "
            f"the card expects {card.weights_sha256[:12]}; {_REMEDY}"
        )
    if card.config.inputs != "encoding":
        check_schemas(card, feature_schema_id(), moment_schema_id())
    _check_tensors(weights, directory / WEIGHTS_FILE)
    uses_old_names = any(f'"{name}"'.encode() in content for name in ModelConfig.renamed_keys)
    return ModelBundle(card=card, weights=weights, stored_card=content if uses_old_names else None)


def check_schemas(card: Card, feature_id: str, moment_id: str) -> None:
    """Raise an error if a model was trained on other features or moments.

    Parameters
    ----------
    card : Card
        The model's card.
    feature_id, moment_id : str
        Digests of the schemas of the graph.

    Raises
    ------
    ModelError
        If one differs; the message names both.
    """
    for kind, trained, given in (
        ("feature", card.feature_schema_id, feature_id),
        ("moment", card.moment_schema_id, moment_id),
    ):
        if trained != given:
            raise ModelError(
                f"model {card.name!r} was trained on {kind} schema {trained}, the graph has {kind} schema {given}; "
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
        raise ModelError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error


def _parse_card(content: bytes, path: Path) -> Card:
    try:
        return Card.model_validate(parse_json(content))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the document"
        raise ModelError(f"{path} is not a model card: {where}: {fault['msg'].lower()}; {_REMEDY}") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}; expected a model card; {_REMEDY}") from None


def _check_tensors(weights: bytes, path: Path) -> None:
    try:
        tensors = load_tensors(weights)
    except (SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{path} is not a safetensors file: {error}; {_REMEDY}") from None
    bad = sorted(name for name, value in tensors.items() if not np.isfinite(value).all())
    if bad:
        raise ModelError(f"{path} holds values that are not finite in {', '.join(bad[:3])}; {_REMEDY}")
