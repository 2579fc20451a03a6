"""The slides that an argument names: a file, a folder with its subfolders, or a glob. All commands read them here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsigraph.errors import SlidesNotFound
from wsigraph.slide.discover import DiscoveredSlide, discover_glob, discover_slides, is_glob
from wsigraph.slide.slide_id import default_slide_id


def named_slides(text: str) -> list[DiscoveredSlide]:
    """Return the slides that one argument names.

    Parameters
    ----------
    text : str
        A slide, a folder that is searched with its subfolders, or a glob such as ``'slides/*.svs'``.

    Returns
    -------
    list of DiscoveredSlide
        A name that is neither a folder nor a glob is one slide, whether or not there is such a file.

    Raises
    ------
    SlidesNotFound
        If a folder or a glob holds no slide.
    """
    path = Path(text)
    if path.is_dir():
        return discover_slides(path, recursive=True)
    if is_glob(text):
        return discover_glob(text)
    return [DiscoveredSlide(path=path, slide_id=default_slide_id(path))]


def all_named_slides(named: Sequence[str]) -> list[DiscoveredSlide]:
    """Return the slides that several arguments name, none twice.

    Parameters
    ----------
    named : sequence of str
        As for `named_slides`.

    Returns
    -------
    list of DiscoveredSlide
        In the order of the arguments.

    Raises
    ------
    SlidesNotFound
        If an argument names no slide, or a file that does not exist.
    """
    slides: dict[Path, DiscoveredSlide] = {}
    for text in named:
        for slide in named_slides(text):
            if not slide.path.exists():
                raise SlidesNotFound(f"{text} does not exist, expected a slide, a folder or a glob; check the path")
            slides.setdefault(slide.path, slide)
    return list(slides.values())
