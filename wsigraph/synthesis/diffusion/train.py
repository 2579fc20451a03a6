"""Training of the denoiser and its graph transformer on canvases cut from training images.

The canvases, noise and timesteps of a batch depend on the seed and the batch's number alone, so an interrupted run
continues to the same weights. Graph, class map, classes and optical density are dropped from some examples, each
independently: one network is then the unconditional model, the model of graphs, of maps, and of both. The result is the
exponential moving average (EMA) of the weights.

References
----------
Averaged weights: Karras et al., "Analyzing and improving the training dynamics of diffusion models", 2024 (warm-up of
the average).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsigraph.config import DiffusionConfig
from wsigraph.config.diffusion import PAINTING, SIZES
from wsigraph.errors import SynthesisError
from wsigraph.graph.one_thread import one_thread
from wsigraph.slide.map_boxes import Progress
from wsigraph.synthesis.diffusion.condition import Tokens, batch_scenes
from wsigraph.synthesis.diffusion.denoiser import Denoiser, draw_raster, supports_bfloat16
from wsigraph.synthesis.diffusion.image_tensors import to_tensor
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene
from wsigraph.synthesis.diffusion.schedule import noise_weight, training_scheduler
from wsigraph.synthesis.diffusion.training_images import PAINTED, Example, TrainingImage, cut
from wsigraph.synthesis.diffusion.training_state import TrainingState, load_checkpoint, save_checkpoint
from wsigraph.training.settings_identity import Identity

CHECKPOINT = "checkpoint.safetensors"
"""Name of the checkpoint in the directory of a model; it is deleted when training is done."""
_DROP_STD = 0.3
"""Fraction of examples trained without the standard deviations of their optical density."""
_DECAY_FRACTION = 0.25
"""Fraction of the batches, at the end, over which the learning rate falls to 0."""
_MAX_GRADIENT = 1.0
_N_MEASURED = 256
"""Number of canvases of a domain from which its spectrum is measured."""
_FREE = (*PAINTING, "training_steps", "checkpoint_steps")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Examples as tensors.

    Attributes
    ----------
    picture : float32 (B, 3, h, w)
        -1 to 1.
    tokens : Tokens
        Graphs, some without a node.
    raster : float32 (B, 9, h, w)
        Class maps, some set to zeros.
    domain : int64 (B,)
        Index into ``DOMAINS``.
    """

    picture: Tensor
    tokens: Tokens
    raster: Tensor
    domain: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingResult:
    """Weights and losses of a finished training.

    Attributes
    ----------
    weights : dict of str to float32 tensor
        Exponential moving average of the weights.
    losses : list of float
        Loss of every batch.
    """

    weights: dict[str, Tensor]
    losses: list[float]


def make_batch(examples: Sequence[Example], config: DiffusionConfig, *, rng: np.random.Generator) -> Batch:
    """Return examples as tensors, with some of their conditions dropped.

    Parameters
    ----------
    examples : sequence of Example
        At least one.
    config : DiffusionConfig
        How often each condition is dropped.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    Batch
        On the CPU.
    """
    draws = rng.random((len(examples), 5))
    scenes = [_drop_conditions(example.scene, row, config) for example, row in zip(examples, draws, strict=True)]
    tokens = batch_scenes(scenes)
    has_graph = torch.from_numpy(draws[:, 0] >= config.drop_graph)
    tokens = dataclasses.replace(
        tokens, valid=tokens.valid & has_graph[:, None], owner=tokens.owner * has_graph[:, None, None]
    )
    raster = torch.stack([draw_raster(example.scene) for example in examples])
    raster[torch.from_numpy(draws[:, 1] < config.drop_raster)] = 0.0
    return Batch(
        picture=torch.stack([to_tensor(example.image) for example in examples]),
        tokens=tokens,
        raster=raster,
        domain=torch.tensor([example.domain for example in examples]),
    )


def train(
    training_images: Sequence[TrainingImage],
    config: DiffusionConfig,
    *,
    seed: int,
    start: Denoiser | None = None,
    out: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    on_checkpoint: Callable[[int, Denoiser], None] | None = None,
) -> TrainingResult:
    """Return weights trained on images.

    Parameters
    ----------
    training_images : sequence of TrainingImage
        Painted, real, or both; each at least as large as a canvas.
    config : DiffusionConfig
        Sizes and schedule.
    seed : int
        Seed of the initial weights, every batch and all noise.
    start : Denoiser, optional
        A network of the same sizes, whose weights and spectra replace the random initial ones.
    out : Path, optional
        Directory of checkpoints, from which an interrupted run continues. Without it, none are written.
    device : str
        ``cpu`` or ``cuda``.
    progress : callable, optional
        Called with ("train", batch, batches).
    on_checkpoint : callable, optional
        Called with the number of batches and the network with averaged weights at every checkpoint.

    Returns
    -------
    TrainingResult
        On the CPU the same for every run, because training uses one thread.

    Raises
    ------
    SynthesisError
        If there is no training image, one is too small, or the start or a checkpoint does not fit.
    StoreError
        If a checkpoint cannot be written.
    """
    if not training_images:
        raise SynthesisError(
            "no training images, expected painted or real tissue; give slides, or paint some (--painted)"
        )
    with one_thread():
        torch.manual_seed(seed)
        network = Denoiser(config).to(device).train()
        if start is None:
            _fit_prior(network, training_images, config, seed)
        else:
            _load_start_weights(network, start)
        state = TrainingState(
            network=network,
            ema={name: value.detach().clone() for name, value in network.state_dict().items()},
            optimiser=torch.optim.AdamW(
                network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
            ),
            losses=[],
        )
        path = None if out is None else out / CHECKPOINT
        identity = training_identity(training_images, config, seed=seed, start=start)
        if path is not None:
            load_checkpoint(path, identity, state)
        scheduler = training_scheduler(config)
        for step in range(len(state.losses), config.training_steps):
            state.losses.append(
                _train_step(step, network, state.optimiser, scheduler, training_images, config, seed, device)
            )
            ema_update(state.ema, network, decay=min(config.ema, (1 + step) / (10 + step)))
            if progress is not None:
                progress("train", step + 1, config.training_steps)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.training_steps:
                if path is not None:
                    save_checkpoint(path, identity, state)
                if on_checkpoint is not None:
                    _call_with_ema(on_checkpoint, step + 1, state.ema, config, device)
        return TrainingResult(weights={name: value.cpu() for name, value in state.ema.items()}, losses=state.losses)


def training_identity(
    training_images: Sequence[TrainingImage], config: DiffusionConfig, *, seed: int, start: Denoiser | None = None
) -> Identity:
    """Return the settings and data of a training, without its length.

    Parameters
    ----------
    training_images : sequence of TrainingImage
        Training data.
    config : DiffusionConfig
        Settings. Those of painting, the length of training and the steps between checkpoints may change between runs.
    seed : int
        Seed.
    start : Denoiser, optional
        Network whose weights training starts from.

    Returns
    -------
    Identity
        Of ``wsigraph train-synthesis``.
    """
    chosen = config.model_dump(mode="json", exclude=set(_FREE)).items()
    data = {"training images": hashlib.sha256()}
    for training_image in training_images:
        data["training images"].update(np.ascontiguousarray(training_image.image).data)
        data["training images"].update(np.ascontiguousarray(training_image.labels).data)
    if start is not None:
        data["weights to start from"] = hashlib.sha256()
        for value in start.state_dict().values():
            data["weights to start from"].update(value.cpu().numpy().data)
    return Identity(
        settings={
            **{f"diffusion.{name}": value for name, value in chosen},
            "--seed": seed,
            "training images": len(training_images),
        },
        data={name: digest.hexdigest() for name, digest in data.items()},
    )


def sample_timesteps(n: int, config: DiffusionConfig, generator: torch.Generator) -> Tensor:
    """Return one random timestep from each of `n` equal parts of the schedule, int64 (n,).

    Timesteps drawn independently would make the loss noisier.
    """
    part = (torch.arange(n) + torch.rand(n, generator=generator)) / n
    return (part * config.noise_levels).long().clamp(max=config.noise_levels - 1)


def lr_schedule(step: int, config: DiffusionConfig) -> float:
    """Return the factor on the learning rate at a batch: a linear warm-up, a plateau, and a linear decay to 0."""
    warmup = (step + 1) / max(1, config.warmup_steps)
    decay = (config.training_steps - step) / (_DECAY_FRACTION * config.training_steps)
    return min(1.0, warmup, decay)


@torch.no_grad()
def ema_update(ema: dict[str, Tensor], network: Denoiser, *, decay: float) -> None:
    """Set ema = decay ema + (1 - decay) weights, in place."""
    for name, value in network.state_dict().items():
        ema[name].lerp_(value, 1.0 - decay)


def _train_step(
    step: int,
    network: Denoiser,
    optimiser: torch.optim.Optimizer,
    scheduler: Any,
    training_images: Sequence[TrainingImage],
    config: DiffusionConfig,
    seed: int,
    device: str,
) -> float:
    rng = np.random.default_rng([seed, step])
    chosen = _choose_training_images(training_images, config, rng)
    batch = make_batch([cut(training_image, config, rng=rng) for training_image in chosen], config, rng=rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    picture, raster, domain = (tensor.to(device) for tensor in (batch.picture, batch.raster, batch.domain))
    noise = torch.randn(batch.picture.shape, generator=generator).to(device)
    timestep = sample_timesteps(len(noise), config, generator).to(device)
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * lr_schedule(step, config)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=config.half and supports_bfloat16(device)):
        noisy = scheduler.add_noise(picture, noise, timestep)
        velocity = network(noisy, timestep, batch.tokens.to(device), raster, domain)
    error = (velocity.float() - scheduler.get_velocity(picture, noise, timestep)).square().mean(dim=(1, 2, 3))
    loss = (noise_weight(scheduler, timestep, config.min_snr) * error).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
    optimiser.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise SynthesisError(f"the loss is {value} at batch {step + 1}; lower diffusion.learning_rate")
    return value


def _fit_prior(network: Denoiser, training_images: Sequence[TrainingImage], config: DiffusionConfig, seed: int) -> None:
    rng = np.random.default_rng([seed, 0, _N_MEASURED])
    for domain in sorted({training_image.domain for training_image in training_images}):
        own = [training_image for training_image in training_images if training_image.domain == domain]
        chosen = [own[int(number)] for number in rng.integers(len(own), size=_N_MEASURED)]
        canvases = [cut(training_image, config, rng=rng).image for training_image in chosen]
        network.prior.fit(domain, [to_tensor(image) for image in canvases])


def _choose_training_images(
    training_images: Sequence[TrainingImage], config: DiffusionConfig, rng: np.random.Generator
) -> list[TrainingImage]:
    """Return an image for every example: painted with probability ``painted_share``, then in proportion to area."""
    painted = [training_image for training_image in training_images if training_image.domain == PAINTED]
    real = [training_image for training_image in training_images if training_image.domain != PAINTED]
    fraction = config.painted_share if painted and real else float(bool(painted))
    chosen = []
    for is_painted in rng.random(config.batch) < fraction:
        candidates = painted if is_painted else real
        area = np.array([training_image.labels.size for training_image in candidates], np.float64)
        chosen.append(candidates[int(rng.choice(len(candidates), p=area / area.sum()))])
    return chosen


def _drop_conditions(scene: Scene, draw: np.ndarray[Any, Any], config: DiffusionConfig) -> Scene:
    """Return a graph with its classes, or its optical density or standard deviations, dropped at random."""
    classes, density = scene.classes, scene.density.copy()
    has_classes = (classes != UNKNOWN).any()
    if draw[2] < config.drop_class:
        classes = np.full_like(classes, UNKNOWN)
    elif draw[3] < config.drop_density and has_classes:
        density[:] = np.nan
    if draw[4] < _DROP_STD:
        density[:, 3:] = np.nan
    return dataclasses.replace(scene, classes=classes, density=density)


def _call_with_ema(
    on_checkpoint: Callable[[int, Denoiser], None],
    step: int,
    ema: dict[str, Tensor],
    config: DiffusionConfig,
    device: str,
) -> None:
    state = torch.random.get_rng_state()
    averaged = Denoiser(config).to(device).eval()
    averaged.load_state_dict(ema)
    on_checkpoint(step, averaged)
    torch.random.set_rng_state(state)


def _load_start_weights(network: Denoiser, start: Denoiser) -> None:
    different = [name for name in SIZES if getattr(network.config, name) != getattr(start.config, name)]
    if different:
        options = ", ".join(f"diffusion.{name}={getattr(start.config, name)}" for name in different)
        raise SynthesisError(
            f"the generator to start from has other sizes; train with {options}, or start from random weights"
        )
    network.load_state_dict(start.state_dict())
