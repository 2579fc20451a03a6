"""Pictures of how a model stands: what was asked, what it paints from the graph alone, and the truth, side by side."""

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
from wsigraph.synthesis.diffusion.condition import collate
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, Denoiser
from wsigraph.synthesis.diffusion.sampling_loop import denoise
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.training_images import Sheet, cut

COLOURS = np.array(
    [
        (235, 235, 235), (240, 160, 190), (110, 70, 160), (190, 120, 90), (50, 60, 140), (250, 240, 200),
        (150, 190, 110), (220, 60, 90),
    ],
    np.uint8,
)  # fmt: skip
"""Colour of a class that is not known, then of every class in the order of ``TISSUES``."""
_GREYS = 37
_STEPS, _GUIDANCE = 15, 2.0


def sample_grid(sheets: Sequence[Sheet], out: Path, *, device: str = "cpu") -> Callable[[int, Denoiser], None]:
    """Return what writes ``samples-STEP.png`` while a model trains.

    Parameters
    ----------
    sheets : sequence of Sheet
        A canvas is cut from each.
    out : Path
        Directory.
    device : str
        Where the model is.

    Returns
    -------
    callable
        Takes the batch's number and the network. Rows: mask, sample from the graph alone, truth.
    """

    def look(step: int, network: Denoiser) -> None:
        rng = np.random.default_rng(0)
        examples = [cut(sheet, network.config, rng=rng) for sheet in sheets]
        shape = (len(examples), 3, network.config.canvas_px, network.config.canvas_px)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        style = torch.tensor([each.style for each in examples], device=device)
        raster = torch.zeros(shape[0], N_RASTER, *shape[2:], device=device)
        tokens = collate([each.scene for each in examples]).to(device)
        painted = denoise(network, tokens, raster, style, noise, steps=_STEPS, guidance=_GUIDANCE)
        rows = [
            [draw_mask(each.scene) for each in examples],
            list(to_image(painted)),
            [each.image for each in examples],
        ]
        sheet = np.concatenate([np.concatenate(row, axis=1) for row in rows])
        stream = io.BytesIO()
        Image.fromarray(sheet).save(stream, "PNG")
        write_file(out / f"samples-{step:06d}.png", stream.getvalue())

    return look


def to_image(pictures: torch.Tensor) -> NDArray[np.uint8]:
    """Return float (B, 3, h, w) from -1 to 1 as RGB uint8 (B, h, w, 3)."""
    values = ((pictures.float().cpu() + 1.0) * 127.5).round().clamp(0, 255)
    return np.asarray(values.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def draw_mask(scene: Scene) -> NDArray[Any]:
    """Return the mask of a scene in colours, uint8 (h, w, 3); regions of no known class in greys, boundaries dark."""
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
