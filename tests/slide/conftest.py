"""Small slides written on the spot, and the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def cmu() -> Path:
    """Return a real Aperio slide: 2220 x 2967 px, JPEG, one level."""
    return DATA / "CMU-1-Small-Region.svs"


@pytest.fixture
def texture() -> Callable[[int, int], NDArray[np.uint8]]:
    """Return a maker of pictures with structure at every scale and no symmetry."""

    def make(height: int, width: int) -> NDArray[np.uint8]:
        generator = np.random.default_rng(7)
        picture = generator.integers(0, 30, (height, width, 3)).astype(np.float64)
        y, x = np.mgrid[:height, :width]
        for channel, (fy, fx) in enumerate([(0.031, 0.007), (0.011, 0.043), (0.005, 0.019)]):
            picture[..., channel] += 115 + 70 * np.sin(fy * y + fx * x + channel)
        return picture.clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture
def write_pyramid(tmp_path: Path) -> Callable[..., Path]:
    """Return a writer of tiled pyramids; `kind` is pages, subifds or ome."""

    def write(levels: list[NDArray[np.uint8]], kind: str = "pages", name: str = "slide", **options: Any) -> Path:
        path = tmp_path / f"{name}{'.ome.tiff' if kind == 'ome' else '.tiff'}"
        settings: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", **options}
        first = dict(settings)
        if kind == "ome":
            first["metadata"] = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "\u00b5m"}
        else:
            first["metadata"] = None
        with tifffile.TiffWriter(path, ome=kind == "ome") as tif:
            tif.write(levels[0], subifds=0 if kind == "pages" else len(levels) - 1, **first)
            for level in levels[1:]:
                tif.write(level, subfiletype=1, metadata=None, **settings)
        return path

    return write
