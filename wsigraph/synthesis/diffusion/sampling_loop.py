"""The sampling loop: from noise to a picture in the steps of a sampler, guided by the graph.

The samplers are those of diffusers. This module computes the velocity that they ask for, with classifier-free guidance.
To edit a graph, two pictures are denoised side by side from the same noise: one of the graph before the edit and one of
the graph after it. After every step the second takes the pixels of the first wherever the edit changes nothing, so that
both are equal to the byte there. Where the graph has no region, the picture is set to glass with the noise of that
step, so that the tissue beside it is painted next to glass.

References
----------
Guidance: Ho and Salimans, "Classifier-free diffusion guidance", 2022. Edits and glass: Avrahami et al., "Blended
diffusion for text-driven editing of natural images", 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wsigraph.config import DiffusionConfig
from wsigraph.synthesis.diffusion.condition import Tokens
from wsigraph.synthesis.diffusion.denoiser import Denoiser
from wsigraph.synthesis.diffusion.scene import Scene
from wsigraph.synthesis.diffusion.schedule import sampling_scheduler, training_scheduler

Velocity = Callable[[int, Tensor, Tensor], Tensor]
"""From the number of a step, a noisy picture and its timestep (a scalar) to the velocity."""
_GLASS = (244.0, 242.0, 242.0)
"""RGB of glass, as the scanners of the training slides show it."""
_GLASS_GRAIN = 1.5
"""Standard deviation of a pixel of glass, of 255."""


@dataclass(frozen=True, slots=True, eq=False)
class Unedited:
    """The condition of a batch before an edit, and where its picture stays.

    Attributes
    ----------
    tokens : Tokens
        Graphs.
    raster : float (B, 9, h, w)
        Class maps; zeros where the model is given none.
    keep : bool (B, 1, h, w)
        True where the edit changes nothing.
    glass : bool (B, 1, h, w), optional
        True where the graphs have no region.
    """

    tokens: Tokens
    raster: Tensor
    keep: Tensor
    glass: Tensor | None = None


class UneditedVelocity(NamedTuple):
    """How the picture before an edit is denoised.

    Attributes
    ----------
    velocity : callable
        Velocity of the graph before the edit.
    keep : bool (B, 1, h, w)
        True where the edit changes nothing.
    glass : bool (B, 1, h, w), optional
        True where the graph before the edit has no region.
    """

    velocity: Velocity
    keep: Tensor
    glass: Tensor | None


def draw_noise(height: int, width: int, *, seed: int, number: int) -> Tensor:
    """Return the noise of a sample, float32 (1, 3, h, w); it depends on the seed and the sample's number alone."""
    state = int(np.random.default_rng([seed, number]).integers(2**62))
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(state))


def glass_mask(scene: Scene) -> Tensor | None:
    """Return where a scene with its label image has no region, bool (1, 1, h, w); None where it has one everywhere."""
    assert scene.labels is not None  # noqa: S101 - the caller drew them
    empty = scene.labels == 0
    return torch.from_numpy(empty)[None, None] if empty.any() else None


@torch.no_grad()
def run_sampling_loop(
    config: DiffusionConfig,
    sampler: Literal["ddim", "dpmsolver"],
    steps: int,
    noise: Tensor,
    velocity: Velocity,
    *,
    glass: Tensor | None = None,
    unedited: UneditedVelocity | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Return the picture that the sampler reaches from noise.

    Parameters
    ----------
    config : DiffusionConfig
        Noise schedule of training.
    sampler : str
        ``ddim`` or ``dpmsolver``.
    steps : int
        Steps of the sampler.
    noise : float (B, 3, h, w)
        Standard normal.
    velocity : callable
        Velocity of the graph.
    glass : bool (B, 1, h, w), optional
        True where the picture shows glass.
    unedited : UneditedVelocity, optional
        The graph before an edit; without it, the whole picture is painted anew.
    on_step : callable, optional
        Called with the number of steps done.

    Returns
    -------
    float (B, 3, h, w)
        About -1 to 1.
    """
    conditions = [(velocity, glass)]
    if unedited is not None:
        conditions.insert(0, (unedited.velocity, unedited.glass))
    # a multistep sampler keeps earlier velocities: each picture needs one of its own
    schedulers = [sampling_scheduler(config, sampler, steps) for _ in conditions]
    pictures = [noise] * len(conditions)
    timesteps = schedulers[0].timesteps.to(noise.device)
    for number, timestep in enumerate(timesteps):
        for index, ((predict, empty), scheduler) in enumerate(zip(conditions, schedulers, strict=True)):
            prediction = predict(number, pictures[index], timestep)
            pictures[index] = scheduler.step(prediction, timestep, pictures[index]).prev_sample
            if empty is not None:
                pictures[index] = torch.where(empty, _glass(config, noise, timesteps[number + 1 :]), pictures[index])
        if unedited is not None:
            pictures[-1] = torch.where(unedited.keep, pictures[0], pictures[-1])
        if on_step is not None:
            on_step(number + 1)
    return pictures[-1]


def _glass(config: DiffusionConfig, noise: Tensor, timesteps: Tensor) -> Tensor:
    """Return glass with the noise of the first remaining timestep, float (B, 3, h, w); clean after the last."""
    colour = torch.tensor(_GLASS, device=noise.device)[:, None, None]
    # the grain is taken from the sample's noise, so that glass needs no random numbers of its own
    clean = (colour + _GLASS_GRAIN * noise.clamp(-3.0, 3.0)) / 127.5 - 1.0
    if not len(timesteps):
        return clean
    noisy: Tensor = training_scheduler(config).add_noise(clean, noise, timesteps[:1].expand(len(noise)))
    return noisy


def denoise(
    network: Denoiser,
    tokens: Tokens,
    raster: Tensor,
    domain: Tensor,
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
        Class maps; zeros where the model is given none.
    domain : int64 (B,)
        Index into ``DOMAINS``.
    noise : float (B, 3, h, w)
        Standard normal.
    steps : int
        Steps of the sampler.
    guidance : float
        Weight of the condition: 0 ignores graph and map, 1 is the plain conditional model.
    sampler : str
        ``ddim`` or ``dpmsolver``.
    glass : bool (B, 1, h, w), optional
        True where the picture shows glass.
    unedited : Unedited, optional
        The condition before an edit; without it, the whole picture is painted anew.

    Returns
    -------
    float (B, 3, h, w)
        Pictures, -1 to 1.
    """

    def velocity(tokens: Tokens, raster: Tensor) -> Velocity:
        return lambda _, picture, timestep: guided_velocity(
            network, picture, timestep.expand(len(picture)), tokens, raster, domain, guidance
        )

    before = None
    if unedited is not None:
        before = UneditedVelocity(velocity(unedited.tokens, unedited.raster), unedited.keep, unedited.glass)
    picture = run_sampling_loop(
        network.config, sampler, steps, noise, velocity(tokens, raster), glass=glass, unedited=before
    )
    return picture.clamp(-1.0, 1.0)


@torch.no_grad()
def guided_velocity(
    network: Denoiser,
    picture: Tensor,
    timestep: Tensor,
    tokens: Tokens,
    raster: Tensor,
    domain: Tensor,
    guidance: float,
) -> Tensor:
    """Return the velocity v = u + guidance (c - u), of the unconditional velocity u and the conditional one c.

    Parameters
    ----------
    network : Denoiser
        Weights.
    picture : float (B, 3, h, w)
        Noisy pictures.
    timestep : int64 (B,)
        Timestep of each picture, 0 to ``noise_levels`` - 1; higher is noisier.
    tokens : Tokens
        Graphs.
    raster : float (B, 9, h, w)
        Class maps.
    domain : int64 (B,)
        Index into ``DOMAINS``.
    guidance : float
        See `denoise`.

    Returns
    -------
    float (B, 3, h, w)
        Velocity.
    """
    if guidance == 1.0:
        velocity: Tensor = network(picture, timestep, tokens, raster, domain)
        return velocity
    no_tokens, no_raster = tokens.unconditional(), torch.zeros_like(raster)
    if guidance == 0.0:
        plain: Tensor = network(picture, timestep, no_tokens, no_raster, domain)
        return plain
    # one batch of both: convolutions take less time a picture
    conditional, plain = network(
        picture.repeat(2, 1, 1, 1),
        timestep.repeat(2),
        tokens.concatenate(no_tokens),
        torch.cat([raster, no_raster]),
        domain.repeat(2),
    ).chunk(2)
    guided: Tensor = plain + guidance * (conditional - plain)
    return guided
