"""Pictures larger than a canvas, painted from overlapping canvases without a seam.

All canvases are denoised together. At every step each canvas predicts the velocity of its own part, the predictions are
blended with weights that fall towards the border, and the sampler takes one step on the whole picture. The canvases
shift at every step, so that a border of one step lies inside a canvas at the next. With shifts, a quarter of overlap
serves as well as a half; no overlap, even in only the first third of the steps, leaves visible borders. Each canvas is
conditioned on the graph of its own part of the label image. For an edit, only the canvases that show it are painted
twice.

References
----------
Bar-Tal et al., "MultiDiffusion: fusing diffusion paths for controlled image generation", 2023. Shifted canvases:
Frolov et al., "SpotDiffusion: a fast approach for seamless panorama generation over time", 2024.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsigraph.config import DiffusionConfig
from wsigraph.geometry import um2_to_px
from wsigraph.graph.one_thread import one_thread
from wsigraph.slide.map_boxes import Progress, map_threads
from wsigraph.synthesis.diffusion.condition import batch_scenes
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, Denoiser, draw_raster
from wsigraph.synthesis.diffusion.edit import EditMask
from wsigraph.synthesis.diffusion.image_tensors import to_images
from wsigraph.synthesis.diffusion.sampling_loop import (
    UneditedVelocity,
    Velocity,
    glass_mask,
    guided_velocity,
    run_sampling_loop,
)
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, check_scene, scene_from_labels
from wsigraph.synthesis.diffusion.training_images import split

_BATCH = 8
"""Canvases that go through the network together; fixed, so that the number of threads changes no bit."""
_GLASS_DENSITY = 0.03
_LEAST_WEIGHT = 1e-6


@torch.no_grad()
def paint_mosaic(
    network: Denoiser,
    scene: Scene,
    options: DiffusionConfig,
    noise: Tensor,
    *,
    domain: int,
    raster: bool,
    device: str = "cpu",
    rng: np.random.Generator,
    edit_mask: EditMask | None = None,
    progress: Progress | None = None,
) -> NDArray[np.uint8]:
    """Return a picture of a graph larger than a canvas.

    Parameters
    ----------
    network : Denoiser
        Weights, in evaluation mode.
    scene : Scene
        The graph with its label image (h, w), no side below a canvas.
    options : DiffusionConfig
        Sampler, steps, guidance and overlap.
    noise : float (1, 3, h, w)
        Standard normal.
    domain : int
        Index into ``DOMAINS``.
    raster : bool
        Give the model the class map beside the graph.
    device : str
        Where the network runs.
    rng : numpy.random.Generator
        Draws the shifts of the canvases.
    edit_mask : EditMask, optional
        For an edited graph: the graph before the edit, and where its picture stays.
    progress : callable, optional
        Called with ("synthesize", steps done, steps).

    Returns
    -------
    uint8 (h, w, 3)
        RGB.

    Raises
    ------
    SynthesisError
        If a canvas shows more regions than the model takes.

    Notes
    -----
    Time is linear in the area, and in 1 / (1 - overlap) squared. The canvases are split between as many threads as
    `wsigraph.slide.map_boxes.n_threads` says. Memory: about 40 bytes a pixel.
    """
    grids = draw_canvas_grids(network.config, options, (noise.shape[-2], noise.shape[-1]), rng)
    weights = _blend_weights(network.config.canvas_px)
    side = len(weights)

    def blended_velocity(scene: Scene, keep: NDArray[np.bool_] | None) -> Velocity:
        def velocity(number: int, picture: Tensor, timestep: Tensor) -> Tensor:
            total, weight = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
            corners = [
                (y, x) for y, x in product(*grids[number]) if keep is None or not keep[y : y + side, x : x + side].all()
            ]
            groups = _group_corners(corners)
            arguments = (network, scene, picture, timestep, options, domain, raster, device)
            predictions = map_threads(_predict, groups, *arguments)
            for group, parts in zip(groups, predictions, strict=True):
                for (y, x), part in zip(group, parts, strict=True):
                    window = np.s_[..., y : y + side, x : x + side]
                    total[window] += part * weights
                    weight[window] += weights
            # the weight is 0 where the edit changes no canvas
            return total / weight.clamp(min=_LEAST_WEIGHT)

        return velocity

    unedited = None
    if edit_mask is not None:
        unedited = UneditedVelocity(
            blended_velocity(edit_mask.before, None),
            torch.from_numpy(edit_mask.keep)[None, None],
            glass_mask(edit_mask.before),
        )
    picture = run_sampling_loop(
        network.config,
        options.sampler,
        options.steps,
        noise,
        blended_velocity(scene, None if edit_mask is None else edit_mask.keep),
        glass=glass_mask(scene),
        unedited=unedited,
        on_step=None if progress is None else lambda done: progress("synthesize", done, options.steps),
    )
    return np.asarray(to_images(picture)[0])


def mosaic_generator(seed: int, number: int) -> np.random.Generator:
    """Return the random generator that shifts the canvases of a sample."""
    return np.random.default_rng([seed, number, 1])


def draw_canvas_grids(
    trained: DiffusionConfig, options: DiffusionConfig, size: tuple[int, int], rng: np.random.Generator
) -> list[tuple[list[int], list[int]]]:
    """Return where the canvases of every step begin, so that they cover a picture.

    Parameters
    ----------
    trained : DiffusionConfig
        Size of the canvas.
    options : DiffusionConfig
        Steps and overlap.
    size : tuple of int
        Height and width of the picture, px.
    rng : numpy.random.Generator
        Shifts all canvases but the first and last of a line at every step, by less than they overlap.

    Returns
    -------
    list of tuple of list of int
        For every step, the first rows and the first columns of the canvases, px: as few as cover the picture with that
        overlap, at equal distances before the shift.
    """
    grids = []
    for _ in range(options.steps):
        rows, columns = (_starts(length, trained, options.overlap, rng) for length in size)
        grids.append((rows, columns))
    return grids


def crop_scene(scene: Scene, y: int, x: int, config: DiffusionConfig) -> Scene:
    """Return the graph of one canvas of a larger scene.

    Parameters
    ----------
    scene : Scene
        With its label image.
    y, x : int
        Corner of the canvas, px.
    config : DiffusionConfig
        Size of the canvas.

    Returns
    -------
    Scene
        The parts of regions on the canvas, with class and optical density of the whole region. A canvas without a
        region, or with specks too small to be one, becomes one region with the optical density of glass.

    Raises
    ------
    SynthesisError
        If there are more parts than the model takes.
    """
    side = config.canvas_px
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    part = np.ascontiguousarray(scene.labels[y : y + side, x : x + side])
    pieces, owner = split(part, min_px=um2_to_px(config.min_area_um2, config.mpp))
    if not len(owner):
        bright = np.full((1, 6), np.nan)
        bright[:, :3] = _GLASS_DENSITY
        return scene_from_labels(np.ones_like(part), np.array([UNKNOWN]), mpp=config.mpp, density=bright)
    canvas = scene_from_labels(pieces, scene.classes[owner - 1], mpp=config.mpp, density=scene.density[owner - 1])
    check_scene(canvas, max_nodes=config.max_nodes)
    return canvas


@torch.no_grad()
def _predict(
    corners: list[tuple[int, int]],
    network: Denoiser,
    scene: Scene,
    picture: Tensor,
    timestep: Tensor,
    options: DiffusionConfig,
    domain: int,
    raster: bool,
    device: str,
) -> Tensor:
    """Return the velocities of some canvases, float (k, 3, side, side) on the CPU."""
    side = network.config.canvas_px
    parts = torch.cat([picture[..., y : y + side, x : x + side] for y, x in corners])  # (k, 3, side, side)
    scenes = [crop_scene(scene, y, x, network.config) for y, x in corners]
    rasters = torch.zeros(len(parts), N_RASTER, side, side)
    if raster:
        rasters = torch.stack([draw_raster(canvas) for canvas in scenes])
    with one_thread():
        velocity = guided_velocity(
            network,
            parts.to(device),
            timestep.to(device).expand(len(parts)),
            batch_scenes(scenes).to(device),
            rasters.to(device),
            torch.full((len(parts),), domain, device=device),
            options.guidance or 0.0,
        )
    return velocity.cpu()


def _group_corners(corners: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return canvases in groups of nearly one size, an even number of them, so that two threads end together."""
    n = -(-len(corners) // _BATCH)
    n += n % 2 if n > 1 else 0
    return [corners[len(corners) * i // n : len(corners) * (i + 1) // n] for i in range(n)]


def _starts(length: int, trained: DiffusionConfig, overlap: float, rng: np.random.Generator) -> list[int]:
    """Return where canvases begin along an axis, px."""
    side = trained.canvas_px
    stride = max(trained.unshuffle, round((1.0 - overlap) * side))
    n = -(-(length - side) // stride) + 1
    starts = np.linspace(0, length - side, n).round().astype(np.int64)
    slack = max(0, side - int(np.diff(starts, prepend=0).max()) - 1)
    starts[1:-1] += rng.integers(-slack, slack, endpoint=True)
    return [int(start) for start in starts]


def _blend_weights(side: int) -> Tensor:
    """Return weights (side, side) that fall to a hundredth at the border."""
    ramp = 1.0 - torch.abs(2.0 * (torch.arange(side) + 0.5) / side - 1.0)
    return (ramp[:, None] * ramp[None, :]).clamp(min=0.01)
