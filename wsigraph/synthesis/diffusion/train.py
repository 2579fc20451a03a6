"""The denoiser and its graph transformer, trained together on canvases cut from sheets.

Every batch draws its canvases, noise and levels from the seed and its own number, so a killed run goes on to the same
weights. Graph, class map, classes and optical density are left out of some examples, each on its own: one network is
then the unconditional model, the model of graphs, of maps, and of both. Weights are averaged as they go.

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
from wsigraph.graph.feature.efficientnet import one_thread
from wsigraph.slide.map_boxes import Progress
from wsigraph.synthesis.diffusion.condition import Tokens, collate
from wsigraph.synthesis.diffusion.denoiser import Denoiser, computes_half, draw_raster
from wsigraph.synthesis.diffusion.scene import UNKNOWN, Scene
from wsigraph.synthesis.diffusion.schedule import noise_weight, training_scheduler
from wsigraph.synthesis.diffusion.training_images import PAINTED, Example, Sheet, cut
from wsigraph.synthesis.diffusion.training_state import load_checkpoint, save_checkpoint
from wsigraph.training.settings_identity import Identity

CHECKPOINT = "checkpoint.safetensors"
"""Name of the checkpoint in a model's directory; it goes when training is done."""
_DROP_SPREAD = 0.3
_FALL = 0.25
"""Last share of the batches, over which the step falls to 0."""
_MAX_GRADIENT = 1.0
_N_MEASURED = 256
"""Canvases of a style whose spectrum is measured."""
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
        Class maps, some left out.
    style : int64 (B,)
        Painted or real.
    """

    picture: Tensor
    tokens: Tokens
    raster: Tensor
    style: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """Weights and how training went.

    Attributes
    ----------
    weights : dict of str to float32 tensor
        Averaged weights.
    losses : list of float
        Loss of every batch.
    """

    weights: dict[str, Tensor]
    losses: list[float]


def make_batch(examples: Sequence[Example], config: DiffusionConfig, *, rng: np.random.Generator) -> Batch:
    """Return examples as tensors, with parts of their conditions left out.

    Parameters
    ----------
    examples : sequence of Example
        At least one.
    config : DiffusionConfig
        How much is left out.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Batch
        On the CPU.
    """
    draws = rng.random((len(examples), 5))
    scenes = [_forget(each.scene, draw, config) for each, draw in zip(examples, draws, strict=True)]
    tokens = collate(scenes)
    kept = torch.from_numpy(draws[:, 0] >= config.drop_graph)
    tokens = dataclasses.replace(tokens, valid=tokens.valid & kept[:, None], owner=tokens.owner * kept[:, None, None])
    raster = torch.stack([draw_raster(each.scene) for each in examples])
    raster[torch.from_numpy(draws[:, 1] < config.drop_raster)] = 0.0
    return Batch(
        picture=torch.stack([to_tensor(each.image) for each in examples]),
        tokens=tokens,
        raster=raster,
        style=torch.tensor([each.style for each in examples]),
    )


def to_tensor(image: np.ndarray[Any, Any]) -> Tensor:
    """Return RGB uint8 (h, w, 3) as float32 (3, h, w), -1 to 1."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1.0


def train(
    sheets: Sequence[Sheet],
    config: DiffusionConfig,
    *,
    seed: int,
    start: Denoiser | None = None,
    out: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    look: Callable[[int, Denoiser], None] | None = None,
) -> Trained:
    """Return weights trained on sheets.

    Parameters
    ----------
    sheets : sequence of Sheet
        Painted, real, or both; each as large as a canvas.
    config : DiffusionConfig
        Sizes and schedule.
    seed : int
        Decides the starting weights, every batch and all noise.
    start : Denoiser, optional
        Of the same sizes; training goes on from its weights, spectra included, instead of random ones.
    out : Path, optional
        Directory of checkpoints; a run that was killed there goes on. None keeps nothing.
    device : str
        ``cpu`` or ``cuda``.
    progress : callable, optional
        Told ("train", batch, batches).
    look : callable, optional
        Told the batch and the network with averaged weights at every checkpoint, for pictures of how it stands.

    Returns
    -------
    Trained
        On the CPU the same for every run; one thread, so that it is.

    Raises
    ------
    SynthesisError
        If there is no sheet, a sheet is too small, or the start or a checkpoint does not serve.
    StoreError
        If a checkpoint cannot be written.
    """
    if not sheets:
        raise SynthesisError("no sheet to train on, expected painted or real tissue; raise diffusion.painted_share")
    with one_thread():
        torch.manual_seed(seed)
        network = Denoiser(config).to(device).train()
        if start is None:
            _fit_prior(network, sheets, config, seed)
        else:
            _take_over(network, start)
        average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        optimiser = torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )
        path = None if out is None else out / CHECKPOINT
        identity = training_identity(sheets, config, seed=seed, start=start)
        losses = [] if path is None else load_checkpoint(path, identity, network, average, optimiser)
        scheduler = training_scheduler(config)
        for step in range(len(losses), config.training_steps):
            losses.append(_step(step, network, optimiser, scheduler, sheets, config, seed, device))
            _follow(average, network, min(config.ema, (1 + step) / (10 + step)))
            if progress is not None:
                progress("train", step + 1, config.training_steps)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.training_steps:
                if path is not None:
                    save_checkpoint(path, identity, losses, network, average, optimiser)
                if look is not None:
                    _show(look, step + 1, average, config, device)
        return Trained(weights={name: value.cpu() for name, value in average.items()}, losses=losses)


def training_identity(
    sheets: Sequence[Sheet], config: DiffusionConfig, *, seed: int, start: Denoiser | None = None
) -> Identity:
    """Return what a generator depends on but for how long it learns.

    Parameters
    ----------
    sheets : sequence of Sheet
        What it learns from.
    config : DiffusionConfig
        Settings; those of painting, the length of training and the steps between checkpoints may change on the way.
    seed : int
        Seed.
    start : Denoiser, optional
        Whose weights training goes on from.

    Returns
    -------
    Identity
        Of ``wsigraph train-synthesis``.
    """
    chosen = config.model_dump(mode="json", exclude=set(_FREE)).items()
    data = {"sheets": hashlib.sha256()}
    for sheet in sheets:
        data["sheets"].update(np.ascontiguousarray(sheet.image).data)
        data["sheets"].update(np.ascontiguousarray(sheet.labels).data)
    if start is not None:
        data["weights to start from"] = hashlib.sha256()
        for value in start.state_dict().values():
            data["weights to start from"].update(value.cpu().numpy().data)
    return Identity(
        settings={**{f"diffusion.{name}": value for name, value in chosen}, "--seed": seed, "sheets": len(sheets)},
        data={name: each.hexdigest() for name, each in data.items()},
    )


def _step(
    step: int,
    network: Denoiser,
    optimiser: torch.optim.Optimizer,
    scheduler: Any,
    sheets: Sequence[Sheet],
    config: DiffusionConfig,
    seed: int,
    device: str,
) -> float:
    rng = np.random.default_rng([seed, step])
    batch = make_batch([cut(sheet, config, rng=rng) for sheet in _choose(sheets, config, rng)], config, rng=rng)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    picture, raster, style = (each.to(device) for each in (batch.picture, batch.raster, batch.style))
    noise = torch.randn(batch.picture.shape, generator=generator).to(device)
    # one level from each of as many equal parts: less noise in the loss than levels drawn freely
    part = (torch.arange(len(noise)) + torch.rand(len(noise), generator=generator)) / len(noise)
    level = (part * config.noise_levels).long().clamp(max=config.noise_levels - 1).to(device)
    for group in optimiser.param_groups:
        group["lr"] = config.learning_rate * _rate(step, config)
    with torch.autocast(device, torch.bfloat16, enabled=config.half and computes_half(device)):
        found = network(scheduler.add_noise(picture, noise, level), level, batch.tokens.to(device), raster, style)
    error = (found.float() - scheduler.get_velocity(picture, noise, level)).square().mean(dim=(1, 2, 3))
    loss = (noise_weight(scheduler, level, config.min_snr) * error).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), _MAX_GRADIENT)
    optimiser.step()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise SynthesisError(f"the loss is {value} at batch {step + 1}; lower diffusion.learning_rate")
    return value


def _fit_prior(network: Denoiser, sheets: Sequence[Sheet], config: DiffusionConfig, seed: int) -> None:
    rng = np.random.default_rng([seed, 0, _N_MEASURED])
    for style in sorted({each.style for each in sheets}):
        own = [each for each in sheets if each.style == style]
        chosen = [own[int(number)] for number in rng.integers(len(own), size=_N_MEASURED)]
        network.prior.fit(style, [to_tensor(cut(each, config, rng=rng).image) for each in chosen])


def _choose(sheets: Sequence[Sheet], config: DiffusionConfig, rng: np.random.Generator) -> list[Sheet]:
    """Return a sheet for every example: painted ones by their share, each kind by area."""
    kinds = [[each for each in sheets if (each.style == PAINTED) == painted] for painted in (True, False)]
    share = config.painted_share if all(kinds) else float(bool(kinds[0]))
    chosen = []
    for painted in rng.random(config.batch) < share:
        kind = kinds[0 if painted else 1]
        area = np.array([each.labels.size for each in kind], np.float64)
        chosen.append(kind[int(rng.choice(len(kind), p=area / area.sum()))])
    return chosen


def _forget(scene: Scene, draw: np.ndarray[Any, Any], config: DiffusionConfig) -> Scene:
    """Return a graph without its classes, or without its optical density or its spread, as chance has it."""
    classes, density = scene.classes, scene.density.copy()
    known = (classes != UNKNOWN).any()
    if draw[2] < config.drop_class:
        classes = np.full_like(classes, UNKNOWN)
    elif draw[3] < config.drop_density and known:
        density[:] = np.nan
    if draw[4] < _DROP_SPREAD:
        density[:, 3:] = np.nan
    return dataclasses.replace(scene, classes=classes, density=density)


def _rate(step: int, config: DiffusionConfig) -> float:
    rise = (step + 1) / max(1, config.warmup_steps)
    fall = (config.training_steps - step) / (_FALL * config.training_steps)
    return min(1.0, rise, fall)


@torch.no_grad()
def _follow(average: dict[str, Tensor], network: Denoiser, kept: float) -> None:
    for name, value in network.state_dict().items():
        average[name].lerp_(value, 1.0 - kept)


def _show(
    look: Callable[[int, Denoiser], None], step: int, average: dict[str, Tensor], config: DiffusionConfig, device: str
) -> None:
    state = torch.random.get_rng_state()
    shown = Denoiser(config).to(device).eval()
    shown.load_state_dict(average)
    look(step, shown)
    torch.random.set_rng_state(state)


def _take_over(network: Denoiser, start: Denoiser) -> None:
    others = [name for name in SIZES if getattr(network.config, name) != getattr(start.config, name)]
    if others:
        wanted = ", ".join(f"diffusion.{name}={getattr(start.config, name)}" for name in others)
        raise SynthesisError(f"the generator to start from has other sizes; train with {wanted}, or start from nothing")
    network.load_state_dict(start.state_dict())
