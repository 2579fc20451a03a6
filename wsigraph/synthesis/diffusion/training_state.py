"""Checkpoints of training: weights, their moving average, AdamW's moments and the losses, in one safetensors file.

The random numbers of a batch depend on the seed and the batch's number alone, so no state of a random generator is
stored: a resumed run gives the weights of an uninterrupted one. A checkpoint of other settings, data or seed raises an
error.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wsigraph.errors import SynthesisError
from wsigraph.store.atomic import write_file
from wsigraph.training.checkpoint import moments_of, set_moments, under
from wsigraph.training.settings_identity import Identity, refusal

_KEY = "state"
_RENAMED = {"sheets": "training images"}
"""Names in the identities of earlier versions, each with its name now."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that training changes.

    Attributes
    ----------
    network : Module
        Weights.
    ema : dict of str to tensor
        Exponential moving average of the weights.
    optimiser : Optimizer
        AdamW.
    losses : list of float
        Loss of every batch done.
    """

    network: nn.Module
    ema: dict[str, Tensor]
    optimiser: torch.optim.Optimizer
    losses: list[float]


def save_checkpoint(path: Path, identity: Identity, state: TrainingState) -> None:
    """Write the state of training, replacing the file atomically.

    Parameters
    ----------
    path : Path
        Destination.
    identity : Identity
        Settings, data and seed.
    state : TrainingState
        Not changed.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in state.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in state.ema.items()}
    tensors |= {f"optimiser.{name}": value for name, value in moments_of(state.optimiser).items()}
    notes = json.dumps({"identity": identity.document(), "losses": state.losses}, sort_keys=True)
    ordered = {name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}
    write_file(path, save(ordered, {_KEY: notes}))


def load_checkpoint(path: Path, identity: Identity, state: TrainingState) -> None:
    """Set the state of training to that of a checkpoint.

    Parameters
    ----------
    path : Path
        Checkpoint; without it, nothing changes.
    identity : Identity
        Settings, data and seed.
    state : TrainingState
        As at the start of training; changed in place.

    Raises
    ------
    SynthesisError
        If the file is damaged, or has other settings, data or seed; the message names the differences.
    """
    if not path.is_file():
        return
    try:
        with safe_open(path, "pt") as stored:
            notes = json.loads((stored.metadata() or {})[_KEY])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise SynthesisError(f"checkpoint {path} is damaged ({error}); delete it and run again") from None
    if differences := identity.differences(current_names(notes.get("identity"))):
        raise SynthesisError(refusal(f"checkpoint {path}", differences))
    state.network.load_state_dict(under(tensors, "network."))
    for name, value in under(tensors, "average.").items():
        state.ema[name].copy_(value)
    set_moments(state.optimiser, under(tensors, "optimiser."))
    state.losses[:] = [float(loss) for loss in notes["losses"]]


def current_names(identity: Any) -> Any:
    """Return a stored identity with the names of an earlier version replaced by those of this one.

    Parameters
    ----------
    identity : dict of str to dict, or anything else
        As `Identity.document` wrote it, if it is undamaged.

    Returns
    -------
    dict of str to dict, or anything else
        What is no such document is returned as it is.
    """
    if not isinstance(identity, dict):
        return identity
    return {
        part: {_RENAMED.get(name, name): value for name, value in values.items()}
        if isinstance(values, dict)
        else values
        for part, values in identity.items()
    }
