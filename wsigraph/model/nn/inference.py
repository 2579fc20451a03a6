"""A trained network prepared for inference."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from wsigraph.model.nn._fused_gatv2 import FusedGATv2Conv
from wsigraph.model.nn.layers import GATv2Block

_Network = TypeVar("_Network", bound=nn.Module)


def compile_for_inference(network: _Network) -> _Network:
    """Return a copy of a network whose GATv2 convolutions are fused, for evaluation and gradients of its inputs.

    Parameters
    ----------
    network : torch.nn.Module
        A trained network; it is not changed.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, its weights without gradients. Its logits equal those of `network` up to float32 rounding.
    """
    compiled = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(compiled.modules()):
        if isinstance(module, GATv2Block):
            module.neighbours = FusedGATv2Conv(module.neighbours)
    return compiled
