"""The best linear estimate of the velocity from the spectrum of tissue; the network adds a correction to it.

Tissue is modelled as a Gaussian field. The canvas is rotated to its principal colours and cosine-transformed; every
coefficient then has a variance of its own, measured on training canvases of each domain. The network only learns what
is not Gaussian, above all the effect of the graph. Without this estimate, thousands of batches go into learning that
neighbouring pixels are alike.

References
----------
The estimator: Wiener, "Extrapolation, interpolation and smoothing of stationary time series", 1949. A linear part
beside the network: Karras et al., "Elucidating the design space of diffusion-based generative models", 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

_PIXEL_VARIANCE = 0.25
_FLOOR = 1e-4
_SMOOTHING = 1.0


class LinearPrior(nn.Module):
    """Gaussian field of each domain.

    Parameters
    ----------
    side_px : int
        Side of the canvas.
    n_domains : int
        Number of domains, each with a field of its own; white noise until `fit` is called.
    """

    mean: Tensor
    colour: Tensor
    variance: Tensor
    cosine: Tensor

    def __init__(self, side_px: int, n_domains: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_domains, 3))
        self.register_buffer("colour", torch.eye(3).repeat(n_domains, 1, 1))
        self.register_buffer("variance", torch.full((n_domains, 3, side_px, side_px), _PIXEL_VARIANCE))
        self.register_buffer("cosine", cosine_matrix(side_px), persistent=False)

    def forward(self, noisy: Tensor, alpha_cumprod: Tensor, domain: Tensor, moved: Tensor | None = None) -> Tensor:
        """Return the linear estimate of the velocity.

        Parameters
        ----------
        noisy : float32 (B, 3, h, w)
            Pictures with noise.
        alpha_cumprod : float32 (B,)
            ``alphas_cumprod`` of each picture's timestep: the fraction of the clean picture's variance that is left.
        domain : int64 (B,)
            Domain of each picture.
        moved : float (B, 3, h, w), optional
            Shift of the mean of each pixel from that of the domain.

        Returns
        -------
        float32 (B, 3, h, w)
            With a^2 = alpha_cumprod, s^2 = 1 - a^2, mean m and variance d of a coefficient, and noisy coefficient x:
            a s (1 - d) / (a^2 d + s^2) (x - a m) - s m.
        """
        with torch.autocast(noisy.device.type, enabled=False):
            a, s = alpha_cumprod.sqrt()[:, None, None, None], (1.0 - alpha_cumprod).sqrt()[:, None, None, None]
            mean, colour, variance = self.mean[domain][..., None, None], self.colour[domain], self.variance[domain]
            mean = mean if moved is None else mean + moved.to(mean.dtype)
            coefficients = torch.einsum("bij,bjhw->bihw", colour, noisy.to(mean.dtype) - a * mean)
            coefficients = self.cosine @ coefficients @ self.cosine.T
            coefficients = coefficients * (a * s * (1.0 - variance) / (a * a * variance + s * s))
            coefficients = self.cosine.T @ coefficients @ self.cosine
            return torch.einsum("bij,bihw->bjhw", colour, coefficients) - s * mean

    @torch.no_grad()
    def fit(self, domain: int, pictures: Sequence[Tensor]) -> None:
        """Measure the field of a domain.

        Parameters
        ----------
        domain : int
            Index into ``DOMAINS``.
        pictures : sequence of float32 (3, h, w)
            Training canvases, -1 to 1; at least two.
        """
        stack = torch.stack(list(pictures)).double()
        mean = stack.mean(dim=(0, 2, 3))
        centred = stack - mean[:, None, None]
        flat = centred.transpose(0, 1).flatten(1)
        _, vectors = torch.linalg.eigh(flat @ flat.T)
        colour = vectors.T
        cosine = self.cosine.double().cpu()
        spectrum = cosine @ torch.einsum("ij,bjhw->bihw", colour, centred) @ cosine.T
        variance = _smooth(spectrum.square().mean(dim=0).numpy())
        self.mean[domain] = mean.float()
        self.colour[domain] = colour.float()
        self.variance[domain] = torch.from_numpy(variance).float()


def cosine_matrix(side_px: int) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II) of a line, float32 (side, side)."""
    k, x = torch.meshgrid(torch.arange(side_px), torch.arange(side_px), indexing="ij")
    matrix = torch.cos(math.pi / side_px * (x.double() + 0.5) * k) * math.sqrt(2.0 / side_px)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()


def _smooth(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return variances of coefficients (3, h, w), symmetric in both axes and smoothed over neighbouring frequencies."""
    symmetric = 0.5 * (variance + variance.swapaxes(1, 2))
    return np.stack(
        [np.exp(gaussian_filter(np.log(channel + _FLOOR), _SMOOTHING, mode="nearest")) for channel in symmetric]
    )
