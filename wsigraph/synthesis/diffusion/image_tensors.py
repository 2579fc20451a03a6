"""Conversion between RGB images and the tensors that the networks read and write."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def to_tensor(image: NDArray[np.uint8]) -> Tensor:
    """Return RGB uint8 (h, w, 3) as float32 (3, h, w), -1 to 1."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1.0


def to_images(pictures: Tensor) -> NDArray[Any]:
    """Return float (B, 3, h, w) from -1 to 1 as RGB uint8 (B, h, w, 3)."""
    values = ((pictures.float().cpu() + 1.0) * 127.5).round().clamp(0, 255)
    return np.asarray(values.permute(0, 2, 3, 1).to(torch.uint8).numpy())
