"""OME-Zarr folders (NGFF 0.4 on zarr 2, 0.5 on zarr 3) of 8-bit RGB or grey.

The first multiscale image of the root is read, or of series 0 where a converter put its images in numbered groups. A
chunk of the finest axes is a native tile. Zarr does not store a chunk that holds nothing but the fill value, so a tile
that is black from corner to corner is one the file does not hold, and white here as in every other format. Channels
are taken for red, green and blue in their order; of display settings only the channels' names are kept.

References
----------
Moore et al., "OME-Zarr: a cloud-optimized bioimaging file format with international community support", 2023.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zarr
from numpy.typing import NDArray

from wsigraph.errors import CorruptTile, UnreadableSlide
from wsigraph.geometry import Box, Size
from wsigraph.slide import mpp, tiff_index
from wsigraph.slide.colour import to_rgb
from wsigraph.slide.description import HOW_TO_CONVERT, FileDescription, choose_z, make_levels
from wsigraph.slide.mpp import StatedMpp
from wsigraph.slide.series import ZARR, SeriesRule
from wsigraph.slide.tile_grid import TileCache, assemble

_UM = {"micrometer": 1.0, "nanometer": 1e-3, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6, "angstrom": 1e-4}
_ROOT_FILES = (".zattrs", "zarr.json")
_TILE_PX_MAX = 2**26
_MALFORMED = (*tiff_index.MALFORMED, zlib.error)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Position of y, x and channel among an array's axes; every other axis has length 1."""

    y: int
    x: int
    channel: int | None
    z: int | None = None
    plane: int = 0  # from 0

    def index(self, n_axes: int, box: Box) -> tuple[slice | int, ...]:
        """Return the index of a box with all its channels."""
        index: list[slice | int] = [0] * n_axes
        index[self.y], index[self.x] = box.slices
        if self.z is not None:
            index[self.z] = self.plane
        if self.channel is not None:
            index[self.channel] = slice(None)
        return tuple(index)

    def to_pixels(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return an indexed part as (y, x) or (y, x, channel)."""
        axes = sorted(axis for axis in (self.y, self.x, self.channel) if axis is not None)
        wanted = [self.y, self.x] + ([] if self.channel is None else [self.channel])
        return np.ascontiguousarray(part.transpose([axes.index(axis) for axis in wanted]))


class OmeZarrReader:
    """An OME-Zarr folder.

    Parameters
    ----------
    path : Path
        The folder.
    z : int, optional
        Focal plane, from 1; the middle one where left out.

    Raises
    ------
    UnreadableSlide
        If it is no OME-Zarr folder, its metadata are damaged, or it holds no 8-bit RGB or grey image.
    """

    suffixes: ClassVar[frozenset[str]] = frozenset()
    series: ClassVar[tuple[SeriesRule, ...]] = (ZARR,)

    takes_z: ClassVar[bool] = True

    def __init__(self, path: Path, z: int | None = None) -> None:
        self._path = path
        image = _find_image(path)
        try:
            group = zarr.open_group(str(image), mode="r")
            attributes = dict(group.attrs)
            multiscale = _multiscales(attributes)[0]
            axes = [axis if isinstance(axis, str) else str(axis["name"]) for axis in multiscale["axes"]]
            arrays = [group[str(level["path"])] for level in multiscale["datasets"]]
            stated = _stated_mpp(multiscale)
            _check(path, axes, arrays)
        except _MALFORMED as error:
            reason = tiff_index.first_line(error)
            raise UnreadableSlide(f"slide {str(path)!r} has damaged OME-Zarr metadata ({reason})") from None
        z_axis = axes.index("z") if "z" in axes else None
        finest: Any = arrays[0]
        n_z = 1 if z_axis is None else int(finest.shape[z_axis])
        z = choose_z(path, z, n_z)
        channel = axes.index("c") if "c" in axes else None
        self._layout = _Layout(axes.index("y"), axes.index("x"), channel, z_axis, z - 1)
        self._arrays = _shrinking(arrays, self._layout)
        self._cache = TileCache()
        levels = make_levels((self._sides(array.shape), self._sides(array.chunks)) for array in self._arrays)
        self.description = FileDescription(
            vendor="ome-zarr",
            levels=levels,
            scales=((1,),) * len(levels),
            mpp=stated.x if stated else None,
            mpp_y=stated.y if stated else None,
            mpp_source=stated.source if stated else None,
            channels=_channel_names(attributes),
            z=z,
            n_z=n_z,
        )

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether a folder's metadata name a multiscale image."""
        return path.is_dir() and any((path / name).is_file() for name in _ROOT_FILES) and _image_of(path) is not None

    def read_level(self, level: int, box: Box, scale: int = 1) -> NDArray[np.uint8]:
        """Return pixels of a level.

        Parameters
        ----------
        level : int
            Index into ``description.levels``.
        box : Box
            Pixels of the level; white outside it and where no chunk is stored.
        scale : int
            1.

        Returns
        -------
        uint8 (h, w, 3)
            RGB.

        Raises
        ------
        CorruptTile
            If a chunk does not decode.
        UnreadableSlide
            If a chunk cannot be read.
        """
        geometry = self.description.levels[level]
        return assemble(
            box, geometry.size, geometry.tile, lambda row, column: self._tile(level, row, column), self._cache,
            (level, scale),
        )  # fmt: skip

    def close(self) -> None:
        """Close the folder."""
        self._cache.clear()

    def _sides(self, lengths: Sequence[int]) -> Size:
        return Size(int(lengths[self._layout.y]), int(lengths[self._layout.x]))

    def _tile(self, level: int, row: int, column: int) -> NDArray[np.uint8] | None:
        geometry, array = self.description.levels[level], self._arrays[level]
        y0, x0 = row * geometry.tile.height, column * geometry.tile.width
        box = Box(y0=y0, x0=x0, y1=y0 + geometry.tile.height, x1=x0 + geometry.tile.width).clip(geometry.size)
        try:
            part = np.asarray(array[self._layout.index(array.ndim, box)])
        except _MALFORMED as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise UnreadableSlide(
                    f"slide {str(self._path)!r} cannot be read: {error.strerror}; try again"
                ) from None
            raise CorruptTile(
                f"slide {str(self._path)!r}: chunk {column}, {row} of level {level} does not decode "
                f"({tiff_index.first_line(error)}); copy the slide again from its source"
            ) from error
        return to_rgb(self._layout.to_pixels(part)) if part.any() else None


def _find_image(path: Path) -> Path:
    """Return the group that holds the image."""
    if not path.is_dir():
        raise UnreadableSlide(f"slide {str(path)!r} is no folder, expected an OME-Zarr folder")
    image = _image_of(path)
    if image is None:
        raise UnreadableSlide(
            f"slide {str(path)!r} names no multiscale image in its metadata, expected OME-Zarr 0.4 or 0.5"
        )
    return image


def _image_of(path: Path) -> Path | None:
    """Return the folder whose metadata name a multiscale image: `path` or its series 0; None where there is none."""
    for folder in (path, path / "0"):
        try:
            if _multiscales(_attributes(folder)):
                return folder
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
    return None


def _attributes(folder: Path) -> dict[str, Any]:
    """Return a group's attributes as its metadata file spells them; none where it has no such file."""
    if (folder / "zarr.json").is_file():
        return dict(json.loads((folder / "zarr.json").read_text(encoding="utf-8")).get("attributes", {}))
    if (folder / ".zattrs").is_file():
        return dict(json.loads((folder / ".zattrs").read_text(encoding="utf-8")))
    return {}


def _multiscales(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the multiscale images: under "ome" since version 0.5, at the root before."""
    return list(attributes.get("ome", attributes).get("multiscales", []))


def _channel_names(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the channels' names; none where display settings are absent or odd, for they are no part of the pixels."""
    display = attributes.get("ome", attributes).get("omero")
    channels = display.get("channels") if isinstance(display, Mapping) else None
    named = [channel for channel in channels if isinstance(channel, Mapping)] if isinstance(channels, Sequence) else []
    return tuple(str(channel["label"]) for channel in named if channel.get("label"))


def _stated_mpp(multiscale: Mapping[str, Any]) -> StatedMpp | None:
    """Return the pixel size of the first dataset, or None where scale or unit is absent."""
    scale = {"x": 1.0, "y": 1.0}
    names = [axis["name"] for axis in multiscale["axes"] if not isinstance(axis, str)]
    if not {"x", "y"} <= set(names):
        return None
    steps = [
        *multiscale["datasets"][0].get("coordinateTransformations", []),
        *multiscale.get("coordinateTransformations", []),
    ]
    scales = [step["scale"] for step in steps if step.get("type") == "scale"]
    units = {axis["name"]: _UM.get(axis.get("unit", "")) for axis in multiscale["axes"] if axis["name"] in scale}
    if not scales:
        return None
    for factors in scales:
        for name in scale:
            scale[name] *= float(factors[names.index(name)])
    x, y = (scale[name] * unit if (unit := units[name]) else math.nan for name in ("x", "y"))
    if not (x > 0 and y > 0 and math.isfinite(x) and math.isfinite(y)):
        return None
    return StatedMpp(mpp.round_digits(x), mpp.round_digits(y), "ome-zarr.scale")


def _check(path: Path, axes: list[str], arrays: Sequence[Any]) -> None:
    """Raise UnreadableSlide where the arrays are no 8-bit picture."""
    first = arrays[0]
    n_channels = first.shape[axes.index("c")] if "c" in axes else 1
    others = [length for name, length in zip(axes, first.shape, strict=True) if name not in ("y", "x", "c", "z")]
    dtypes = sorted({str(array.dtype) for array in arrays})
    faults = {
        f"its axes are {', '.join(axes)}": not {"y", "x"} <= set(axes) or len(set(axes)) != len(axes),
        f"it holds {', '.join(dtypes)}": dtypes != ["uint8"],
        f"it holds {n_channels} channels": n_channels not in (1, 3),
        "it is a series in time": any(length != 1 for length in others),
        "its levels differ in focal planes": "z" in axes
        and len({array.shape[axes.index("z")] for array in arrays}) > 1,
        "its levels differ in axes": any(array.ndim != first.ndim for array in arrays),
        "it holds no pixel": any(0 in array.shape for array in arrays),
        "its chunks are too large": any(math.prod(array.chunks) > _TILE_PX_MAX for array in arrays),
    }
    present = [text for text, is_fault in faults.items() if is_fault]
    if present:
        raise UnreadableSlide(
            f"slide {str(path)!r} is no OME-Zarr that can be read: {'; '.join(present)}; expected 8-bit RGB or grey "
            f"over axes y and x; {HOW_TO_CONVERT}"
        )


def _shrinking(arrays: Sequence[Any], layout: _Layout) -> list[Any]:
    """Return the arrays from the finest on that are each smaller than the one before."""
    chosen = [arrays[0]]
    for array in arrays[1:]:
        if array.shape[layout.y] < chosen[-1].shape[layout.y] and array.shape[layout.x] < chosen[-1].shape[layout.x]:
            chosen.append(array)
    return chosen
