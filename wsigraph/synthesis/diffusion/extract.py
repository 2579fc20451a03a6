"""The graph that a picture shows: a small network classifies every pixel, and connected regions become nodes.

It is trained on painted tissue that no generator has seen, with augmented stain, sharpness and noise. Without the
augmentation it takes the grain that a generator leaves for the grain of necrosis. Its accuracy on painted tissue is the
upper bound of the condition fidelity that it can measure for any generator.

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
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.synthesis.diffusion.denoiser import supports_bfloat16
from wsigraph.synthesis.diffusion.image_tensors import to_tensor
from wsigraph.synthesis.diffusion.scene import Scene, scene_from_labels
from wsigraph.synthesis.diffusion.training_images import TrainingImage, cut, paint_training_set, split
from wsigraph.synthesis.simulation.layout import TISSUES

_CHANNELS = (16, 32, 64, 64)
_BATCH, _N_TRAINING_IMAGES, _TRAINING_IMAGE_PX = 16, 60, 256
_LEARNING_RATE = 3e-3
_SMOOTH_PX = 5
_STAIN = (0.8, 1.25)
"""Range of the factor on the optical density of each channel."""
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
        skips: list[Tensor] = []
        features = picture
        for level, block in enumerate(self.down):
            features = block(nn.functional.avg_pool2d(features, 2) if level else features)
            skips.append(features)
        for block, beside in zip(self.up, reversed(skips[:-1]), strict=True):
            wide = nn.functional.interpolate(features, size=beside.shape[-2:], mode="nearest")
            features = block(torch.cat([wide, beside], dim=1))
        scores: Tensor = self.head(features)
        return scores


def train_extractor(
    config: DiffusionConfig,
    *,
    seed: int,
    steps: int = 1000,
    training_images: Sequence[TrainingImage] | None = None,
    half: bool = False,
) -> Extractor:
    """Return an extractor trained on painted tissue, or on images of known classes.

    Parameters
    ----------
    config : DiffusionConfig
        Canvas, pixel size and smallest region.
    seed : int
        Seed of tissue, weights and batches. Choose one that no generator was trained with.
    steps : int
        Batches.
    training_images : sequence of TrainingImage, optional
        Images in which the class of every pixel is known; painted ones by default.
    half : bool
        Train in bfloat16 where the CPU has it, a third faster. Leave it off to score a generator: the weights then are
        the same on every machine.

    Returns
    -------
    Extractor
        In evaluation mode.

    Notes
    -----
    About 0.1 s a batch on one core.
    """
    with one_thread():
        training_images = training_images or paint_training_set(
            config, _N_TRAINING_IMAGES, seed=seed, side_px=max(_TRAINING_IMAGE_PX, config.canvas_px)
        )
        torch.manual_seed(seed)
        network = Extractor().train()
        optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=steps)
        rng = np.random.default_rng([seed, 1])
        for _ in range(steps):
            examples = [
                cut(training_images[int(rng.integers(len(training_images)))], config, rng=rng) for _ in range(_BATCH)
            ]
            classes = np.stack([example.scene.class_map(_labels(example.scene)) for example in examples])
            with torch.autocast("cpu", torch.bfloat16, enabled=half and supports_bfloat16("cpu")):
                scores = network(torch.stack([to_tensor(_augment(example.image, rng)) for example in examples]))
            loss: Any = nn.functional.cross_entropy(scores.float(), torch.from_numpy(classes.astype(np.int64)) - 1)
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
    scenes = []
    with one_thread():
        for image in images:
            scores = network(to_tensor(image)[None]).softmax(dim=1)
            smooth = nn.functional.avg_pool2d(scores, _SMOOTH_PX, 1, _SMOOTH_PX // 2, count_include_pad=False)
            labels = smooth[0].argmax(dim=0).numpy().astype(np.int32) + 1
            pieces, owner = split(labels, min_px=um2_to_px(config.min_area_um2, config.mpp))
            scenes.append(scene_from_labels(pieces, owner - 1, mpp=config.mpp, image=image))
    return scenes


def _augment(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture with random stain, sharpness and noise."""
    density = -np.log((image.astype(np.float32) + 1.0) / 256.0) * rng.uniform(*_STAIN, 3).astype(np.float32)
    blur = rng.uniform(0.0, _BLUR_PX)
    blurred = gaussian_filter(256.0 * np.exp(-density) - 1.0, (blur, blur, 0.0))
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0.0, _NOISE)
    return np.asarray(np.clip(blurred + noise, 0.0, 255.0)).astype(np.uint8)


def _labels(scene: Scene) -> NDArray[np.int32]:
    if scene.labels is None:
        raise SynthesisError("a graph without a label image cannot be trained on; call rasterise on it first")
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
