"""A Leica SCN of a few lines: a picture at a place on a larger plane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

NM_PER_PX = 500
_IMAGE = """<image name="{name}" uuid="urn:uuid:{name}"><device model="Leica SCN400" version="1"/>
<pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>
<view sizeX="{view_x}" sizeY="{view_y}" offsetX="{x}" offsetY="{y}"/><scanSettings><objectiveSettings>
<objective>{power}</objective></objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>
<illuminationSource>brightfield</illuminationSource></illuminationSettings></scanSettings></image>"""
_COLLECTION = """<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:1">
<collection name="c" uuid="urn:uuid:2" sizeX="{width}" sizeY="{height}">{images}</collection></scn>"""


def write_scn(path: Path, levels: list[NDArray[np.uint8]], corner: tuple[int, int], plane: tuple[int, int]) -> Path:
    """Write a slide of 0.5 um/px whose scanned area, `levels` from the finest on, begins at (x, y) of the plane."""
    thumbnail = np.full((64, 64, 3), 240, np.uint8)
    dimensions = "".join(
        f'<dimension sizeX="{level.shape[1]}" sizeY="{level.shape[0]}" r="{number}" ifd="{number}"/>'
        for number, level in enumerate(levels)
    )
    height, width = levels[0].shape[:2]
    macro = _IMAGE.format(
        name="macro", width=64, height=64, power=0.6, x=0, y=0, view_x=plane[0] * NM_PER_PX,
        view_y=plane[1] * NM_PER_PX, dimensions=f'<dimension sizeX="64" sizeY="64" r="0" ifd="{len(levels)}"/>',
    )  # fmt: skip
    main = _IMAGE.format(
        name="main", width=width, height=height, power=20, dimensions=dimensions, x=corner[0] * NM_PER_PX,
        y=corner[1] * NM_PER_PX, view_x=width * NM_PER_PX, view_y=height * NM_PER_PX,
    )  # fmt: skip
    text = _COLLECTION.format(width=plane[0] * NM_PER_PX, height=plane[1] * NM_PER_PX, images=macro + main)
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, level in enumerate([*levels, thumbnail]):
            tif.write(
                level, tile=(256, 256), photometric="ycbcr", compression="jpeg", compressionargs={"level": 95},
                metadata=None, resolution=(20000, 20000), resolutionunit=3, software=None,
                description=text if number == 0 else None,
            )  # fmt: skip
    return path
