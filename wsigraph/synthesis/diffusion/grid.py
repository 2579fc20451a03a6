"""Pictures of training progress: class maps, samples painted from the graphs alone, and the real images below."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from wsigraph.store.atomic import write_file
from wsigraph.synthesis.diffusion.denoiser import DOMAINS, GUIDANCE, Denoiser
from wsigraph.synthesis.diffusion.painter import Painter
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.training_images import TrainingImage, cut

COLOURS = np.array(
    [
        (235, 235, 235), (240, 160, 190), (110, 70, 160), (190, 120, 90), (50, 60, 140), (250, 240, 200),
        (150, 190, 110), (220, 60, 90),
    ],
    np.uint8,
)  # fmt: skip
"""Colour of the unknown class, then of every class in the order of ``TISSUES``."""
_GREYS = 37
_STEPS = 15


def sample_grid(
    training_images: Sequence[TrainingImage], out: Path, *, device: str = "cpu"
) -> Callable[[int, Denoiser], None]:
    """Return a callback that writes ``samples-STEP.png`` while a model trains.

    Parameters
    ----------
    training_images : sequence of TrainingImage
        One canvas is cut from each.
    out : Path
        Directory.
    device : str
        Where the model is.

    Returns
    -------
    callable
        Takes the number of the batch and the network. Rows of the picture: class map, sample from the graph alone with
        the `GUIDANCE` of its domain, real image.
    """

    def on_checkpoint(step: int, network: Denoiser) -> None:
        rng = np.random.default_rng(0)
        examples = [cut(training_image, network.config, rng=rng) for training_image in training_images]
        shape = (len(examples), 3, network.config.canvas_px, network.config.canvas_px)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        samples = [example.image for example in examples]
        for domain in {example.domain for example in examples}:
            own = [index for index, example in enumerate(examples) if example.domain == domain]
            painter = Painter(network=network, steps=_STEPS, guidance=GUIDANCE[DOMAINS[domain]], device=device)
            images = painter.paint([examples[index].scene for index in own], noise[own], domain=domain)
            for index, image in zip(own, images, strict=True):
                samples[index] = image
        rows = [
            [draw_mask(example.scene) for example in examples],
            samples,
            [example.image for example in examples],
        ]
        panel = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        stream = io.BytesIO()
        Image.fromarray(panel).save(stream, "PNG")
        write_file(out / f"samples-{step:06d}.png", stream.getvalue())

    return on_checkpoint


def draw_mask(scene: Scene) -> NDArray[Any]:
    """Return the mask of a scene in colours, uint8 (h, w, 3); without any known class in greys; boundaries dark."""
    labels = scene.labels
    assert labels is not None  # noqa: S101 - the caller rasterised it
    classes = scene.class_map(labels)
    picture = COLOURS[classes]
    if not classes.any():
        grey = (90 + (labels * _GREYS) % 140).astype(np.uint8)
        picture = np.where(labels[..., None] > 0, grey[..., None], np.uint8(255)).repeat(3, axis=-1)
    edge = np.zeros(labels.shape, bool)
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edge[:-1] |= labels[:-1] != labels[1:]
    return np.where(edge[..., None], (picture * 0.5).astype(np.uint8), picture)
