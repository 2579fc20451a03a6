"""Painted slides as tiled pyramidal TIFF files with a pixel size, marked as synthetic.

The tissue is surrounded by glass in the white of the site. Each level averages two by two pixels of the level before;
tiles are JPEG as from a scanner. The bytes do not depend on when or where a file was written.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsigraph.geometry import px_to_um, um_to_px
from wsigraph.store.atomic import write_file
from wsigraph.synthesis.simulation.layout import Layout, Tessellation
from wsigraph.synthesis.simulation.procedural import SiteStain, paint

_TILE = 256
_QUALITY = 92
_SMALLEST = 256
"""Levels end where the longer side is at most this, px."""


def paint_slide(
    layout: Layout,
    tessellation: Tessellation,
    *,
    mpp: float,
    glass_um: float,
    site: SiteStain,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Return a layout as H&E tissue on glass.

    Parameters
    ----------
    layout : Layout
        Classes.
    tessellation : Tessellation
        Tessellation of the layout, in pixels of `mpp`.
    mpp : float
        Pixel size, um/px.
    glass_um : float
        Empty glass on every side, um.
    site : SiteStain
        Stain and scanner.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    uint8 (h, w, 3)
        RGB.
    """
    labels = tessellation.labels[1:-1, 1:-1]
    tissue = paint(layout.classes.ravel()[labels - 1], mpp=mpp, site=site, rng=rng)
    margin = um_to_px(glass_um, mpp)
    height, width = labels.shape
    slide = site.white + rng.normal(0.0, site.noise, (height + 2 * margin, width + 2 * margin, 3))
    image = np.clip(np.round(slide), 0, 255).astype(np.uint8)
    image[margin : margin + height, margin : margin + width] = tissue
    return image


def write_pyramid(
    image: NDArray[np.uint8], path: Path, *, mpp: float, description: str, software: str = "wsigraph simulate"
) -> None:
    """Write an image as a tiled pyramidal TIFF.

    Parameters
    ----------
    image : uint8 (h, w, 3)
        RGB.
    path : Path
        Destination, replaced atomically.
    mpp : float
        Pixel size of the image, um/px.
    description : str
        Description in the file.
    software : str
        Name of the software in the file.

    Raises
    ------
    StoreError
        If the file cannot be written.

    Notes
    -----
    The whole file is put together in memory.
    """
    import tifffile

    content = io.BytesIO()
    with tifffile.TiffWriter(content) as tif:
        level, spacing_um = image, px_to_um(1.0, mpp)
        first = True
        while True:
            tif.write(
                level,
                tile=(_TILE, _TILE),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": _QUALITY},
                subfiletype=0 if first else 1,
                resolution=(1e4 / spacing_um, 1e4 / spacing_um),
                resolutionunit="CENTIMETER",
                description=description if first else None,
                software=software,
                metadata=None,
            )
            if max(level.shape) <= _SMALLEST:
                break
            level, spacing_um, first = _halve(level), 2 * spacing_um, False
    write_file(path, content.getvalue())


def _halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return averages of two by two pixels, rounded half up; an odd last row or column is left out."""
    height, width = (side // 2 * 2 for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // 2, 2, width // 2, 2, 3).astype(np.uint16)
    return np.asarray((blocks.sum(axis=(1, 3)) + 2) // 4, np.uint8)
