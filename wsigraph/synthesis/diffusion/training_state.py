"""Where training stands, in one safetensors file: weights, their average, AdamW's moments, and the batches done.

What is random at a batch follows from the seed and the batch's number alone, so no generator has to be kept: a resumed
run gives the weights of an unbroken one. A checkpoint of other settings, data or seed is refused.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from wsigraph.errors import SynthesisError
from wsigraph.store.atomic import write_file
from wsigraph.training.checkpoint import moments_of, set_moments, under
from wsigraph.training.settings_identity import Identity, refusal

_KEY = "state"


def save_checkpoint(
    path: Path,
    identity: Identity,
    losses: list[float],
    network: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write where training stands, in one step.

    Parameters
    ----------
    path : Path
        Destination.
    identity : Identity
        Settings, data and seed.
    losses : list of float
        Loss of every batch done.
    network, average, optimiser
        Weights, their running average, and AdamW.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    tensors |= {f"optimiser.{name}": value for name, value in moments_of(optimiser).items()}
    notes = json.dumps({"identity": identity.document(), "losses": losses}, sort_keys=True)
    ordered = {name: value.detach().cpu().contiguous() for name, value in sorted(tensors.items())}
    write_file(path, save(ordered, {_KEY: notes}))


def load_checkpoint(
    path: Path, identity: Identity, network: nn.Module, average: dict[str, Tensor], optimiser: torch.optim.Optimizer
) -> list[float]:
    """Set weights, average and optimiser to where training stood.

    Parameters
    ----------
    path : Path
        Where a checkpoint may be.
    identity : Identity
        Settings, data and seed.
    network, average, optimiser
        As at the start of training; left so where there is no checkpoint.

    Returns
    -------
    list of float
        Loss of every batch done.

    Raises
    ------
    SynthesisError
        If the file is damaged, or was made under other settings or of other data; the message names what differs.
    """
    if not path.is_file():
        return []
    try:
        with safe_open(path, "pt") as stored:
            notes = json.loads((stored.metadata() or {})[_KEY])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise SynthesisError(f"checkpoint {path} is damaged ({error}); delete it and run again") from None
    if others := identity.differences(notes.get("identity")):
        raise SynthesisError(refusal(f"checkpoint {path}", others))
    network.load_state_dict(under(tensors, "network."))
    for name, value in under(tensors, "average.").items():
        average[name].copy_(value)
    set_moments(optimiser, under(tensors, "optimiser."))
    return [float(loss) for loss in notes["losses"]]
