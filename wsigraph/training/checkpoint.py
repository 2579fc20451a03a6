"""Where training stands, so that a killed run goes on as if it had never stopped.

One safetensors file holds the weights, the best weights so far, AdamW's moments and the state of torch's generator; its
one metadata key holds the rest as JSON: passes done, losses and the state of numpy's generator. Floats of JSON are
written in full, so that a resumed run gives the bytes of an unbroken one. A checkpoint of other data, settings or seed
is refused, and stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from wsigraph.errors import ModelError
from wsigraph.store.atomic import write_file
from wsigraph.training.settings_identity import Identity, refusal

_KEY = "state"
_Tensor = TypeVar("_Tensor")


class Learner(Protocol):
    """What training changes: a network, or several modules as one."""

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return everything that is learned, by name, copied."""

    def load_arrays(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        """Set what `arrays` returned."""


@dataclass(slots=True, kw_only=True, eq=False)
class Standing:
    """Passes done and the best of them.

    Attributes
    ----------
    history : list of tuple of float
        Training and validation loss of every pass done.
    best_pass : int
        Pass of the lowest validation loss, from 1; 0 before the first.
    best : dict of str to float32 array
        Weights of that pass.
    """

    history: list[tuple[float, float]] = field(default_factory=list)
    best_pass: int = 0
    best: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def best_loss(self) -> float:
        """Lowest validation loss so far; infinite before the first pass."""
        return self.history[self.best_pass - 1][1] if self.best_pass else float("inf")


def save_checkpoint(
    path: Path,
    identity: Identity,
    standing: Standing,
    network: Learner,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
) -> None:
    """Write where training stands, in one step.

    Parameters
    ----------
    path : Path
        Destination.
    identity : Identity
        Data, settings and seed.
    standing : Standing
        Passes done.
    network, optimiser, rng
        Everything that the next pass depends on, beside torch's generator.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tensors: dict[str, NDArray[Any]] = {f"network.{name}": value for name, value in network.arrays().items()}
    tensors |= {f"best.{name}": value for name, value in standing.best.items()}
    tensors |= {f"optimiser.{name}": value.cpu().numpy() for name, value in moments_of(optimiser).items()}
    tensors["generator"] = torch.random.get_rng_state().numpy()
    notes = {
        "identity": identity.document(),
        "history": standing.history,
        "best_pass": standing.best_pass,
        "rng": rng.bit_generator.state,
    }
    ordered = {name: np.ascontiguousarray(value) for name, value in sorted(tensors.items())}
    write_file(path, save_tensors(ordered, {_KEY: json.dumps(notes, sort_keys=True)}))


def load_checkpoint(
    path: Path, identity: Identity, network: Learner, optimiser: torch.optim.Optimizer, rng: np.random.Generator
) -> Standing:
    """Set network, optimiser and both generators to where training stood.

    Parameters
    ----------
    path : Path
        Where a checkpoint may be.
    identity : Identity
        Data, settings and seed.
    network, optimiser, rng
        As at the start of training; left so where there is no checkpoint.

    Returns
    -------
    Standing
        Passes done; none where there is no checkpoint.

    Raises
    ------
    ModelError
        If the file is damaged, or was made under other settings or of other data; the message names what differs.
    """
    if not path.is_file():
        return Standing()
    try:
        with safe_open(path, "np") as stored:
            notes = json.loads((stored.metadata() or {})[_KEY])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"checkpoint {path} is damaged ({error}); delete it and run again") from None
    if others := identity.differences(notes.get("identity")):
        raise ModelError(refusal(f"checkpoint {path}", others))
    network.load_arrays(under(tensors, "network."))
    moments = under(tensors, "optimiser.").items()
    set_moments(optimiser, {name: torch.from_numpy(value.copy()) for name, value in moments})
    torch.random.set_rng_state(torch.from_numpy(tensors["generator"].copy()))
    rng.bit_generator.state = notes["rng"]
    return Standing(
        history=[(float(inner), float(outer)) for inner, outer in notes["history"]],
        best_pass=int(notes["best_pass"]),
        best=under(tensors, "best."),
    )


def moments_of(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return what an optimiser remembers of each parameter, by ``<number of the parameter>.<name>``."""
    states = optimiser.state_dict()["state"].items()
    return {f"{number}.{name}": value for number, state in states for name, value in state.items()}


def set_moments(optimiser: torch.optim.Optimizer, moments: Mapping[str, torch.Tensor]) -> None:
    """Set what `moments_of` returned; learning rates and the like stay as they are."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def under(tensors: Mapping[str, _Tensor], prefix: str) -> dict[str, _Tensor]:
    """Return the tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
