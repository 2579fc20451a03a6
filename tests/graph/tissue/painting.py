"""Artefacts painted on real tissue, each with the truth of where it was painted.

Everything is painted on pixels of 1 um and lengths are in um. Ink mixes its colour in; a rim and an edge add grey
optical density; a fold doubles the tissue; defocus is a Gaussian blur plus sensor noise, because the noise of a scanner
does not pass its lens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

INKS = {
    "blue": (20, 50, 160),
    "green": (20, 130, 60),
    "black": (25, 25, 28),
    "red": (200, 25, 35),
    "brown": (110, 60, 20),
    "orange": (235, 120, 20),
    "purple": (90, 30, 140),
}


def grid_of(rgb: Picture) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    y, x = np.mgrid[: rgb.shape[0], : rgb.shape[1]].astype(np.float64)
    return y, x


def with_ink(rgb: Picture, colour: tuple[int, int, int], width: float = 140.0, opacity: float = 0.85):
    """Return a stroke across the middle, its border faded over 8 um."""
    y, x = grid_of(rgb)
    away = np.abs((y - rgb.shape[0] * 0.47) - 0.4 * (x - rgb.shape[1] * 0.45)) / np.hypot(1, 0.4)
    alpha = opacity * np.clip((width / 2 - away) / 8 + 0.5, 0, 1)[..., None]
    return np.round((1 - alpha) * rgb + alpha * np.array(colour)).astype(np.uint8), away < width / 2


def with_blur(rgb: Picture, sigma: float, centre: tuple[float, float], radius: float = 300.0, noise: float = 2.0):
    """Return a disc out of focus."""
    y, x = grid_of(rgb)
    disc = np.hypot(y - centre[0], x - centre[1]) < radius
    soft = ndimage.gaussian_filter(rgb.astype(np.float64), (sigma, sigma, 0))
    soft += np.random.default_rng(0).normal(0, noise, rgb.shape)
    return np.where(disc[..., None], np.clip(np.round(soft), 0, 255), rgb).astype(np.uint8), disc


def darkened(rgb: Picture, density: NDArray[np.float64]) -> Picture:
    return np.clip(np.round((rgb + 1.0) * 10.0 ** -density[..., None] - 1), 0, 255).astype(np.uint8)


def with_bubble(rgb: Picture, centre: tuple[float, float], radius: float = 330.0, width: float = 24.0, grey=0.3):
    """Return the dark rim of a bubble."""
    y, x = grid_of(rgb)
    rim = np.abs(np.hypot(y - centre[0], x - centre[1]) - radius) < width / 2
    return darkened(rgb, grey * rim), rim


def with_edge(rgb: Picture, width: float = 20.0, grey: float = 0.2):
    """Return a straight dark line from the top to the bottom, as the border of a coverslip."""
    y, x = grid_of(rgb)
    line = np.abs(x - rgb.shape[1] * 0.42 - 0.08 * y) < width / 2
    return darkened(rgb, grey * line), line


def with_fold(rgb: Picture, width: float = 60.0):
    """Return a band in which the tissue of both its sides lies on top of it: a fold has three layers."""
    y, x = grid_of(rgb)
    band = np.abs(y - rgb.shape[0] * 0.6 - 0.25 * (x - rgb.shape[1] / 2)) < width / 2
    above, below = (np.roll(rgb, round(shift), axis=0) for shift in (width, -width))
    folded = (rgb + 1.0) * (above + 1.0) * (below + 1.0) / 256**2 - 1
    return np.where(band[..., None], np.clip(np.round(folded), 0, 255), rgb).astype(np.uint8), band


def on_grid(mask: Mask, shape: tuple[int, int], mpp: float = 4.0) -> Mask:
    """Return the truth on the low-power grid: grid pixels of which at least half is painted."""
    step = round(mpp)
    padded = np.zeros((shape[0] * step, shape[1] * step))
    rows, columns = min(mask.shape[0], padded.shape[0]), min(mask.shape[1], padded.shape[1])
    padded[:rows, :columns] = mask[:rows, :columns]
    return np.asarray(padded.reshape(shape[0], step, shape[1], step).mean((1, 3)) >= 0.5)


def dice(predicted: Mask, truth: Mask) -> float:
    """Return twice the common pixels over the sum of both."""
    return float(2 * (predicted & truth).sum() / max(predicted.sum() + truth.sum(), 1))


def paintings(rgb: Picture, centre: tuple[float, float]) -> dict[str, Callable[[], tuple[Picture, Mask]]]:
    """Return what can be painted on a picture, by name; `centre` (y, x) is where discs go."""
    painted: dict[str, Callable[[], tuple[Picture, Mask]]] = {
        f"ink, {name}": lambda colour=colour: with_ink(rgb, colour) for name, colour in INKS.items()
    }
    painted |= {
        f"blur, {sigma:g} um": lambda sigma=sigma: with_blur(rgb, sigma, centre) for sigma in (2.0, 4.0, 5.0, 8.0)
    }
    painted["bubble"] = lambda: with_bubble(rgb, centre)
    painted["edge"] = lambda: with_edge(rgb)
    painted["fold"] = lambda: with_fold(rgb)
    return painted
