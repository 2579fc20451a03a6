"""From noise to a picture, step by step, guided by the graph.

The samplers are diffusers'; here is what they call for: the velocity, as far as the graph changes it. The picture of an
edited graph walks beside that of the graph before, from the same noise, and takes at every step the pixels of the
latter wherever the edit shall change nothing: there the two are equal to the byte. Where nothing is asked there is
glass: at every step the picture is set to glass of that step's noise there, so that what borders on it is painted
beside glass, and glass is what remains.

References
----------
Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022. Edits and glass: Avrahami et al., "Blended
diffusion for text-driven editing of natural images", 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsigraph.config import DiffusionConfig
from wsigraph.synthesis.diffusion.condition import Tokens
from wsigraph.synthesis.diffusion.denoiser import Denoiser
from wsigraph.synthesis.diffusion.schedule import sampling_scheduler, training_scheduler

Velocity = Callable[[int, Tensor, Tensor], Tensor]
"""Of a step's number, a noisy picture and its level of noise (a scalar): the velocity."""
_GLASS = (244.0, 242.0, 242.0)
"""RGB of glass, as the scanners of the training slides show it."""
_GLASS_GRAIN = 1.5
"""Standard deviation of a pixel of glass, of 255."""


@dataclass(frozen=True, slots=True, eq=False)
class Unedited:
    """What is asked of a batch before it was edited, and where that stays.

    Attributes
    ----------
    tokens : Tokens
        Graphs.
    raster : float (B, 9, h, w)
        Maps; zeros where left out.
    keep : bool (B, 1, h, w)
        Where the edit changes nothing.
    glass : bool (B, 1, h, w), optional
        Where the graphs have nothing.
    """

    tokens: Tokens
    raster: Tensor
    keep: Tensor
    glass: Tensor | None = None


def draw_noise(height: int, width: int, *, seed: int, number: int) -> Tensor:
    """Return the noise that a sample begins with, float32 (1, 3, h, w), whatever else is painted from the seed."""
    state = int(np.random.default_rng([seed, number]).integers(2**62))
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(state))


@torch.no_grad()
def walk(
    config: DiffusionConfig,
    sampler: Literal["ddim", "dpmsolver"],
    steps: int,
    noise: Tensor,
    velocity: Velocity,
    *,
    glass: Tensor | None = None,
    unedited: tuple[Velocity, Tensor, Tensor | None] | None = None,
    told: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the picture at the end of the way from noise.

    Parameters
    ----------
    config : DiffusionConfig
        Levels of noise of training.
    sampler : str
        ``ddim`` or ``dpmsolver``.
    steps : int
        Steps of the sampler.
    noise : float (B, 3, h, w)
        Standard normal.
    velocity : callable
        What is asked.
    glass : bool (B, 1, h, w), optional
        Where there shall be glass.
    unedited : tuple of callable and two bool (B, 1, h, w), optional
        What was asked before an edit, where the picture shall be as that has it, and where that has glass, or None.
    told : callable, optional
        Told how many steps are done.

    Returns
    -------
    float (B, 3, h, w)
        About -1 to 1.
    """
    # a sampler of several steps remembers: every way has its own
    asked = [(velocity, glass)] if unedited is None else [(unedited[0], unedited[2]), (velocity, glass)]
    ways = [(each, empty, sampling_scheduler(config, sampler, steps)) for each, empty in asked]
    pictures = [noise] * len(ways)
    levels = ways[0][2].timesteps.to(noise.device)
    for number, level in enumerate(levels):
        for place, (each, empty, scheduler) in enumerate(ways):
            found = each(number, pictures[place], level)
            pictures[place] = scheduler.step(found, level, pictures[place]).prev_sample
            if empty is not None:
                pictures[place] = torch.where(empty, _glass(config, noise, levels[number + 1 :]), pictures[place])
        if unedited is not None:
            pictures[-1] = torch.where(unedited[1], pictures[0], pictures[-1])
        if told is not None:
            told(number + 1)
    return pictures[-1]


def _glass(config: DiffusionConfig, noise: Tensor, levels: Tensor) -> Tensor:
    """Return glass under the noise of the first level that is left, float (B, 3, h, w); clean where none is."""
    colour = torch.tensor(_GLASS, device=noise.device)[:, None, None]
    # the grain is that of the noise itself: no chance of its own
    clean = (colour + _GLASS_GRAIN * noise.clamp(-3.0, 3.0)) / 127.5 - 1.0
    if not len(levels):
        return clean
    noisy: Tensor = training_scheduler(config).add_noise(clean, noise, levels[:1].expand(len(noise)))
    return noisy


def denoise(
    network: Denoiser,
    tokens: Tokens,
    raster: Tensor,
    style: Tensor,
    noise: Tensor,
    *,
    steps: int,
    guidance: float,
    sampler: Literal["ddim", "dpmsolver"] = "ddim",
    glass: Tensor | None = None,
    unedited: Unedited | None = None,
) -> Tensor:
    """Return pictures painted from noise.

    Parameters
    ----------
    network : Denoiser
        Weights, in evaluation mode.
    tokens : Tokens
        Graphs.
    raster : float (B, 9, h, w)
        Maps; zeros where left out.
    style : int64 (B,)
        Index into ``STYLES``.
    noise : float (B, 3, h, w)
        Standard normal.
    steps : int
        Steps of the sampler.
    guidance : float
        0 ignores graph and map, 1 is the plain model.
    sampler : str
        ``ddim`` or ``dpmsolver``.
    glass : bool (B, 1, h, w), optional
        Where there shall be glass.
    unedited : Unedited, optional
        What was asked before an edit, and where it stays; all is painted anew where left out.

    Returns
    -------
    float (B, 3, h, w)
        Pictures, -1 to 1.
    """

    def asked(tokens: Tokens, raster: Tensor) -> Velocity:
        return lambda _, picture, level: guided(
            network, picture, level.expand(len(picture)), tokens, raster, style, guidance
        )

    before = None if unedited is None else (asked(unedited.tokens, unedited.raster), unedited.keep, unedited.glass)
    picture = walk(network.config, sampler, steps, noise, asked(tokens, raster), glass=glass, unedited=before)
    return picture.clamp(-1.0, 1.0)


@torch.no_grad()
def guided(
    network: Denoiser, picture: Tensor, level: Tensor, tokens: Tokens, raster: Tensor, style: Tensor, guidance: float
) -> Tensor:
    """Return the velocity without the graph, and `guidance` times what the graph changes.

    Parameters
    ----------
    network : Denoiser
        Weights.
    picture : float (B, 3, h, w)
        Noisy pictures.
    level : int64 (B,)
        Levels of noise.
    tokens : Tokens
        Graphs.
    raster : float (B, 9, h, w)
        Maps.
    style : int64 (B,)
        Index into ``STYLES``.
    guidance : float
        See `denoise`.

    Returns
    -------
    float (B, 3, h, w)
        Velocity.
    """
    if guidance == 1.0:
        found: Tensor = network(picture, level, tokens, raster, style)
        return found
    without, blank = tokens.without(), torch.zeros_like(raster)
    if guidance == 0.0:
        plain: Tensor = network(picture, level, without, blank, style)
        return plain
    # both as one batch: convolutions take less time a picture
    both = (torch.cat([a, b]) for a, b in ((picture, picture), (level, level), (raster, blank), (style, style)))
    pictures, levels, rasters, styles = both
    found, plain = network(pictures, levels, tokens.beside(without), rasters, styles).chunk(2)
    return plain + guidance * (found - plain)
