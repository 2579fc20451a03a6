"""Slides that consist of more than one file.

A reader declares one `SeriesRule` for each such format. The rules tell the slide finder (`wsigraph.slide.discover`)
which files and folders are one slide, so that a DICOM series of four instances is listed once and the JPEG files of a
Hamamatsu VMS slide are not listed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from wsigraph.slide import dicom

ZARR_FILES = (".zgroup", ".zattrs", "zarr.json")
"""Files of which a zarr group has at least one in its root folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRule:
    """How the files of one format make a slide. A rule sets one of the three functions.

    Attributes
    ----------
    name : str
        The format in messages, for example ``"DICOM series"``.
    suffixes : frozenset of str
        Suffixes of the files that `series_id` and `parts` apply to, lower case with the dot.
    is_slide_folder : callable, optional
        Takes a folder and returns whether the folder is a slide. Such a folder is not searched.
    series_id : callable, optional
        Takes a file and returns an id that all files of its slide in the folder share; None for a file that is a slide
        of its own. A folder with a single series stands for its slide.
    parts : callable, optional
        Takes a file and returns the files and folders beside it that hold its pixels and are no slides of their own.
    """

    name: str
    suffixes: frozenset[str] = frozenset()
    is_slide_folder: Callable[[Path], bool] | None = None
    series_id: Callable[[Path], str | None] | None = None
    parts: Callable[[Path], Iterable[Path]] | None = None


def is_zarr(path: Path) -> bool:
    """Return whether a folder is the root of a zarr group."""
    return any((path / name).is_file() for name in ZARR_FILES)


def mirax_parts(path: Path) -> tuple[Path, ...]:
    """Return the data folder of a MIRAX slide ``NAME.mrxs``, which is ``NAME``; nothing where there is none."""
    data = path.with_suffix("")
    return (data,) if data.is_dir() else ()


def hamamatsu_parts(path: Path) -> tuple[Path, ...]:
    """Return the files that a Hamamatsu VMS or VMU index names (``ImageFile(1,0)=scan-01.jpg``) and that exist.

    Raises
    ------
    OSError
        If the index cannot be read.
    """
    with path.open("rb") as handle:
        text = handle.read(_INDEX_BYTES_MAX).decode("utf-8", errors="replace")
    names = (line.partition("=")[2].strip() for line in text.splitlines() if "=" in line)
    parts = (path.parent / name for name in names if name and "/" not in name and "\\" not in name and "\0" not in name)
    return tuple(part for part in parts if part != path and part.is_file())


def dicom_series_id(path: Path) -> str | None:
    """Return the SeriesInstanceUID of a DICOM file; None where it has none.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    state = path.stat()
    return _dicom_series_id(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=65_536)
def _dicom_series_id(path: Path, n_bytes: int, mtime_ns: int) -> str | None:
    # the service searches its folder every few seconds; size and time make sure that a changed file is read again
    del n_bytes, mtime_ns
    return dicom.series_uid(path)


_INDEX_BYTES_MAX = 1 << 20

ZARR = SeriesRule(name="zarr group", is_slide_folder=is_zarr)
"""A folder with a zarr group is one slide."""
DICOM = SeriesRule(name="DICOM series", suffixes=frozenset({".dcm"}), series_id=dicom_series_id)
"""The instances of one series are one slide."""
MIRAX = SeriesRule(name="MIRAX", suffixes=frozenset({".mrxs"}), parts=mirax_parts)
"""An index file and a folder of data are one slide."""
HAMAMATSU = SeriesRule(name="Hamamatsu VMS", suffixes=frozenset({".vms", ".vmu"}), parts=hamamatsu_parts)
"""An index file and the JPEG or NGR files that it names are one slide."""
