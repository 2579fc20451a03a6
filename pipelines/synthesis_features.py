"""The spaces in which sets of pictures are compared: pixels, and the features of two networks.

Inception-v3 is that of published kernel and Frechet distances (Szegedy et al., "Rethinking the Inception architecture
for computer vision", 2016): pictures are enlarged to 299 px, from -1 to 1, and have 2,048 features. Pictures enter both
networks alone, so that a row does not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wsigraph.graph.feature.efficientnet import efficientnet_lite0
from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.diffusion.realism import pixel_rows

Images = list[NDArray[np.uint8]]
Encode = Callable[[Images], NDArray[np.float64]]
_INCEPTION_PX = 299


def encoders(inception: Path | None) -> dict[str, Encode]:
    """Return the spaces: ``features`` of EfficientNet-Lite0, ``pixels``, and ``inception`` where a file is named."""
    found: dict[str, Encode] = {"features": _efficientnet, "pixels": pixel_rows}
    if inception is not None:
        network = torch.jit.load(str(inception), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        found["inception"] = lambda images: _inception(network, images)
    return found


def _efficientnet(images: Images) -> NDArray[np.float64]:
    encoder = efficientnet_lite0()
    large = _enlarge(images, encoder.window_px)
    rows = []
    for first in range(0, len(large), encoder.batch):
        some = large[first : first + encoder.batch]
        filled = [*some, *[some[-1]] * (encoder.batch - len(some))]
        rows.append(encoder.encode(np.stack(filled)).mean(axis=(1, 2))[: len(some)])
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
    return [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC)) for each in images]
