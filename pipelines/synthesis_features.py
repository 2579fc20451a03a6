"""Feature spaces in which sets of pictures are compared: pixels, and the features of two networks.

Inception-v3 is that of published kernel and Frechet distances (Szegedy et al., "Rethinking the Inception architecture
for computer vision", 2016). Pictures are enlarged to 299 px and scaled to -1 to 1; Inception gives 2,048 features. Each
picture is encoded alone, so that its features do not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wsigraph.graph.feature.efficientnet import efficientnet_lite0, one_thread
from wsigraph.synthesis.diffusion.realism import pixel_rows

Images = list[NDArray[np.uint8]]
Encode = Callable[[Images], NDArray[np.float64]]
_INCEPTION_PX = 299


def encoders(inception: Path | None) -> dict[str, Encode]:
    """Return the encoders ``features`` (EfficientNet-Lite0), ``pixels``, and, given its file, ``inception``."""
    spaces: dict[str, Encode] = {"features": _efficientnet, "pixels": pixel_rows}
    if inception is not None:
        network = torch.jit.load(str(inception), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        spaces["inception"] = lambda images: _inception(network, images)
    return spaces


def _efficientnet(images: Images) -> NDArray[np.float64]:
    encoder = efficientnet_lite0()
    large = _enlarge(images, encoder.window_px)
    rows = []
    for first in range(0, len(large), encoder.batch):
        batch = large[first : first + encoder.batch]
        padded = [*batch, *[batch[-1]] * (encoder.batch - len(batch))]
        rows.append(encoder.encode(np.stack(padded)).mean(axis=(1, 2))[: len(batch)])
    return np.concatenate(rows).astype(np.float64)


@torch.no_grad()
def _inception(network: torch.jit.ScriptModule, images: Images) -> NDArray[np.float64]:
    rows = []
    with one_thread():
        for image in _enlarge(images, _INCEPTION_PX):
            picture = (torch.tensor(image).permute(2, 0, 1)[None].float() - 128.0) / 128.0
            rows.append(network(picture)[0].numpy())
    return np.stack(rows).astype(np.float64)


def _enlarge(images: Images, side: int) -> Images:
    return [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in images]
