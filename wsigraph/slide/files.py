"""Which files make one slide, and their digest.

Most slides are one file. A DICOM series is a folder of instances, a MIRAX slide an index with a folder of data beside
it. The digest of several files does not depend on their names or order, so that a slide copied elsewhere keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from wsigraph.errors import StoreError, UnreadableSlide
from wsigraph.slide import dicom
from wsigraph.slide.series import is_zarr, mirax_parts


def locate(path: Path) -> Path:
    """Return the file to open for what the user named.

    Parameters
    ----------
    path : Path
        A slide file, an OME-Zarr folder, or a folder that holds one DICOM series.

    Returns
    -------
    Path
        The file or OME-Zarr folder; for a folder of DICOM its first instance.

    Raises
    ------
    UnreadableSlide
        If there is no such file, it is empty or may not be read, or the folder does not hold exactly one series.
    """
    try:
        if path.is_dir():
            return path if is_zarr(path) else _locate_series(path)
        if not path.exists():
            raise UnreadableSlide(f"slide {str(path)!r} does not exist; check the path")
        if not path.is_file():
            raise UnreadableSlide(f"slide {str(path)!r} is not a regular file; give a slide file")
        with path.open("rb") as handle:
            if not handle.read(1):
                raise UnreadableSlide(f"slide {str(path)!r} is empty (0 bytes); copy it again from its source")
    except OSError as error:
        raise UnreadableSlide(f"slide {str(path)!r} cannot be read: {error.strerror}; check its rights") from None
    return path


def slide_files(path: Path) -> tuple[Path, ...]:
    """Return every file that holds part of the slide, sorted by name.

    Parameters
    ----------
    path : Path
        A file from `locate`.

    Returns
    -------
    tuple of Path
        The file itself; with it the instances of its DICOM series, or the data files of a MIRAX slide; every file
        of a zarr folder.

    Raises
    ------
    UnreadableSlide
        If the file or its folder cannot be read.
    """
    try:
        if path.is_dir():
            return tuple(sorted(other for other in path.rglob("*") if other.is_file()))
        if path.suffix.lower() == ".mrxs" and (folders := mirax_parts(path)):
            return (path, *sorted(other for data in folders for other in data.iterdir() if other.is_file()))
        return dicom.series_files(path)
    except OSError as error:
        raise UnreadableSlide(f"slide {str(path)!r} cannot be read: {error.strerror}; check its rights") from None


def slide_digest(path: Path) -> str:
    """Return the SHA-256 of a slide's bytes.

    Parameters
    ----------
    path : Path
        A file from `locate`.

    Returns
    -------
    str
        64 hexadecimal digits; see `digest`. In a zarr folder the names count too, because they place the pixels.

    Raises
    ------
    UnreadableSlide
        If a file cannot be read.
    """
    if not path.is_dir():
        return digest(slide_files(path))
    from wsigraph import store  # brings zarr, which other slides can do without

    try:
        return store.digest(path)
    except StoreError as error:
        raise UnreadableSlide(f"slide {str(path)!r} cannot be read ({error}); check its rights") from None


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of a slide's bytes.

    Parameters
    ----------
    files : iterable of Path
        The files that make the slide.

    Returns
    -------
    str
        64 hexadecimal digits: the digest of one file's bytes, or of the sorted digests of several.

    Raises
    ------
    UnreadableSlide
        If a file cannot be read.
    """
    digests = sorted(_file_digest(path) for path in files)
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableSlide(f"slide file {str(path)!r} cannot be read: {error.strerror}; check its rights") from None


def _locate_series(folder: Path) -> Path:
    series = dicom.folder_series(folder)
    if not series:
        raise UnreadableSlide(
            f"{str(folder)!r} is a directory without DICOM instances (*.dcm) and no OME-Zarr; give a slide file or "
            f"such a directory; for a folder of slides use 'wsigraph predict {folder}' or 'wsigraph run {folder}'"
        )
    if len(series) > 1:
        raise UnreadableSlide(
            f"directory {str(folder)!r} holds {len(series)} DICOM series, expected one; give one instance of the slide"
        )
    return next(iter(series.values()))
