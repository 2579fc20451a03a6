"""A network that runs on a GPU while its inputs and outputs stay on the processor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class OnDevice(nn.Module):
    """A network on another device, called like the network itself with tensors of the processor.

    Gradients of the inputs pass through, so that it can be explained.

    Parameters
    ----------
    network : torch.nn.Module
        Moved to the device.
    device : str
        As `wsigraph.graph.device.find_device` returns it.
    """

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        self.network = network.to(device)
        self.device = torch.device(device)

    def forward(self, *arguments: Any) -> Any:
        """Return the outputs of the network, on the processor."""
        return to_processor(self.network(*moved(arguments, self.device)))

    def pooling_weights(self, *arguments: Any) -> Tensor:
        """Return how much each node counts in its graph's embedding, on the processor, float32 (N,)."""
        weights: Tensor = self.network.pooling_weights(*moved(arguments, self.device)).cpu()  # type: ignore[operator]
        return weights


def moved(arguments: tuple[Any, ...], device: str | torch.device) -> tuple[Any, ...]:
    """Return arguments with every tensor on a device."""
    return tuple(value.to(device) if isinstance(value, Tensor) else value for value in arguments)


def to_processor(outputs: Any) -> Any:
    """Return a tensor, or a tuple of tensors, on the processor."""
    return outputs.cpu() if isinstance(outputs, Tensor) else tuple(output.cpu() for output in outputs)
