"""Which reader opens a file.

Readers are plugins. They are tried in a fixed order: the built-in tiled TIFF reader, OpenSlide and OME-Zarr, then other
installed readers by name, and plain images last, because they match almost any file that holds a picture. The first
reader that recognises a file opens it or raises. A more lenient reader is not tried, because it would hide the fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from wsigraph import registry
from wsigraph.errors import PluginError, UnreadableSlide
from wsigraph.geometry import Box
from wsigraph.slide.colour import Window
from wsigraph.slide.description import HOW_TO_CONVERT, FileDescription
from wsigraph.slide.plausible_size import check_density
from wsigraph.slide.series import SeriesRule

_FIRST, _LAST = ("tiled_tiff", "openslide", "ome_zarr"), ("image",)
_CZI_MAGIC = b"ZISRAWFILE"
_TIFF_MAGIC, _VSI_AT, _VSI_MAGIC = b"II*\0", 8, b"\x18\0IS"
"""An Olympus VSI begins as a TIFF, with the header of its volume in place of the first directory."""


class SlideReader(Protocol):
    """Interface of a reader plugin. The constructor takes a path, opens it, and raises `UnreadableSlide` if it cannot.

    A reader is used from several threads at once. It need not pickle: a slide re-opens it by path. `suffixes` and
    `series` are class attributes; a slide in a folder is found through them alone, before any file is opened. A reader
    of several focal planes has ``takes_z = True`` and takes ``z``, from 1, None for the middle. One of 16-bit RGB has
    ``takes_window = True`` and takes ``window``, the levels that become 0 and 255.
    """

    suffixes: ClassVar[frozenset[str]]
    """Suffixes of the files that the reader opens, lower case with the dot, for example ``frozenset({".svs"})``."""
    series: ClassVar[tuple[SeriesRule, ...]]
    """Formats in which several files, or a folder, are one slide; ``()`` where each file is a slide."""
    description: FileDescription
    """What the file states of itself."""

    def __init__(self, path: Path) -> None: ...

    @classmethod
    def matches(cls, path: Path) -> bool:
        """Return whether this reader opens the file, even if damaged; reads no pixel."""
        ...

    def read_level(self, level: int, box: Box, scale: int) -> NDArray[np.uint8]:
        """Return RGB pixels, uint8 (h, w, 3), of a box of a level shrunk by one of its `scales`; white outside.

        A pixel must be the same whatever box is read. If the box holds part of a tile whose bytes are present but do
        not decode, it raises `CorruptTile`, and stays usable for other boxes: the slide then asks tile
        by tile (``description.levels[level].tile``) and leaves white what fails again through a fresh handle. Any
        other error ends the work on the slide.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def open_reader(
    path: Path, name: str | None = None, z: int | None = None, window: Window | None = None
) -> tuple[str, SlideReader]:
    """Open a slide file.

    Parameters
    ----------
    path : Path
        File from ``files.locate``.
    name : str, optional
        Reader plugin to use; tried in the order of `reader_names` where left out.
    z : int, optional
        Focal plane to read, from 1; the middle one where left out.
    window : tuple of int, optional
        Levels of 16-bit RGB that become 0 and 255; such a file is refused where left out.

    Returns
    -------
    tuple of (str, SlideReader)
        Name of the reader and the open reader.

    Raises
    ------
    TruncatedSlide
        If the file ends before the data that it indexes.
    UnreadableSlide
        If no reader claims it, the one that does cannot open it, or the file is too small for the pixels it claims.
    PluginError
        If `name` is unknown or does not load.
    """
    chosen, reader = _open(path, name, z, window)
    try:
        check_density(path, reader.description)
    except BaseException:
        reader.close()
        raise
    return chosen, reader


def _open(path: Path, name: str | None, z: int | None, window: Window | None) -> tuple[str, SlideReader]:
    is_vsi, is_czi = _is_vsi(path), _is_czi(path)
    if name is not None:
        if is_vsi and name in _FIRST + _LAST:
            raise UnreadableSlide(_vsi_message(path))
        return name, _construct(_load(name), path, z, window)
    broken: list[PluginError] = []
    for candidate in reader_names():
        if is_vsi and candidate in _FIRST + _LAST:
            continue  # they would take the overview in it for the slide; a plugin may read the whole
        try:
            plugin = _load(candidate)
        except PluginError as error:
            broken.append(error)
            continue
        if plugin.matches(path):
            opened = _open_czi(plugin, path, z) if is_czi else _construct(plugin, path, z, window)
            return candidate, opened
    if is_vsi:
        raise UnreadableSlide(_vsi_message(path))
    if is_czi:
        raise UnreadableSlide(f"slide {str(path)!r} is a Zeiss CZI that no reader opens; {HOW_TO_CONVERT}")
    raise UnreadableSlide(
        f"slide {str(path)!r} is of no format that the readers know ({', '.join(reader_names())}); expected a slide "
        "such as SVS, NDPI, MRXS, DICOM or TIFF, or a PNG or JPEG picture" + "".join(f"; {error}" for error in broken)
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as handle:
            return handle.read(16)
    except OSError:
        return b""  # a folder, or a file that its reader will report


def _is_vsi(path: Path) -> bool:
    if path.suffix.lower() == ".vsi" and path.is_file():
        return True
    head = _head(path)
    return head.startswith(_TIFF_MAGIC) and head[_VSI_AT : _VSI_AT + len(_VSI_MAGIC)] == _VSI_MAGIC


def _is_czi(path: Path) -> bool:
    return (path.suffix.lower() == ".czi" and path.is_file()) or _head(path).startswith(_CZI_MAGIC)


def _vsi_message(path: Path) -> str:
    return (
        f"slide {str(path)!r} is an Olympus VSI: what it holds itself is an overview image, and the slide lies in the "
        f"folder _{path.stem}_ beside it, in a format that the readers do not know; {HOW_TO_CONVERT}"
    )


def _construct(plugin: Any, path: Path, z: int | None, window: Window | None = None) -> SlideReader:
    """Return an open reader at a focal plane; readers with ``takes_z`` know several, with ``takes_window`` 16 bits."""
    options: dict[str, Any] = {"window": window} if window and getattr(plugin, "takes_window", False) else {}
    if getattr(plugin, "takes_z", False):
        several: SlideReader = plugin(path, z=z, **options)
        return several
    if z not in (None, 1):
        raise UnreadableSlide(f"slide {str(path)!r} is read with one focal plane, not plane {z}; omit --z")
    reader: SlideReader = plugin(path, **options)
    return reader


def _open_czi(plugin: Any, path: Path, z: int | None) -> SlideReader:
    """Return the open reader of a CZI; where it fails, the error names the format and the way out."""
    try:
        reader = _construct(plugin, path, z)
    except UnreadableSlide as error:
        raise type(error)(f"{error}; it is a Zeiss CZI: {HOW_TO_CONVERT}") from None
    return reader


def reader_names() -> tuple[str, ...]:
    """Return the installed readers in the order in which they are tried."""
    installed = registry.names(registry.READERS)
    others = [name for name in installed if name not in _FIRST + _LAST]
    return (*(name for name in _FIRST if name in installed), *others, *(name for name in _LAST if name in installed))


def _load(name: str) -> Any:
    return registry.load(registry.READERS, name)
