"""A generator on disk: ``generator.safetensors``, averaged weights in half precision, and ``card.json``.

The card states what the model is, its training data, its settings and the digest of the weights. Nothing is unpickled.
Equal weights give equal bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load, save

from wsigraph.config import DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.store.atomic import write_file
from wsigraph.store.header import canonical_document, parse_json
from wsigraph.synthesis.diffusion.denoiser import DOMAINS, GUIDANCE, Denoiser
from wsigraph.synthesis.diffusion.train import TrainingResult
from wsigraph.synthesis.diffusion.training_state import current_names
from wsigraph.synthesis.simulation.layout import TISSUES
from wsigraph.training.settings_identity import Identity, refusal

SHIPPED = Path(__file__).parent / "shipped"
"""The generator that comes with the package."""
WEIGHTS_FILE, CARD_FILE = "generator.safetensors", "card.json"
RUN_FILE = "run.json"
"""Settings and data that a trained generator was made from, beside it."""
_SMOOTHED = 100
_REMEDY = "name another directory, or train the model again"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The part of a generator's card that its author writes.

    Attributes
    ----------
    name, description, licence, data : str
        As on the `Card`.
    seed : int
        Seed of training.
    """

    name: str
    description: str
    licence: str
    data: str
    seed: int


class Card(BaseModel):
    """Description of a generator.

    Attributes
    ----------
    name, description, notice, licence, data : str
        What it is, its intended use, its licence, and its training data.
    limits : tuple of str
        Known limits.
    classes, domains : tuple of str
        Tissue classes and domains, in the order of the weights. The JSON key of the domains is ``styles``, so that the
        identity of a generator of an earlier version stays the same.
    seed, batches, n_weights : int
        Seed and length of training, and number of weights.
    loss : float
        Mean loss of the last batches.
    guidance : dict of str to float
        Weight of the graph that suits each domain; `GUIDANCE` where a card of an earlier version states none.
    config : DiffusionConfig
        Settings it was trained with.
    weights_sha256 : str
        Digest of the weights' file.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    name: str
    description: str
    notice: str
    licence: str
    data: str
    limits: tuple[str, ...]
    classes: tuple[str, ...]
    domains: tuple[str, ...] = Field(alias="styles")
    seed: int
    batches: int
    n_weights: int
    loss: float
    guidance: dict[str, Annotated[float, Field(ge=0.0, le=50.0)]] = GUIDANCE
    config: DiffusionConfig
    weights_sha256: str


@dataclass(frozen=True, eq=False)
class Generator:
    """A model that paints tissue from a graph.

    Attributes
    ----------
    card : Card
        What it is.
    weights : bytes
        Content of ``generator.safetensors``.
    """

    card: Card
    weights: bytes

    @property
    def config(self) -> DiffusionConfig:
        """Settings of training."""
        return self.card.config

    @property
    def model_id(self) -> str:
        """Digest of card and weights, 16 hexadecimal characters; the recommended guidance is not part of it."""
        card = canonical_document(self.card.model_dump(mode="json", by_alias=True, exclude={"guidance"}))
        return hashlib.sha256(self.weights + card).hexdigest()[:16]

    @cached_property
    def network(self) -> Denoiser:
        """The network, in evaluation mode, on the CPU.

        Raises
        ------
        SynthesisError
            If the weights do not fit the card's settings.
        """
        network = _build(self.config)
        arrays = {name: torch.from_numpy(value.astype(np.float32)) for name, value in load(self.weights).items()}
        try:
            network.load_state_dict(arrays)
        except RuntimeError as error:
            fault = str(error).splitlines()[-1].strip()
            raise SynthesisError(f"the generator's weights do not fit its card: {fault}; {_REMEDY}") from None
        return network.eval()

    def __str__(self) -> str:
        """Return name, size and digest."""
        card = self.card
        return f"generator {card.name!r} {self.model_id}, {card.n_weights:,} weights in {len(self.weights):,} bytes"


def save_generator(directory: Path, trained: TrainingResult, config: DiffusionConfig, about: About) -> Generator:
    """Write a generator's two files.

    Parameters
    ----------
    directory : Path
        Destination; made where missing.
    trained : TrainingResult
        Averaged weights.
    config : DiffusionConfig
        Settings of training.
    about : About
        The author's part of the card.

    Returns
    -------
    Generator
        As `load_generator` would return it.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        name: value.numpy().astype(np.float16) for name, value in sorted(trained.weights.items())
    }
    weights = save(arrays)
    card = Card(
        name=about.name,
        description=about.description,
        notice="for research only; what it paints is synthetic and belongs to no patient",
        licence=about.licence,
        data=about.data,
        limits=(
            f"a canvas of {config.canvas_px} px at {config.mpp:g} um/px; larger pictures are painted from many",
            "classes are those of painted tissue; real tissue was learned by optical density, without classes",
            "fine structure of real tissue (chromatin, cell borders) is below its resolution",
        ),
        classes=TISSUES,
        domains=DOMAINS,
        seed=about.seed,
        batches=len(trained.losses),
        n_weights=sum(value.size for value in arrays.values()),
        guidance=GUIDANCE,
        loss=round(float(np.mean(trained.losses[-_SMOOTHED:])), 6),
        config=config,
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    # the card is written last: a missing card, or the digest of an older one, refuses the new weights until then
    write_file(directory / WEIGHTS_FILE, weights)
    write_file(directory / CARD_FILE, canonical_document(card.model_dump(mode="json", by_alias=True)))
    return Generator(card=card, weights=weights)


def note_training(directory: Path, identity: Identity) -> None:
    """Write the settings and data of a finished generator beside it.

    Parameters
    ----------
    directory : Path
        Directory of the generator.
    identity : Identity
        Settings and data of its training.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    write_file(directory / RUN_FILE, canonical_document({"identity": identity.document()}))


def refuse_finished(directory: Path, identity: Identity) -> None:
    """Raise an error where training would overwrite a finished generator of other settings or data.

    Parameters
    ----------
    directory : Path
        Directory of the new generator.
    identity : Identity
        Settings and data of its training.

    Raises
    ------
    SynthesisError
        If the directory holds a finished generator of other settings or data; the message names the differences.
    """
    if not (directory / CARD_FILE).is_file():
        return
    try:
        notes = parse_json((directory / RUN_FILE).read_bytes())
    except (OSError, ValueError):
        # from an earlier version, or damaged: settings and data are unknown
        notes = {}
    if differences := identity.differences(current_names(notes.get("identity"))):
        raise SynthesisError(refusal(f"the finished generator in {directory}", differences))


def load_generator(directory: Path | str | None = None) -> Generator:
    """Read and check a generator.

    Parameters
    ----------
    directory : Path or str, optional
        Directory with both files; by default that of the shipped generator.

    Returns
    -------
    Generator
        Weights and card; digest and classes are checked.

    Raises
    ------
    SynthesisError
        If a file is missing, damaged, or names other classes.
    """
    directory = SHIPPED if directory is None else Path(directory)
    try:
        content, weights = (directory / CARD_FILE).read_bytes(), (directory / WEIGHTS_FILE).read_bytes()
        card = Card.model_validate(parse_json(content))
    except OSError as error:
        raise SynthesisError(
            f"{directory} is no generator ({error.strerror or error}), expected {WEIGHTS_FILE} and {CARD_FILE}; "
            f"{_REMEDY}"
        ) from None
    except (ValidationError, ValueError) as error:
        raise SynthesisError(f"{directory / CARD_FILE} is no card of a generator: {error}; {_REMEDY}") from None
    digest = hashlib.sha256(weights).hexdigest()
    if digest != card.weights_sha256:
        raise SynthesisError(
            f"{directory / WEIGHTS_FILE} is damaged: its digest is {digest[:12]}, the card expects "
            f"{card.weights_sha256[:12]}; {_REMEDY}"
        )
    if set(card.guidance) != set(DOMAINS):
        raise SynthesisError(
            f"{directory / CARD_FILE} states guidance for {', '.join(card.guidance) or 'no domain'}, expected "
            f"one for each of {', '.join(DOMAINS)}; {_REMEDY}"
        )
    if card.classes != TISSUES or card.domains != DOMAINS:
        raise SynthesisError(
            f"{directory} was trained on classes {', '.join(card.classes)} and domains {', '.join(card.domains)}, "
            f"expected {', '.join(TISSUES)} and {', '.join(DOMAINS)}; {_REMEDY}"
        )
    try:
        load(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise SynthesisError(f"{directory / WEIGHTS_FILE} is no safetensors file: {error}; {_REMEDY}") from None
    return Generator(card=card, weights=weights)


def _build(config: DiffusionConfig) -> Denoiser:
    state = torch.random.get_rng_state()
    network = Denoiser(config)
    torch.random.set_rng_state(state)
    return network
