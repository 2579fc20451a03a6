"""Weights of the nucleus network: safetensors in half precision, with a card that is checked when they are read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsigraph.errors import ModelError
from wsigraph.graph.feature.nucleus_instances import REACH, SADDLE
from wsigraph.graph.feature.nucleus_network import TYPES, WIDTHS, NucleusNetwork

ARCHITECTURE = "nucleus-unet-1"
"""Name of the layers; weights of another name are refused."""
_KEY = "nucleus_network"


@dataclass(frozen=True, slots=True, kw_only=True)
class NucleusCard:
    """What is stated about weights, inside their file.

    Attributes
    ----------
    digest : str
        SHA-256 of the tensors, their names and shapes; 16 hexadecimal characters.
    architecture : str
        Name of the layers.
    widths : tuple of int
        Channels at 1, 2, 4 and 8 um/px.
    types : tuple of str
        Types that the weights tell apart.
    mpp : float
        Pixel size of the input, um/px.
    least_nucleus, least_centre : float
        Least probability of a nucleus's pixels, and least height of its peak in the centre map.
    least_area_um2 : float
        Least area of a nucleus.
    least_probability : float
        Least mean probability of a nucleus's pixels.
    type_temperature, least_type : float
        Divisor of the type logits, and the probability under which the type is unknown.
    training : dict of str to str
        Data and licences, seed, steps.
    """

    digest: str
    architecture: str = ARCHITECTURE
    widths: tuple[int, ...] = WIDTHS
    types: tuple[str, ...] = TYPES
    mpp: float = 0.5
    least_nucleus: float = 0.5
    least_centre: float = 0.3
    least_area_um2: float = 6.0
    least_probability: float = 0.0
    type_temperature: float = 1.0
    least_type: float = 0.5
    training: dict[str, str] = field(default_factory=dict)

    def found_by(self) -> str:
        """Return a digest of all that decides what is a nucleus: weights, pixel size, thresholds, joining of peaks."""
        parts = [self.digest, REACH, SADDLE]
        parts += [self.mpp, self.least_nucleus, self.least_centre, self.least_area_um2, self.least_probability]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def load_nucleus_network(path: Path | str | None = None) -> tuple[NucleusNetwork, NucleusCard]:
    """Return the network with the weights of a file, or with the shipped ones.

    Parameters
    ----------
    path : Path or str, optional
        A safetensors file written by `save_nucleus_network`.

    Returns
    -------
    network : NucleusNetwork
        For inference, float32.
    card : NucleusCard
        What the file states.

    Raises
    ------
    ModelError
        If the file is missing or damaged, or its architecture or digest is another.
    """
    return _shipped() if path is None else _read(Path(path))


@cache
def _shipped() -> tuple[NucleusNetwork, NucleusCard]:
    with as_file(files("wsigraph.graph.feature") / "shipped" / "nuclei.safetensors") as path:
        return _read(path)


def _read(path: Path) -> tuple[NucleusNetwork, NucleusCard]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            text = (stored.metadata() or {}).get(_KEY)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
        fields = {} if text is None else json.loads(text)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f"nucleus weights {path} do not read ({error}); expected a safetensors file") from None
    if fields.get("architecture") != ARCHITECTURE:
        raise ModelError(
            f"nucleus weights {path} are of architecture {fields.get('architecture', 'unknown')!r}, expected "
            f"{ARCHITECTURE!r}; train them with python -m pipelines.train_nuclei"
        )
    digest = digest_of(tensors)
    if fields.get("digest") != digest:
        raise ModelError(
            f"nucleus weights {path} have digest {digest}, their card states {fields.get('digest')}; take the file anew"
        )
    try:
        card = NucleusCard(**{**fields, "widths": tuple(fields["widths"]), "types": tuple(fields["types"])})
        network = NucleusNetwork(card.widths, len(card.types))
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"nucleus weights {path} do not fit {ARCHITECTURE} ({reason}); take the file anew") from None
    return network.eval().to(memory_format=torch.channels_last), card  # type: ignore[call-overload]


def save_nucleus_network(network: NucleusNetwork, path: Path | str, **fields: Any) -> NucleusCard:
    """Write weights in half precision, and return their card.

    Parameters
    ----------
    network : NucleusNetwork
        Without batch normalisation.
    path : Path or str
        File to write; its folder must exist.
    **fields
        Fields of the card.

    Returns
    -------
    NucleusCard
        As stored.
    """
    from safetensors.torch import save

    tensors = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    card = NucleusCard(digest=digest_of(tensors), widths=network.widths, **fields)
    text = json.dumps(asdict(card), sort_keys=True)
    Path(path).write_bytes(save(tensors, metadata={_KEY: text}))
    return card


def digest_of(tensors: dict[str, Tensor]) -> str:
    """Return the digest of tensors, their names and shapes, 16 hexadecimal characters."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(tensor.numpy().tobytes())
    return total.hexdigest()[:16]
