"""Painted tissue: H&E pixels of given classes, from a handful of rules.

Two concentration maps, hematoxylin and eosin, are drawn for each class (cytoplasm, fibres, lumina, blood). Nuclei are
ellipses on a jittered grid, with size, shape and stain of their class. The stain vectors of a site turn concentrations
into light by Beer and Lambert's law (Ruifrok and Johnston, "Quantification of histochemical staining by color
deconvolution", 2001), and the scanner adds blur and noise. The classes differ in the features that the package
measures. The pictures do not look like real tissue to a pathologist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from wsigraph.geometry import Size, px_to_mm2, px_to_um
from wsigraph.graph.tissue.stain import REFERENCE_VECTORS
from wsigraph.synthesis.simulation.layout import FAT, GLAND, LYMPHOCYTES, NECROSIS, STROMA, TUMOUR, VESSEL

Field = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """Appearance of a tissue class.

    Attributes
    ----------
    nuclei_per_mm2 : float
        Density of nuclei.
    radius_um, pleomorphism : float
        Median radius, and standard deviation of its logarithm.
    elongation : float
        Median ratio of the axes of a nucleus.
    nucleus_hematoxylin, chromatin : float
        Mean optical density of nuclei, and its coefficient of variation between nuclei.
    hematoxylin, eosin : float
        Stain between the nuclei, optical density.
    grain_um, contrast : float
        Length and relative strength of the texture between the nuclei.
    """

    nuclei_per_mm2: float
    radius_um: float
    pleomorphism: float
    elongation: float
    nucleus_hematoxylin: float
    chromatin: float
    hematoxylin: float
    eosin: float
    grain_um: float
    contrast: float


def _look(*values: float) -> Appearance:
    return Appearance(**dict(zip(Appearance.__dataclass_fields__, values, strict=True)))


APPEARANCE = {
    STROMA: _look(1200, 2.8, 0.20, 2.4, 0.85, 0.15, 0.06, 0.45, 3.0, 0.35),
    TUMOUR: _look(4200, 4.4, 0.28, 1.3, 0.95, 0.22, 0.22, 0.32, 5.0, 0.15),
    NECROSIS: _look(900, 1.9, 0.45, 1.3, 0.70, 0.25, 0.14, 0.38, 2.0, 0.45),
    LYMPHOCYTES: _look(8500, 3.0, 0.08, 1.1, 1.15, 0.10, 0.18, 0.16, 4.0, 0.15),
    FAT: _look(150, 2.4, 0.15, 2.0, 0.80, 0.10, 0.02, 0.30, 4.0, 0.20),
    GLAND: _look(4500, 3.4, 0.12, 1.6, 0.90, 0.12, 0.16, 0.34, 5.0, 0.15),
    VESSEL: _look(700, 2.6, 0.15, 2.2, 0.85, 0.10, 0.03, 0.75, 4.0, 0.30),
}
"""Appearance of every class, by its index."""

_FAT_CELL_UM, _WALL_UM = 55.0, 3.0
_GLAND_UM, _LUMEN_FRACTION = 70.0, 0.32
_OWN_STAIN = 0.35
"""Fraction of the surrounding eosin that a nucleus shows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SiteStain:
    """Stain and scanner of a site.

    Attributes
    ----------
    vectors : float64 (2, 3)
        Unit optical-density vectors of hematoxylin and eosin.
    strength : float64 (2,)
        Factors on the two concentrations.
    white : float64 (3,)
        8-bit values of empty glass.
    blur_um : float
        Standard deviation of the optics' blur.
    noise : float
        Standard deviation of the camera's noise, 8-bit levels.
    """

    vectors: NDArray[np.float64]
    strength: NDArray[np.float64]
    white: NDArray[np.float64]
    blur_um: float
    noise: float


def sample_site(*, rng: np.random.Generator) -> SiteStain:
    """Return the stain and scanner of a random site.

    Parameters
    ----------
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    SiteStain
        Near the reference vectors of Ruifrok and Johnston.
    """
    vectors = np.clip(REFERENCE_VECTORS + rng.normal(0.0, 0.03, (2, 3)), 0.02, None)
    return SiteStain(
        vectors=vectors / np.linalg.norm(vectors, axis=1, keepdims=True),
        strength=np.exp(rng.normal(0.0, 0.10, 2)),
        white=rng.uniform(238.0, 250.0, 3),
        blur_um=float(rng.uniform(0.4, 0.7)),
        noise=float(rng.uniform(1.0, 2.5)),
    )


def paint(classes: NDArray[np.uint8], *, mpp: float, site: SiteStain, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return H&E pixels of a class map.

    Parameters
    ----------
    classes : uint8 (h, w)
        Index into ``TISSUES`` of every pixel.
    mpp : float
        Pixel size, um/px.
    site : SiteStain
        Stain and scanner.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    uint8 (h, w, 3)
        RGB.

    Notes
    -----
    Linear in pixels and in the number of classes present, about 1 us a pixel and class.
    """
    hematoxylin, eosin = np.zeros(classes.shape), np.zeros(classes.shape)
    for tissue in np.unique(classes):
        here = classes == tissue
        own_hematoxylin, own_eosin = _tissue(int(tissue), here, mpp, rng)
        hematoxylin[here], eosin[here] = own_hematoxylin[here], own_eosin[here]
    stains = np.stack([hematoxylin, eosin], axis=-1) * site.strength
    blurred = gaussian_filter(stains, (site.blur_um / mpp, site.blur_um / mpp, 0), mode="nearest")
    light = site.white * 10.0 ** -(blurred @ site.vectors)
    noisy = np.round(light + rng.normal(0.0, site.noise, light.shape))
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


def _tissue(tissue: int, here: NDArray[np.bool_], mpp: float, rng: np.random.Generator) -> tuple[Field, Field]:
    """Return the stain maps of one class over the whole canvas; only the pixels in `here` are used."""
    look = APPEARANCE[tissue]
    size = Size(*here.shape)
    if tissue == STROMA:
        grain, angle = _fibres(size, look.grain_um / mpp, rng)
    else:
        grain, angle = _noise(size, look.grain_um / mpp, rng), np.zeros(here.shape)
    texture = np.clip(1.0 + look.contrast * grain, 0.1, None)
    hematoxylin, eosin = look.hematoxylin * texture, look.eosin * texture
    allowed = here
    if tissue == FAT:
        _, distance = _cells(size, _FAT_CELL_UM / mpp, rng)
        wall = np.clip(1.5 - np.diff(distance, axis=-1)[..., 0] / (_WALL_UM / mpp), 0.02, 1.0)
        hematoxylin, eosin = hematoxylin * wall, eosin * wall
        allowed = here & (wall > 0.5)
    elif tissue == GLAND:
        _, distance = _cells(size, _GLAND_UM / mpp, rng)
        depth = distance[..., 0] / (0.5 * _GLAND_UM / mpp)
        lumen = np.clip((_LUMEN_FRACTION + 0.08 * grain - depth) * 12.0, 0.0, 1.0)
        hematoxylin, eosin = hematoxylin * (1.0 - 0.95 * lumen), eosin * (1.0 - 0.95 * lumen)
        allowed = here & (lumen < 0.1)
    nuclei = _nuclei(look, allowed, angle, mpp, rng)
    cover = np.clip(nuclei / (0.5 * look.nucleus_hematoxylin), 0.0, 1.0)
    return np.maximum(hematoxylin, nuclei), eosin * (1.0 - (1.0 - _OWN_STAIN) * cover)


def _noise(size: Size, grain_px: float, rng: np.random.Generator) -> Field:
    """Return smoothed noise of mean 0 and standard deviation 1."""
    field = gaussian_filter(rng.standard_normal((size.height, size.width)), 0.5 * grain_px, mode="wrap")
    return np.asarray(field / (field.std() + 1e-12))


def _fibres(size: Size, width_px: float, rng: np.random.Generator) -> tuple[Field, Field]:
    """Return wavy bands of standard deviation about 1, and their direction at every pixel, radians."""
    angle = rng.uniform(0.0, np.pi) + 0.35 * _noise(size, 25.0 * width_px, rng)
    y, x = np.indices((size.height, size.width))
    across = -np.sin(angle) * x + np.cos(angle) * y
    phase = 2.0 * np.pi * across / (4.0 * width_px) + 2.0 * _noise(size, 6.0 * width_px, rng)
    return 1.2 * np.sin(phase) + 0.5 * _noise(size, width_px, rng), angle


def _cells(size: Size, spacing_px: float, rng: np.random.Generator) -> tuple[NDArray[np.int64], Field]:
    """Return the two nearest points of a jittered grid at every pixel, and their distances (h, w, 2) in px."""
    points = _jittered(size, spacing_px, 0.3, rng)
    grid = np.moveaxis(np.indices((size.height, size.width)), 0, -1)
    distance, index = cKDTree(points).query(grid, k=2)
    return index.astype(np.int64), distance


def _jittered(size: Size, spacing_px: float, jitter: float, rng: np.random.Generator) -> Field:
    """Return the points of a jittered grid that covers the canvas and one cell around it, (n, 2) as (y, x)."""
    rows, columns = (np.arange(-1, int(side / spacing_px) + 2) for side in (size.height, size.width))
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.asarray((grid + 0.5 + rng.uniform(-jitter, jitter, grid.shape)) * spacing_px)


def _nuclei(look: Appearance, allowed: NDArray[np.bool_], angle: Field, mpp: float, rng: np.random.Generator) -> Field:
    """Return the hematoxylin of nuclei over the canvas, optical density; 0 between them."""
    size = Size(*allowed.shape)
    spacing_px = (look.nuclei_per_mm2 * px_to_mm2(1.0, mpp)) ** -0.5
    points = _jittered(size, spacing_px, 0.45, rng)
    cell = np.floor(points).astype(np.int64)
    inside = ((cell >= 0) & (cell < allowed.shape)).all(axis=1)
    points, cell = points[inside], cell[inside]
    chosen = allowed[cell[:, 0], cell[:, 1]]
    points, cell = points[chosen], cell[chosen]
    n = len(points)
    radius_px = look.radius_um / px_to_um(1.0, mpp) * np.exp(rng.normal(0.0, look.pleomorphism, n))
    ratio = 1.0 + (look.elongation - 1.0) * rng.gamma(4.0, 0.25, n)
    # only fibres give nuclei a direction
    free = rng.uniform(0.0, np.pi, n)
    tilt = angle[cell[:, 0], cell[:, 1]] + rng.normal(0.0, 0.3, n) if angle.any() else free
    stain = np.clip(rng.normal(look.nucleus_hematoxylin, look.chromatin * look.nucleus_hematoxylin, n), 0.2, None)
    return _ellipses(size, points, radius_px * ratio**0.5, radius_px * ratio**-0.5, tilt, stain)


def _ellipses(size: Size, points: Field, long_px: Field, short_px: Field, tilt: Field, value: Field) -> Field:
    """Return ellipses with soft borders around (y, x) points; overlapping ones by the maximum."""
    if not len(points):
        return np.zeros((size.height, size.width))
    reach = int(np.ceil(long_px.max())) + 2
    offset = np.arange(-reach, reach + 1)
    corner = np.floor(points).astype(np.int64)
    y = corner[:, 0, None, None] + offset[:, None]  # (n, k, 1)
    x = corner[:, 1, None, None] + offset[None, :]  # (n, 1, k)
    dy, dx = y + 0.5 - points[:, 0, None, None], x + 0.5 - points[:, 1, None, None]
    cosine, sine = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    along, across = (
        (dx * cosine + dy * sine) / long_px[:, None, None],
        (dy * cosine - dx * sine) / short_px[:, None, None],
    )
    distance = np.hypot(along, across)
    cover = np.clip((1.0 - distance) * short_px[:, None, None] + 0.5, 0.0, 1.0)
    drawn = cover * value[:, None, None]
    canvas = np.zeros((size.height + 2 * reach, size.width + 2 * reach))
    width = canvas.shape[1]
    np.maximum.at(canvas.reshape(-1), ((y + reach) * width + x + reach).ravel(), drawn.ravel())
    return canvas[reach:-reach, reach:-reach]
