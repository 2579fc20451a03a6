"""The graph that a picture shows: a small network names the tissue of every pixel, regions become nodes.

It learns from painted tissue that no generator has seen, in stains, sharpness and noise that vary, and then stays as it
is. Without that variation it reads grain that a generator leaves as the grain of necrosis, so that it measures pixels
and not which tissue lies where. How well it reads painted tissue bounds what any generator can be found to obey.

References
----------
Stain and noise varied in training: Tellez et al., "Quantifying the effects of data augmentation and stain color
normalization in convolutional neural networks for computational pathology", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from wsigraph.config import DiffusionConfig
from wsigraph.errors import SynthesisError
from wsigraph.geometry import um2_to_px
from wsigraph.graph.one_thread import one_thread
from wsigraph.synthesis.diffusion.denoiser import computes_half
from wsigraph.synthesis.diffusion.scene import Scene, of_labels
from wsigraph.synthesis.diffusion.train import to_tensor
from wsigraph.synthesis.diffusion.training_images import Sheet, cut, paint_many, split
from wsigraph.synthesis.simulation.layout import TISSUES

_CHANNELS = (16, 32, 64, 64)
_BATCH, _SHEETS, _SHEET_PX = 16, 60, 256
_RATE = 3e-3
_SMOOTH_PX = 5
_STAIN = (0.8, 1.25)
"""Optical density of each channel is scaled by as much."""
_BLUR_PX = 0.8
_NOISE = 25.0
"""Largest standard deviation of noise, of 255."""


class Extractor(nn.Module):
    """Tissue of every pixel: a U-Net of four levels, about 0.2 M weights."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *_CHANNELS)
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise(widths))
        pairs = zip(reversed(_CHANNELS[1:]), reversed(_CHANNELS[:-1]), strict=True)
        self.up = nn.ModuleList(_block(deep + flat, flat) for deep, flat in pairs)
        self.head = nn.Conv2d(_CHANNELS[0], len(TISSUES), 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the score of every class, float (B, 7, h, w), for pictures (B, 3, h, w) from -1 to 1."""
        kept: list[Tensor] = []
        found = picture
        for level, block in enumerate(self.down):
            found = block(nn.functional.avg_pool2d(found, 2) if level else found)
            kept.append(found)
        for block, beside in zip(self.up, reversed(kept[:-1]), strict=True):
            wide = nn.functional.interpolate(found, size=beside.shape[-2:], mode="nearest")
            found = block(torch.cat([wide, beside], dim=1))
        scores: Tensor = self.head(found)
        return scores


def train_extractor(
    config: DiffusionConfig,
    *,
    seed: int,
    steps: int = 1000,
    sheets: Sequence[Sheet] | None = None,
    half: bool = False,
) -> Extractor:
    """Return an extractor trained on painted tissue, or on sheets of known classes.

    Parameters
    ----------
    config : DiffusionConfig
        Canvas, pixel size and smallest region.
    seed : int
        Decides the tissue, weights and batches; not the seed of any generator.
    steps : int
        Batches.
    sheets : sequence of Sheet, optional
        What to learn from; every pixel's class has to be known.
    half : bool
        Learn in bfloat16 where the processor calculates so, a third faster: not for a judge, who should be the same
        on every machine.

    Returns
    -------
    Extractor
        In evaluation mode.

    Notes
    -----
    About 0.1 s a batch on one core.
    """
    with one_thread():
        sheets = sheets or paint_many(config, _SHEETS, seed=seed, side_px=max(_SHEET_PX, config.canvas_px))
        torch.manual_seed(seed)
        network = Extractor().train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
        rng = np.random.default_rng([seed, 1])
        for _ in range(steps):
            examples = [cut(sheets[int(rng.integers(len(sheets)))], config, rng=rng) for _ in range(_BATCH)]
            truth = np.stack([each.scene.class_map(_labels(each.scene)) for each in examples])
            with torch.autocast("cpu", torch.bfloat16, enabled=half and computes_half("cpu")):
                scores = network(torch.stack([to_tensor(_vary(each.image, rng)) for each in examples]))
            loss: Any = nn.functional.cross_entropy(scores.float(), torch.from_numpy(truth.astype(np.int64)) - 1)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def extract(network: Extractor, images: Sequence[NDArray[np.uint8]], config: DiffusionConfig) -> list[Scene]:
    """Return the graphs that pictures show.

    Parameters
    ----------
    network : Extractor
        From `train_extractor`.
    images : sequence of uint8 (h, w, 3)
        Canvases.
    config : DiffusionConfig
        Pixel size and smallest region.

    Returns
    -------
    list of Scene
        Connected regions of one class each, with label images.
    """
    found = []
    with one_thread():
        for image in images:
            scores = network(to_tensor(image)[None]).softmax(dim=1)
            smooth = nn.functional.avg_pool2d(scores, _SMOOTH_PX, 1, _SMOOTH_PX // 2, count_include_pad=False)
            labels = smooth[0].argmax(dim=0).numpy().astype(np.int32) + 1
            pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
            found.append(of_labels(pieces, owner - 1, mpp=config.mpp, image=image))
    return found


def _vary(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture in another stain, of another sharpness and with noise."""
    density = -np.log((image.astype(np.float32) + 1.0) / 256.0) * rng.uniform(*_STAIN, 3).astype(np.float32)
    blur = rng.uniform(0.0, _BLUR_PX)
    found = gaussian_filter(256.0 * np.exp(-density) - 1.0, (blur, blur, 0.0))
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0.0, _NOISE)
    return np.asarray(np.clip(found + noise, 0.0, 255.0)).astype(np.uint8)


def _labels(scene: Scene) -> NDArray[np.int32]:
    if scene.labels is None:
        raise SynthesisError("a graph without a label image, expected one to learn from")
    return scene.labels


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(8, after),
        nn.SiLU(),
    )
