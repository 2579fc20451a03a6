"""A z-stack is read at its middle plane, or at the one that is asked for; nothing is read at the first by accident."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from wsigraph.errors import UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.inspection import inspect
from wsigraph.slide.reader import read
from wsigraph.store import load_slide_info, save_slide_info

BOX = Box(y0=10, x0=20, y1=110, x1=120)
N_Z = 4


def write_tiff(path: Path, stack: np.ndarray, *, apart: bool) -> Path:
    """Write an OME-TIFF of focal planes, each with a half-size level below it; `stack` uint8 (z, y, x, 3)."""
    options: dict[str, Any] = {"tile": (64, 64), "compression": "deflate"}
    metadata = {"axes": "ZCYX" if apart else "ZYXS", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "\u00b5m"}
    data = np.ascontiguousarray(np.moveaxis(stack, -1, 1)) if apart else stack
    half = data[..., ::2, ::2] if apart else data[:, ::2, ::2]
    options["photometric"] = "minisblack" if apart else "rgb"
    with tifffile.TiffWriter(path, ome=True) as tif:
        tif.write(data, subifds=1, metadata=metadata, **options)
        tif.write(np.ascontiguousarray(half), subfiletype=1, **options)
    return path


def write_zarr(path: Path, stack: np.ndarray) -> Path:
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    array = group.create_array("0", shape=(3, *stack.shape[:3]), chunks=(3, 1, 64, 64), dtype="uint8")
    array[:] = np.moveaxis(stack, -1, 0)
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space", "unit": "micrometer"} for a in "zyx")]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 0.5, 0.5]}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ]
    return path


@pytest.fixture
def stack(texture) -> np.ndarray:
    picture = texture(200, 180)
    return np.stack([np.roll(picture, 7 * z, axis=1) for z in range(N_Z)])


@pytest.mark.parametrize("kind", ["together", "apart", "zarr"])
def test_the_middle_plane_or_the_one_asked_for(stack: np.ndarray, tmp_path: Path, kind: str) -> None:
    name = tmp_path / ("a.ome.zarr" if kind == "zarr" else "a.ome.tif")
    path = write_zarr(name, stack) if kind == "zarr" else write_tiff(name, stack, apart=kind == "apart")
    assert inspect(path)["focal_planes"] == N_Z
    with read(path) as slide:
        assert (slide.info.z, slide.info.n_z) == (3, N_Z)
        np.testing.assert_array_equal(slide.read(BOX), stack[2][BOX.slices])
        if kind != "zarr":
            np.testing.assert_array_equal(slide.read(Box(y0=0, x0=0, y1=50, x1=50), 1.0), stack[2][:100:2, :100:2])
    for z in range(1, N_Z + 1):
        with read(path, z=z) as slide:
            np.testing.assert_array_equal(slide.read(BOX), stack[z - 1][BOX.slices])
            other = pickle.loads(pickle.dumps(slide))
            np.testing.assert_array_equal(other.read(BOX), stack[z - 1][BOX.slices])
            save_slide_info(slide.info, tmp_path / "slide.json")
            assert load_slide_info(tmp_path / "slide.json").z == z
    with pytest.raises(UnreadableSlide, match=r"has focal planes 1 to 4, and plane 5 was asked for"):
        read(path, z=5)


def test_a_plane_of_a_slide_with_one_is_refused(cmu: Path) -> None:
    with pytest.raises(UnreadableSlide, match=r"has one focal plane, and plane 2 was asked for"):
        read(cmu, z=2)
    with pytest.raises(UnreadableSlide, match=r"is read with one focal plane, not plane 2"):
        read(cmu, z=2, reader="openslide")
    read(cmu, z=1).close()
