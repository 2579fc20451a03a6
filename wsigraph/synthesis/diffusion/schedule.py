"""The noise schedule and the samplers of diffusers, with the same settings for training and sampling.

The cosine schedule is rescaled so that the last timestep is pure noise; the network predicts the velocity. Without the
rescaling, training pictures would keep some of their mean at the last timestep, and no sample could be much darker or
lighter than average.

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
    # its warnings name optional packages that are not needed here
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    return diffusers


def training_scheduler(config: DiffusionConfig) -> Any:
    """Return the scheduler of diffusers that adds noise."""
    return load_diffusers().DDPMScheduler(**_shared(config))


def sampling_scheduler(config: DiffusionConfig, sampler: Literal["ddim", "dpmsolver"], steps: int) -> Any:
    """Return a sampler of diffusers.

    Parameters
    ----------
    config : DiffusionConfig
        Number of timesteps in training.
    sampler : str
        ``ddim`` or ``dpmsolver``; both draw no random numbers.
    steps : int
        Steps to a picture, at most ``noise_levels``.

    Returns
    -------
    diffusers scheduler
        Ready to step. The first step is at the last timestep, which is pure noise.
    """
    diffusers = load_diffusers()
    scheduler: Any
    with warnings.catch_warnings():
        # diffusers converts tensors in a way that numpy 2 deprecates
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        if sampler == "ddim":
            scheduler = diffusers.DDIMScheduler(timestep_spacing="trailing", clip_sample=True, **_shared(config))
        else:
            scheduler = diffusers.DPMSolverMultistepScheduler(
                timestep_spacing="trailing", algorithm_type="dpmsolver++", **_shared(config)
            )
        scheduler.set_timesteps(steps)
    return scheduler


def noise_weight(scheduler: Any, timestep: Tensor, bound: float) -> Tensor:
    """Return the weight of an example's loss.

    Parameters
    ----------
    scheduler : diffusers scheduler
        The schedule of training.
    timestep : int64 (B,)
        Timestep of each example.
    bound : float
        Largest weight of the loss in the clean picture.

    Returns
    -------
    float32 (B,)
        min(SNR + 1, bound) / (SNR + 1). A loss in the velocity weights the clean picture by SNR + 1. A bound on SNR
        alone would almost ignore the noisiest timesteps, where the graph is the only information.
    """
    alpha_cumprod: Tensor = scheduler.alphas_cumprod.to(timestep.device)[timestep]
    return (bound * (1 - alpha_cumprod)).clamp(max=1.0)


def _shared(config: DiffusionConfig) -> dict[str, Any]:
    return {
        "num_train_timesteps": config.noise_levels,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
    }
