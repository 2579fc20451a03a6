"""From noise to a picture, step by step, guided by the graph.

The samplers are diffusers'; here is what they call for: the velocity, as far as the graph changes it.

References
----------
Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wsigraph.diffusion.condition import Tokens
from wsigraph.diffusion.denoiser import Denoiser
from wsigraph.diffusion.schedule import sampling_scheduler


@torch.no_grad()
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

    Returns
    -------
    float (B, 3, h, w)
        Pictures, -1 to 1.
    """
    scheduler = sampling_scheduler(network.config, sampler, steps)
    picture = noise
    for level in scheduler.timesteps.to(noise.device):
        velocity = guided(network, picture, level.expand(len(noise)), tokens, raster, style, guidance)
        picture = scheduler.step(velocity, level, picture).prev_sample
    return picture.clamp(-1.0, 1.0)


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
    found: Tensor
    if guidance != 0.0:
        found = network(picture, level, tokens, raster, style)
        if guidance == 1.0:
            return found
    plain: Tensor = network(picture, level, tokens.without(), torch.zeros_like(raster), style)
    return plain if guidance == 0.0 else plain + guidance * (found - plain)
