"""Noise and its removal: the schedules and samplers are diffusers', set up alike for training and sampling.

Cosine schedule, rescaled so that the last level is pure noise; the network predicts the velocity. Without the rescaling
the mean of a picture would leak into the noise of training, and no sample could be much darker or lighter than average.

References
----------
Lin et al., "Common diffusion noise schedules and sample steps are flawed", 2024. Min-SNR: Hang et al., 2023. DDIM: Song
et al., 2021. DPM-Solver++: Lu et al., 2022.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any, Literal

from torch import Tensor

from wsigraph.config import DiffusionConfig
from wsigraph.errors import SynthesisError


def load_diffusers() -> Any:
    """Return the package diffusers.

    Raises
    ------
    SynthesisError
        If it is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise SynthesisError(
            f"synthesis needs the package diffusers ({error}); install it with: pip install 'wsigraph[diffusion]'"
        ) from None
    # it tells of packages that are not needed here
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    return diffusers


def training_scheduler(config: DiffusionConfig) -> Any:
    """Return diffusers' schedule that adds noise."""
    return load_diffusers().DDPMScheduler(**_shared(config))


def sampling_scheduler(config: DiffusionConfig, sampler: Literal["ddim", "dpmsolver"], steps: int) -> Any:
    """Return diffusers' sampler.

    Parameters
    ----------
    config : DiffusionConfig
        Levels of noise.
    sampler : str
        ``ddim`` or ``dpmsolver``; both take no randomness but the first noise.
    steps : int
        Steps to a picture, at most the levels of noise.

    Returns
    -------
    diffusers scheduler
        Ready to step; the steps begin at the last level, as they must for pure noise.
    """
    diffusers = load_diffusers()
    scheduler: Any
    with warnings.catch_warnings():
        # diffusers hands tensors to numpy in a way that numpy 2 will one day refuse
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        if sampler == "ddim":
            scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=True, **_shared(config))
        else:
            scheduler = diffusers.DPMSolverMultistepScheduler(
                timestep_spacing="trailing", algorithm_type="dpmsolver++", **_shared(config)
            )
        scheduler.set_timesteps(steps)
    return scheduler


def noise_weight(scheduler: Any, level: Tensor, bound: float) -> Tensor:
    """Return the weight of an example's loss.

    Parameters
    ----------
    scheduler : diffusers scheduler
        The schedule of training.
    level : int64 (B,)
        Levels of noise.
    bound : float
        Largest weight of the clean picture.

    Returns
    -------
    float32 (B,)
        min(SNR + 1, bound) / (SNR + 1). SNR + 1 is what a loss of velocities gives the clean picture; bounding SNR
        alone would all but ignore the noisiest levels, where there is nothing to go by but the graph.
    """
    kept: Tensor = scheduler.alphas_cumprod.to(level.device)[level]
    return (bound * (1 - kept)).clamp(max=1.0)


def _shared(config: DiffusionConfig) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.noise_levels,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    }
