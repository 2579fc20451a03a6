"""What a picture's spectrum alone says of the velocity: the best linear estimate, which the network corrects.

Tissue is treated as a Gaussian field: in the cosine transform of a canvas, turned to its principal colours, every
coefficient has a variance of its own, measured on training canvases of each style. The network is left with what is not
Gaussian, first of all the graph. Without it, thousands of batches go into learning that neighbouring pixels are alike.

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
    """Gaussian field of each style.

    Parameters
    ----------
    side_px : int
        Side of the canvas.
    n_styles : int
        Styles, each with a field of its own; white noise until `fit` is called.
    """

    mean: Tensor
    colour: Tensor
    variance: Tensor
    cosine: Tensor

    def __init__(self, side_px: int, n_styles: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_styles, 3))
        self.register_buffer("colour", torch.eye(3).repeat(n_styles, 1, 1))
        self.register_buffer("variance", torch.full((n_styles, 3, side_px, side_px), _PIXEL_VARIANCE))
        self.register_buffer("cosine", cosine_matrix(side_px), persistent=False)

    def forward(self, noisy: Tensor, kept: Tensor, style: Tensor, moved: Tensor | None = None) -> Tensor:
        """Return the linear estimate of the velocity.

        Parameters
        ----------
        noisy : float32 (B, 3, h, w)
            Pictures with noise.
        kept : float32 (B,)
            Share of the clean picture's variance that is left, the schedule's ``alphas_cumprod``.
        style : int64 (B,)
            Style of each picture.
        moved : float (B, 3, h, w), optional
            What is known of each place's mean beyond that of the style.

        Returns
        -------
        float32 (B, 3, h, w)
            With a^2 = kept, s^2 = 1 - kept, mean m and variance d of a coefficient: a s (1 - d) / (a^2 d + s^2) of what
            is above a m, less s m.
        """
        with torch.autocast(noisy.device.type, enabled=False):
            a, s = kept.sqrt()[:, None, None, None], (1.0 - kept).sqrt()[:, None, None, None]
            mean, colour, variance = self.mean[style][..., None, None], self.colour[style], self.variance[style]
            mean = mean if moved is None else mean + moved.to(mean.dtype)
            found = torch.einsum("bij,bjhw->bihw", colour, noisy.to(mean.dtype) - a * mean)
            found = self.cosine @ found @ self.cosine.T
            found = found * (a * s * (1.0 - variance) / (a * a * variance + s * s))
            found = self.cosine.T @ found @ self.cosine
            return torch.einsum("bij,bihw->bjhw", colour, found) - s * mean

    @torch.no_grad()
    def fit(self, style: int, pictures: Sequence[Tensor]) -> None:
        """Measure the field of a style.

        Parameters
        ----------
        style : int
            Which.
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
        self.mean[style] = mean.float()
        self.colour[style] = colour.float()
        self.variance[style] = torch.from_numpy(variance).float()


def cosine_matrix(side_px: int) -> Tensor:
    """Return the orthonormal cosine transform (DCT-II) of a line, float32 (side, side)."""
    k, x = torch.meshgrid(torch.arange(side_px), torch.arange(side_px), indexing="ij")
    matrix = torch.cos(math.pi / side_px * (x.double() + 0.5) * k) * math.sqrt(2.0 / side_px)
    matrix[0] /= math.sqrt(2.0)
    return matrix.float()


def _smooth(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return variances of coefficients (3, h, w) alike along both axes and over near frequencies."""
    alike = 0.5 * (variance + variance.swapaxes(1, 2))
    return np.stack([np.exp(gaussian_filter(np.log(each + _FLOOR), _SMOOTHING, mode="nearest")) for each in alike])
