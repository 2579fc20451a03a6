"""Whether a file is large enough for the pixels that it claims, and whether those are more than a caller wants.

A TIFF of 134 bytes can claim 400,000 x 400,000 px: missing tiles are white, and a worker would go through them for
hours. No codec writes so few bytes. A white tile costs 1.2e-2 bytes per pixel as JPEG, 3e-3 with deflate and 3e-4 as
JPEG 2000; a tile of 256 px that is left out still costs 1.2e-4 for its place in the index. The least that is accepted
is a tenth of that, and small files are not judged.
"""

from __future__ import annotations

from pathlib import Path

from wsigraph.errors import TooLarge, UnreadableSlide
from wsigraph.slide.description import FileDescription

_MIN_BYTES_PER_PX = 1e-5
_JUDGED_PX = 1e7


def check_density(path: Path, description: FileDescription) -> None:
    """Check that a file is large enough for the pixels that it claims.

    Parameters
    ----------
    path : Path
        The slide. Folders and formats of several files are not judged: their bytes are elsewhere.
    description : FileDescription
        What it states.

    Raises
    ------
    UnreadableSlide
        If it has fewer bytes per pixel than any codec writes.
    """
    size = description.levels[0].size
    if size.area < _JUDGED_PX or path.is_dir():
        return
    n_bytes = path.stat().st_size
    if n_bytes >= _MIN_BYTES_PER_PX * size.area:
        return
    from wsigraph.slide.files import slide_files

    n_bytes = sum(file.stat().st_size for file in slide_files(path))
    if n_bytes < _MIN_BYTES_PER_PX * size.area:
        raise UnreadableSlide(
            f"slide {str(path)!r} claims {size.width} x {size.height} pixels in {n_bytes} bytes, expected at least "
            f"{_MIN_BYTES_PER_PX * size.area:.0f} bytes with any codec; copy it again from its source"
        )


def check_area(path: Path, description: FileDescription, max_mpx: float) -> None:
    """Check that a slide has no more pixels than allowed.

    Parameters
    ----------
    path : Path
        The slide.
    description : FileDescription
        What it states.
    max_mpx : float
        Largest number of pixels of level 0, Mpx; 0 is unlimited.

    Raises
    ------
    TooLarge
        If it has more.
    """
    size = description.levels[0].size
    if max_mpx and size.area > max_mpx * 1e6:
        raise TooLarge(
            f"slide {str(path)!r} has {size.width} x {size.height} pixels, more than the {max_mpx:g} Mpx allowed for a "
            "job; raise service.job_max_mpx"
        )
