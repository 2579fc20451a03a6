"""Pictures that are no H&E section, drawn: fluorescence, dark field, inverted tissue, glass, marker, grid, gradient."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Picture = NDArray[np.uint8]
HEIGHT, WIDTH = 900, 1200
MARKERS = {
    "red": (0.05, 0.9, 0.65),
    "blue": (1.2, 0.75, 0.15),
    "black": (1.3, 1.3, 1.35),
    "green": (1.1, 0.35, 0.75),
    "purple": (0.5, 1.0, 0.25),
}
"""Optical density of marker over (R, G, B)."""


def draw_negatives(section: Picture) -> Iterator[tuple[str, Picture, float]]:
    """Draw pictures that are none.

    Parameters
    ----------
    section : uint8 (h, w, 3)
        A real H&E section at 1 um/px, from which the inverted ones are made.

    Yields
    ------
    name, pixels, mpp : str, uint8 (h, w, 3), float
        What it is, RGB, and its pixel size in um.
    """
    for number, (colour, marker) in enumerate(MARKERS.items()):
        for is_dry in (False, True):
            for mpp in (1.0, 4.0, 10.0):
                name = f"{'dry' if is_dry else 'wet'} {colour} stroke, {mpp:g} um/px"
                yield name, draw_stroke(marker, seed=2 * number + is_dry, is_dry=is_dry), mpp
    yield "blank glass", encode(glass(1), 1), 4.0
    lines = np.zeros((HEIGHT, WIDTH, 1))
    lines[50::100], lines[:, 50::100] = 1.0, 1.0
    lines = ndimage.grey_dilation(lines, (5, 5, 1))
    yield "black grid", encode(glass(2) * (1 - 0.7 * lines), 2), 4.0
    yield "red grid", encode(glass(3) * 10 ** (-lines * np.array(MARKERS["red"])), 3), 4.0
    down, right = np.mgrid[0:1:900j, 0:1:1200j]
    yield "gradient", encode(np.stack([255 * right, 180 * (1 - down), 200 - 145 * right * down], axis=-1), 4), 2.0
    pink = np.stack([200 + 50 * right, 100 + 120 * down, 160 + 80 * right], axis=-1)
    yield "pink gradient", encode(pink, 5), 2.0
    yield from _fluorescence()
    inverted = (255 - section).astype(np.uint8)
    middle = inverted[800:1400, 420:720]
    yield "inverted section", inverted, 1.0
    yield "inverted tissue without glass", middle, 1.0
    scattered = ndimage.gaussian_filter(255.0 - section, (1, 1, 0))
    yield "dark field", encode(10 + scattered[..., [1, 0, 2]] * np.array([0.9, 0.8, 0.6]), 6), 1.0
    yield "warm dark field", encode(6 + scattered.mean(axis=2, keepdims=True) * np.array([1.2, 1.1, 0.9]), 7), 1.0


def _fluorescence() -> Iterator[tuple[str, Picture, float]]:
    nuclei, cytoplasm = _blobs(1500, 4.0, seed=8), _blobs(700, 9.0, seed=9)
    dim = np.full_like(nuclei, 8.0)
    yield "DAPI", encode(np.stack([5 * nuclei, 8 * nuclei, dim + 240 * nuclei], axis=-1), 8), 0.5
    yield "DAPI in grey", encode(np.repeat((10 + 230 * nuclei)[..., None], 3, axis=2), 9), 0.5
    yield "DAPI and FITC", encode(np.stack([dim, dim + 230 * cytoplasm, dim + 230 * nuclei], axis=-1), 10), 0.5
    third = 120 * _blobs(200, 25.0, seed=10)
    yield "three dyes", encode(np.stack([dim + third, dim + 200 * cytoplasm, dim + 230 * nuclei], axis=-1), 11), 0.5
    crowded = np.stack([20 + 60 * cytoplasm, 30 + 90 * cytoplasm, 40 + 200 * nuclei], axis=-1)
    yield "three dyes, strong autofluorescence", encode(crowded, 12), 0.5


def draw_stroke(marker: tuple[float, float, float], *, seed: int, is_dry: bool = False) -> Picture:
    """Return one stroke of marker on glass, uint8 (900, 1200, 3); dry marker is streaked."""
    rng = np.random.default_rng(seed)
    steps = np.clip(np.cumsum(np.concatenate([[rng.uniform(300, 600)], rng.normal(scale=100, size=6)])), 60, 840)
    canvas = Image.new("L", (WIDTH, HEIGHT), 0)
    points = [(180 + 140 * index, float(y)) for index, y in enumerate(steps)]
    ImageDraw.Draw(canvas).line(points, fill=255, width=60, joint="curve")
    covered = ndimage.gaussian_filter(np.asarray(canvas, np.float64) / 255, 3)
    thickness = np.clip(1 + 6 * ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 12), 0.4, 1.8)
    if is_dry:
        streaks = ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), (1.2, 40))
        thickness *= np.clip(0.7 + 0.7 * streaks / streaks.std(), 0, 1.6)
    return encode(glass(seed) * 10 ** (-(covered * thickness)[..., None] * np.array(marker)), seed)


def glass(seed: int) -> NDArray[np.float64]:
    """Return glass of slightly uneven brightness, float64 (900, 1200, 1)."""
    rng = np.random.default_rng(seed)
    return np.asarray(243 + 30 * ndimage.gaussian_filter(rng.normal(size=(HEIGHT, WIDTH)), 40))[..., None]


def encode(values: NDArray[np.float64], seed: int) -> Picture:
    """Return values with the noise of a camera and the losses of JPEG, uint8 (h, w, 3)."""
    noise = np.random.default_rng(1000 + seed).normal(scale=1.5, size=(*values.shape[:2], 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.round(values + noise), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=80)
    return np.asarray(Image.open(stream))


def _blobs(n: int, sigma_px: float, *, seed: int) -> NDArray[np.float64]:
    """Return blurred spots, 0 to 1."""
    rng = np.random.default_rng(seed)
    spots = np.zeros((HEIGHT, WIDTH))
    spots[rng.integers(5, HEIGHT - 5, n), rng.integers(5, WIDTH - 5, n)] = rng.uniform(0.3, 1, n)
    spots = ndimage.gaussian_filter(spots, sigma_px)
    return np.asarray(np.clip(2 * spots / spots.max(), 0, 1))
