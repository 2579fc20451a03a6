"""Pictures larger than a canvas, painted from overlapping ones without a seam.

All canvases are denoised together: at every step each predicts its own part of the velocity, parts are blended with
weights that fall towards the rim, and the sampler takes one step on the whole picture. Canvases shift at every step, so
that what one leaves at its border lies inside another at the next: a quarter of overlap then serves as well as a half,
but none, if only in the first third of the steps, leaves borders. What a canvas is asked is the graph of its own part
of the label image. Of an edit, only the canvases that show it are painted twice.

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
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.slide.map_boxes import Progress, map_threads
from wsigraph.synthesis.diffusion.condition import collate
from wsigraph.synthesis.diffusion.denoiser import N_RASTER, Denoiser, draw_raster
from wsigraph.synthesis.diffusion.edit import Held
from wsigraph.synthesis.diffusion.grid import to_image
from wsigraph.synthesis.diffusion.sampling_loop import Velocity, guided, walk
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene, check_scene, of_labels
from wsigraph.synthesis.diffusion.training_images import split

_BATCH = 8
"""Canvases that go through the network together; fixed, so that threads change no bit."""
_GLASS_DENSITY = 0.03
_LEAST_WEIGHT = 1e-6


@torch.no_grad()
def paint_mosaic(
    network: Denoiser,
    scene: Scene,
    options: DiffusionConfig,
    noise: Tensor,
    *,
    style: int,
    raster: bool,
    device: str = "cpu",
    rng: np.random.Generator,
    held: Held | None = None,
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
    style : int
        Index into ``STYLES``.
    raster : bool
        Give the model the mask beside the graph.
    device : str
        Where the network runs.
    rng : numpy.random.Generator
        Shifts the lattice of canvases.
    held : Held, optional
        What an edit leaves as it was; all is painted anew where left out.
    progress : callable, optional
        Told ("synthesize", steps done, steps).

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
    Time is linear in the area, and in 1 / (1 - overlap) squared; canvases are shared among as many threads as
    `wsigraph.slide.map_boxes.n_threads` says. Memory: about 40 bytes a pixel.
    """
    lattices = draw_lattices(network.config, options, (noise.shape[-2], noise.shape[-1]), rng)
    window = _window(network.config.canvas_px)

    def asked(scene: Scene, keep: NDArray[np.bool_] | None) -> Velocity:
        def velocity(number: int, picture: Tensor, level: Tensor) -> Tensor:
            total, weight = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
            corners = [
                (y, x)
                for y, x in product(*lattices[number])
                if keep is None or not keep[y : y + len(window), x : x + len(window)].all()
            ]
            groups = _share(corners)
            shared = (network, scene, picture, level, options, style, raster, device)
            predicted = map_threads(_predict, groups, *shared)
            for some, found in zip(groups, predicted, strict=True):
                for (y, x), part in zip(some, found, strict=True):
                    place = np.s_[..., y : y + len(window), x : x + len(window)]
                    total[place] += part * window
                    weight[place] += window
            # no canvas lies where all is kept
            return total / weight.clamp(min=_LEAST_WEIGHT)

        return velocity

    unedited = None
    if held is not None:
        unedited = (asked(held.before, None), torch.from_numpy(held.keep)[None, None], glass_of(held.before))
    picture = walk(
        network.config,
        options.sampler,
        options.steps,
        noise,
        asked(scene, None if held is None else held.keep),
        glass=glass_of(scene),
        unedited=unedited,
        told=None if progress is None else lambda done: progress("synthesize", done, options.steps),
    )
    return np.asarray(to_image(picture)[0])


def glass_of(scene: Scene) -> Tensor | None:
    """Return where a scene with its label image has no region, bool (1, 1, h, w); None where it has one everywhere."""
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    empty = scene.labels == 0
    return torch.from_numpy(empty)[None, None] if empty.any() else None


def mosaic_chance(seed: int, number: int) -> np.random.Generator:
    """Return what shifts the canvases of a sample."""
    return np.random.default_rng([seed, number, 1])


def draw_lattices(
    trained: DiffusionConfig, options: DiffusionConfig, size: tuple[int, int], rng: np.random.Generator
) -> list[tuple[list[int], list[int]]]:
    """Return where canvases begin at every step, so that they cover a picture.

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
        Of every step the first rows and the first columns of canvases, px: as few as cover the picture with that
        overlap, evenly spread.
    """
    lattices = []
    for _ in range(options.steps):
        rows, columns = (_starts(length, trained, options.overlap, rng) for length in size)
        lattices.append((rows, columns))
    return lattices


def crop(scene: Scene, y: int, x: int, config: DiffusionConfig) -> Scene:
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
        Pieces of regions with class and optical density of the whole. Glass alone, or with specks of tissue too small
        for regions of their own, is one region as bright as glass.

    Raises
    ------
    SynthesisError
        If there are more pieces than the model takes.
    """
    side = config.canvas_px
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    part = np.ascontiguousarray(scene.labels[y : y + side, x : x + side])
    pieces, owner = split(part, min_px=um2_to_px(config.min_area_um2, config.mpp))
    if not len(owner):
        bright = np.full((1, 6), np.nan)
        bright[:, :3] = _GLASS_DENSITY
        return of_labels(np.ones_like(part), np.array([UNKNOWN]), mpp=config.mpp, density=bright)
    cut = of_labels(pieces, scene.classes[owner - 1], mpp=config.mpp, density=scene.density[owner - 1])
    check_scene(cut, max_nodes=config.max_nodes)
    return cut


@torch.no_grad()
def _predict(
    corners: list[tuple[int, int]],
    network: Denoiser,
    scene: Scene,
    picture: Tensor,
    level: Tensor,
    options: DiffusionConfig,
    style: int,
    raster: bool,
    device: str,
) -> Tensor:
    """Return the velocities of some canvases, float (k, 3, side, side) on the CPU."""
    side = network.config.canvas_px
    parts = torch.cat([picture[..., y : y + side, x : x + side] for y, x in corners])
    scenes = [crop(scene, y, x, network.config) for y, x in corners]
    given = torch.zeros(len(parts), N_RASTER, side, side)
    if raster:
        given = torch.stack([draw_raster(each) for each in scenes])
    with one_thread():
        found = guided(
            network,
            parts.to(device),
            level.to(device).expand(len(parts)),
            collate(scenes).to(device),
            given.to(device),
            torch.full((len(parts),), style, device=device),
            options.guidance or 0.0,
        )
    return found.cpu()


def _share(corners: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return canvases in groups of nearly one size, an even number of them, so that two threads end together."""
    n = -(-len(corners) // _BATCH)
    n += n % 2 if n > 1 else 0
    return [corners[len(corners) * i // n : len(corners) * (i + 1) // n] for i in range(n)]


def _starts(length: int, trained: DiffusionConfig, overlap: float, rng: np.random.Generator) -> list[int]:
    """Return where canvases begin along an axis."""
    side = trained.canvas_px
    stride = max(trained.unshuffle, round((1.0 - overlap) * side))
    n = -(-(length - side) // stride) + 1
    starts = np.linspace(0, length - side, n).round().astype(np.int64)
    slack = max(0, side - int(np.diff(starts, prepend=0).max()) - 1)
    starts[1:-1] += rng.integers(-slack, slack, endpoint=True)
    return [int(start) for start in starts]


def _window(side: int) -> Tensor:
    """Return weights (side, side) that fall to a hundredth at the rim."""
    ramp = 1.0 - torch.abs(2.0 * (torch.arange(side) + 0.5) / side - 1.0)
    return (ramp[:, None] * ramp[None, :]).clamp(min=0.01)
