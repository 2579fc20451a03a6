"""Composes slides with known tissue: cut-outs of real H&E tiles on made glass, with fat, marker, folds and defocus.

This painter shares nothing with the one of the tests: tissue is a mosaic of real tiles, fat a Voronoi network, and the
glass has the stitching, tint and noise of a scanner. Everything is at `MPP` and drawn from a seed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
MPP = 2.0
SIDE = 2400
"""Pixels along a side of a slide: 4.8 mm."""
TILE_MPP = 1.0
_FIELD = 300
EOSIN = np.array([0.12, 0.62, 0.36])
MARKERS = {
    "red": (0.06, 0.9, 0.7),
    "blue": (1.1, 0.8, 0.2),
    "black": (1.2, 1.25, 1.3),
    "green": (1.0, 0.3, 0.6),
    "purple": (0.55, 1.0, 0.3),
}
"""Optical density of marker over (R, G, B)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A composed slide: optical density above white, float64 (h, w, 3), the tissue, and what was laid over it."""

    density: NDArray[np.float64]
    tissue: Mask
    painted: Mask = field(default_factory=lambda: np.zeros((SIDE, SIDE), bool))

    def encode(self, rng: np.random.Generator) -> Picture:
        """Return RGB with the noise of a camera and the losses of JPEG, uint8 (h, w, 3)."""
        values = 256 * 10.0**-self.density - 1 + rng.normal(scale=1.2, size=self.density.shape)
        stream = io.BytesIO()
        Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=85)
        return np.asarray(Image.open(stream))


def read_tile(path: Path) -> NDArray[np.float64]:
    """Return the optical density of a tile over its own brightest part, at `MPP`, float64 (h, w, 3)."""
    with Image.open(path) as image:
        side = round(min(image.size) * TILE_MPP / MPP)
        rgb = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BOX), np.float64)
    white = np.maximum(np.percentile(rgb.reshape(-1, 3), 99, axis=0), 200.0)
    return np.asarray(np.maximum(-np.log10((rgb + 1) / (white + 1)), 0.0))


def made_glass(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the density of glass: stitched fields of slightly different tint, uneven light and dust."""
    rows = -(-SIDE // _FIELD)
    tints = 0.028 + rng.normal(scale=0.0025, size=(rows, rows, 3))
    glass = tints.repeat(_FIELD, axis=0).repeat(_FIELD, axis=1)[:SIDE, :SIDE].copy()
    glass += 0.004 * _smooth_noise(rng, 300)[..., None]
    dust = np.zeros((SIDE, SIDE))
    dust[tuple(rng.integers(0, SIDE, (2, 400)))] = rng.uniform(1, 30, 400)
    return np.asarray(glass + ndimage.gaussian_filter(dust, 2.5)[..., None])


def compose(tile: NDArray[np.float64], rng: np.random.Generator, *, factor: float = 1.0) -> Section:
    """Return a section of one tile's tissue, its density multiplied by `factor`."""
    tissue = _blob(rng, 0.30)
    texture = factor * _mosaic(tile)
    return Section(density=made_glass(rng) + tissue[..., None] * texture, tissue=tissue)


def with_fat(section: Section, rng: np.random.Generator) -> Section:
    """Return the section with fat around it: cells of 60 to 110 um with thin, pale membranes."""
    fat = ndimage.distance_transform_edt(~section.tissue) * MPP < 500
    fat &= ~section.tissue
    points = rng.uniform(0, SIDE, (int((SIDE * MPP / 80) ** 2), 2))
    index = np.argwhere(fat)
    distance, _ = cKDTree(points).query(index, k=2)
    membrane = np.zeros((SIDE, SIDE))
    membrane[fat] = np.clip(1.5 - (distance[:, 1] - distance[:, 0]) * MPP / 3, 0, 1)
    strength = np.clip(0.16 + 0.05 * _smooth_noise(rng, 40), 0.05, 0.3)
    density = section.density + (membrane * strength)[..., None] * EOSIN / EOSIN.max()
    return Section(density=density, tissue=section.tissue | fat, painted=fat)


def with_marker(section: Section, colour: str, rng: np.random.Generator, *, is_dry: bool) -> Section:
    """Return the section with a stroke of marker beside it, over glass; what runs over tissue is not painted."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    bow = 250 + 60 * np.sin(y / 400 + rng.uniform(0, 6))
    stroke = ndimage.gaussian_filter((np.abs(x - bow) < 60).astype(float), 4)
    thickness = np.clip(1 + 0.2 * _smooth_noise(rng, 15), 0.5, 1.5)
    if is_dry:
        streaks = ndimage.gaussian_filter(rng.normal(size=(SIDE, SIDE)), (30, 2))
        thickness = np.clip(0.35 + 0.45 * streaks / streaks.std(), 0, 1.2)
    density = section.density + 0.7 * (stroke * thickness)[..., None] * np.array(MARKERS[colour])
    marker = (stroke * thickness > 0.15) & ~section.tissue
    return Section(density=density, tissue=section.tissue & (stroke < 0.05), painted=marker)


def with_fold(section: Section, width_um: float) -> Section:
    """Return the section with one straight fold through its middle: the tissue beside lies on top, in three layers."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    centre = ndimage.center_of_mass(section.tissue)
    away = np.abs(y - centre[0] - 0.15 * (x - centre[1])) / np.hypot(1, 0.15)
    band = (away < width_um / MPP / 2) & section.tissue & (np.abs(x - centre[1]) < SIDE / 5)
    density = section.density.copy()
    shift = round(width_um / MPP)
    for layer in (shift, -shift):
        above = np.roll(section.density, layer, axis=0)
        density[band] += np.maximum(above[band] - 0.028, 0.0)
    return Section(density=density, tissue=section.tissue, painted=band)


def with_defocus(section: Section, sigma_um: float) -> Section:
    """Return the section with a disc out of focus in its middle."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    centre = ndimage.center_of_mass(section.tissue)
    disc = (np.hypot(y - centre[0], x - centre[1]) < 300) & section.tissue
    light = 10.0**-section.density
    soft = ndimage.gaussian_filter(light, (sigma_um / MPP, sigma_um / MPP, 0))
    density = np.where(disc[..., None], -np.log10(soft), section.density)
    return Section(density=density, tissue=section.tissue, painted=disc)


def _mosaic(tile: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a tile mirrored over the whole slide, so that it continues at each of its borders."""
    mirrored = np.concatenate([tile, tile[::-1]], axis=0)
    mirrored = np.concatenate([mirrored, mirrored[:, ::-1]], axis=1)
    times = -(-SIDE // mirrored.shape[0])
    return np.tile(mirrored, (times, times, 1))[:SIDE, :SIDE]


def _blob(rng: np.random.Generator, fraction: float) -> Mask:
    """Return one piece of irregular outline over about a fraction of the slide."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    height = 0.12 * _smooth_noise(rng, 120) + 0.02 * _smooth_noise(rng, 15) - np.hypot(y, 0.9 * x - 0.15)
    above = height > np.quantile(height, 1 - fraction)
    labels, _ = ndimage.label(above)
    return np.asarray(labels == np.bincount(labels.ravel())[1:].argmax() + 1)


def _smooth_noise(rng: np.random.Generator, sigma_px: float) -> NDArray[np.float64]:
    """Return noise of a scale with unit standard deviation, float64 (SIDE, SIDE)."""
    step = max(round(sigma_px / 5), 1)
    coarse = rng.normal(size=(-(-SIDE // step), -(-SIDE // step)))
    noise = ndimage.gaussian_filter(coarse, sigma_px / step, mode="wrap")
    return np.asarray((noise / noise.std()).repeat(step, axis=0).repeat(step, axis=1)[:SIDE, :SIDE])
