"""Opens a slide by the settings, so that every command reads the same pixels of one file."""

from __future__ import annotations

from pathlib import Path

from wsigraph.config import SlideConfig
from wsigraph.slide.reader import Slide, read


def open_slide(
    path: Path | str,
    options: SlideConfig,
    *,
    mpp: float | None = None,
    slide_id: str | None = None,
    max_mpx: float = 0.0,
) -> Slide:
    """Open a slide as the settings say.

    Parameters
    ----------
    path : Path or str
        Slide file or folder.
    options : SlideConfig
        Settings of the slide: damaged tiles, colour profile, focal plane and window.
    mpp, slide_id, max_mpx
        As for `wsigraph.slide.reader.read`.

    Returns
    -------
    Slide
        Open; a context manager closes it.

    Raises
    ------
    SlideError
        As for `wsigraph.slide.reader.read`.
    """
    return read(
        path,
        mpp=mpp,
        slide_id=slide_id,
        max_bad_tile_fraction=options.max_bad_tile_fraction,
        icc=options.icc,
        z=options.z,
        window=options.window,
        max_mpx=max_mpx,
    )
